"""The growth of the bounds of convolutional nets on images during training."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from pipeline.claims.claim import Again
from pipeline.claims.findings import nearest
from pipeline.figures.late_growth import draw_growth, growth_facts
from pipeline.figures.looks import corner_note
from pipeline.figures.room import Context, Facts, Tables
from pipeline.statistics.growth import training_rows

WIDTH = {"paper": 20, "laptop": 12, "smoke": 4}
"""The nets that are shown, or those of the nearest width that was trained."""

NAMES = {"cifar10": "CIFAR-10", "mnist": "MNIST, 10 % noisy labels"}


def measure(tables: Tables, context: Context) -> Facts:
    """By data set, the slopes of all bounds from the epoch on from which nets fit, and their width."""
    printed = context["printed"]
    return {
        name: {"width": int(data["width"].iloc[0]), "from_in_the_paper": printed[name]["from"]}
        | growth_facts(data, printed[name])
        for name, data in _rows(tables, context).items()
    }


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """A row per data set: bounds on the left, errors on the right."""
    rows = _rows(tables, context)
    figure, panels = plt.subplots(
        len(rows), 2, figsize=(6.9, 5.6), layout="constrained", width_ratios=(1.35, 1), squeeze=False
    )
    for letters, (bounds, errors), (name, data) in zip(("ab", "cd"), panels, rows.items(), strict=True):
        draw_growth(bounds, errors, data, facts[name])
        bounds.set_title(f"{letters[0]}   {NAMES[name]}")
        errors.set_title(letters[1])
    widths = {name: facts[name]["width"] for name in rows}
    seeds = {name: data["seed"].nunique() for name, data in rows.items()}
    corner_note(
        figure,
        f"{context['scale']} scale, width {_once(widths)}, {_once(seeds)} seeds, band: ±1 std; "
        "dashed: fits",
    )
    return figure


def _once(numbers: dict[str, int]) -> str:
    """By data set, or one number where it is the same for all."""
    return " and ".join(str(number) for number in dict.fromkeys(numbers.values()))


def _rows(tables: Tables, context: Context) -> dict[str, pd.DataFrame]:
    """Rows of the training points of one width, by data set."""
    return {
        name: nearest(training_rows(tables[f"cnn_{name}_epochs"]), "width", WIDTH[context["scale"]])
        for name in NAMES
    }


ON_CIFAR10 = Again(
    "C3",
    on="CIFAR-10",
    within="cifar10",
    reported="slope of C_lower 0.29 (CNN of width 20)",
    since="2026-11-28",
    of_a_change=False,
)

ON_MNIST = Again(
    "C3",
    on="MNIST",
    within="mnist",
    reported="no number",
    since="2026-11-28",
    of_a_change=False,
)
