"""The figure of regularised training: what it shows, also when there is little to show."""

import json
import math

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from tests.conftest import ROOT

import plot_lipschitz_training as plot
from pipeline import figures

CONTEXT = {
    "scale": "laptop",
    "settings": {
        "training": {
            "min_epochs": 30,
            "max_epochs": 30,
            "regularisation": {"strength": 0.1, "threshold": 1.0, "steps": 6},
        }
    },
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


@pytest.fixture(autouse=True)
def _style():
    figures.use_style(ROOT / "scripts" / "style.mplstyle")
    yield
    plt.close("all")


def drawn(data):
    figure = plot.draw(plot.prepared(data), CONTEXT)
    figure.canvas.draw()
    return figure


def test_strengths_stand_in_order_with_zero_apart():
    figure = drawn(table())
    for axes in figure.axes[:3]:
        ticks = [label.get_text() for label in axes.get_xticklabels()]
        assert ticks == ["0", "0.01", "0.1"]
        positions = list(axes.get_xticks())
        assert positions == sorted(positions)
        assert positions[0] == pytest.approx(0.01 / 5)


def test_means_are_those_of_the_seeds_and_a_planned_end_is_not_marked():
    data = plot.prepared(table())
    axes = drawn(table()).axes[0]
    look = figures.LOOKS["c_lower"]
    mean = next(line for line in axes.lines if line.get_label() == look.label)
    assert list(mean.get_ydata()) == pytest.approx(list(data.groupby("strength")["c_lower"].mean()))
    marked = [line for line in axes.lines if line.get_marker() == look.marker and len(line.get_xdata())]
    assert {line.get_markerfacecolor() for line in marked} == {look.color}


def test_facts_say_what_the_trade_off_is():
    facts = plot.facts(plot.prepared(table()))
    assert facts["strength_of_least_test_loss"] == 0.1
    assert facts["upper_certified"] is True
    assert facts["means"]["0.01"]["train_accuracy"] == pytest.approx(99)
    json.dumps(facts)


@pytest.mark.parametrize("strengths", [(0.0,), (0.1,), (0.0, 0.1)])
def test_few_strengths_and_lost_seeds_draw(strengths):
    drawn(table(strengths))
    figure = drawn(table(strengths, diverged={(strengths[-1], 1)}))
    assert any(line.get_marker() == "X" for line in figure.axes[0].lines)
    if len(strengths) > 1:
        drawn(table(strengths, diverged={(strengths[-1], seed) for seed in range(3)}))
