"""Claims of Khromov & Singh (ICLR 2024) about the course of training, the loss and the optimiser.

The docstring of each test is its rule.
"""

import numpy as np
import pandas as pd

from pipeline.claims.findings import (
    Finding,
    Tables,
    UntestedError,
    attempt,
    by_seed,
    combine,
    judge,
    judge_exact,
    nearest,
    paired,
    readable,
    select,
)
from pipeline.statistics.curves import log_log_slope_over_seeds, spearman
from pipeline.statistics.intervals import Interval, bootstrap_interval, ratio_interval

BOUNDS = ("c_lower", "c_upper", "c_avg")

TABLE_S3 = {
    0: (0.369, 0.165),
    1000: (1.336, 0.865),
    2000: (3.762, 2.752),
    3000: (5.775, 4.257),
    4000: (7.142, 5.120),
    5000: (7.974, 5.591),
    10000: (9.928, 6.361),
    50000: (19.390, 8.840),
}

GRADIENT_NORM_AT_THE_END = 0.01


def own_ends(data: pd.DataFrame, target: float) -> pd.DataFrame:
    """See papers.khromov_singh_2024.optimizer.figure."""
    rows = []
    for _, one in data.sort_values("epoch").groupby(["variant", "seed"]):
        late = one.loc[one["gradient_norm"].idxmax() :]
        met = late[late["gradient_norm"] <= target]
        row = one.iloc[-1] if met.empty else met.iloc[0]
        rows.append(row.to_dict() | {"met": not met.empty})
    return pd.DataFrame(rows)


_STUDIED_WIDTH = 256
"""That of the nets whose training the paper follows."""


def grows(tables: Tables) -> Finding:
    """Each bound at the last kept checkpoint over that at initialisation, ratio of the means over
    seeds, for the net of width 256 and the wide one, under cross-entropy. A part holds if its
    interval lies above 1."""
    parts = {
        f"{readable(bound)}, {net}": attempt(_growth, tables, table, bound)
        for table, net in (("evolution_epochs", "width 256"), ("evolution_wide_epochs", "wide net"))
        for bound in BOUNDS
    }
    return combine(parts)


def grows_under_mse(tables: Tables) -> Finding:
    """Slope of the log of each bound on the log of the epoch, over the last tenfold of epochs that
    all seeds share, at width 256 under the squared error. A part holds if its interval lies above
    0."""
    parts = {
        readable(bound): attempt(_late_slope, tables, "double_descent_mse_epochs", bound)
        for bound in BOUNDS
    }
    return combine(parts)


def grows_in_other_nets(tables: Tables) -> Finding:
    """Not tested: needs convolutional nets, ResNet-50 and transformers on CIFAR-10 and ImageNet."""
    raise UntestedError("needs CIFAR-10 or ImageNet with convolutional nets or transformers, not here")


def loss_and_softmax(tables: Tables) -> Finding:
    """C_lower at width 256 at the last epoch that both losses have, ratio of the means over seeds. The
    squared error's over cross-entropy's holds if its interval lies in [0.5, 1]; that of the softmax of
    the net trained with cross-entropy over that of its logits holds if it lies below 0.5. Each loss has
    a learning rate of its own, here as in the paper."""
    rows = nearest(select(tables, "loss_function"), "width", _STUDIED_WIDTH)
    last = _last_of_both(rows, "experiment")
    mse, plain = (last[last["experiment"] == name] for name in ("double_descent_mse", "double_descent"))
    return combine(
        {
            "squared error / cross-entropy": attempt(
                _quantity_ratio, mse, "c_lower", plain, "c_lower", 0.5, 1
            ),
            "softmax / logits": attempt(
                _quantity_ratio, plain, "c_lower_softmax", plain, "c_lower", 0, 0.5
            ),
        }
    )


def adam_above_sgd(tables: Tables) -> Finding:
    """Each bound, and the distance that the parameters went, under Adam over that under gradient
    descent, ratio of the means over seeds: at each one's end, the first kept checkpoint behind the
    largest gradient norm at which this is at most 0.01 (the last one where there is none), and at the
    last epoch that both have. A part holds if its interval lies above 1."""
    epochs = select(tables, "optimizer_epochs", points="train")
    ends = own_ends(epochs, GRADIENT_NORM_AT_THE_END)
    parts = {
        f"{readable(column)}, {when}": attempt(_variant_ratio, rows, "adam~1", "adam~0", column)
        for when, rows in (("own end", ends), ("same epoch", _last_of_both(epochs, "variant")))
        for column in (*BOUNDS, "parameter_distance")
    }
    return combine(parts)


def far_from_linear(tables: Tables) -> Finding:
    """C_lower at the end over that of the net linearised at initialisation, at the same parameters,
    ratio of the means over seeds: holds above 1. The same over the most that the linearised net could
    reach at their distance (C_lower at initialisation plus distance times the largest mixed
    derivative): holds above 1. The growth of C_lower over the largest mixed derivative, the paper's
    comparison: holds above 1."""
    rows = select(tables, "linearisation")
    values = rows[rows["point"].isna()].pivot(index="seed", columns="quantity", values="value")
    growth = values["c_final"] - values["c_initial"]
    linearised = ratio_interval(values["c_final"], values["c_linearised"], paired=True)
    beyond = ratio_interval(values["c_final"], values["bound"], paired=True)
    above = ratio_interval(growth, values["mixed_largest"], paired=True)
    return combine(
        {
            "end / linearised net": attempt(judge, linearised, 1),
            "end / most of the linearised net": attempt(judge, beyond, 1),
            "growth / mixed derivative": attempt(judge, above, 1),
        }
    )


def table_comes_out_again(tables: Tables) -> Finding:
    """Our values of the paper's own run over those of its Table S3: the largest
    deviation of C_lower and of C_alt.lower over its epochs, in per cent. A part holds up to 5."""
    rows = select(tables, "paper_run", width=256).set_index("epoch")
    known = {epoch: values for epoch, values in TABLE_S3.items() if epoch in rows.index}
    if len(known) < 3:
        raise UntestedError("the run has fewer than three epochs of the table")
    parts = {}
    for place, (column, name) in enumerate((("c_lower", "C_lower"), ("c_pairwise", "C_alt.lower"))):
        ratios = [float(rows.loc[epoch, column]) / values[place] for epoch, values in known.items()]
        worst = 100 * max(abs(ratio - 1) for ratio in ratios)
        parts[name] = attempt(judge_exact, worst, 0, 5)
    return combine(parts)


def theory_follows(tables: Tables) -> Finding:
    """The term of the bound that changes, largest parameter Jacobian norm so far times path length,
    against C_lower and C_upper over the kept epochs. The rank correlation holds if its interval lies
    above 0.9; the ratio of the log-log slopes over the last tenfold of epochs holds in [0.5, 2]. The
    term cannot fall, so that the rank correlation alone says little."""
    empirical = select(tables, "theory_epochs", points="train")
    rows = empirical.merge(select(tables, "theory_bounds")[["seed", "epoch", "c_theta_running"]])
    rows = rows[rows["epoch"] > 0].assign(term=lambda t: t["c_theta_running"] * t["path_length"])
    if rows.empty:
        raise UntestedError("theory_epochs and theory_bounds share no epochs")
    rows = _shared_epochs(rows)
    parts = {}
    for bound in ("c_lower", "c_upper"):
        correlation = spearman(rows, "term", bound, x="epoch", paired=True)
        parts[f"ranks, {readable(bound)}"] = attempt(judge, correlation, 0.9)
        parts[f"slopes, {readable(bound)}"] = attempt(_slope_ratio, rows, "term", bound)
    return combine(parts)


def _growth(tables: Tables, table: str, bound: str) -> Finding:
    rows = select(tables, table, points="train")
    last = rows[rows["epoch"] == rows.groupby("seed")["epoch"].transform("max")]
    ends, starts = paired(by_seed(last, bound), by_seed(rows[rows["epoch"] == 0], bound))
    return judge(ratio_interval(ends, starts, paired=True), least=1)


def _late_slope(tables: Tables, table: str, bound: str) -> Finding:
    rows = _last_tenfold(nearest(select(tables, table, points="train"), "width", _STUDIED_WIDTH))
    slope = log_log_slope_over_seeds(rows, "epoch", bound, paired=True)
    return judge(Interval(slope.slope, slope.low, slope.high), least=0)


def _slope_ratio(rows: pd.DataFrame, above: str, below: str) -> Finding:
    late = _last_tenfold(rows)
    ratios = []
    for _, one in late.groupby("seed"):
        slopes = [log_log_slope_over_seeds(one, "epoch", name).slope for name in (above, below)]
        ratios.append(slopes[0] / slopes[1])
    return judge(bootstrap_interval(ratios), 0.5, 2)


def _last_tenfold(rows: pd.DataFrame) -> pd.DataFrame:
    shared = _shared_epochs(rows[rows["epoch"] > 0])
    return shared[shared["epoch"] >= shared["epoch"].max() / 10]


def _shared_epochs(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the epochs that all seeds have: each stops at its own."""
    counts = rows.groupby("epoch")["seed"].transform("nunique")
    shared = rows[counts == rows["seed"].nunique()]
    if shared.empty:
        raise UntestedError("the seeds share no epoch")
    return shared


def _last_of_both(rows: pd.DataFrame, group: str) -> pd.DataFrame:
    """Rows of the last epoch that every seed of every group has."""
    members = rows[[group, "seed"]].drop_duplicates()
    present = rows[[group, "seed", "epoch"]].drop_duplicates()
    epochs = present["epoch"].value_counts()
    shared = epochs.index[epochs == len(members)]
    if members[group].nunique() < 2 or len(shared) == 0:
        raise UntestedError(f"no epoch that two values of {group} share")
    return rows[rows["epoch"] == max(shared)]


def _variant_ratio(rows: pd.DataFrame, above: str, below: str, column: str) -> Finding:
    values = [by_seed(rows[rows["variant"] == name], column) for name in (above, below)]
    return judge(ratio_interval(*paired(*values), paired=True), least=1)


def _quantity_ratio(
    above: pd.DataFrame, first: str, below: pd.DataFrame, second: str, least: float, most: float
) -> Finding:
    groups = [
        by_seed(rows[rows["quantity"] == name], "value")
        for rows, name in ((above, first), (below, second))
    ]
    if any(np.size(values) == 0 for values in groups):
        raise UntestedError(f"no {first} or no {second}")
    return judge(ratio_interval(*paired(*groups), paired=True), least, most)
