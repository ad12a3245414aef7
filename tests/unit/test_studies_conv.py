import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from torch import nn

import plot_alexnet
import plot_conv_norms
import plot_gram_convergence
import plot_padding
import plot_resnet18_layers
import study_alexnet
import study_conv_norms
import study_gram_convergence
import study_padding
import study_resnet18_layers
from lipbounds.operator_norm.competitors import sedghi
from pipeline import figures
from pipeline.config.studies import Alexnet, ConvNorms, GramConvergence, Padding, Resnet18Layers
from pipeline.jobs.command import CommandError
from pipeline.measuring.pretrained import read_weights, torchvision_model
from pipeline.measuring.timing import timed
from pipeline.provenance.files import sha256, write_tensors

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


def test_gram_iteration_is_above_and_power_iteration_below():
    settings = GramConvergence(
        rows=20,
        columns=12,
        orthogonal_size=16,
        draws=2,
        starts=2,
        gram_steps=12,
        power_steps=20,
        repeats=1,
        device="cpu",
        seed=3,
    )
    table = study_gram_convergence.study(settings, {})
    by_method = table.set_index("method")
    assert (by_method.loc["gram", "error"] >= -1e-14).all()
    assert (
        by_method.loc["gram_certified", "value"] >= by_method.loc["gram_certified", "reference"]
    ).all()
    assert (by_method.loc[["power", "gram_lower"], "error"] <= 1e-13).all()
    assert set(table["kind"]) == {"upper", "lower"}
    assert set(table.loc[table["certified"], "method"]) == {"gram_certified"}
    timed_rows = table[(table["draw"] == 0) & table["method"].isin(["gram"])]
    assert (timed_rows["best_s"] <= timed_rows["median_s"]).all()

    facts = drawn(plot_gram_convergence, table, settings)
    halves = np.array(facts["gram_errors_orthogonal"])
    assert halves == pytest.approx(16.0 ** (2.0 ** -np.arange(1, 14)) - 1)
    assert facts["certified_never_below_the_reference"]


def test_conv_norms_keep_their_sides():
    settings = ConvNorms(
        channels=3,
        kernel_size=3,
        input_size=5,
        sweep_channels=(2, 3),
        sweep_kernel_sizes=(1, 3),
        sweep_input_sizes=(4, 5),
        cases=({"channels": 2, "kernel_size": 3, "input_size": 6, "scale": 4.0, "seed": 1},),
        draws=1,
        gram_steps=6,
        norm2toep_steps=3,
        power_steps=10,
        singla_steps=None,
        araujo_samples=10,
        reference_steps=150,
        repeats=1,
        time_budget=0.05,
        device="cpu",
        seed=0,
    )
    table = study_conv_norms.study(settings, {})
    assert set(table["method"]) == {*study_conv_norms.OURS, *study_conv_norms.COMPETITORS}
    assert set(table["method"]) == set(figures.NORM_LOOKS) - {"power"}
    assert (table.loc[table["bounds_zero_padding"], "gap"] >= -ROUNDING).all()
    assert (table.loc[table["kind"] == "lower", "gap"] <= ROUNDING).all()
    circular = table[table["operator"].str.startswith("circular") & (table["kind"] == "upper")]
    assert set(circular["method"]) == {"gram", "sedghi", "senderovich"}
    assert not circular["bounds_zero_padding"].any()
    assert (circular["circular_gap"] >= -ROUNDING).all()
    assert set(table.loc[table["certified"], "method"]) == {"certified"}
    assert (table["residual"] <= 1.1 * study_conv_norms.REFERENCE_TOLERANCE).all()

    exact = study_padding.dense_zero_padded_norms(torch.ones(1, 1, 3, 3, dtype=torch.float64), 5)
    found, _ = study_conv_norms.zero_padded_norm(torch.ones(1, 1, 3, 3), 5, 50)
    assert found == pytest.approx(exact.item(), rel=1e-9)

    facts = drawn(plot_conv_norms, table, settings)
    assert set(facts["cases"]) == {"2x2x3x3 on 6"}
    assert facts["share_below_the_zero_padded_norm"]["certified"] == 0


def test_circular_norm_fails_and_the_bounds_made_from_it_hold():
    settings = Padding(
        counterexample_sizes=(3, 4, 9),
        channels=2,
        kernel_size=3,
        input_sizes=(3, 6, 16),
        draws=2,
        norm2toep_steps=3,
        reference_steps=60,
        violation_sizes=(3, 5),
        violation_draws=60,
        seed=0,
    )
    table = study_padding.study(settings, {})
    assert (table.loc[table["bounds_zero_padding"], "ratio"] >= 1 - 1e-9).all()
    facts = drawn(plot_padding, table, settings)
    assert facts["counterexample on 3"]["circular"] == pytest.approx(4)
    assert facts["counterexample on 3"]["zero_padded"] == pytest.approx(3 + 8**0.5)
    assert facts["counterexample on 9"]["zero_padded"] == pytest.approx(8.422260053930504)
    assert 0 < facts["violations"]["3"]["share"] < 0.5

    kernels = torch.randn(3, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for kernel in kernels:
        wrapped = study_padding._wrapped(kernel, 3)
        largest = torch.fft.fft2(wrapped).abs().max().item()
        assert largest == pytest.approx(sedghi(kernel[None], 3).value)


RESNET = Resnet18Layers(
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


def test_resnet_layers_keep_their_sides():
    table = study_resnet18_layers.study(RESNET, {})
    assert set(table["method"]) == set(study_resnet18_layers.OPERATORS)
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
    facts = drawn(plot_resnet18_layers, table, RESNET)
    assert facts["published"] == {}


def test_published_values_stand_beside_pretrained_weights(tmp_path, monkeypatch):
    file = tmp_path / "weights.safetensors"
    write_tensors(file, torchvision_model("resnet18", None, 5).model.state_dict())
    monkeypatch.setattr(study_resnet18_layers, "PUBLISHED_SIZE", 32)
    settings = RESNET.model_copy(update={"weights": str(file), "layers": 1})
    table = study_resnet18_layers.study(settings, {})
    published = table.set_index("method")["published"]
    assert published["circular"] == 15.9164
    assert np.isnan(published["certified"])
    assert table["pretrained"].all()
    assert sha256(file)[:16] in table["weights"].iloc[0]
    facts = drawn(plot_resnet18_layers, table, settings)
    assert facts["published"]["conv1 gram"] == 15.916


def test_published_table_has_a_row_for_every_convolution():
    model = torchvision_model("resnet18", None, 0).model
    sizes = study_resnet18_layers.input_sizes(model, 64)
    assert len(sizes) == len(study_resnet18_layers.PUBLISHED) == plot_resnet18_layers.ALL_LAYERS
    assert (sizes["conv1"], sizes["layer1.0.conv1"], sizes["layer4.1.conv2"]) == (64, 16, 2)


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


def test_weights_are_checked_before_they_are_opened(tmp_path):
    with pytest.raises(CommandError, match="there is no file"):
        read_weights(tmp_path / "missing.pth")
    (tmp_path / "other.pth").write_bytes(b"")
    with pytest.raises(CommandError, match="named as torchvision publishes it"):
        read_weights(tmp_path / "other.pth")
    wrong = tmp_path / "net-00000000.pth"
    torch.save({"weight": torch.ones(2)}, wrong)
    with pytest.raises(CommandError, match="does not start with 00000000"):
        read_weights(wrong)
    right = wrong.rename(tmp_path / f"net-{sha256(wrong)[:8]}.pth")
    assert read_weights(right)["weight"].tolist() == [1, 1]
    with pytest.raises(CommandError, match="does not hold the weights of alexnet"):
        torchvision_model("alexnet", str(right), 0)


def test_initialisation_is_that_of_the_seed_and_leaves_the_random_state():
    before = torch.get_rng_state()
    first, second = (torchvision_model("resnet18", None, 3).model for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.conv1.weight, second.conv1.weight)
    torch.manual_seed(3)
    assert torch.equal(first.conv1.weight, torchvision.models.resnet18(weights=None).conv1.weight)
    torch.set_rng_state(before)


def test_timing_repeats_within_its_budget():
    calls = []
    result, timing = timed(lambda: calls.append(1) or len(calls), 3)
    assert (result, len(calls), timing.repeats) == (1, 4, 3)
    assert timing.best_s <= timing.median_s
    _, slow = timed(lambda: calls.append(1), 5, budget_s=0)
    assert slow.repeats == 1
    assert len(calls) == 5
