import json
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import plot_alexnet
import pytest
import study_alexnet
import torch
from pipeline.config.studies import Alexnet
from torch import nn

from pipeline import figures

STYLE = Path(__file__).parents[2] / "scripts" / "style.mplstyle"
ROUNDING = 1e-6


@pytest.fixture(autouse=True)
def _style():
    figures.use_style(STYLE)
    yield
    plt.close("all")


def drawn(plot, table, settings):
    """The facts; the figure and they have to come out of the table without a warning."""
    context = {
        "scale": "smoke",
        "settings": settings.model_dump(mode="json"),
        "departures": [],
        "code": {},
    }
    plot.draw(table, context).canvas.draw()
    facts = plot.facts(table, context)
    json.dumps(facts)
    return facts


def test_alexnet_counts_overlapping_pooling():
    settings = Alexnet(weights=None, seed=0, image_size=96, part="features", seqlip_triplets=0)
    table = study_alexnet.study(settings, {})
    assert table["certified"].all()
    last = table.iloc[-1]
    assert last["cumulated"] == pytest.approx(8 * last["cumulated_without_pooling"])
    assert last["cumulated"] == pytest.approx(table["value"].prod())
    facts = drawn(plot_alexnet, table, settings)
    assert facts["factor_of_max_pooling"] == pytest.approx(8)
    assert not facts["comparable_with_published"]


def test_alexnet_figure_shows_published_values_with_pretrained_weights_only():
    rows = [("features.0", "Conv2d"), ("features.2", "MaxPool2d")]
    rows += [(name, "Linear") for name in study_alexnet.FULLY_CONNECTED]
    table = pd.DataFrame(rows, columns=["layer", "type"]).assign(
        method="autolip", kind="upper", certified=True, value=2.0, seconds=0.0, weights="file"
    )
    table["cumulated"] = table["value"].cumprod()
    table["cumulated_without_pooling"] = table["cumulated"] / [1, 2, 2, 2, 2]
    pair = table.iloc[-1:].assign(method="seqlip", type="pair", kind="estimate", value=0.5)
    table = pd.concat([table, pair], ignore_index=True)
    settings = Alexnet(weights="file", seed=0, image_size=224, part="network", seqlip_triplets=1)
    context = {"scale": "paper", "settings": settings.model_dump()}
    for pretrained in (True, False):
        figure = plot_alexnet.draw(table.assign(pretrained=pretrained), context)
        labels = [line.get_label() for line in figure.axes[0].lines]
        assert any("published" in str(label) for label in labels) == pretrained
        assert drawn(plot_alexnet, table.assign(pretrained=pretrained), settings)["seqlip_ratios"]


def test_seqlip_ratios_of_small_layers_are_at_most_one():
    model = nn.Module()
    model.classifier = nn.ModuleList(nn.Linear(6, 6) for _ in range(7))
    settings = Alexnet(weights=None, seed=0, image_size=224, part="network", seqlip_triplets=6)
    before = torch.get_rng_state()
    ratios = study_alexnet._seqlip_ratios(model, settings)
    assert torch.equal(before, torch.get_rng_state())
    assert all(0 < ratio <= 1 + ROUNDING for ratio in ratios.values())
    assert len(ratios) == 2
