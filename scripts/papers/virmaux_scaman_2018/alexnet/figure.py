"""Draw the product of the constants of AlexNet's layers up to each of them."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.figures.looks import BOUND_LOOKS, corner_note, plain_log_axis, title_of_weights
from pipeline.figures.room import Context, Facts, Tables, only

NAMES = {"Conv2d": "conv", "MaxPool2d": "pool", "Linear": "fc", "AdaptiveAvgPool2d": "avg"}


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Cumulated products with and without the factors of max-pooling; the SeqLip estimate at the end."""
    table = only(tables)
    figure, axes = plt.subplots(figsize=(5.4, 3.3), layout="constrained")
    layers = _shown(table[table["method"] == "autolip"])
    labels = list(layers["label"])
    _draw_products(axes, layers)
    if "seqlip_estimate" in facts:
        _draw_estimates(axes, len(labels), facts)
        labels.append("SeqLip\n(fc)")
    if facts["comparable_with_published"]:
        _draw_published(axes, facts["published_with_imagenet_weights"])
    for place, kind in enumerate(layers["type"]):
        if kind == "MaxPool2d":
            axes.axvspan(place - 0.5, place + 0.5, color="#f0f0f0", linewidth=0, zorder=0)
    plain_log_axis(axes)
    axes.set_xticks(range(len(labels)), labels, fontsize=6.5)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("layer (shaded: max-pooling with overlapping windows)")
    axes.set_ylabel("product of constants up to the layer")
    axes.legend(loc="upper left")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.35)  # room for the legend
    axes.set_title(title_of_weights(facts["pretrained"]), fontsize=8)
    size = context["settings"]["image_size"]
    corner_note(
        figure, f"{context['scale']} scale, images of {size}x{size}, weights: {facts['weights']}"
    )
    return figure


def _draw_products(axes: Axes, layers: pd.DataFrame) -> None:
    look = BOUND_LOOKS["autolip"]
    axes.plot(
        range(len(layers)),
        layers["cumulated"],
        color=look.color,
        marker=look.marker,
        drawstyle="steps-mid",
        label="AutoLip, certified",
    )
    axes.plot(
        range(len(layers)),
        layers["cumulated_without_pooling"],
        color="#0072B2",
        marker="o",
        markerfacecolor="white",
        linestyle="--",
        drawstyle="steps-mid",
        label="without the factors of max-pooling (no bound)",
    )


def _draw_estimates(axes: Axes, place: int, facts: Facts) -> None:
    color = BOUND_LOOKS["seqlip_greedy"].color
    for name, filled in (("seqlip_estimate", True), ("seqlip_estimate_without_pooling", False)):
        axes.plot(
            place,
            facts[name],
            color=color,
            marker="v",
            markersize=5,
            markerfacecolor=color if filled else "white",
            linestyle="none",
            label="with SeqLip in the fc layers, of either product (estimate)" if filled else None,
        )


def _draw_published(axes: Axes, published: Mapping[str, float]) -> None:
    names = (("AutoLip", "autolip_without_pooling", "-."), ("greedy SeqLip", "greedy_seqlip", ":"))
    for label, name, line in names:
        axes.axhline(
            published[name], color="black", linewidth=0.8, linestyle=line, label=f"{label}, published"
        )


def _shown(layers: pd.DataFrame) -> pd.DataFrame:
    """Layers with a constant of their own, numbered by type as the paper of AlexNet does."""
    shown = layers[layers["type"].isin(NAMES)].copy()
    numbers = shown.groupby("type").cumcount() + 1
    shown["label"] = [
        NAMES[kind] + ("" if kind == "AdaptiveAvgPool2d" else str(number))
        for kind, number in zip(shown["type"], numbers, strict=True)
    ]
    return shown


def _comparable(table: pd.DataFrame) -> bool:
    """Whether published values are of this network: pretrained weights, and all of it."""
    return bool(table["pretrained"].all() and (table["type"] == "Linear").sum() == 3)


def measure(tables: Tables, context: Context) -> Facts:
    """The constants, the products, and the published ones where they can be compared."""
    table = only(tables)
    layers = _shown(table[table["method"] == "autolip"])
    last = layers.iloc[-1]
    pairs = table[table["method"] == "seqlip"]
    result: dict[str, Any] = {
        "weights": table["weights"].iloc[0],
        "pretrained": bool(table["pretrained"].all()),
        "constants": dict(zip(layers["label"], layers["value"].astype(float), strict=True)),
        "autolip": float(last["cumulated"]),
        "autolip_without_pooling": float(last["cumulated_without_pooling"]),
        "factor_of_max_pooling": float(last["cumulated"] / last["cumulated_without_pooling"]),
        "published_with_imagenet_weights": context["printed"],
        "comparable_with_published": _comparable(table),
    }
    if not pairs.empty:
        final = pairs.iloc[-1]
        result["seqlip_ratios"] = dict(zip(pairs["layer"], pairs["value"].astype(float), strict=True))
        result["seqlip_estimate"] = float(final["cumulated"])
        result["seqlip_estimate_without_pooling"] = float(final["cumulated_without_pooling"])
    return result
