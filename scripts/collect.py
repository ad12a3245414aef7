"""Two tidy tables from the runs of an experiment: at the stop, and at every kept checkpoint.

Both have a row per run, seed and point set; the second one also per epoch.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.jobs.command import Command, run
from pipeline.jobs.resume import only_writer
from pipeline.provenance.files import write_text
from pipeline.runs.paths import numbered

RUN_COLUMNS = ["variant", "noise", "width", "parameters", "strength"]
STOP_COLUMNS = ["seed", "epochs", "stop_reason"]
LOSS_COLUMNS = ["gradient_norm", "train_loss", "train_error", "penalty", "test_loss", "test_error"]
PATH_COLUMNS = ["path_length", "largest_gradient_norm"]
BOUND_COLUMNS = [
    "points",
    "number_of_points",
    "c_lower",
    "c_avg",
    "c_rms",
    "log10_c_upper",
    "upper_certified",
    "parameter_distance",
    "distance_from_start",
]
MEASURED = ["c_lower", "c_avg", "c_rms", "log10_c_upper", "parameter_distance", "distance_from_start"]
ORDER = ["variant", "noise", "width", "seed", "points"]


def main(arguments: argparse.Namespace) -> None:
    """Join summaries, histories and bounds. A diverged seed keeps its rows, with empty bounds.

    Losses are those of the data; ``penalty`` is what regularisation of ``strength`` adds to them.
    """
    with only_writer(arguments.table):
        _collect(arguments)


def _collect(arguments: argparse.Namespace) -> None:
    stops, epochs = [], []
    files = zip(arguments.summaries, arguments.histories, arguments.bounds, strict=True)
    for place, (summary, history, bounds) in zip(arguments.runs, files, strict=True):
        about = _about(place, json.loads(summary.read_text()))
        found = pd.read_csv(bounds)
        stops.append(_with_about(_at_stop(about.pop("seeds"), found), about))
        epochs.append(_with_about(_at_epochs(pd.read_csv(history), found), about))
    for parts, order, path in (
        (stops, ORDER, arguments.table),
        (epochs, [*ORDER[:-1], "epoch", "points"], arguments.epochs),
    ):
        table = pd.concat(parts).sort_values(order, key=_natural, kind="stable")
        write_text(path, table.to_csv(index=False, lineterminator="\n"))


def _about(place: str, content: dict[str, Any]) -> dict[str, Any]:
    """What all rows of a run share, and its seeds. ``place`` is VARIANT/noise~N, or noise~N."""
    variant, _, noise = place.rpartition("/")
    regularisation = content["settings"]["training"].get("regularisation")
    return {
        "variant": variant or "base",
        "noise": numbered(noise)[1],
        "width": content["width"],
        "parameters": content["parameters"],
        "strength": regularisation["strength"] if regularisation else 0.0,
        "seeds": content["seeds"],
    }


def _at_stop(seeds: list[dict[str, Any]], bounds: pd.DataFrame) -> pd.DataFrame:
    runs = pd.DataFrame([{"penalty": 0.0} | seed for seed in seeds])
    names = pd.DataFrame({"points": bounds["points"].unique()})
    rows = runs.merge(names, how="cross").merge(
        bounds[["seed", "epoch", *BOUND_COLUMNS]],
        how="left",
        left_on=["seed", "epochs", "points"],
        right_on=["seed", "epoch", "points"],
    )
    rows.loc[rows["stop_reason"] == "diverged", MEASURED] = float("nan")
    return rows[[*STOP_COLUMNS, *_losses(rows), *BOUND_COLUMNS]]


def _at_epochs(history: pd.DataFrame, bounds: pd.DataFrame) -> pd.DataFrame:
    if "penalty" not in history:
        history["penalty"] = 0.0
    rows = bounds[["seed", "epoch", *BOUND_COLUMNS]].merge(history, how="left", on=["seed", "epoch"])
    return rows[["seed", "epoch", *_losses(rows), *BOUND_COLUMNS]]


def _losses(rows: pd.DataFrame) -> list[str]:
    return LOSS_COLUMNS + [name for name in PATH_COLUMNS if name in rows]


def _with_about(rows: pd.DataFrame, about: dict[str, Any]) -> pd.DataFrame:
    return rows.assign(**{key: about[key] for key in RUN_COLUMNS})[[*RUN_COLUMNS, *rows.columns]]


def _natural(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Variants by their numbers, and not as text."""
    if column.name != "variant":
        return column
    return column.map(lambda name: numbered(name) if "~" in name else ("", 0))


if __name__ == "__main__":
    parser = Command(__doc__)
    parser.add_argument("--runs", nargs="+", required=True, help="VARIANT/noise~N or noise~N of each")
    parser.reads("--summaries", nargs="+", required=True, help="input: JSON")
    parser.reads("--histories", nargs="+", required=True, help="input: CSV")
    parser.reads("--bounds", nargs="+", required=True, help="input: CSV")
    parser.add_argument("--table", type=Path, required=True, help="output: CSV, at the stop")
    parser.add_argument("--epochs", type=Path, required=True, help="output: CSV, at every checkpoint")
    run(parser, main)
