"""Tables along training with known answers."""

import math

import numpy as np
import pandas as pd

from tests.papers.helpers import job_context
from tests.papers.trained_nets import grid, spread

EPOCHS = [0, 1, 10, 100, 200, 500, 1000]
TRAINING = {
    "learning_rate": 0.1,
    "schedule": {"name": "warmup_step", "warmup_updates": 80, "drop_epochs": [], "drop_factor": 1.0},
    "batch_size": 512,
    "target_gradient_norm": 0.01,
    "min_epochs": 10,
    "max_epochs": 1000,
}


def context(room, *names, scale="laptop"):
    """That of a room with one training, or with several by name."""
    settings = {"training": TRAINING}
    return job_context(room, dict.fromkeys(names, settings) if names else settings, scale)


def epochs_table(
    power=0.5, start=0.4, variant="base", width=256, seeds=3, epochs=EPOCHS, factor=1.0, **more
):
    """C_lower is ``factor * start * epoch^power``, at epoch 0 ``start``; seeds differ by 10 %."""
    rows = []
    for seed in range(seeds):
        for epoch in epochs:
            size = (1 + 0.1 * seed) * start * (factor * epoch**power if epoch else 1)
            rows += [
                {
                    "variant": variant,
                    "noise": 0,
                    "width": width,
                    "parameters": 50 * width,
                    "seed": seed,
                    "epoch": epoch,
                    "gradient_norm": 0.5 if 0 < epoch < 500 else 0.005,
                    "train_loss": 2 / (1 + epoch),
                    "test_loss": 2 + 0.1 * seed - epoch / 1000,
                    "train_error": 0.1,
                    "test_error": 0.4,
                    "points": points,
                    "number_of_points": 4000 if points == "train" else 1000,
                    "c_lower": size,
                    "c_avg": size / 2,
                    "log10_c_upper": math.log10(3 * size),
                    "parameter_distance": float(epoch),
                    **more,
                }
                for points in ("train", "test")
            ]
    return pd.DataFrame(rows)


def stop_table(table, reason="gradient_norm"):
    stops = table[table["epoch"] == table["epoch"].max()].rename(columns={"epoch": "epochs"})
    return stops.assign(stop_reason=reason)


# ---------------------------------------------------------------- what is judged

SEEDS = range(4)


def bounds(table, value, **more):
    """All bounds are multiples of ``value``, and the test loss is; seeds differ by per cents."""
    value = value * spread(table["seed"])
    return table.assign(
        noise=0,
        points="train",
        number_of_points=4000,
        stop_reason="gradient_norm",
        gradient_norm=0.005,
        c_lower=value,
        c_avg=value / 2,
        log10_c_upper=np.log10(3 * value),
        train_loss=0.01,
        test_loss=value / 5,
        train_error=0.1,
        test_error=0.4,
        parameter_distance=4 * value,
    ).assign(**more)


def growing(variant="base", power=0.5):
    """Bounds that grow with the epoch."""
    table = grid(variant=[variant], seed=SEEDS, epoch=[0, 1, 10, 100, 300, 1000, 3000, 10000])
    path = (1 + table["epoch"]) ** 0.3
    return bounds(table, (1 + table["epoch"]) ** power, width=256, path_length=path)


def falling(rows):
    """The same that fall."""
    return bounds(rows, (1.0 + rows["epoch"]) ** -0.1)


def variants(name, sizes, value):
    """A net at the stop for each seed and ``NAME~SIZE``, with bounds of ``value(size)``."""
    table = grid(variant=[f"{name}~{size}" for size in sizes], seed=SEEDS)
    size = table["variant"].str.split("~").str[1].astype(float)
    parameters = 1000 * size.astype(int)
    return bounds(table, value(size), width=64, parameters=parameters, epochs=1000)
