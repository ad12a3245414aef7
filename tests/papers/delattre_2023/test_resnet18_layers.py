import numpy as np
import pandas as pd
import pytest
from tests.conftest import write_tensors
from tests.papers.helpers import measured_and_drawn, room_context

from lipbounds.operator_norm.competitors import sedghi
from papers.delattre_2023.resnet18_layers import figure, study
from pipeline.measuring.pretrained import torchvision_model
from pipeline.provenance.files import sha256

ROUNDING = 1e-6

SETTINGS = study.Settings(
    weights=None,
    seed=0,
    image_size=32,
    layers=2,
    gram_steps=7,
    power_steps=3,
    singla_steps=None,
    araujo_samples=10,
    repeats=1,
    time_budget=0.01,
    device="cpu",
)


def drawn(table, settings):
    context = room_context("resnet18_layers", settings)
    return measured_and_drawn(figure, {"resnet18_layers": table}, context)


def test_resnet_layers_keep_their_sides():
    table = study.study(SETTINGS, {})
    assert set(table["method"]) == set(study.OPERATORS)
    assert table["published"].isna().all()
    wide = table.pivot_table(index="index", columns="method", values="value")
    for method in ("gram", "singla_feizi", "araujo"):
        assert (wide[method] >= wide["circular"] * (1 - ROUNDING)).all()
    plain = table.loc[table["stride"] == 1, "index"].unique()
    assert (wide["farnia_ryu"][plain] <= wide["certified"][plain]).all()
    assert set(table.loc[table["certified"], "method"]) == {"circular", "certified"}
    for index, name in ((0, "conv1"), (1, "layer1.0.conv1")):
        weight = torchvision_model("resnet18", None, 0).model.get_submodule(name).weight.detach()
        assert wide["circular"][index] == pytest.approx(sedghi(weight.double(), 32 >> 2 * index).value)
    facts, drawing = drawn(table, SETTINGS)
    assert facts["published"] == {}
    assert "no reproduction" in drawing.legends[0].get_title().get_text()


def test_published_values_stand_beside_pretrained_weights(tmp_path, monkeypatch):
    file = tmp_path / "weights.safetensors"
    write_tensors(file, torchvision_model("resnet18", None, 5).model.state_dict())
    monkeypatch.setattr(study, "PUBLISHED_SIZE", 32)
    settings = SETTINGS.model_copy(update={"weights": str(file), "layers": 1})
    table = study.study(settings, {})
    published = table.set_index("method")["published"]
    assert published["circular"] == 15.9164
    assert np.isnan(published["certified"])
    assert table["pretrained"].all()
    assert sha256(file)[:16] in table["weights"].iloc[0]
    facts, drawing = drawn(table, settings)
    assert facts["published"]["conv1 gram"] == 15.916
    assert not drawing.legends[0].get_title().get_text()


def _value(text):
    """Of a number as it stands beside its bar: 27,400 or a product with a power of ten."""
    digits, _, exponent = text.strip("$").partition(r"\times10^")
    return float(f"{digits.replace(',', '')}e{exponent.strip('{}') or 0}")


@pytest.mark.parametrize(("layers", "shown"), [(figure.ALL_LAYERS, 3), (2, 0)])
def test_products_are_written_beside_their_bars_and_published_ones_only_of_all_layers(layers, shown):
    values = {"circular": 2.0, "gram": 2.0, "certified": 1.9, "farnia_ryu": 1.8}
    values |= {"singla_feizi": 3.0, "araujo": 4.0}
    rows = [
        {"index": index, "layer": f"layer {index}", "shape": "1x1x3x3", "stride": 1, "input_size": 8}
        | {"method": method, "value": value, "ratio": value / 2, "published": value, "best_s": 1.0}
        | {"weights": "a file", "pretrained": True}
        for index in range(layers)
        for method, value in values.items()
    ]
    facts, drawing = drawn(pd.DataFrame(rows), SETTINGS)
    products = drawing.axes[1]
    written = {_value(text.get_text()) for text in products.texts}
    assert written == {float(f"{product:.3g}") for product in facts["products_relative_to_ryu"].values()}
    assert facts["products_relative_to_ryu"]["gram"] == pytest.approx((2 / 1.8) ** layers)
    crosses = [line for line in products.lines if line.get_marker() == "+"]
    assert len(crosses) == shown


def test_published_table_has_a_row_for_every_convolution():
    model = torchvision_model("resnet18", None, 0).model
    sizes = study.input_sizes(model, 64)
    assert len(sizes) == len(study.PUBLISHED) == figure.ALL_LAYERS
    assert (sizes["conv1"], sizes["layer1.0.conv1"], sizes["layer4.1.conv2"]) == (64, 16, 2)
