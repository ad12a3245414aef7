"""The rules of the claims, on tables whose answer is known."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest
from pipeline.config.studies import Studies

from pipeline.claims.findings import Finding, Interval, UntestedError, attempt, combine, judge
from pipeline.claims.report import figures_of
from pipeline.paper_claims import CLAIMS
from pipeline.paper_values import TABLE_S3
from pipeline.snakemake.setup import RUNS_OF_STUDY, TABLES_OF_FIGURE

WIDTHS = (16, 32, 64, 128, 256, 512)
SEEDS = range(4)
BY_NAME = {claim.name: claim for claim in CLAIMS}
ABSENT = {"C3", "C26"}
"""Claims about nets and data that are not here."""

ABOUT = {"experiment": "double_descent", "variant": "base", "noise": 0}


def spread(seed):
    """A factor near 1 for each seed."""
    return 1 + 0.01 * (seed - 1.5)


def peak(x, at, height=3.0):
    """1 far from ``at`` and 1 + height there, on a logarithmic axis."""
    return 1 + height * np.exp(-((np.log2(x / at)) ** 2) / 2)


def grid(**columns):
    """All combinations, as rows."""
    rows = itertools.product(*columns.values())
    return pd.DataFrame(rows, columns=list(columns))


def bounds(table, value, **more):
    """Columns of an experiment's table, all bounds being multiples of ``value``."""
    value = value * spread(table["seed"])
    table = table.assign(
        **{key: setting for key, setting in ABOUT.items() if key not in table},
        points="train",
        parameters=50 * table.get("width", 256),
        number_of_points=4000,
        c_lower=value,
        c_avg=value / 2,
        log10_c_upper=np.log10(3 * value),
        test_loss=value / 5,
        train_loss=0.01,
        parameter_distance=4 * value,
    )
    return table.assign(**more)


def sweep_epochs(at):
    """The loss of a run falls with the epoch; its bounds depend on width, and on the loss a little."""
    table = grid(width=WIDTHS, seed=SEEDS, epoch=[0, 10, 30, 100, 300, 1000, 1000 + at])
    size = peak(table["width"], at) * (1 + table["epoch"]) ** 0.3
    flat = table["epoch"] == 0
    return bounds(table, size.where(~flat, table["width"] ** 0.5)).assign(
        train_loss=2 / (1 + table["epoch"]), parameters=50 * table["width"]
    )


def epochs(variant="base", power=0.5, seeds=SEEDS):
    table = grid(variant=[variant], seed=seeds, epoch=[0, 1, 10, 100, 300, 1000, 3000, 10000])
    return bounds(table, (1 + table["epoch"]) ** power, width=256).assign(
        path_length=(1 + table["epoch"]) ** 0.3
    )


def variants(name, sizes, value):
    table = grid(variant=[f"{name}~{size}" for size in sizes], seed=SEEDS)
    size = table["variant"].str.split("~").str[1].astype(float)
    return bounds(table, value(size), width=64)


def regularisation():
    table = variants("penalty", [0, 1000, 10000], lambda size: 10 + 0 * size)
    return table.assign(
        test_loss=np.where(table["variant"] == "penalty~0", 2, 1) * spread(table["seed"])
    )


def loss_function():
    rows = grid(experiment=["double_descent", "double_descent_mse"], seed=SEEDS, epoch=[0, 100])
    value = np.where(rows["experiment"] == "double_descent", 10, 8) * spread(rows["seed"])
    rows = rows.assign(width=256, variant="base", noise=0, quantity="c_lower", value=value)
    softmax = rows[rows["experiment"] == "double_descent"].assign(quantity="c_lower_softmax", value=1.0)
    return pd.concat([rows, softmax])


def extended_set():
    names = ["train", "test", "convex_train", "all"]
    rows = grid(experiment=["evolution", "evolution_wide"], seed=SEEDS, epoch=[0, 10000], points=names)
    size = 101.0**1 * spread(rows["seed"])
    return rows.assign(maximum=np.where(rows["points"] == "all", 1.05, 1.0) * size)


def linearisation():
    values = {"c_initial": 0.4, "c_final": 24.0, "mixed_largest": 4.0, "distance": 3.0}
    values |= {"bound": 12.4, "c_linearised": 6.0}
    rows = grid(seed=SEEDS, quantity=list(values))
    return rows.assign(point=np.nan, value=rows["quantity"].map(values) * spread(rows["seed"]))


def seed_sources():
    table = grid(variant=[f"order~{i}" for i in range(5)], width=[64, 256], seed=SEEDS)
    order = table["variant"].str[-1].astype(int)
    return bounds(table, 1.0).assign(c_lower=10 + 3 * table["seed"] + 0.1 * order)


def optimizer(rows):
    factor = np.where(rows["variant"] == "adam~1", 5, 1)
    bigger = {name: rows[name] * factor for name in ("c_lower", "c_avg", "parameter_distance")}
    bigger["gradient_norm"] = np.where(rows["epoch"] < 3000, 1, 0.001)
    return rows.assign(log10_c_upper=rows["log10_c_upper"] + np.log10(factor), **bigger)


def depth(power):
    return variants("layers", range(1, 6), lambda size: size**power)


def depth_at_start():
    table = depth(-2.0).assign(epoch=0)
    return table.assign(log10_c_upper=0.3 * np.log10(table["variant"].str[-1].astype(float)))


@pytest.fixture(scope="module")
def tables():
    """Everything as the paper has it."""
    both = pd.concat([epochs("adam~0"), epochs("adam~1")])
    return {
        "depth": depth(2.0),
        "depth_epochs": depth_at_start(),
        "double_descent_mse_epochs": sweep_epochs(64),
        "evolution_epochs": epochs(),
        "evolution_wide_epochs": epochs(),
        "extended_set": extended_set(),
        "linearisation": linearisation(),
        "loss_function": loss_function(),
        "optimizer_epochs": optimizer(both),
        "pairwise": epochs().assign(
            experiment="evolution", c_pairwise=lambda rows: rows["c_lower"] / 1.5
        ),
        "paper_run": pd.DataFrame(
            [
                {"width": 256, "epoch": epoch, "c_lower": 1.01 * lower, "c_pairwise": 0.98 * secant}
                for epoch, (lower, secant) in TABLE_S3.items()
            ]
        ),
        "regularisation": regularisation(),
        "sample_size": variants("points", [100, 500, 1000, 4000], lambda size: size**0.4),
        "seed_sources": seed_sources(),
        "theory_bounds": epochs()[["seed", "epoch"]].assign(
            c_theta_running=lambda rows: (1 + rows["epoch"]) ** 0.3
        ),
        "theory_epochs": epochs(),
    }


def falling(rows):
    """Bounds that fall with the epoch."""
    return bounds(rows, (1.0 + rows["epoch"]) ** -0.1)


def swap(column, first, second):
    """Exchange two values of a column."""
    return lambda rows: rows.assign(**{column: rows[column].replace({first: second, second: first})})


def scaled(column, factor, **where):
    """Multiply a column, where others have these values."""

    def change(rows):
        chosen = np.ones(len(rows), bool)
        for name, value in where.items():
            chosen &= rows[name] == value
        return rows.assign(**{column: rows[column] * np.where(chosen, factor, 1)})

    return change


AGAINST = {
    "C1": {"evolution_epochs": falling, "evolution_wide_epochs": falling},
    "C2": {"double_descent_mse_epochs": falling},
    "C4": {"extended_set": scaled("maximum", 2.5, points="all")},
    "C5": {"pairwise": scaled("c_pairwise", 2)},
    "C19": {
        "regularisation": lambda rows: scaled("test_loss", 9, variant="penalty~1000")(
            rows.assign(test_loss=1 / rows["test_loss"], log10_c_upper=rows["variant"].str.len())
        )
    },
    "C20": {
        "loss_function": lambda rows: scaled("value", 9, quantity="c_lower_softmax")(
            scaled("value", 3, experiment="double_descent_mse")(rows)
        )
    },
    "C21": {
        "optimizer_epochs": swap("variant", "adam~0", "adam~1"),
    },
    "C23": {"depth": lambda rows: depth(-1.0), "depth_epochs": lambda rows: depth(2.0).assign(epoch=0)},
    "C25": {"sample_size": lambda rows: variants("points", [100, 500, 1000, 4000], lambda n: n**1.5)},
    "C29": {"linearisation": scaled("value", 0.1, quantity="c_final")},
    "C31": {"theory_epochs": falling},
    "N4": {
        "seed_sources": lambda rows: rows.assign(
            c_lower=10 + 3 * rows["variant"].str[-1].astype(int) + 0.1 * rows["seed"]
        )
    },
    "N5": {"paper_run": lambda rows: scaled("c_lower", 2)(scaled("c_pairwise", 2)(rows))},
}
"""By claim: changes of tables after which nothing of it is left."""


def test_every_claim_is_there_once_and_says_what_it_is():
    names = [claim.name for claim in CLAIMS]
    assert names[:31] == [f"C{number}" for number in range(1, 32)]
    assert len(set(names)) == len(names)
    known = {*TABLES_OF_FIGURE, *Studies.model_fields, *RUNS_OF_STUDY, "none"}
    for claim in CLAIMS:
        assert claim.statement
        assert claim.reported
        assert len(claim.rule) > 40
        assert set(figures_of(claim.figure)) <= known, claim.name
    assert set(AGAINST) | ABSENT == set(names)


@pytest.mark.parametrize("name", sorted(AGAINST))
def test_a_claim_holds_where_the_tables_say_so(tables, name):
    finding = BY_NAME[name].judged(tables)
    assert finding.verdict == "holds", finding
    assert np.isfinite(finding.estimate)


@pytest.mark.parametrize("name", sorted(AGAINST))
def test_a_claim_does_not_hold_where_the_tables_speak_against_it(tables, name):
    changed = {table: change(tables[table]) for table, change in AGAINST[name].items()}
    finding = BY_NAME[name].judged(tables | changed)
    assert finding.verdict == "does not hold", finding


def test_theory_does_not_follow_a_bound_that_grows_otherwise(tables):
    fast = tables["theory_bounds"].assign(c_theta_running=lambda rows: (1 + rows["epoch"]) ** 3)
    finding = BY_NAME["C31"].judged(tables | {"theory_bounds": fast})
    assert finding.verdict == "holds in part"
    assert "slopes, C_lower: does not hold" in finding.reason


@pytest.fixture(scope="module")
def degenerate(tables):
    """No tables, no rows, no columns, no numbers."""
    numbers = {name: rows.select_dtypes("float").columns for name, rows in tables.items()}
    return (
        {},
        {name: rows.iloc[:0] for name, rows in tables.items()},
        {name: rows[["seed"]] for name, rows in tables.items() if "seed" in rows},
        {name: rows.assign(**dict.fromkeys(numbers[name], np.nan)) for name, rows in tables.items()},
    )


@pytest.mark.parametrize("name", [claim.name for claim in CLAIMS])
def test_what_is_missing_or_degenerate_is_not_tested_and_says_why(degenerate, name):
    for given in degenerate:
        finding = BY_NAME[name].judged(given)
        assert finding.verdict == "not tested", finding
        assert re.search(r"\w{3}", finding.reason)


@pytest.mark.parametrize("name", sorted(set(AGAINST) - {"N4", "N5"}))
def test_one_seed_is_not_tested(tables, name):
    one = {t: rows[rows["seed"] == 0] if "seed" in rows else rows for t, rows in tables.items()}
    finding = BY_NAME[name].judged(one)
    assert finding.verdict == "not tested", finding
    assert "one seed" in finding.reason


def test_adam_is_judged_at_its_own_end(tables):
    rows = tables["optimizer_epochs"]
    early = (rows["variant"] == "adam~1") & (rows["epoch"] >= 100)
    found = BY_NAME["C21"].judged(
        {"optimizer_epochs": rows.assign(gradient_norm=rows["gradient_norm"].mask(early, 0.005))}
    )
    assert found.estimate == pytest.approx(5 * (101 / 3001) ** 0.5)
    assert found.verdict == "holds in part"


def test_limits_and_parts():
    assert judge(Interval(2, 1.5, 3), 1).verdict == "holds"
    assert judge(Interval(2, 0.5, 3), 1).verdict == "holds in part"
    assert judge(Interval(0.5, 0.2, 0.9), 1).verdict == "does not hold"
    with pytest.raises(UntestedError, match="one seed"):
        judge(Interval(2, np.nan, np.nan), 1)
    yes, part, no = (Finding(v, 1.0) for v in ("holds", "holds in part", "does not hold"))
    missing = Finding("not tested", reason="nothing")
    assert combine({"a": missing, "b": yes}).verdict == "holds"
    assert combine({"a": yes, "b": no}).verdict == "holds in part"
    assert combine({"a": part, "b": no}).verdict == "holds in part"
    assert combine({"a": no, "b": no}).verdict == "does not hold"
    assert combine({"a": missing, "b": missing}) == Finding("not tested", reason="nothing")
    assert np.isnan(combine({"a": missing, "b": yes}).estimate)
    assert "a: not tested (nothing)" in combine({"a": missing, "b": yes}).reason


def test_errors_that_are_no_lack_of_data_are_not_hidden():
    def wrong() -> Finding:
        raise TypeError("a mistake in a rule")

    with pytest.raises(TypeError):
        attempt(wrong)
