"""Figures of the studies of trained nets: that they draw, and facts with known answers."""

import json

import matplotlib.pyplot as plt
import pandas as pd
import plot_linearisation
import pytest
from tests.conftest import ROOT

from pipeline import figures

CONTEXT = {
    "scale": "laptop",
    "settings": {
        "double_descent": {"threshold_width": 80},
        "double_descent_mse": {"threshold_width": 800},
    },
}
NAME = {"experiment": "double_descent", "variant": "base", "noise": 0}


@pytest.fixture(autouse=True)
def _style():
    figures.use_style(ROOT / "scripts" / "style.mplstyle")
    yield
    plt.close("all")


def linearisation():
    rows = []
    for seed in range(3):
        scalars = {
            "c_initial": 0.4,
            "c_final": 20.0,
            "distance": 2.0,
            "mixed_largest": 4.0,
            "bound": 8.4,
            "c_linearised": 5.0,
        }
        own = NAME | {"width": 256, "seed": seed}
        rows += [own | {"quantity": name, "point": None, "value": v} for name, v in scalars.items()]
        rows += [own | {"quantity": "mixed", "point": i, "value": 2 + 2 * i / 9} for i in range(10)]
    return pd.DataFrame(rows)


TABLES = {
    plot_linearisation: linearisation,
}


@pytest.mark.parametrize("plot", TABLES, ids=lambda plot: plot.__name__)
def test_it_draws_and_its_facts_are_json(plot):
    table = TABLES[plot]()
    figure = plot.draw(table, CONTEXT)
    figure.canvas.draw()
    assert all(axes.lines for axes in figure.axes)
    json.dumps(plot.facts(table, CONTEXT))


def test_linearisation_that_falls_short():
    facts = plot_linearisation.facts(linearisation(), CONTEXT)
    assert facts["growth"]["estimate"] == pytest.approx(50)
    assert facts["trained_exceeds_bound"] is True
    assert facts["means"]["mixed_mean"]["estimate"] == pytest.approx(3)
