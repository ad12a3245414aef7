"""Two tidy tables from the runs of an experiment: at the stop, and at every kept checkpoint.

Both have a row per run, seed and point set; the second one also per epoch.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.jobs.command import Command, CommandError, run
from pipeline.jobs.packing import unpacked
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
    for name, folder in unpacked(arguments.runs):
        summary, history, bounds = _files(folder)
        about = _about(name, json.loads(summary.read_bytes()))
        found, losses = pd.read_csv(bounds), pd.read_csv(history)
        _check_whole(about["seeds"], losses, found, folder)
        stops.append(_with_about(_at_stop(about.pop("seeds"), found), about))
        epochs.append(_with_about(_at_epochs(losses, found), about))
    for parts, order, path in (
        (stops, ORDER, arguments.table),
        (epochs, [*ORDER[:-1], "epoch", "points"], arguments.epochs),
    ):
        table = pd.concat(parts).sort_values(order, key=_natural, kind="stable")
        write_text(path, table.to_csv(index=False, lineterminator="\n"))


def _files(folder: str) -> tuple[Path, Path, Path]:
    """Summary, history and bounds of a run."""
    return Path(folder, "run.json"), Path(folder, "history.csv"), Path(folder, "bounds.csv")


def _check_whole(
    seeds: list[dict[str, Any]], history: pd.DataFrame, bounds: pd.DataFrame, folder: str
) -> None:
    """Stop where a join would leave out a seed, a point set or the losses of an epoch.

    Every net is kept at the start, and at its stop unless it diverged.
    """
    stops = {(s["seed"], s["epochs"]) for s in seeds if s["stop_reason"] != "diverged"}
    stops |= {(seed["seed"], 0) for seed in seeds}
    kept = set(zip(bounds["seed"], bounds["epoch"], bounds["points"], strict=True))
    recorded = set(zip(history["seed"], history["epoch"], strict=True))
    asked = {(*stop, points) for stop in stops for points in set(bounds["points"]) or {"any"}}
    lacking = [
        *(f"bounds of seed {s} after {e} epochs ({points} points)" for s, e, points in asked - kept),
        *(f"losses of seed {s} after {e} epochs" for s, e in {k[:2] for k in kept} - recorded),
        *(f"training of seed {s}" for s in {k[0] for k in kept} - {s for s, _ in stops}),
    ]
    if lacking:
        raise CommandError(f"{folder} is not whole: no {min(lacking)}. Delete the folder and call again")


def _about(name: str, content: dict[str, Any]) -> dict[str, Any]:
    """What all rows of a run share, and its seeds. ``name`` is VARIANT/noise~N, or noise~N."""
    variant, _, noise = name.rpartition("/")
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
    parser = Command(
        __doc__, lambda given: (file for _, place in unpacked(given.runs) for file in _files(place))
    )
    parser.add_argument(
        "--runs", required=True, help="VARIANT/noise~N or noise~N, and the folder, of each as JSON"
    )
    parser.add_argument("--table", type=Path, required=True, help="output: CSV, at the stop")
    parser.add_argument("--epochs", type=Path, required=True, help="output: CSV, at every checkpoint")
    run(parser, main)
