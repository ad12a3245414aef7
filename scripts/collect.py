"""One tidy table from the runs of an experiment: a row per run, seed and point set, at the stop."""

import argparse
import json
from pathlib import Path

import pandas as pd

from pipeline.command import run
from pipeline.files import write_text

RUN_COLUMNS = [
    "strength",
    "width",
    "parameters",
    "seed",
    "epochs",
    "stop_reason",
    "gradient_norm",
    "train_loss",
    "train_error",
    "penalty",
    "test_loss",
    "test_error",
]
BOUND_COLUMNS = [
    "points",
    "number_of_points",
    "c_lower",
    "c_avg",
    "c_rms",
    "log10_c_upper",
    "upper_certified",
]


def main(arguments: argparse.Namespace) -> None:
    """Join summaries and bounds. A diverged seed keeps its rows, with empty bounds.

    Losses are those of the data; ``penalty`` is what regularisation of ``strength`` adds to them.
    """
    parts = [
        _rows(summary, bounds)
        for summary, bounds in zip(arguments.summaries, arguments.bounds, strict=True)
    ]
    table = pd.concat(parts).sort_values(["strength", "width", "seed", "points"], kind="stable")
    write_text(arguments.table, table.to_csv(index=False, lineterminator="\n"))


def _rows(summary: Path, bounds: Path) -> pd.DataFrame:
    content = json.loads(summary.read_text())
    regularisation = content["settings"]["training"]["regularisation"]
    runs = pd.DataFrame([{"penalty": 0.0} | seed for seed in content["seeds"]]).assign(
        strength=regularisation["strength"] if regularisation else 0.0,
        width=content["width"],
        parameters=content["parameters"],
    )[RUN_COLUMNS]
    found = pd.read_csv(bounds)
    names = pd.DataFrame({"points": found["points"].unique()})
    at_stop = runs.merge(names, how="cross").merge(
        found[["seed", "epoch", *BOUND_COLUMNS]],
        how="left",
        left_on=["seed", "epochs", "points"],
        right_on=["seed", "epoch", "points"],
    )
    diverged = at_stop["stop_reason"] == "diverged"
    at_stop.loc[diverged, ["c_lower", "c_avg", "c_rms", "log10_c_upper"]] = float("nan")
    return at_stop[RUN_COLUMNS + BOUND_COLUMNS]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--summaries", type=Path, nargs="+", required=True, help="input: JSON")
    parser.add_argument("--bounds", type=Path, nargs="+", required=True, help="input: CSV")
    parser.add_argument("--table", type=Path, required=True, help="output: CSV")
    run(parser, main)
