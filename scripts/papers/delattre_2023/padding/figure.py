"""Draw circular norms and the bounds made from them against the zero-padded norm."""

import math
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from pipeline.figures.looks import NORM_LOOKS, Look, corner_note
from pipeline.figures.numbers import PLAIN, signed
from pipeline.figures.room import Context, Facts, Tables, only

LOOKS = {
    "certified": NORM_LOOKS["certified"]._replace(label=r"$C_{n+p}$, certified (ours)"),
    "circular": NORM_LOOKS["gram"]._replace(line="--", label=r"$C_n$: no bound of zero padding"),
    "cosine": Look("#0072B2", "o", "-", r"$C_n$ times cosine factor (ours)"),
    "linear": Look("#CC79A7", "v", "-", r"$C_n\,/\,(1 - 2\lfloor k/2\rfloor/n)$ (Delattre)"),
    "norm2toep": NORM_LOOKS["norm2toep"],
}
EXACT = Look("#000000", "*", "-", "zero-padded norm")
TOLERANCE = 1e-9
LINEAR = 0.1
"""Per cent below which gaps, and shares, are drawn on a linear scale."""


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """The counterexample, the bounds of Gaussian kernels, and how often the circular norm fails."""
    table = only(tables)
    figure, (example, bounds, share) = plt.subplots(
        1, 3, figsize=(7.2, 2.9), layout="constrained", gridspec_kw={"width_ratios": (1, 1.15, 0.95)}
    )
    _draw_example(example, table[table["part"] == "counterexample"], facts["smallest_counterexample"])
    _draw_bounds(bounds, table[table["part"] == "gaussian"])
    _draw_violations(share, facts["violations"])
    handles = [_line(EXACT), *(_line(look) for look in LOOKS.values())]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, columnspacing=1.5)
    settings = context["settings"]
    shape = "x".join(map(str, [settings["channels"]] * 2 + [settings["kernel_size"]] * 2))
    corner_note(
        figure,
        f"{context['scale']} scale; (b) {settings['draws']} Gaussian {shape} kernels, "
        f"(c) {settings['violation_draws']:,} Gaussian 1x1x3x3 kernels, float64",
    )
    return figure


def _draw_example(axes: Axes, part: pd.DataFrame, smallest: Mapping[str, float]) -> None:
    exact = part.groupby("input_size")["zero_padded"].first()
    axes.plot(exact.index, exact, **_style(EXACT), zorder=4)
    for method in ("circular", "certified"):
        values = part[part["method"] == method].set_index("input_size")["value"]
        axes.plot(values.index, values, **_style(LOOKS[method]))
    for name, place in (("circular", (10, -1)), ("zero_padded", (10, -8))):
        axes.annotate(
            f"{smallest[name]:.3f}",
            (smallest["input_size"], smallest[name]),
            xytext=place,
            textcoords="offset points",
            fontsize=6.5,
            va="center",
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("input length $n$")
    axes.set_ylabel("norm")
    axes.set_title(r"a   $q q^\top$, $q = (1, -1, 1)$")


def _draw_bounds(axes: Axes, part: pd.DataFrame) -> None:
    gap = (100 * (part["ratio"] - 1)).groupby([part["method"], part["input_size"]])
    for method, look in reversed(LOOKS.items()):
        mean = gap.mean()[method]
        mean = mean[np.isfinite(mean)]
        low, high = gap.min()[method][mean.index], gap.max()[method][mean.index]
        axes.fill_between(mean.index, low, high, color=look.color, alpha=0.18, linewidth=0)
        axes.plot(mean.index, mean, **_style(look))
    axes.axhline(0, **{k: v for k, v in _style(EXACT).items() if k in ("color", "linewidth")})
    axes.set_yscale("symlog", linthresh=LINEAR, linscale=0.4)
    axes.set_ylim(-LINEAR if gap.min().min() > -LINEAR else None, None)
    ticks = [-100, -10, -1, 0, 0.1, 1, 10, 100, 1000]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value, "0")))
    axes.yaxis.set_minor_locator(NullLocator())
    _sizes_axis(axes, sorted(part["input_size"].unique()))
    axes.set_ylabel("gap to the zero-padded norm (%)")
    axes.set_title("b   Gaussian kernels")


def _draw_violations(axes: Axes, violations: Mapping[str, Mapping[str, float]]) -> None:
    """Shares, their intervals and largest shortfalls, by input size."""
    shares = pd.DataFrame(violations.values(), index=[int(size) for size in violations])
    color = LOOKS["circular"].color
    axes.errorbar(
        shares.index,
        100 * shares["share"],
        yerr=100 * np.array([shares["share"] - shares["low"], shares["high"] - shares["share"]]),
        color=color,
        marker="D",
        markerfacecolor="white",
        linestyle="--",
        capsize=2,
        linewidth=1.2,
        label="kernels with $C_n$ below\nthe zero-padded norm",
    )
    axes.plot(
        shares.index,
        100 * shares["worst"],
        color="#444444",
        marker="x",
        linestyle=":",
        linewidth=1.2,
        label="largest shortfall of $C_n$",
    )
    axes.set_yscale("symlog", linthresh=LINEAR, linscale=0.4)
    axes.set_ylim(0, 100)
    axes.yaxis.set_major_locator(FixedLocator([0, 0.1, 1, 10, 100]))
    axes.yaxis.set_major_formatter(PLAIN)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.legend(loc="upper right", fontsize=6)
    _sizes_axis(axes, list(shares.index))
    axes.set_ylabel("per cent")
    axes.set_title("c   how often $C_n$ fails")


def _violations(part: pd.DataFrame) -> pd.DataFrame:
    """By input size: share of kernels above the circular norm, its 95 % interval (Wilson), worst."""
    below = part["ratio"] < 1 - TOLERANCE
    groups = below.groupby(part["input_size"])
    share, count, z = groups.mean(), groups.size(), 1.96
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    worst = (1 - part["ratio"]).clip(lower=0).groupby(part["input_size"]).max()
    return pd.DataFrame(
        {
            "share": share,
            "low": np.minimum((middle - half).clip(lower=0), share),
            "high": np.maximum(middle + half, share),
            "worst": worst,
        }
    )


def _sizes_axis(axes: Axes, sizes: list[int]) -> None:
    axes.set_xscale("log", base=2)
    shown = [3, 4, 6, 8, 12, 16, 24, 32, 64]
    axes.xaxis.set_major_locator(FixedLocator([size for size in shown if size in sizes] or sizes))
    axes.xaxis.set_major_formatter(PLAIN)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("input length $n$")


def _style(look: Look) -> dict[str, Any]:
    return {
        "color": look.color,
        "marker": look.marker,
        "linestyle": look.line,
        "markerfacecolor": "white" if look.line == "--" else look.color,
        "markersize": 5 if look.marker == "*" else 3.6,
        "markeredgewidth": 0.8,
        "linewidth": 1.2,
    }


def _line(look: Look) -> plt.Line2D:
    return plt.Line2D([], [], **_style(look), label=look.label)


def measure(tables: Tables, context: Context) -> Facts:
    """The values of the counterexample and of the first kernel, and the share of violations."""
    table = only(tables)
    example = table[table["part"] == "counterexample"]
    result: dict[str, Any] = {"smallest_counterexample": _smallest(example)}
    for size, part in example[example["input_size"].isin([3, 9])].groupby("input_size"):
        values = part.set_index("method")["value"].to_dict()
        result[f"counterexample on {size}"] = values | {"zero_padded": part["zero_padded"].iloc[0]}
    gaussian = table[table["part"] == "gaussian"]
    first = gaussian[(gaussian["draw"] == 0) & (gaussian["input_size"] == 16)]
    if not first.empty:
        values = first.set_index("method")["value"].to_dict()
        result["first kernel on 16"] = values | {"zero_padded": first["zero_padded"].iloc[0]}
    sound = table[table["bounds_zero_padding"]]
    result["smallest_ratio_of_the_bounds"] = sound.groupby("method")["ratio"].min().to_dict()
    shares = _violations(table[table["part"] == "violations"])
    result["violations"] = {
        str(size): {key: float(value) for key, value in row.items()} for size, row in shares.iterrows()
    }
    result["mean_gap_in_per_cent"] = {
        f"{method} on {size}": 100 * (value - 1)
        for (method, size), value in gaussian.groupby(["method", "input_size"])["ratio"].mean().items()
        if math.isfinite(value)
    }
    return result | {"published": context["printed"]}


def _smallest(example: pd.DataFrame) -> dict[str, float]:
    """Circular and zero-padded norm of the counterexample on its smallest input."""
    circular = example[example["method"] == "circular"]
    row = circular.loc[circular["input_size"].idxmin()]
    return {
        "input_size": int(row["input_size"]),
        "circular": float(row["value"]),
        "zero_padded": float(row["zero_padded"]),
    }
