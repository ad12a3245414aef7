"""Draw how the largest Jacobian norm depends on how many points are looked at."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, combine, judge_fact, measured, select
from pipeline.figures.looks import corner_note, plain_log_x
from pipeline.figures.methods import REFERENCE
from pipeline.figures.room import Context, Facts, Tables, only
from pipeline.statistics.intervals import Interval, mean_interval, ratio_interval

JUDGED_SIZE = 200_000
"""The size of the paper's subset, of all its training images, whose share the claim is judged at."""

NET = ["experiment", "variant", "noise", "width", "seed"]
"""Columns that name a net."""

COLORS = ("#E69F00", "#0072B2", "#009E73", "#7A7A7A")


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """How far subsets fall short of all training points, and what more points would add."""
    table = only(tables)
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.9, 3.1), layout="constrained")
    colors = dict(zip(sorted(table["width"].unique()), COLORS, strict=False))
    for width, color in colors.items():
        _draw_shortfall(left, table[table["width"] == width], color)
        _draw_beyond(right, table[table["width"] == width], color)
    paper = facts["paper"]
    shares = [int(size) / paper["points"] for size in paper["shortfall"]]
    left.plot(shares, list(paper["shortfall"].values()), **REFERENCE)
    left.set_xscale("log")
    left.set_xticks([0.03, 0.1, 0.3, 1], ["0.03", "0.1", "0.3", "1"])
    left.set_ylim(bottom=-1)
    left.set(
        title="a", xlabel="share of the training points", ylabel="below the value of all points (%)"
    )
    plain_log_x(right)
    right.axhline(1, color="#bbbbbb", linewidth=0.8, zorder=1)
    right.set(title="b", xlabel="number of points", ylabel=r"expected maximum over $C_\mathrm{lower}$")
    _legends(left, right, colors)
    draws = table.loc[table["way"] == "drawn", "draws"].max()
    corner_note(
        figure,
        f"{context['scale']} scale, {table['seed'].nunique()} seeds, band: ±1 std over seeds; "
        f"crosses: means of {draws:,.0f} draws",
    )
    return figure


def measure(tables: Tables, context: Context) -> Facts:
    """By width: shortfalls, what a doubling gains, and how good the extrapolation is."""
    table = only(tables)
    return {str(width): _facts_of_width(own) for width, own in table.groupby("width")} | {
        "paper": context["printed"],
        "at_the_share_of_the_paper": at_share_of_paper(tables, context["printed"]),
    }


def _facts_of_width(data: pd.DataFrame) -> dict[str, Any]:
    exact = _part(data, "train", "exact").assign(shortfall=lambda d: 100 * d["shortfall"])
    drawn = _part(data, "train", "drawn").merge(exact, on=["seed", "size"], suffixes=("", "_exact"))
    error = drawn["std_exact"] / np.sqrt(drawn["draws"])
    apart = (drawn["mean"] - drawn["mean_exact"])[error > 0] / error[error > 0]
    fresh = _part(data, "fresh", "exact")
    largest = fresh["size"].max()
    tail = _part(data, "train", "tail")
    return {
        "shortfall": {
            str(size): mean_interval(own["shortfall"]).fact() for size, own in exact.groupby("size")
        },
        "points_gained_per_doubling": {
            f"{half} to {2 * half}": mean_interval(gain).fact() for half, gain in _doublings(exact)
        },
        "largest_deviation_of_draws_in_standard_errors": float(apart.abs().max()),
        "fresh_points": int(largest),
        "fresh_maximum_over_trained": _ratio(fresh, largest, "full"),
        "predicted_over_fresh_maximum": asdict(
            ratio_interval(
                tail.loc[tail["size"] == largest].sort_values("seed")["mean"],
                fresh.loc[fresh["size"] == largest].sort_values("seed")["mean"],
                paired=True,
            )
        ),
        "predicted_over_trained": _ratio(tail, largest, "mean"),
    }


def _ratio(data: pd.DataFrame, size: int, column: str) -> dict[str, float]:
    """A column at a size over the largest norm at all training points, which every row has."""
    own = data[data["size"] == size]
    return ratio_interval(own[column], own["full_train"], paired=True).fact()


def _doublings(exact: pd.DataFrame) -> list[tuple[int, pd.Series]]:
    wide = exact.pivot(index="seed", columns="size", values="shortfall")
    return [(int(size), wide[size] - wide[2 * size]) for size in wide if 2 * size in wide]


def _part(data: pd.DataFrame, points: str, way: str) -> pd.DataFrame:
    full = data[data["points"] == "train"].groupby("seed")["full"].first()
    part = data[(data["points"] == points) & (data["way"] == way)]
    return part.assign(full_train=part["seed"].map(full))


def _draw_shortfall(axes: Axes, data: pd.DataFrame, color: str) -> None:
    points = data.loc[data["way"].eq("exact") & data["points"].eq("train"), "size"].max()
    exact, drawn = _part(data, "train", "exact"), _part(data, "train", "drawn")
    groups = (100 * exact["shortfall"]).groupby(exact["size"] / points)
    mean, deviation = groups.mean(), groups.std().fillna(0)
    axes.plot(mean.index, mean, color=color)
    axes.fill_between(
        mean.index, mean - deviation, mean + deviation, color=color, alpha=0.18, linewidth=0
    )
    means = drawn.groupby("size")["shortfall"].mean()
    axes.plot(means.index / points, 100 * means, "x", color=color, markersize=4)


def _draw_beyond(axes: Axes, data: pd.DataFrame, color: str) -> None:
    for points, way, line in (("train", "exact", "-"), ("fresh", "exact", "--"), ("train", "tail", ":")):
        part = _part(data, points, way)
        relative = (part["mean"] / part["full_train"]).groupby(part["size"]).mean()
        axes.plot(relative.index, relative, line, color=color)


def _legends(left: Axes, right: Axes, colors: dict[int, str]) -> None:
    widths = [Line2D([], [], color=color, label=f"width {width}") for width, color in colors.items()]
    left.legend(handles=[*widths, Line2D([], [], label="ResNet18, ImageNet (paper)", **REFERENCE)])
    kinds = (
        ("-", "training points"),
        ("--", "points not trained on"),
        (":", "fit to the training points' tail"),
    )
    right.legend(
        handles=[Line2D([], [], color="#444444", linestyle=line, label=name) for line, name in kinds],
        loc="lower right",
    )


def at_share_of_paper(tables: Tables, printed: Mapping[str, Any]) -> Facts:
    """Shortfall on a subset that is as large a part as the paper's, and what a doubling gains there.

    Parts of 1, not per cent, as means over nets.
    """
    doublings = np.log2(JUDGED_SIZE / printed["points"])
    return {
        "shortfall": measured(_shortfall, tables, doublings),
        "gain_of_a_doubling": measured(_gain, tables, doublings),
        "gain_of_the_next_over_that_of_the_last_doubling": measured(_gain_ratio, tables, doublings),
    }


def _shortfall(tables: Tables, doublings: float) -> Interval:
    return mean_interval(_interpolated(tables, np.array([doublings]))[:, 0])


def _gain(tables: Tables, doublings: float) -> Interval:
    """Half of what the two doublings around the place gain."""
    below, above = _interpolated(tables, doublings + np.array([-1, 1])).T
    return mean_interval((below - above) / 2)


def _gain_ratio(tables: Tables, doublings: float) -> Interval:
    """What the doubling from the place on gains over what that up to it does."""
    below, here, above = _interpolated(tables, doublings + np.array([-1, 0, 1])).T
    return ratio_interval(here - above, below - here, paired=True)


def _interpolated(tables: Tables, doublings: np.ndarray) -> np.ndarray:
    """Expected shortfall (nets, n) at subsets 2^doublings (n,) times as large as all points."""
    rows = select(tables, "subsampling", points="train", way="exact")
    found = []
    for _, one in rows.groupby(NET):
        one = one.sort_values("size")
        sizes = np.log2(one["size"] / one["size"].max())
        found.append(np.interp(doublings, sizes, one["shortfall"]))
    return np.array(found)


@claim(
    "C28",
    "C_lower from a subset falls a little short, and each doubling gains the same",
    reported="10.5 % below at 200,000 of 1,281,167 points; 5 points per doubling",
    unit="relative shortfall",
    refuted="A subset of the paper's share misses more than twice what it does there, or what a "
    "doubling gains is not the same from one to the next.",
    untested="Subsets of this share have not been measured, or of one net alone.",
    since="2026-11-28",
    changes={
        "2026-11-28": "The lower limits are gone, by which falling less short than in the paper counted "
        "against the claim; the ratio of two doublings is judged instead. The shortfall and the gains "
        "were known."
    },
)
def subset_falls_short(facts: Facts) -> Finding:
    """Relative shortfall of C_lower on a random subset of 200,000 / 1,281,167 of the points, as in the
    paper, by interpolation in the log of the size, holds up to 0.2, and what each doubling of the subset
    gains around it up to 0.1: twice the paper's. The gain of the doubling from there over that of the
    one up to there holds in [0.5, 2]. Means over nets."""
    found = facts["at_the_share_of_the_paper"]
    ratio = found["gain_of_the_next_over_that_of_the_last_doubling"]
    return combine(
        {
            "shortfall": judge_fact(found["shortfall"], most=0.2),
            "gain of a doubling": judge_fact(found["gain_of_a_doubling"], most=0.1),
            "gain of the next / of the last doubling": judge_fact(ratio, 0.5, 2),
        }
    )
