"""Sweeps over widths with known answers, and how the rooms that are made from them are judged."""

import itertools
import json
import math
import re

import numpy as np
import pandas as pd
import pytest

from pipeline.figures.tables import without_constant_nets

WIDTHS = (16, 32, 64, 128, 256)
SEEDS = range(3)
TRAINING = {
    "loss": "cross_entropy",
    "max_epochs": 1000,
    "spectral_cap": None,
    "temperature": 1.0,
}
SETTINGS = {
    "threshold_width": 64,
    "training": TRAINING,
    "variants": {
        "cap~0": {"training": TRAINING},
        "cap~10": {"training": TRAINING | {"spectral_cap": {"cap": 10.0}, "temperature": 10.0}},
    },
}
CONTEXT = {"scale": "laptop", "settings": SETTINGS}
BOTH = {
    "scale": "laptop",
    "settings": {
        "double_descent": SETTINGS,
        "double_descent_mse": SETTINGS | {"training": TRAINING | {"loss": "mean_squared_error"}},
    },
}

# ---------------------------------------------------------------- what is drawn


def hill(width, peak):
    """1 at the peak, and half of that an octave or two away."""
    return 2 ** -abs(math.log2(width / peak))


MEAN = (1.00 * 1.01 * 1.02) ** (1 / 3)
"""The geometric mean over seeds of the heights in a row, over the first one."""


def row(width, seed, height, *, lost=False, **other):
    size = math.nan if lost else height * (1 + seed / 100)
    return {
        "variant": "base",
        "noise": 0,
        "width": width,
        "seed": seed,
        "points": "train",
        "stop_reason": "diverged" if lost else "epoch_cap" if width < 64 else "gradient_norm",
        "log10_c_upper": math.log10(4 * size) if not lost else math.nan,
        "c_lower": 2 * size,
        "c_avg": size,
        "train_loss": 1 / width,
        "test_loss": size / 10,
        "train_error": 0.1,
        "test_error": 0.5,
        "parameter_distance": 3 * size,
        "distance_from_start": 2 * size,
    } | other


def stops(peak=64, *, lost=False, **other):
    """A table at the stop whose curves peak at one width."""
    return pd.DataFrame(
        [row(w, s, 100 * hill(w, peak), lost=lost, **other) for w in WIDTHS for s in SEEDS]
    )


def epochs(lost=False):
    """Training losses 1/epoch and a bound of 1000 / (width * loss); narrow nets stop earlier.

    At equal loss the bound falls with the width; at the stop it peaks at width 64.
    """
    last = {16: 20, 32: 100, 64: 900, 128: 900, 256: 900}
    rows = []
    for width in WIDTHS:
        for seed in SEEDS:
            for epoch in [0, *(e for e in (2, 5, 10, 20, 60, 100, 300) if e < last[width]), last[width]]:
                loss = 1 / max(epoch, 1)
                height = 500 / (width * loss)
                rows.append(row(width, seed, height, lost=lost, epoch=epoch, train_loss=loss))
    return pd.DataFrame(rows).drop(columns="stop_reason")


def as_json(figure, tables, context):
    """Facts without NaN or infinity, as they are read from their file."""
    return json.loads(json.dumps(figure.measure(tables, context), allow_nan=False))


# ---------------------------------------------------------------- what is judged

CLAIM_WIDTHS = (16, 32, 64, 128, 256, 512)
CLAIM_SEEDS = range(4)
AT_80 = {
    "scale": "laptop",
    "settings": {"threshold_width": 80, "training": TRAINING, "variants": {}},
}
BOTH_AT_80 = {
    "scale": "laptop",
    "settings": dict.fromkeys(("double_descent", "double_descent_mse"), AT_80["settings"]),
}


def spread(seed):
    """A factor near 1 for each seed."""
    return 1 + 0.01 * (seed - 1.5)


def peak(x, at, height=3.0):
    """1 far from ``at`` and 1 + height there, on a logarithmic axis."""
    return 1 + height * np.exp(-((np.log2(x / at)) ** 2) / 2)


def grid(**columns):
    """All combinations, as rows."""
    return pd.DataFrame(itertools.product(*columns.values()), columns=list(columns))


def bounds(table, value, **more):
    """All bounds and distances are multiples of ``value``, and the test loss is."""
    value = value * spread(table["seed"])
    return table.assign(
        points="train",
        stop_reason="gradient_norm",
        c_lower=value,
        c_avg=value / 2,
        log10_c_upper=np.log10(3 * value),
        test_loss=value / 5,
        train_loss=0.01,
        train_error=table.get("train_error", 0.1),
        test_error=0.4,
        parameter_distance=4 * value,
        distance_from_start=3 * value,
    ).assign(**more)


def sweep(at=64):
    """One row for each width and seed, with the peak of everything at one width."""
    table = grid(width=CLAIM_WIDTHS, seed=CLAIM_SEEDS)
    return bounds(table, peak(table["width"], at))


def sweep_epochs(at=64):
    """The loss of a run falls with the epoch; its bounds depend on width, and on the loss a little."""
    table = grid(width=CLAIM_WIDTHS, seed=CLAIM_SEEDS, epoch=[0, 10, 30, 100, 300, 1000, 1000 + at])
    size = peak(table["width"], at) * (1 + table["epoch"]) ** 0.3
    found = bounds(table, size.where(table["epoch"] > 0, table["width"] ** 0.5))
    return found.assign(train_loss=2 / (1 + table["epoch"]))


def rising(rows):
    """Everything but the test loss grows with the width."""
    return bounds(rows, rows["width"] ** 0.5, test_loss=1 / rows["width"])


def of(figure, name):
    """A claim of a room by its name."""
    (found,) = [one for one in vars(figure).values() if getattr(one, "name", None) == name]
    return found


def judged(figure, name, tables, context):
    """The finding of a claim that needs the facts of its own room alone."""
    facts = json.loads(json.dumps(figure.measure(tables, context)))
    return of(figure, name).judged("own", {"own": facts})


def one_seed(tables):
    """The tables with the first seed alone."""
    return {name: rows[rows["seed"] == 0] for name, rows in tables.items()}


def degenerate(tables):
    """The tables without rows, and without any number that is no integer."""
    numbers = {name: rows.select_dtypes("float").columns for name, rows in tables.items()}
    return (
        {name: rows.iloc[:0] for name, rows in tables.items()},
        {name: rows.assign(**dict.fromkeys(numbers[name], np.nan)) for name, rows in tables.items()},
    )


def dead(rows):
    """A table of constant nets, whose loss is that of chance, as rooms get it."""
    constant = {"c_lower": 0.0, "c_avg": 0.0, "c_rms": 0.0, "test_loss": 2.3, "train_loss": 2.3}
    found = rows.assign(**{name: value for name, value in constant.items() if name in rows})
    return without_constant_nets(found, "dead")


def check_untested(finding):
    """Nothing was tested, and the reason is said in words."""
    assert finding.verdict == "not tested", finding
    assert re.search(r"\w{3}", finding.reason)


def check_needs_facts(figure, name):
    """Without facts a claim is untested, and a table without its columns is an error."""
    check_untested(of(figure, name).judged("own", {}))


def check_degenerate(figure, name, tables, context):
    """Nothing is tested where there is nothing to test, and measuring is no error."""
    check_needs_facts(figure, name)
    for given in degenerate(tables):
        check_untested(judged(figure, name, given, context))
    judged(figure, name, {table: dead(rows) for table, rows in tables.items()}, context)
    with pytest.raises(KeyError):
        figure.measure({table: rows[rows.columns[:2]] for table, rows in tables.items()}, context)


def check_one_seed(figure, name, tables, context):
    """A single seed gives no interval, and so no verdict."""
    finding = judged(figure, name, one_seed(tables), context)
    assert finding.verdict == "not tested", finding
    assert "one seed" in finding.reason or "no clear peak" in finding.reason
