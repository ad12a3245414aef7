"""Claims of Khromov & Singh (ICLR 2024) about where Jacobian norms are measured.

The docstring of each test is its rule.
"""

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from pipeline.claims.findings import (
    Finding,
    Tables,
    UntestedError,
    attempt,
    combine,
    judge,
    judge_exact,
    nearest,
    select,
)
from pipeline.statistics.intervals import bootstrap_interval, ratio_interval

RUN = ["experiment", "variant", "noise", "width", "seed"]
"""What names a net in the tables of studies."""

_FEWEST_WRONG = 20
"""Misclassified points that a net must have to say something about them."""


def larger_set(tables: Tables) -> Finding:
    """Share of the gap between C_lower and C_upper, in logarithms, that is closed when the largest
    Jacobian norm is also taken over test points and convex combinations, at the last epoch; mean over
    seeds. A part holds if its interval lies below 1/2: C_S is then the nearer to C_lower."""
    sets = select(tables, "extended_set")
    parts = {}
    for experiment, name in (("evolution", "width 256"), ("evolution_wide", "wide net")):
        parts[f"share of the gap, {name}"] = attempt(_gap_closed, tables, sets, experiment)
        parts[f"C_S / C_lower at most 2, {name}"] = attempt(_enlargement, sets, experiment)
    return combine(parts)


def above_pairs(tables: Tables) -> Finding:
    """C_lower over the largest ratio of differences over pairs of training points: the least of the kept
    checkpoints of a run, mean over seeds. Holds if its interval lies above 1."""
    rows = select(tables, "pairwise")
    ratios = (rows["c_lower"] / rows["c_pairwise"]).groupby([rows[name] for name in RUN]).min()
    return judge(bootstrap_interval(ratios), least=1)


def grows_with_depth(tables: Tables) -> Finding:
    """Not tested: needs ResNet-50 trained on ImageNet."""
    raise UntestedError("needs ResNet-50 trained on ImageNet, not here; depth of small nets is C23")


def steepest_at_boundary(tables: Tables) -> Finding:
    """Of the one net on three Gaussians, without intervals. C_lower over the largest norm on the grid of
    the small square is at least 0.8; the large square adds at most 1 %; at most a tenth of the small
    square lies nearer to the decision boundary than the place of the largest norm."""
    facts = select(tables, "toy", kind="fact")
    grid = facts[facts["name"] == "grid"].sort_values("half_side")
    if len(grid) < 2:
        raise UntestedError("the table toy has fewer than two grids")
    small, large = grid["value"].iloc[0], grid["value"].iloc[-1]
    lower = facts.loc[facts["name"] == "c_lower", "value"].iloc[0]
    maps = select(tables, "toy", kind="map", half_side=grid["half_side"].iloc[0])
    place = grid[["x", "y"]].iloc[0].to_numpy(float)
    return combine(
        {
            "C_lower / largest on the grid": attempt(judge_exact, lower / small, 0.8),
            "large / small square": attempt(judge_exact, large / small, 0, 1.01),
            "share nearer to the boundary": attempt(judge_exact, _nearer(maps, place), 0, 0.1),
        }
    )


def robust_to_attack(tables: Tables) -> Finding:
    """At adversarially moved training points, at the radius nearest to 0.5, mean over widths by seed.
    C_lower over that at the points themselves holds in [0.9, 1.1]; the steepest secant from the points
    to the moved ones over C_lower holds below 1."""
    rows = select(tables, "adversarial", points="train")
    # a single net is attacked once more with more steps, to see that nothing is missed
    rows = rows[rows["steps"].isin([0, rows.loc[rows["radius"] > 0, "steps"].mode().min()])]
    clean = _clean(rows)
    moved = nearest(rows[rows["radius"] > 0], "radius", 0.5).set_index(["width", "seed"])
    return combine(
        {
            "C_lower moved / clean": attempt(_mean_ratio, moved["c_lower"], clean, 0.9, 1.1),
            "secant / C_lower": attempt(_mean_ratio, moved["c_secant"], clean, 0, 1),
        }
    )


def robust_to_noise(tables: Tables) -> Finding:
    """C_lower at training points with Gaussian noise over that without, mean over widths by seed, at
    each radius. A part holds if the interval of its mean lies in [0.9, 1.1]."""
    rows = select(tables, "out_of_distribution", points="train")
    clean = _clean(rows)
    parts = {}
    for radius, one in rows[rows["radius"] > 0].groupby("radius"):
        moved = one.set_index(["width", "seed"])["c_lower"]
        parts[f"radius {radius:g}"] = attempt(_mean_ratio, moved, clean, 0.9, 1.1)
    return combine(parts)


def wrong_points_are_steeper(tables: Tables) -> Finding:
    """Over the nets with at least 20 misclassified training points. Mean norm at these over that at the
    others holds above 1; the largest norm over that of the others in [1/2, 2]; the correlation of loss
    and norm in [-0.1, 0.1]. Intervals of the means over nets."""
    rows = select(tables, "distribution", points="train")
    found = pd.DataFrame([_wrong_against_right(one) for _, one in rows.groupby(RUN)])
    found = found[found["wrong"] >= _FEWEST_WRONG]
    if found.empty:
        raise UntestedError(f"no net misclassifies {_FEWEST_WRONG} training points")
    parts = {
        "ratio of means": attempt(judge, bootstrap_interval(found["means"]), 1),
        "ratio of maxima": attempt(judge, bootstrap_interval(found["maxima"]), 0.5, 2),
        "correlation": attempt(judge, bootstrap_interval(found["correlation"]), -0.1, 0.1),
    }
    return combine(parts)


def subset_falls_short(tables: Tables) -> Finding:
    """Relative shortfall of C_lower on a random subset of 200,000 / 1,281,167 of the points, as in the
    paper, by interpolation in the log of the size, holds in [0.05, 0.2]; what each doubling of the
    subset gains around it, in [0.025, 0.1]: a factor 2 about the paper's. Means over nets."""
    rows = select(tables, "subsampling", points="train", way="exact")
    found = []
    for _, one in rows.groupby(RUN):
        one = one.sort_values("size")
        doublings = np.log2(one["size"] / one["size"].max())
        at = np.interp(np.log2(200_000 / 1_281_167) + np.array([0, -1, 1]), doublings, one["shortfall"])
        found.append({"short": at[0], "gain": (at[1] - at[2]) / 2})
    values = pd.DataFrame(found)
    return combine(
        {
            "shortfall": attempt(judge, bootstrap_interval(values["short"]), 0.05, 0.2),
            "gain of a doubling": attempt(judge, bootstrap_interval(values["gain"]), 0.025, 0.1),
        }
    )


def long_tails(tables: Tables) -> Finding:
    """Not tested: needs ResNet-20 and ResNet-56 trained on CIFAR-10."""
    raise UntestedError("needs ResNets trained on CIFAR-10, not here")


def search_finds_little_more(tables: Tables) -> Finding:
    """The largest Jacobian norm that a search over all inputs finds, over C_lower on the training
    points, ratio of the means over seeds, by width. A part holds if its interval lies in [1, 2]."""
    rows = select(tables, "sandwich")
    parts = {f"width {width}": attempt(_search_ratio, one) for width, one in rows.groupby("width")}
    return combine(parts)


def truth_is_near_lower(tables: Tables) -> Finding:
    """Where the Lipschitz constant lies between C_lower (0) and C_upper (1), in logarithms, mean over
    seeds by width: at least where the search came, at most at the best certified upper bound (both at
    the constant itself where it is known). A width holds if the interval of the latter lies below 1/2,
    does not hold if that of the former lies above, and else holds in part: the bounds leave it open."""
    rows = select(tables, "sandwich")
    parts = {f"width {width}": attempt(_truth, one) for width, one in rows.groupby("width")}
    return combine(parts)


def _gap_closed(tables: Tables, sets: pd.DataFrame, experiment: str) -> Finding:
    found = _enlarged(sets, experiment)
    upper = select(tables, f"{experiment}_epochs", points="train")[["seed", "epoch", "c_upper"]]
    found = found.reset_index().merge(upper, on=["seed", "epoch"])
    shares = np.log(found["largest"] / found["train"]) / np.log(found["c_upper"] / found["train"])
    return judge(bootstrap_interval(shares), most=0.5)


def _enlargement(sets: pd.DataFrame, experiment: str) -> Finding:
    found = _enlarged(sets, experiment)
    return judge(ratio_interval(found["largest"], found["train"], paired=True), 1, 2)


def _enlarged(sets: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """Largest norm over the training points and over all sets, at the last epoch of each seed."""
    rows = sets[sets["experiment"] == experiment]
    if rows.empty:
        raise UntestedError(f"the table extended_set has no rows of {experiment}")
    rows = rows[rows["epoch"] == rows.groupby("seed")["epoch"].transform("max")]
    train = rows[rows["points"] == "train"].set_index(["seed", "epoch"])["maximum"]
    largest = rows.groupby(["seed", "epoch"])["maximum"].max()
    return pd.DataFrame({"train": train, "largest": largest}).dropna()


def _nearer(maps: pd.DataFrame, place: np.ndarray) -> float:
    """Share of the map's points with a smaller distance to points of other classes than ``place``."""
    points, classes = maps[["x", "y"]].to_numpy(float), maps["predicted"].to_numpy()
    distances = np.full(len(points), np.inf)
    for kind in np.unique(classes):
        if (classes != kind).any():
            others = cKDTree(points[classes != kind])
            distances[classes == kind] = others.query(points[classes == kind])[0]
    own = distances[np.square(points - place).sum(1).argmin()]
    return float((distances < own).mean())


def _wrong_against_right(rows: pd.DataFrame) -> dict[str, float]:
    wrong = ~rows["correct"].astype(bool)
    if wrong.all() or not wrong.any():
        return {"wrong": 0.0, "means": np.nan, "maxima": np.nan, "correlation": np.nan}
    norms = rows.groupby(wrong)["norm"]
    return {
        "wrong": float(wrong.sum()),
        "means": norms.mean()[True] / norms.mean()[False],
        "maxima": norms.max()[True] / norms.max()[False],
        "correlation": float(rows["loss"].corr(rows["norm"])),
    }


def _search_ratio(rows: pd.DataFrame) -> Finding:
    values = _bounds(rows)
    return judge(ratio_interval(values["search"], values["train"], paired=True), 1, 2)


def _truth(rows: pd.DataFrame) -> Finding:
    values = np.log(_bounds(rows))
    gap = values["autolip"] - values["train"]
    least = bootstrap_interval((values["least"] - values["train"]) / gap)
    most = bootstrap_interval((values["most"] - values["train"]) / gap)
    below, above = judge(most, most=0.5), judge(least, most=0.5)
    if above.verdict == "does not hold":
        return above
    if below.verdict == "does not hold":
        return Finding("holds in part", below.estimate, below.low, below.high)
    return below


def _bounds(rows: pd.DataFrame) -> pd.DataFrame:
    """By seed: C_lower, the best bounds on either side, the search, and C_upper.

    Where the constant itself is known, it is the best bound on both sides.
    """
    exact = rows["kind"] == "exact"
    lower = rows[exact | (rows["kind"] == "lower")]
    upper = rows[exact | ((rows["kind"] == "upper") & rows["certified"].astype(bool))]
    values = rows.pivot(index="seed", columns="method", values="value")
    columns = {
        "train": values["data"],
        "search": values["search"],
        "least": lower.groupby("seed")["value"].max(),
        "most": upper.groupby("seed")["value"].min(),
        "autolip": values["autolip"],
    }
    return pd.DataFrame(columns).dropna()


def _clean(rows: pd.DataFrame) -> "pd.Series[float]":
    """C_lower at the points as they are, by width and seed."""
    clean = rows[rows["radius"] == 0].set_index(["width", "seed"])["c_lower"]
    if clean.empty or (rows["radius"] == 0).all():
        raise UntestedError("radius 0 or all others are missing")
    return clean


def _mean_ratio(
    above: "pd.Series[float]", below: "pd.Series[float]", least: float, most: float
) -> Finding:
    means = (above / below).groupby("seed").mean()
    return judge(bootstrap_interval(means), least, most)
