import pandas as pd
import pytest
import torch

from lipbounds.threads import one_thread
from papers.virmaux_scaman_2018.seqlip_ideal import figure, study
from pipeline.measuring.chain_methods import CHAIN_METHODS, relu_chain
from tests.papers.helpers import job_context, measured_and_drawn
from tests.papers.virmaux_scaman_2018.chains import (
    NEAR,
    cases,
    check_rows_say_what_they_are,
    made_up_arrays,
)

ROOM = "seqlip_ideal"
SETTINGS = study.Settings(
    layers=3,
    width=6,
    ratios=(0.5, 0.0),
    leading=1,
    draws=2,
    searches=("alternating", "greedy"),
    seed=0,
)

pytestmark = pytest.mark.usefixtures("single_threaded")


@pytest.fixture(scope="module")
def table():
    with one_thread():
        return study.study(SETTINGS, made_up_arrays())


def test_table_survives_the_file_and_is_drawn(table, tmp_path):
    table.to_csv(tmp_path / "table.csv", index=False)
    tables = {ROOM: pd.read_csv(tmp_path / "table.csv")}
    facts, drawing = measured_and_drawn(figure, tables, job_context(ROOM, SETTINGS))
    drawing.savefig(tmp_path / "one.pdf")
    assert (tmp_path / "one.pdf").stat().st_size > 5000
    assert facts["layers"] == 3
    assert facts["values"]["0.5 seqlip"] == pytest.approx(
        table.query("layers == 3 and ratio == 0.5 and method == 'seqlip'")["value"].mean()
    )
    assert "paper, one draw, at 10 layers" not in labels(drawing)


def test_values_of_the_paper_stand_at_ten_layers(table):
    deep = pd.concat([table[table["layers"] == 1].assign(layers=count) for count in range(1, 11)])
    _, drawing = measured_and_drawn(figure, {ROOM: deep}, job_context(ROOM, SETTINGS))
    drawn = [line for line in drawing.axes[0].lines if list(line.get_xdata()) == [10.25]]
    assert [line.get_ydata()[0] for line in drawn] == [5.9e-2]
    assert "paper, one draw, at 10 layers" in labels(drawing)


def labels(drawing):
    return [line.get_label() for line in drawing.axes[0].lines]


def test_rows_say_what_they_are(table):
    check_rows_say_what_they_are(table)


def test_ideal_scenario(table):
    assert len(table) == 2 * 2 * 3 * 3
    for values in cases(table, ["ratio", "draw", "layers"]):
        assert values["seqlip_greedy"] * NEAR <= values["seqlip"] <= 1 + 1e-9
        assert values["seqlip_alternating"] * NEAR <= values["seqlip"]
    assert (table.loc[table["layers"] == 1, "value"] * NEAR <= 1).all()


def test_pair_factors_found_once_give_seqlip_of_the_chain():
    layers = study._layers(SETTINGS, 0.5, torch.Generator().manual_seed(0))
    rows = study._searched(layers, "greedy")
    for count in (1, 2, 3):
        chain = relu_chain([layer.weight() for layer in layers[:count]])
        whole = CHAIN_METHODS["seqlip_greedy"](chain).value
        assert rows[count - 1]["value"] == pytest.approx(whole, rel=1e-9)
