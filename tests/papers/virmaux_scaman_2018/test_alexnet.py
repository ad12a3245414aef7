import pandas as pd
import pytest
import torch
from torch import nn

from papers.virmaux_scaman_2018.alexnet import figure, study
from tests.papers.helpers import job_context, measured_and_drawn

ROOM = "alexnet"
NETWORK = study.Settings(weights=None, seed=0, image_size=224, part="network", seqlip_triplets=1)


def test_overlapping_pooling_counts():
    settings = NETWORK.model_copy(update={"image_size": 96, "part": "features", "seqlip_triplets": 0})
    table = study.study(settings, {})
    assert table["certified"].all()
    last = table.iloc[-1]
    assert last["cumulated"] == pytest.approx(8 * last["cumulated_without_pooling"])
    assert last["cumulated"] == pytest.approx(table["value"].prod())
    facts, _ = measured_and_drawn(figure, {ROOM: table}, job_context(ROOM, settings))
    assert facts["factor_of_max_pooling"] == pytest.approx(8)
    assert not facts["comparable_with_published"]
    assert "seqlip_estimate" not in facts


def whole_network(pretrained):
    rows = [("features.0", "Conv2d"), ("features.2", "MaxPool2d")]
    rows += [(name, "Linear") for name in study.FULLY_CONNECTED]
    table = pd.DataFrame(rows, columns=["layer", "type"]).assign(
        method="autolip", kind="upper", certified=True, value=2.0, seconds=0.0, weights="file"
    )
    table["cumulated"] = table["value"].cumprod()
    table["cumulated_without_pooling"] = table["cumulated"] / [1, 2, 2, 2, 2]
    pair = table.iloc[-1:].assign(
        method="seqlip", type="pair", kind="estimate", value=0.5, cumulated=9.0
    )
    return pd.concat([table, pair], ignore_index=True).assign(pretrained=pretrained)


@pytest.mark.parametrize("pretrained", [True, False])
def test_published_values_stand_beside_pretrained_weights_only(pretrained):
    context = job_context(ROOM, NETWORK, scale="paper")
    facts, drawing = measured_and_drawn(figure, {ROOM: whole_network(pretrained)}, context)
    lines = {str(line.get_label()): line.get_ydata()[0] for line in drawing.axes[0].lines}
    published = {label: value for label, value in lines.items() if "published" in label}
    expected = {"AutoLip, published": 3.62e7, "greedy SeqLip, published": 5.45e6}
    assert published == (expected if pretrained else {})
    assert facts["comparable_with_published"] == pretrained
    assert facts["seqlip_ratios"]
    assert lines["with SeqLip in the fc layers, of either product (estimate)"] == 9
    assert any("weights: file" in text.get_text() for text in drawing.texts)
    assert ("no reproduction" in drawing.axes[0].get_title(loc="left")) != pretrained


def test_seqlip_ratios_of_small_layers_are_at_most_one():
    model = nn.Module()
    model.classifier = nn.ModuleList(nn.Linear(6, 6) for _ in range(7))
    settings = NETWORK.model_copy(update={"seqlip_triplets": 6})
    before = torch.get_rng_state()
    ratios = study._seqlip_ratios(model, settings)
    assert torch.equal(before, torch.get_rng_state())
    assert all(0 < ratio <= 1 + 1e-6 for ratio in ratios.values())
    assert len(ratios) == 2
