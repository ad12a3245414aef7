import json
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
import yaml
from tests.conftest import ROOT
from torch import nn

import plot_toy
import study_toy
from lipbounds.bounds import lower_bound, upper_bound
from lipbounds.jacobian import jacobian_norms
from lipbounds.threads import one_thread
from nets.training.full_batch import FullBatchDescent
from nets.training.loss import loss_named
from pipeline import figures
from pipeline.config.training import load_config
from pipeline.measuring.linear_regions import linear_regions, polygon_area, steepest_region
from pipeline.measuring.small_nets import seeded_mlp

RAW = yaml.safe_load((ROOT / "config.yaml").read_text())
PAPER = load_config(RAW | {"scale": "paper"}).study("toy")
CONFIG = load_config(RAW | {"scale": "smoke"})
SMOKE = CONFIG.study("toy")
CROSS_ENTROPY = nn.functional.cross_entropy


def papers_net():
    return seeded_mlp([2, *PAPER.hidden_sizes, 3], PAPER.model_seed)


def context(departures=None):
    known = CONFIG.departures("toy") if departures is None else departures
    settings = SMOKE.model_dump(mode="json")
    return {"scale": "smoke", "settings": settings, "departures": known, "code": {}}


@pytest.fixture(autouse=True)
def _alone(single_threaded):
    figures.use_style(Path(ROOT) / "scripts" / "style.mplstyle")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "toy.csv"
    study_toy.study(SMOKE, {}).to_csv(path, index=False)
    return pd.read_csv(path)


def value(table, name, half_side=None):
    part = table[(table["kind"] == "fact") & (table["name"] == name)]
    part = part if half_side is None else part[part["half_side"] == half_side]
    assert len(part) == 1, name
    return part["value"].item()


def test_points_and_net_are_the_papers():
    (x, y), (x_test, y_test) = study_toy.gaussians(PAPER)
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


def by_autograd(model, x, y, loss, rate, steps):
    """Plain gradient descent, and the gradient norm of the last step."""
    for _ in range(steps):
        gradients = torch.autograd.grad(loss(model(x), y), list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= rate * gradient
    return torch.cat([gradient.flatten() for gradient in gradients]).norm().item()


def test_descent_follows_autograd():
    (x, y), _ = study_toy.gaussians(PAPER)
    model, other = papers_net(), papers_net()
    descent = FullBatchDescent(model, x, y, loss=loss_named("cross_entropy"), rate=0.02)
    descent.descend(150)
    descent.descend(50)
    norm = by_autograd(other, x, y, CROSS_ENTROPY, 0.02, 200)
    assert descent.gradient_norm == pytest.approx(norm, rel=1e-4)
    for own, expected in zip(model.parameters(), other.parameters(), strict=True):
        assert (own - expected).abs().max() < 5e-7  # float32: weights up to 1


def squared_error(logits, y):
    return (logits - nn.functional.one_hot(y, 2)).square().sum(1).mean()


def without_biases():
    torch.manual_seed(3)
    layers = [nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 5), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(5, 2, bias=False)).double()


def one_layer():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 2)).double()


@pytest.mark.parametrize("build", [without_biases, one_layer])
def test_descent_on_other_nets_and_losses(build):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 4, generator=generator, dtype=torch.float64)
    y = torch.randint(2, (20,), generator=generator)
    model, other = build(), build()
    descent = FullBatchDescent(model, x, y, loss=loss_named("mean_squared_error"), rate=0.05)
    descent.descend(0)
    assert descent.gradient_norm == 0
    descent.descend(50)
    norm = by_autograd(other, x, y, squared_error, 0.05, 50)
    assert descent.gradient_norm == pytest.approx(norm, rel=1e-10)
    for own, expected in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "layers",
    [
        [],
        [nn.Linear(2, 3), nn.ReLU()],
        [nn.Linear(2, 3), nn.Linear(3, 2)],
        [nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)],
    ],
)
def test_descent_refuses_other_models(layers):
    x, y = torch.zeros(5, 2), torch.zeros(5, dtype=torch.int64)
    with pytest.raises(ValueError, match="a ReLU between"):
        FullBatchDescent(nn.Sequential(*layers), x, y, loss=loss_named("cross_entropy"), rate=0.1)


def test_regions_of_a_net_that_is_known():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
        model[0].bias.copy_(torch.tensor([-1.0, 1.0]))
        model[2].weight.copy_(torch.tensor([[3.0, -4.0]]))
    polygons = linear_regions(model, 2.0)
    assert sorted(polygon_area(polygon) for polygon in polygons) == pytest.approx([1, 3, 3, 9])
    found = steepest_region(model, 2.0)
    assert found.value == pytest.approx(5)
    assert found.x > 1
    assert found.y > -1
    assert (found.area, found.regions) == pytest.approx((3, 4))


def test_regions_cover_the_square_and_leave_nothing_steeper():
    model = seeded_mlp([2, 12, 9, 3], 1).double()
    polygons = linear_regions(model, 3.0)
    assert sum(map(polygon_area, polygons)) == pytest.approx(36, rel=1e-12)
    assert len(polygons) > 50
    generator = torch.Generator().manual_seed(0)
    points = 6 * torch.rand(20_000, 2, generator=generator, dtype=torch.float64) - 3
    exact = steepest_region(model, 3.0).value
    norms = jacobian_norms(model, points)
    assert norms.max() <= exact * (1 + 1e-12)
    assert norms.max() >= 0.97 * exact
    assert exact <= upper_bound(model, (2,), method="best").value
    # in its interior the net is affine, so the norm at the corners, pulled inward, is one number
    large = max(polygons, key=polygon_area)
    corners = torch.tensor(large, dtype=torch.float64)
    inside = jacobian_norms(model, corners.mean(0) + 0.999 * (corners - corners.mean(0)))
    torch.testing.assert_close(inside, inside[:1].expand_as(inside), rtol=1e-12, atol=0)


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
    train, _ = study_toy.gaussians(SMOKE)
    model = seeded_mlp([2, *SMOKE.hidden_sizes, 3], SMOKE.model_seed)
    descent = FullBatchDescent(model, *train, loss=loss_named("cross_entropy"), rate=SMOKE.learning_rate)
    descent.descend(SMOKE.steps)
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
    assert study_toy._shown_steps(1, 40) == [0, 1]
    steps = study_toy._shown_steps(100_000, 40)
    assert steps[:3] == [0, 1, 2]
    assert steps[-1] == 100_000
    assert len(steps) <= 42


def test_figure_and_facts(table, tmp_path):
    figure = plot_toy.draw(table, context())
    figure.savefig(tmp_path / "one.pdf")
    assert (tmp_path / "one.pdf").stat().st_size > 5000
    facts = plot_toy.facts(table, context())
    assert json.dumps(facts, allow_nan=False)
    assert not facts["the_paper's_net"]
    assert "paper" not in facts["values"]["c_upper"]
    assert facts["certified"] == {"tightest": True, "best": True, "c_upper": True}
    over = facts["over_the_exact_maximum"]
    assert list(over) == list(plot_toy.ROWS)
    assert over["exact"] == 1
    assert over["c_lower"] <= 1 <= over["c_upper"]


def test_paper_stands_beside_its_own_net_only(table):
    drawing = [{"setting": "map_points", "paper": 250, "here": 30}]
    facts = plot_toy.facts(table, context(drawing))
    assert facts["the_paper's_net"]
    beside = facts["values"]["train_loss"]
    assert beside["paper"] == 0.0011
    assert beside["relative_difference"] == pytest.approx(beside["measured"] / 0.0011 - 1)
    assert beside["printed_to"] == pytest.approx(0.00005 / 0.0011)
    labels = [text.get_text() for text in plot_toy.draw(table, context(drawing)).axes[-2].texts]
    assert labels
    assert {row["setting"] for row in CONFIG.departures("toy")} & plot_toy.DECISIVE


@pytest.mark.slow
def test_numbers_of_the_paper_are_found_again():
    train, test = study_toy.gaussians(PAPER)
    model = papers_net()
    descent = FullBatchDescent(model, *train, loss=loss_named("cross_entropy"), rate=PAPER.learning_rate)
    with one_thread():
        descent.descend(PAPER.steps)
        exact = model.double()
        x = train[0].double()
        assert lower_bound(exact, x).max == pytest.approx(135.815, rel=0.02)
        assert upper_bound(exact, (2,)).value == pytest.approx(389.097, rel=0.02)
        for half_side in PAPER.half_sides:
            grid = study_toy._grid_fact(PAPER, exact, half_side)["value"]
            found = steepest_region(exact, half_side).value
            assert grid == pytest.approx(144.194, rel=0.02)
            assert grid == pytest.approx(found, rel=1e-9)
        assert (exact(x).argmax(1) == train[1]).all()
        right = (exact(test[0].double()).argmax(1) == test[1]).double().mean().item()
        assert right == pytest.approx(0.7333, abs=5e-5)
