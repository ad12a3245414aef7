from functools import partial

import pandas as pd
import pytest
import torch

from lipbounds.bounds.lipsdp import lipsdp_descent
from lipbounds.threads import one_thread
from papers.beyond.tightness import figure, study
from pipeline.figures.looks import BOUND_LOOKS
from pipeline.measuring import chain_methods
from tests.papers.helpers import measured_and_drawn, room_context

NEAR = 1 - 1e-9
MEASURED = {"method", "value", "kind", "certified", "seconds"}
LOWER = {"data", "grid", "search"}

SETTINGS = study.Settings(
    random_nets=((4, 6, 3), (3, 3, 3, 2), (3, 9, 9, 2)),
    draws=1,
    trained_nets=((6,),),
    trainings=1,
    epochs=2,
    batch_size=20,
    learning_rate=0.01,
    points=50,
    exact_neurons=6,
    greedy_neurons=30,
    descent_neurons=6,
    solver=True,
    solver_neurons=6,
    seed=0,
)


def made_up_arrays():
    labels = torch.arange(60) % 10
    points = torch.randn(60, 40, generator=torch.Generator().manual_seed(0))
    return {"x_train": points, "y_train": labels, "x_test": points, "y_test": labels}


@pytest.fixture(scope="module")
def table():
    with one_thread(), pytest.MonkeyPatch.context() as patch:
        quick = partial(lipsdp_descent, steps=40)
        patch.setitem(chain_methods.CHAIN_METHODS, "lipsdp_descent", quick)
        return study.study(SETTINGS, made_up_arrays())


def drawn(table):
    return measured_and_drawn(figure, {"tightness": table}, room_context("tightness", SETTINGS))


def test_table_survives_the_file_and_is_drawn(table, tmp_path):
    table.to_csv(tmp_path / "table.csv", index=False)
    _, drawing = drawn(pd.read_csv(tmp_path / "table.csv"))
    drawing.savefig(tmp_path / "one.pdf")
    assert (tmp_path / "one.pdf").stat().st_size > 5000


def test_rows_say_what_they_are(table):
    assert set(table) >= MEASURED
    assert set(table["kind"]) <= {"upper", "lower", "estimate"}
    assert not table.loc[table["kind"] != "upper", "certified"].any()
    assert (table["value"] > 0).all()
    assert set(table["method"]) <= set(BOUND_LOOKS)
    assert set(table.loc[table["kind"] == "lower", "method"]) <= LOWER


def test_bounds_are_ordered(table):
    assert set(table["origin"]) == {"random", "trained"}
    for _, part in table.groupby(["net", "draw"]):
        values = part.set_index("method")["value"]
        upper = values.drop([name for name in values.index if name == "data" or "greedy" in name])
        assert values["data"] * NEAR <= upper.min()
        assert upper.max() <= values["autolip"] * (1 + 1e-9)
        if "exact" in values:
            assert values["exact"] == pytest.approx(upper.min(), rel=0.2)
            assert values["exact"] * NEAR <= upper.min()
            assert values["seqlip_exact"] * NEAR <= values["seqlip"]
            assert values["lipsdp_descent"] <= values["eclipse_search"]
    assert (table.loc[table["method"] == "autolip", "ratio"] == 1).all()
    large = table[table["net"] == "3-9-9-2"]
    assert not set(large["method"]) & {"exact", "seqlip_exact", "lipsdp_descent", "lipsdp"}


def test_without_a_solver_rows_are_left_out_and_the_figure_says_so(monkeypatch, table):
    monkeypatch.setattr(study, "has_solver", lambda: False)
    chain = chain_methods.normal_chain((3, 4, 2), torch.Generator().manual_seed(0))
    points = torch.randn(5, 3, dtype=torch.float64)
    with one_thread():
        rows = study._bounds(SETTINGS, chain, chain_methods.as_module(chain), points)
    assert "lipsdp" not in {row["method"] for row in rows}
    _, drawing = drawn(table[table["method"] != "lipsdp"])
    assert any("solver not run" in text.get_text() for text in drawing.texts)


def test_values_of_the_other_implementation_are_relative_to_autolip(table):
    renamed = table.replace({"net": {"4-6-3": "4-8-3", "3-9-9-2": "10-(40x5)-5"}})
    facts, drawing = drawn(renamed)
    other = facts["other_implementation"]
    assert other["4-8-3"]["liplt"] == 0.733
    assert other["10-(40x5)-5"] == pytest.approx(
        {"lipsdp": 0.1128, "eclipse": 0.2589, "liplt": 0.3161}, abs=1e-4
    )
    rings = [
        line.get_xdata()[0]
        for axes in drawing.axes
        for line in axes.lines
        if line.get_marker() == "o" and line.get_markerfacecolor() == "none"
    ]
    assert sorted(rings) == sorted(value for values in other.values() for value in values.values())
