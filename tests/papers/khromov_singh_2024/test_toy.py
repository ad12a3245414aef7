import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import nn

from lipbounds.bounds import lower_bound, upper_bound
from lipbounds.jacobian import jacobian_norms
from lipbounds.threads import one_thread
from papers.khromov_singh_2024.toy import bounds, figure, study
from pipeline.config.loading import load_config
from pipeline.measuring.linear_regions import steepest_region
from pipeline.measuring.small_nets import seeded_mlp
from tests.conftest import ROOT
from tests.papers.helpers import job_context, judged, measured_and_drawn
from tests.papers.trained_nets import without_numbers

ROOM = "toy"
RAW = yaml.safe_load((ROOT / "config.yaml").read_text())
PAPER = load_config(RAW | {"scale": "paper"}).study(ROOM)
CONFIG = load_config(RAW | {"scale": "smoke"})
SMOKE = CONFIG.study(ROOM)
CROSS_ENTROPY = nn.functional.cross_entropy

pytestmark = pytest.mark.usefixtures("single_threaded")


def papers_net():
    return seeded_mlp([2, *PAPER.hidden_sizes, 3], PAPER.model_seed)


def context(departures=None):
    known = CONFIG.departures(ROOM) if departures is None else departures
    return job_context(ROOM, SMOKE) | {"departures": known}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "toy.csv"
    study.study(SMOKE, {}).to_csv(path, index=False)
    return pd.read_csv(path)


def value(table, name, half_side=None):
    part = table[(table["kind"] == "fact") & (table["name"] == name)]
    part = part if half_side is None else part[part["half_side"] == half_side]
    assert len(part) == 1, name
    return part["value"].item()


def test_points_and_net_are_the_papers():
    (x, y), (x_test, y_test) = ((points.x, points.y) for points in study.gaussians(PAPER))
    points = torch.cat([x, x_test])
    assert points.min().item() == pytest.approx(-3.816042, abs=1e-6)
    assert points.max().item() == pytest.approx(4.1605024, abs=1e-6)
    assert [len(y), len(y_test)] == [45, 15]
    assert y.bincount().tolist() == [15, 15, 15]
    model = papers_net()
    assert sum(parameter.numel() for parameter in model.parameters()) == 10_703
    with torch.no_grad():
        assert CROSS_ENTROPY(model(x), y).item() == pytest.approx(1.1601, abs=5e-5)
        assert CROSS_ENTROPY(model(x_test), y_test).item() == pytest.approx(1.1581, abs=5e-5)
    assert lower_bound(model, x).max == pytest.approx(0.219, abs=5e-4)
    assert upper_bound(model, (2,)).value == pytest.approx(2.854, abs=5e-4)


def test_initialisation_is_that_of_torch():
    state = torch.get_rng_state()
    torch.manual_seed(PAPER.model_seed)
    layers = [nn.Linear(2, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 3)]
    torch.set_rng_state(state)
    for own, other in zip(papers_net().parameters(), nn.Sequential(*layers).parameters(), strict=True):
        assert torch.equal(own, other)


# ---------------------------------------------------------------- table


def test_bounds_are_ordered(table):
    exact = {half: value(table, "exact", half) for half in (5, 10, 10_000)}
    far = exact[10_000]
    near = 1 + 1e-9
    assert value(table, "c_avg") < value(table, "c_lower") <= exact[5] * near
    assert exact[5] <= exact[10] * near
    assert exact[10] <= far * near
    for half in (5, 10):
        assert value(table, "grid", half) <= exact[half] * near
    assert value(table, "c_lower") <= value(table, "search") <= exact[10] * near
    assert far <= value(table, "tightest") <= value(table, "best") <= value(table, "c_upper")
    facts = table[table["kind"] == "fact"].set_index("name")
    assert facts.loc[["tightest", "best", "c_upper"], "certified"].all()
    assert not facts.loc[["grid", "exact", "search", "c_lower"], "certified"].any()
    assert 10 ** facts.loc["c_upper", "log10"] == pytest.approx(value(table, "c_upper"))


def test_grid_is_attained_where_the_table_says(table):
    model = trained_at_smoke()
    for name in ("grid", "exact", "search"):
        for _, row in table[(table["kind"] == "fact") & (table["name"] == name)].iterrows():
            point = torch.tensor([[row["x"], row["y"]]], dtype=torch.float64)
            assert jacobian_norms(model, point).item() == pytest.approx(row["value"], rel=1e-9)
            assert point.abs().max() <= row["half_side"]


def trained_at_smoke():
    train, _ = study.gaussians(SMOKE)
    model = seeded_mlp([2, *SMOKE.hidden_sizes, 3], SMOKE.model_seed)
    model.load_state_dict(study.descend(SMOKE, model, train).nets[0, SMOKE.steps])
    return model.double()


def test_rows_of_points_maps_and_history(table):
    kinds = table["kind"].value_counts()
    assert kinds["train_point"] == 45
    assert kinds["test_point"] == 15
    assert kinds["map"] == 2 * SMOKE.map_points**2
    assert (table.loc[table["kind"] != "fact", "value"] >= 0).all()
    assert value(table, "c_lower") == pytest.approx(
        table.loc[table["kind"] == "train_point", "value"].max(), rel=1e-6
    )
    history = table[table["kind"] == "history"].pivot(index="step", columns="name", values="value")
    assert history.index[[0, -1]].tolist() == [0, SMOKE.steps]
    assert (history["c_avg"] <= history["c_lower"]).all()
    assert (history["c_lower"] <= history["c_upper"]).all()
    assert history["train_loss"].is_monotonic_decreasing
    points = table[table["kind"] == "train_point"]
    accuracy = (points["label"] == points["predicted"]).mean()
    assert history["train_accuracy"].iloc[-1] == pytest.approx(accuracy)


def test_shown_steps():
    assert study._shown_steps(1, 40) == [0, 1]
    steps = study._shown_steps(100_000, 40)
    assert steps[:3] == [0, 1, 2]
    assert steps[-1] == 100_000
    assert len(steps) <= 42


# ---------------------------------------------------------------- figure


def test_figure_and_facts(table, tmp_path):
    facts, drawing = measured_and_drawn(figure, {ROOM: table}, context())
    drawing.savefig(tmp_path / "one.pdf")
    assert (tmp_path / "one.pdf").stat().st_size > 5000
    assert not facts["the_paper's_net"]
    assert "paper" not in facts["values"]["c_upper"]
    assert facts["certified"] == {"tightest": True, "best": True, "c_upper": True}
    over = facts["over_the_exact_maximum"]
    assert list(over) == list(bounds.ROWS)
    assert over["exact"] == 1
    assert over["c_lower"] <= 1 <= over["c_upper"]


def test_paper_stands_beside_its_own_net_only(table):
    same_net = [{"setting": "map_points", "paper": 250, "here": 30}]
    facts, drawing = measured_and_drawn(figure, {ROOM: table}, context(same_net))
    assert facts["the_paper's_net"]
    beside = facts["values"]["train_loss"]
    assert beside["paper"] == 0.0011
    assert beside["relative_difference"] == pytest.approx(beside["measured"] / 0.0011 - 1)
    assert beside["printed_to"] == pytest.approx(0.00005 / 0.0011)
    (numbers,) = [axes for axes in drawing.axes if axes.get_title("left").startswith("d ")]
    drawn = [text.get_text() for text in numbers.texts]
    assert drawn == [f"{facts['values'][name]['measured']:.4g}" for name in bounds.ROWS]
    rings = [line.get_xdata()[0] for line in numbers.lines if line.get_markersize() == 9]
    assert rings == [135.815, 144.1936, 144.194, 389.097]
    assert {row["setting"] for row in CONFIG.departures(ROOM)} & figure.DECISIVE


# ---------------------------------------------------------------- claim


def as_claimed():
    """The boundary is x = 0, and the steepest place lies on it."""
    rows = [
        {"kind": "fact", "name": "c_lower", "value": 94.0},
        {"kind": "fact", "name": "grid", "half_side": 5, "value": 100.0, "x": 0.1, "y": 1.0},
        {"kind": "fact", "name": "grid", "half_side": 10, "value": 100.0, "x": 0.1, "y": 1.0},
    ]
    axis = np.linspace(-5, 5, 21)
    rows += [
        {"kind": "map", "half_side": 5, "x": x, "y": y, "predicted": int(x > 0), "value": 1.0}
        for x in axis
        for y in axis
    ]
    return pd.DataFrame(rows)


def verdict(rows):
    facts = {"where_norms_are_large": figure.at_the_boundary({ROOM: rows})}
    return judged(figure.steepest_at_boundary, ROOM, facts)


def test_the_largest_norm_lies_at_the_boundary_where_the_table_says_so():
    found = verdict(as_claimed())
    assert found.verdict == "holds"
    assert found.estimate == pytest.approx(0.94)
    against = as_claimed().assign(
        x=lambda rows: rows["x"] + 3 * (rows["kind"] == "fact"),
        value=lambda rows: [10, 100, 200, *rows["value"][3:]],
    )
    assert verdict(against).verdict == "does not hold"


def test_the_claim_is_judged_by_the_facts_of_the_figure(table):
    facts = figure.measure({ROOM: table}, context())
    found = judged(figure.steepest_at_boundary, ROOM, facts)
    over = facts["values"]["c_lower"]["measured"] / facts["values"]["grid_5"]["measured"]
    assert found.estimate == pytest.approx(over, rel=1e-12)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (as_claimed().iloc[:0], "no rows"),
        (as_claimed().drop(columns="kind"), "lacks"),
        (as_claimed().query("half_side != 10"), "fewer than two grids"),
        (without_numbers(as_claimed()), "no number"),
    ],
)
def test_what_is_missing_is_not_tested_and_says_why(rows, reason):
    found = verdict(rows)
    assert found.verdict == "not tested"
    assert reason in found.reason


# ---------------------------------------------------------------- the paper


@pytest.mark.slow
def test_numbers_of_the_paper_are_found_again():
    train, test = study.gaussians(PAPER)
    model = papers_net()
    with one_thread():
        model.load_state_dict(study.descend(PAPER, model, train).nets[0, PAPER.steps])
        exact = model.double()
        x = train.x.double()
        assert lower_bound(exact, x).max == pytest.approx(135.815, rel=0.02)
        assert upper_bound(exact, (2,)).value == pytest.approx(389.097, rel=0.02)
        for half_side in PAPER.half_sides:
            grid = study._grid_fact(PAPER, exact, half_side)["value"]
            found = steepest_region(exact, half_side).value
            assert grid == pytest.approx(144.194, rel=0.02)
            assert grid == pytest.approx(found, rel=1e-9)
        assert (exact(x).argmax(1) == train.y).all()
        right = (exact(test.x.double()).argmax(1) == test.y).double().mean().item()
        assert right == pytest.approx(0.7333, abs=5e-5)
