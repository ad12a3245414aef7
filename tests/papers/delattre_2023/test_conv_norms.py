import pytest
import torch
import yaml
from tests.papers.helpers import PAPERS, measured_and_drawn, room_context

from papers.delattre_2023.conv_norm_times import figure as times
from papers.delattre_2023.conv_norms import figure, study, sweeps
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
    assert set(table["method"]) == set(sweeps.LOOKS)
    assert (table.loc[table["bounds_zero_padding"], "gap"] >= -ROUNDING).all()
    assert (table.loc[table["kind"] == "lower", "gap"] <= ROUNDING).all()
    circular = table[table["operator"].str.startswith("circular") & (table["kind"] == "upper")]
    assert set(circular["method"]) == {"gram", "sedghi", "senderovich"}
    assert not circular["bounds_zero_padding"].any()
    assert (circular["circular_gap"] >= -ROUNDING).all()
    assert set(table.loc[table["certified"], "method"]) == {"certified"}
    assert (table["residual"] <= 1.1 * study.REFERENCE_TOLERANCE).all()

    context = room_context("conv_norms", settings)
    facts, drawing = measured_and_drawn(figure, {"conv_norms": table}, context)
    check_groups(drawing, facts["groups"])
    one = table[(table["case"] == "sweep") & (table["method"] == "certified")]
    one = one[(one["channels"] == 3) & (one["kernel_size"] == 3) & (one["input_size"] == 4)]
    gaps = facts["gap_in_per_cent"]["input_size"]["certified"]["4"]
    assert gaps == pytest.approx(100 * one["gap"])
    found, drawing = measured_and_drawn(times, {"conv_norms": table}, context)
    check_groups(drawing, found["groups"])
    taken = found["best_time_in_ms"]["input_size"]["certified"]["4"]
    assert taken == pytest.approx(1e3 * one["best_s"])

    assert set(facts["cases"]) == {"2x2x3x3 on 6"}
    assert facts["cases"]["2x2x3x3 on 6"]["published"] is None
    assert facts["share_below_the_zero_padded_norm"]["certified"] == 0


def check_groups(drawing, groups):
    """Rows have the methods of one group each, and no panel more than five."""
    shown = [axes.get_legend() for axes in drawing.axes if axes.get_legend()]
    labels = [{text.get_text() for text in legend.get_texts()} for legend in shown]
    expected = [
        {sweeps.LOOKS[name].label for name, group in groups.items() if group == row}
        for row in sweeps.GROUPS
    ]
    assert labels == expected
    assert max(map(len, labels)) <= 5


def test_printed_values_are_of_cases_at_paper_scale():
    rooms = yaml.safe_load((PAPERS / "delattre_2023" / "conv_norms" / "figure.yaml").read_text())
    cases = rooms["study"]["paper"]["cases"]
    sizes = [(case["channels"], case["kernel_size"], case["input_size"]) for case in cases]
    assert set(rooms["printed"]) == {f"{c}x{c}x{k}x{k} on {n}" for c, k, n in sizes}


def test_reference_is_the_norm_of_the_matrix():
    exact = dense_zero_padded_norms(torch.ones(1, 1, 3, 3, dtype=torch.float64), 5)
    found, _ = study.zero_padded_norm(torch.ones(1, 1, 3, 3), 5, 50)
    assert found == pytest.approx(exact.item(), rel=1e-9)
