"""Bounds and test loss against width with time, training loss, training error and scale held equal."""

import pandas as pd
from matplotlib.figure import Figure

from papers.beyond.decoupled import cuts, panels
from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, UntestedError, combine, judge_fact, measured, readable
from pipeline.figures.flanks import beside_threshold
from pipeline.figures.room import Context, Facts, Tables
from pipeline.figures.width import LEAST_FALL
from pipeline.statistics.curves import hump, log_log_slope_over_seeds, peak_location
from pipeline.statistics.intervals import AT_ONCE, Interval

LOSSES = (0.3, 0.1, 0.03)
"""Training losses, in nats."""

ERRORS = (0.05, 0.01, 0.0)
"""Training errors."""

_FLANK = 4
"""Flanks end this factor below and above the threshold."""

_LEAST_SHARE = 0.5
"""Of the slope at the stop, for one to be as steep."""

_WORDS = {"c_lower": "C_lower", "c_upper": "C_upper", "test_loss": "test loss"}
_OVER = {"logit_norm": "norm of logits", "margin": "margin"}


def measure(tables: Tables, context: Context) -> Facts:
    """Humps at equal epochs and of bounds over scale, slopes at equal losses and at equal errors."""
    sweep = cuts.Sweep.of(tables, context)
    return {
        "seeds": int(sweep.data["seed"].nunique()),
        "widths": [int(width) for width in sorted(sweep.data["width"].unique())],
        "at_equal_updates": {f"{epoch} epochs": _humps(sweep, epoch) for epoch in sweep.epochs},
        "at_equal_loss": {f"{loss:g} nats": _at_loss(sweep, loss) for loss in LOSSES},
        "at_equal_error": {f"{100 * error:g} %": _at_error(sweep, error) for error in ERRORS},
        "over_scale": {f"{epoch} epochs": _over_scale(sweep, epoch) for epoch in sweep.epochs},
    }


def _humps(sweep: cuts.Sweep, epoch: int) -> Facts:
    rows = cuts.at_epoch(sweep.data, epoch)
    return {
        name: {"hump": measured(_hump, sweep, rows, name), "peak": measured(_peak, sweep, rows, name)}
        for name in cuts.MEASURED
    }


def _hump(sweep: cuts.Sweep, rows: pd.DataFrame, name: str) -> Interval:
    """The smaller fall to the ends of the flanks, with numbers of half of the runs on each at least."""
    return hump(_on_flanks(sweep, rows, name), "width", name)


def _peak(sweep: cuts.Sweep, rows: pd.DataFrame, name: str) -> Interval:
    """The width of the peak between the ends of the flanks."""
    return peak_location(_on_flanks(sweep, rows, name), "width", name).place


def _on_flanks(sweep: cuts.Sweep, rows: pd.DataFrame, name: str) -> pd.DataFrame:
    near = beside_threshold(sweep.data, sweep.threshold, _FLANK)["width"]
    found = rows[rows["width"].between(near.min(), near.max())]
    for side, sign in (("narrow", -1), ("wide", 1)):
        widths = near.unique()[sign * (near.unique() - sweep.threshold) > 0]
        there, runs = int(found["width"].isin(widths).sum()), len(widths) * sweep.data["seed"].nunique()
        if there < runs / 2:
            raise UntestedError(f"{there} of {runs} runs on the {side} flank have {readable(name)}")
    return found


def _at_loss(sweep: cuts.Sweep, loss: float) -> Facts:
    found = cuts.reached_by_all(cuts.at_loss(sweep.data, loss), sweep.data)
    rows = found[found["width"] >= sweep.threshold]
    return _about(sweep, found) | {
        "slope": {name: measured(_slope, rows, name) for name in cuts.BOUNDS},
        "slope_over_that_at_the_stop": {
            name: measured(_beside_the_stop, rows, sweep.stop, name) for name in cuts.BOUNDS
        },
    }


def _at_error(sweep: cuts.Sweep, error: float) -> Facts:
    found = cuts.at_error(sweep.data, error)
    return _about(sweep, found) | {
        "slope": {name: measured(_slope_of_half, sweep, found, name) for name in cuts.BOUNDS}
    }


def _about(sweep: cuts.Sweep, found: pd.DataFrame) -> Facts:
    """How many seeds are there, and their mean epoch, by width."""
    widths = found.groupby("width")["epoch"]
    return {
        "seeds": {str(width): int(count) for width, count in widths.size().items()},
        "mean_epoch": {str(width): float(epoch) for width, epoch in widths.mean().items()},
    }


def _slope(rows: pd.DataFrame, name: str) -> Interval:
    """Of the log of a bound on the log of the width."""
    if rows["width"].nunique() < 3:
        raise UntestedError(f"{rows['width'].nunique()} widths from the threshold on get there")
    return log_log_slope_over_seeds(rows, "width", name).interval


def _slope_of_half(sweep: cuts.Sweep, found: pd.DataFrame, name: str) -> Interval:
    """From the threshold on, over widths at which half of the seeds get there."""
    wide = sweep.data[sweep.data["width"] >= sweep.threshold]
    runs, there = wide["width"].nunique() * wide["seed"].nunique(), found["width"] >= sweep.threshold
    if there.sum() < runs / 2:
        raise UntestedError(f"{there.sum()} of {runs} runs from the threshold on get there")
    return _slope(cuts.reached_by_half(found[there], sweep.data), name)


def _beside_the_stop(rows: pd.DataFrame, stop: pd.DataFrame, name: str) -> Interval:
    """The slope over that at the stop, over the widths that both have."""
    shared = set(rows["width"]) & set(stop["width"])
    here, there = (
        _slope(part[part["width"].isin(shared)], name).mapped(lambda slope: -slope)
        for part in (rows, stop)
    )
    if there.among(AT_ONCE[-1])[0] <= 0:
        raise UntestedError(f"{readable(name)} does not clearly fall with width at the stop")
    return here.over(there)


def _over_scale(sweep: cuts.Sweep, epoch: int) -> Facts:
    rows = cuts.over_sizes(cuts.at_epoch(sweep.data, epoch), sweep.sizes)
    return {
        f"{bound}_over_{size}": measured(_hump_over_scale, sweep, rows, bound, size)
        for bound in cuts.BOUNDS
        for size in cuts.SIZES
    }


def _hump_over_scale(sweep: cuts.Sweep, rows: pd.DataFrame, bound: str, size: str) -> Interval:
    """Of a bound over a size, where the bound itself has a hump."""
    if _hump(sweep, rows, bound).low <= LEAST_FALL:
        raise UntestedError(f"{readable(bound)} itself has no clear hump")
    return _hump(sweep, rows, f"{bound}_over_{size}")


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """A column for each thing that is held equal; C_lower, C_upper and test loss from above."""
    return panels.draw(cuts.Sweep.of(tables, context), LOSSES, ERRORS, context)


@claim(
    "N1",
    "After the same number of updates the bounds have a double descent in width, as has the test loss",
    reported="not in the paper",
    unit="smaller relative fall from the peak",
    refuted="a bound, or the test loss, does not fall to one side of its peak",
    untested="no width is near the ends of the flanks, or fewer than half of the runs on one of them "
    "have not diverged (none needs to have stopped or to fit: all have made as many updates)",
    since="2026-11-28",
    of_a_change=True,
)
def hump_at_equal_updates(facts: Facts) -> Finding:
    """Nets trained without early stop, at one fifth, two fifths and all of the epochs. C_lower, C_upper
    and test loss fall from their peak by more than 5 % to the widths nearest to a quarter and to four
    times the threshold: a part holds if the interval of the smaller fall lies above 0.05. Where
    four seeds peak at equal epochs, and how high, was known when the rule was written."""
    return combine(
        {
            f"{word}, {epochs}": judge_fact(found[name]["hump"], least=LEAST_FALL)
            for epochs, found in facts["at_equal_updates"].items()
            for name, word in _WORDS.items()
        }
    )


@claim(
    "N6",
    "Among nets that interpolate the bounds fall with width at the same training loss, at least half as "
    "steeply as at the stop",
    reported="not in the paper",
    unit="slope of the log of the bound on the log of the width",
    refuted="at equal loss a bound does not fall with width from the threshold on, or its slope is less "
    "than half of that at the stop",
    untested="fewer than three widths from the threshold on reach the loss with every seed, or the "
    "bound does not clearly fall with width at the stop",
    since="2026-11-28",
    of_a_change=True,
)
def falls_at_equal_loss(facts: Facts) -> Finding:
    """C_lower and C_upper where a run first comes down to 0.3, 0.1 and 0.03 nats of training loss,
    interpolated between kept checkpoints in the logs of both, over the widths from the threshold on
    from which on every seed does. Slope of the log of the bound on the log of the width: holds if its
    interval lies below 0. Over that of the nets of double_descent at their stop, over the same widths,
    with the ends of both intervals at their worst: holds if it lies above 1/2. A left flank cannot be
    seen here: narrower nets do not come down to these losses. The falls of four seeds at 0.03 nats were
    known when the rule was written."""
    parts = {}
    for loss, found in facts["at_equal_loss"].items():
        for bound in cuts.BOUNDS:
            beside = found["slope_over_that_at_the_stop"][bound]
            parts[f"slope of {_WORDS[bound]}, {loss}"] = judge_fact(found["slope"][bound], most=0)
            parts[f"{_WORDS[bound]}, {loss}, over that at the stop"] = judge_fact(beside, _LEAST_SHARE)
    return combine(parts)


@claim(
    "N7",
    "The double descent of the bounds in width is that of the scale of the outputs: divided by it none "
    "is left",
    reported="not in the paper",
    unit="smaller relative fall from the peak of the ratio",
    refuted="a bound over the mean norm of the logits, or over the mean margin, falls by more than 5 % "
    "to both sides of a peak",
    untested="the bound itself has no double descent by the rule of N1, or fewer than half of the runs "
    "on a flank have not diverged, or a mean margin is not positive",
    since="2026-11-28",
)
def no_hump_over_scale(facts: Facts) -> Finding:
    """Nets trained without early stop, at one fifth, two fifths and all of the epochs. C_lower and
    C_upper of each net over its mean 2-norm of the logits, and over its mean margin, both at the
    training points; the smaller fall from the peak of the ratio to the widths nearest to a quarter and
    to four times the threshold. A part holds if its interval lies below 0.05, and does not if above.
    Where these ratios peak for C_lower of four seeds was known when the rule was written."""
    return combine(
        {
            f"{_WORDS[bound]} / {word}, {epochs}": judge_fact(
                found[f"{bound}_over_{size}"], most=LEAST_FALL
            )
            for epochs, found in facts["over_scale"].items()
            for bound in cuts.BOUNDS
            for size, word in _OVER.items()
        }
    )


@claim(
    "N8",
    "Beyond the threshold the bounds fall with width also where all nets have the same training error",
    reported="not in the paper",
    unit="slope of the log of the bound on the log of the width",
    refuted="at the same training error a bound does not fall with width from the threshold on",
    untested="fewer than half of the runs from the threshold on get to the error, or fewer than three "
    "widths do with half of their seeds",
    since="2026-11-28",
    of_a_change=True,
)
def falls_at_equal_error(facts: Facts) -> Finding:
    """C_lower and C_upper at the first kept checkpoint at which a run has a training error of at most
    5 %, 1 % and 0 %, over the widths from the threshold on at which at least half of the seeds get
    there. A part holds if the interval of the slope of the log of the bound on the log of the width
    lies below 0. A left flank cannot be seen here: narrower nets do not get to these errors."""
    return combine(
        {
            f"{_WORDS[bound]}, {error}": judge_fact(found["slope"][bound], most=0)
            for error, found in facts["at_equal_error"].items()
            for bound in cuts.BOUNDS
        }
    )
