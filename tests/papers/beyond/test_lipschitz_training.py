"""The figure of regularised training: what it shows, also when there is little to show."""

import math

import pandas as pd
import pytest

from papers.beyond.lipschitz_training import figure
from pipeline.figures.looks import LOOKS
from tests.papers.helpers import measured_and_drawn, room_context

TRAINING = {
    "min_epochs": 30,
    "max_epochs": 30,
    "regularisation": {"strength": 0.1, "threshold": 1.0, "steps": 6},
}


def table(strengths=(0.0, 0.01, 0.1), diverged=()):
    rows = []
    for strength in strengths:
        for seed in range(3):
            lost = (strength, seed) in diverged
            size = math.nan if lost else (1 + seed / 20) / (0.02 + strength)
            rows += [
                {
                    "strength": strength,
                    "width": 256,
                    "seed": seed,
                    "points": points,
                    "stop_reason": "diverged" if lost else "epoch_cap",
                    "log10_c_upper": math.log10(size) if not lost else math.nan,
                    "upper_certified": True,
                    "c_lower": size / 2,
                    "c_avg": size / 3,
                    "penalty": strength * 3,
                    "train_loss": 0.1 + strength,
                    "test_loss": 2 - strength,
                    "train_error": strength,
                    "test_error": 0.5,
                }
                for points in ("train", "test")
            ]
    return pd.DataFrame(rows)


def drawn(data):
    context = room_context("lipschitz_training", {"training": TRAINING}, scale="laptop")
    return measured_and_drawn(figure, {"lipschitz_training": data}, context)


def test_strengths_stand_in_order_with_zero_apart():
    _, drawing = drawn(table())
    for axes in drawing.axes[:3]:
        ticks = [label.get_text() for label in axes.get_xticklabels()]
        assert ticks == ["0", "0.01", "0.1"]
        positions = list(axes.get_xticks())
        assert positions == sorted(positions)
        assert positions[0] == pytest.approx(0.01 / 5)


def test_means_are_those_of_the_seeds_and_a_planned_end_is_not_marked():
    data = figure.prepared(table())
    axes = drawn(table())[1].axes[0]
    look = LOOKS["c_lower"]
    mean = next(line for line in axes.lines if line.get_label() == look.label)
    assert list(mean.get_ydata()) == pytest.approx(list(data.groupby("strength")["c_lower"].mean()))
    marked = [line for line in axes.lines if line.get_marker() == look.marker and len(line.get_xdata())]
    assert {line.get_markerfacecolor() for line in marked} == {look.color}


def test_facts_say_what_the_trade_off_is():
    facts, drawing = drawn(table())
    assert facts["strength_of_least_test_loss"] == 0.1
    assert facts["upper_certified"] is True
    assert facts["means"]["0.01"]["train_accuracy"] == pytest.approx(99)
    named = [(text.get_text(), *text.xy) for text in drawing.axes[3].texts]
    expected = [(name, row["c_upper"], row["test_loss"]) for name, row in facts["means"].items()]
    assert named == [("$r = 0$", *expected[0][1:]), *expected[1:]]


@pytest.mark.parametrize("strengths", [(0.0,), (0.1,), (0.0, 0.1)])
def test_few_strengths_and_lost_seeds_draw(strengths):
    drawn(table(strengths))
    _, drawing = drawn(table(strengths, diverged={(strengths[-1], 1)}))
    assert any(line.get_marker() == "X" for line in drawing.axes[0].lines)
    if len(strengths) > 1:
        drawn(table(strengths, diverged={(strengths[-1], seed) for seed in range(3)}))
