import pytest
import torch
import yaml
from tests.papers.helpers import PAPERS, measured_and_drawn, room_context

from papers.delattre_2023.conv_norms import figure, study
from papers.delattre_2023.padding.study import dense_zero_padded_norms

ROUNDING = 1e-6


def test_conv_norms_keep_their_sides():
    settings = study.Settings(
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
    table = study.study(settings, {})
    assert set(table["method"]) == {*study.OURS, *study.COMPETITORS}
    assert set(table["method"]) == set(figure.LOOKS)
    assert (table.loc[table["bounds_zero_padding"], "gap"] >= -ROUNDING).all()
    assert (table.loc[table["kind"] == "lower", "gap"] <= ROUNDING).all()
    circular = table[table["operator"].str.startswith("circular") & (table["kind"] == "upper")]
    assert set(circular["method"]) == {"gram", "sedghi", "senderovich"}
    assert not circular["bounds_zero_padding"].any()
    assert (circular["circular_gap"] >= -ROUNDING).all()
    assert set(table.loc[table["certified"], "method"]) == {"certified"}
    assert (table["residual"] <= 1.1 * study.REFERENCE_TOLERANCE).all()

    facts, _ = measured_and_drawn(figure, {"conv_norms": table}, room_context("conv_norms", settings))
    assert set(facts["cases"]) == {"2x2x3x3 on 6"}
    assert facts["cases"]["2x2x3x3 on 6"]["published"] is None
    assert facts["share_below_the_zero_padded_norm"]["certified"] == 0


def test_printed_values_are_of_cases_at_paper_scale():
    rooms = yaml.safe_load((PAPERS / "delattre_2023" / "conv_norms" / "figure.yaml").read_text())
    cases = rooms["study"]["paper"]["cases"]
    sizes = [(case["channels"], case["kernel_size"], case["input_size"]) for case in cases]
    assert set(rooms["printed"]) == {f"{c}x{c}x{k}x{k} on {n}" for c, k, n in sizes}


def test_reference_is_the_norm_of_the_matrix():
    exact = dense_zero_padded_norms(torch.ones(1, 1, 3, 3, dtype=torch.float64), 5)
    found, _ = study.zero_padded_norm(torch.ones(1, 1, 3, 3), 5, 50)
    assert found == pytest.approx(exact.item(), rel=1e-9)
