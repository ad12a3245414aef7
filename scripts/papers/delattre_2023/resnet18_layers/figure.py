"""Draw each method relative to the exact circular norm, layer by layer, and their products."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from pipeline.figures.looks import NORM_LOOKS, Look, corner_note, title_of_weights
from pipeline.figures.numbers import plain, power, signed
from pipeline.figures.room import Context, Facts, Tables, only

LOOKS = {
    "araujo": NORM_LOOKS["araujo"],
    "singla_feizi": NORM_LOOKS["singla_feizi"]._replace(line="--"),
    "gram": NORM_LOOKS["gram"]._replace(line="--", label="Gram iteration (circular)"),
    "certified": NORM_LOOKS["certified"]._replace(label="certified, zero padding and stride (ours)"),
    "farnia_ryu": NORM_LOOKS["farnia_ryu"]._replace(label="Ryu (from below)"),
}
EXACT = Look("#000000", "_", "-", "exact, circular, stride 1")
LINEAR = 1e-2
"""Gaps below this many per cent are drawn on a linear scale."""

ALL_LAYERS = 20


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Ratios by layer on the left, products of all layers relative to Ryu's on the right."""
    table = only(tables)
    figure, (layers, products) = plt.subplots(
        1, 2, figsize=(7.2, 3.9), layout="constrained", gridspec_kw={"width_ratios": (3.3, 1)}
    )
    _draw_layers(layers, table)
    comparable = table["published"].notna().any() and table["index"].nunique() == ALL_LAYERS
    published = facts["published_products_relative_to_ryu"] if comparable else {}
    _draw_products(products, facts["products_relative_to_ryu"], published)
    handles = [Line2D([], [], color="black", linewidth=1, label=EXACT.label)]
    handles += [Line2D([], [], **_style(look), label=look.label) for look in reversed(LOOKS.values())]
    if table["published"].notna().any():
        handles.append(
            Line2D([], [], color="black", linestyle="none", marker="+", markersize=5, label="published")
        )
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=3,
        columnspacing=1.5,
        title=title_of_weights(facts["pretrained"]),
        title_fontproperties={"weight": "bold", "size": 8},
    )
    corner_note(figure, f"{context['scale']} scale, weights: {facts['weights']}")
    return figure


def _draw_layers(axes: Axes, table: pd.DataFrame) -> None:
    places = table.drop_duplicates("index").set_index("index").sort_index()
    axes.axhline(0, color=EXACT.color, linewidth=1, zorder=2)
    axes.axhspan(-LINEAR, LINEAR, facecolor="none", edgecolor="#dddddd", hatch="....", linewidth=0)
    for index, stride in places["stride"].items():
        if stride > 1:
            axes.axvspan(index - 0.5, index + 0.5, color="#f0f0f0", linewidth=0, zorder=0)
    exact = table[table["method"] == "circular"].set_index("index")["value"]
    for method, look in LOOKS.items():
        own = table[table["method"] == method].set_index("index").sort_index()
        axes.plot(own.index, 100 * (own["ratio"] - 1), **_style(look))
        published = 100 * (own["published"] / exact - 1).dropna()
        axes.plot(published.index, published, **_PUBLISHED_STYLE)
    published = table[table["method"] == "circular"].set_index("index")["published"] / exact
    published = 100 * (published - 1).dropna()
    axes.plot(published.index, published, **_PUBLISHED_STYLE)
    axes.set_yscale("symlog", linthresh=LINEAR, linscale=0.6)
    axes.set_ylim(-200, 3000)
    ticks = [-100, -10, -1, -0.1, -0.01, 0, 0.01, 0.1, 1, 10, 100, 1000]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value, "exact")))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlim(-0.6, len(places) - 0.4)
    labels = [
        f"{row['shape']}, {row['input_size']}" + (f" s{row['stride']}" if row["stride"] > 1 else "")
        for _, row in places.iterrows()
    ]
    axes.set_xticks(places.index, labels, rotation=60, ha="right", rotation_mode="anchor", fontsize=5.5)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("kernel, input length, stride if not 1 (shaded)")
    axes.set_ylabel("gap to the exact circular norm (%)")
    axes.set_title("a   layer by layer")


_PUBLISHED_STYLE: dict[str, Any] = {
    "color": "black",
    "linestyle": "none",
    "marker": "+",
    "markersize": 5,
    "markeredgewidth": 0.8,
    "zorder": 5,
}


def _draw_products(axes: Axes, products: Mapping[str, float], published: Mapping[str, float]) -> None:
    """Products over all layers, relative to Ryu's, and published ones where they can be compared."""
    names = ["circular", *reversed(LOOKS)]
    for place, name in enumerate(names):
        look = EXACT if name == "circular" else LOOKS[name]
        log = np.log10(products[name])
        axes.barh(
            place,
            log,
            height=0.6,
            facecolor=look.color if look.line == "-" else "white",
            edgecolor=look.color,
            linewidth=1,
            hatch=None if look.line == "-" else "/////",
        )
        axes.annotate(
            _in_short(products[name]),
            (max(log, 0), place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=6.5,
        )
        if name in published:
            axes.plot(np.log10(published[name]), place, **_PUBLISHED_STYLE)
    axes.axvline(0, color="black", linewidth=0.8)
    shown = np.log10(list(products.values()))
    axes.set_xlim(min(0.0, *shown) * 1.3, max(1.0, *shown) * 1.45)
    short = {"circular": "exact", "certified": "certified", "gram": "Gram", "farnia_ryu": "Ryu"}
    short |= {"singla_feizi": "Singla", "araujo": "Araujo"}
    axes.set_yticks(range(len(names)), [short[name] for name in names])
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: power(10.0**place)))
    axes.set_xlabel("product relative to Ryu")
    axes.set_title("b   all layers")


def _in_short(value: float) -> str:
    """Three digits, and a power of ten behind a large number."""
    if value < 1e6:
        return plain(float(f"{value:.3g}"))
    digits, _, exponent = f"{value:.2e}".partition("e")
    return rf"${digits}\times10^{{{int(exponent)}}}$"


def _products(table: pd.DataFrame) -> dict[str, float]:
    logs = np.log(table["value"]).groupby(table["method"]).sum()
    return {str(name): float(np.exp(value - logs["farnia_ryu"])) for name, value in logs.items()}


def _style(look: Look) -> dict[str, Any]:
    return {
        "color": look.color,
        "marker": look.marker,
        "markersize": 4.2,
        "linestyle": "none",
        "markerfacecolor": look.color if look.line == "-" else "white",
        "markeredgewidth": 0.8,
    }


def measure(tables: Tables, context: Context) -> Facts:
    """Values by layer and method, published ones beside them, products and total times."""
    table = only(tables)
    wide = table.pivot_table(index="index", columns="method", values="value")
    published = table[table["published"].notna()]
    layers = table.drop_duplicates("index").set_index("index")
    exact = table[table["method"] == "circular"].set_index("index")["value"]
    singla = table[table["method"] == "singla_feizi"].set_index("index")["value"]
    return {
        "weights": table["weights"].iloc[0],
        "pretrained": bool(table["pretrained"].all()),
        "values": {
            f"{layers['layer'][index]} ({layers['shape'][index]})": row.to_dict()
            for index, row in wide.iterrows()
        },
        "published": {
            f"{row['layer']} {row['method']}": row["published"] for _, row in published.iterrows()
        },
        "products_relative_to_ryu": _products(table),
        "published_products_relative_to_ryu": context["printed"]["products_relative_to_ryu"],
        "seconds_in_all": table.groupby("method")["best_s"].sum().to_dict(),
        "layers_where_singla_is_below_exact": layers["layer"][singla < exact * (1 - 1e-6)].tolist(),
    }
