"""Tables of trained nets with known answers, and tiny runs that studies of trained nets can read."""

import itertools
import json

import numpy as np
import pandas as pd
import torch
import yaml

from nets.models.fcn import seeded_fcn
from pipeline.config.loading import load_config
from pipeline.runs.run import Run
from tests.conftest import ROOT, write_tensors

# ---------------------------------------------------------------- tables

WIDTHS = (16, 64, 256)
HEIGHTS = {16: 1.0, 64: 3.0, 256: 2.0}
NAME = {"experiment": "double_descent", "variant": "base", "noise": 0}
SETTINGS = {
    "double_descent": {"threshold_width": 80},
    "double_descent_mse": {"threshold_width": 800},
}


def nets():
    """What names each net, and a size that its bounds can have; the narrowest ones hit the cap."""
    for width in WIDTHS:
        for seed in range(3):
            stop = "epoch_cap" if width == 16 else "gradient_norm"
            yield NAME | {"width": width, "seed": seed, "stop_reason": stop}, HEIGHTS[width] + seed / 100


def perturbed(steps):
    """Bounds that do not depend on the radius, losses that grow with it."""
    return pd.DataFrame(
        [
            net
            | {"points": points, "radius": radius, "c_lower": height, "c_avg": height / 2}
            | {"loss": 1 + radius * height, "error": 0.5, "steps": steps if radius else 0}
            | {"c_secant": 0.8 * height if radius else 0.0}
            for net, height in nets()
            for points in ("train", "test")
            for radius in (0.0, 0.5, 1.0)
        ]
    )


def grid(**columns):
    """All combinations, as rows."""
    rows = itertools.product(*columns.values())
    return pd.DataFrame(rows, columns=list(columns))


def spread(seed):
    """A factor near 1 for each of four seeds."""
    return 1 + 0.01 * (seed - 1.5)


def scaled(rows, column, factor, **where):
    """A column multiplied, where others have these values."""
    chosen = np.ones(len(rows), bool)
    for name, value in where.items():
        chosen &= rows[name] == value
    return rows.assign(**{column: rows[column] * np.where(chosen, factor, 1)})


def without_numbers(rows):
    """The rows with NaN in place of all floats."""
    return rows.assign(**dict.fromkeys(rows.select_dtypes("float").columns, np.nan))


def hollow_marks(axes):
    """Where the lines of a panel have hollow marks, which stand for runs at the epoch cap."""
    return {
        x
        for line in axes.lines
        if line.get_linestyle() == "None" and line.get_markerfacecolor() == "white"
        for x in line.get_xdata()
    }


# ---------------------------------------------------------------- runs

INPUTS, CLASSES = 40, 3
POINTS = {"train": 30, "test": 20}
STOPS = [(0, "gradient_norm", 20), (1, "epoch_cap", 30), (2, "diverged", 10)]
"""Seed, why it stopped, and after how many epochs."""


def made_up_arrays():
    generator = torch.Generator().manual_seed(7)
    return {f"x_{part}": torch.randn(n, INPUTS, generator=generator) for part, n in POINTS.items()}


def net(seed, epoch, width):
    return seeded_fcn(1000 * seed + 10 * epoch + width, INPUTS, [width], CLASSES)


def made_up_run(folder, width=5, loss="cross_entropy", experiment="double_descent"):
    """A run whose checkpoints are those of :func:`net` at epoch 0 and at the stop of each seed."""
    model = load_config(yaml.safe_load((ROOT / "config.yaml").read_text())).setup("double_descent").model
    folder.mkdir()
    labels = {f"y_{part}": torch.arange(n) % CLASSES for part, n in POINTS.items()}
    write_tensors(folder / "labels", labels)
    weights = {
        f"seed~{seed}/epoch~{epoch}/{name}": weight
        for seed, _, stop in STOPS
        for epoch in (0, stop)
        for name, weight in net(seed, epoch, width).state_dict().items()
    }
    about = {"shape": [INPUTS], "classes": CLASSES}
    write_tensors(folder / "checkpoints", weights, about)
    seeds = [{"seed": s, "stop_reason": r, "epochs": e} for s, r, e in STOPS]
    summary = {"seeds": seeds, "settings": {"training": {"loss": loss}}}
    (folder / "run.json").write_text(json.dumps(summary))
    return Run(
        experiment=experiment,
        variant="base",
        noise=0,
        width=width,
        model=model,
        training_points=None,
        labels=folder / "labels",
        checkpoints=folder / "checkpoints",
        summary=folder / "run.json",
    )


def jacobian_norm(model, x):
    """By autograd, in float64."""
    model = model.double()
    jacobian = torch.autograd.functional.jacobian(lambda v: model(v[None])[0], x.double())
    return torch.linalg.matrix_norm(jacobian, 2).item()


def only(table, **values):
    for name, value in values.items():
        table = table[table[name] == value]
    return table
