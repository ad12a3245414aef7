import json
import math
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

import plot_bound_claims
import plot_seqlip_cnn
import plot_seqlip_ideal
import plot_seqlip_mlp
import plot_tightness
import study_bound_claims
import study_seqlip_cnn
import study_seqlip_ideal
import study_seqlip_mlp
import study_tightness
from lipbounds.bounds.lipsdp import lipsdp_descent
from lipbounds.threads import one_thread
from pipeline import bound_claims, chain_methods, claims, figures, small_nets, studies

STYLE = Path(__file__).parents[2] / "scripts" / "style.mplstyle"
NEAR = 1 - 1e-9
MEASURED = {"method", "value", "kind", "certified", "seconds"}
LOWER = {"data", "grid", "search"}

TINY = {
    "seqlip_ideal": studies.SeqlipIdeal(
        layers=3,
        width=6,
        ratios=(0.5, 0.0),
        leading=1,
        draws=2,
        searches=("alternating", "greedy"),
        seed=0,
    ),
    "tightness": studies.Tightness(
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
    ),
    "seqlip_mlp": studies.SeqlipMlp(
        depths=(2, 4),
        width=5,
        trainings=1,
        points=60,
        spread=3,
        length_scale=1,
        epochs=2,
        batch_size=20,
        learning_rate=0.01,
        exact_depths=(2, 4),
        grid_half_side=5,
        grid_points=5,
        annealing_walks=4,
        annealing_steps=5,
        seed=0,
    ),
    "seqlip_cnn": studies.SeqlipCnn(
        data="mnist1d",
        depths=(4, 5),
        channels=(1, 2, 2),
        trainings=1,
        epochs=2,
        batch_size=20,
        learning_rate=0.01,
        drop_every_epochs=1,
        drop_factor=0.5,
        triplets=200,
        annealing_walks=2,
        annealing_steps=2,
        annealing_reach=0.1,
        seed=0,
    ),
    "bound_claims": studies.BoundClaims(instances=4, seed=0),
}
STUDIES = {
    "seqlip_ideal": (study_seqlip_ideal, plot_seqlip_ideal),
    "tightness": (study_tightness, plot_tightness),
    "seqlip_mlp": (study_seqlip_mlp, plot_seqlip_mlp),
    "seqlip_cnn": (study_seqlip_cnn, plot_seqlip_cnn),
    "bound_claims": (study_bound_claims, plot_bound_claims),
}


def made_up_arrays():
    labels = torch.arange(60) % 10
    points = torch.randn(60, 40, generator=torch.Generator().manual_seed(0))
    return {"x_train": points, "y_train": labels, "x_test": points, "y_test": labels}


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with one_thread(), pytest.MonkeyPatch.context() as patch:
        quick = partial(lipsdp_descent, steps=40)
        patch.setitem(chain_methods.CHAIN_METHODS, "lipsdp_descent", quick)
        yield


@pytest.fixture(scope="module")
def tables(_quick):
    return {name: STUDIES[name][0].study(TINY[name], made_up_arrays()) for name in TINY}


@pytest.fixture(autouse=True)
def _style():
    figures.use_style(STYLE)
    yield
    plt.close("all")


def context(name):
    settings = TINY[name].model_dump(mode="json")
    return {"scale": "smoke", "settings": settings, "departures": [], "code": {}}


def cases(table, keys, column="value"):
    return [part.set_index("method")[column] for _, part in table.groupby(keys)]


@pytest.mark.parametrize("name", TINY)
def test_tables_survive_the_file_and_are_drawn(name, tables, tmp_path):
    tables[name].to_csv(tmp_path / "table.csv", index=False)
    table = pd.read_csv(tmp_path / "table.csv")
    plot = STUDIES[name][1]
    plot.draw(table, context(name)).savefig(tmp_path / "one.pdf")
    assert (tmp_path / "one.pdf").stat().st_size > 5000
    assert json.dumps(plot.facts(table, context(name)), allow_nan=False)


@pytest.mark.parametrize("name", ["seqlip_ideal", "tightness", "seqlip_mlp", "seqlip_cnn"])
def test_rows_say_what_they_are(name, tables):
    table = tables[name]
    assert set(table) >= MEASURED
    assert set(table["kind"]) <= {"upper", "lower", "estimate"}
    assert not table.loc[table["kind"] != "upper", "certified"].any()
    assert (table["value"] > 0).all()
    assert set(table["method"]) <= set(figures.BOUND_LOOKS)
    assert set(table.loc[table["kind"] == "lower", "method"]) <= LOWER


@pytest.mark.parametrize("name", ["seqlip_mlp", "seqlip_cnn"])
def test_a_study_repeats_itself_and_leaves_the_global_seed_alone(name, tables, monkeypatch):
    state = torch.get_rng_state()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # nets side by side
    again = STUDIES[name][0].study(TINY[name], made_up_arrays()).drop(columns="seconds")
    assert torch.equal(torch.get_rng_state(), state)
    pd.testing.assert_frame_equal(again, tables[name].drop(columns="seconds"))


def test_nets_have_the_default_initialisation():
    model = small_nets.seeded_mlp((4, 200, 3), seed=1)
    assert torch.equal(small_nets.seeded_mlp((4, 200, 3), seed=1)[0].weight, model[0].weight)
    assert 0.49 < model[0].weight.abs().max() <= 0.5
    assert 0.4 < model[0].bias.abs().max() <= 0.5
    assert model[2].weight.abs().max() <= 200**-0.5


def test_ideal_scenario(tables):
    table = tables["seqlip_ideal"]
    assert len(table) == 2 * 2 * 3 * 3
    for values in cases(table, ["ratio", "draw", "layers"]):
        assert values["seqlip_greedy"] * NEAR <= values["seqlip"] <= 1 + 1e-9
        assert values["seqlip_alternating"] * NEAR <= values["seqlip"]
    assert (table.loc[table["layers"] == 1, "value"] * NEAR <= 1).all()


def test_pair_factors_found_once_give_seqlip_of_the_chain():
    layers = study_seqlip_ideal._layers(TINY["seqlip_ideal"], 0.5, torch.Generator().manual_seed(0))
    rows = study_seqlip_ideal._searched(layers, "greedy")
    for count in (1, 2, 3):
        chain = chain_methods.relu_chain([layer.weight() for layer in layers[:count]])
        whole = chain_methods.CHAIN_METHODS["seqlip_greedy"](chain).value
        assert rows[count - 1]["value"] == pytest.approx(whole, rel=1e-9)


def test_tightness_is_ordered(tables):
    table = tables["tightness"]
    assert set(table["origin"]) == {"random", "trained"}
    for values in cases(table, ["net", "draw"]):
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


def test_without_a_solver_rows_are_left_out_and_the_figure_says_so(monkeypatch, tables):
    monkeypatch.setattr(study_tightness, "has_solver", lambda: False)
    chain = chain_methods.normal_chain((3, 4, 2), torch.Generator().manual_seed(0))
    points = torch.randn(5, 3, dtype=torch.float64)
    rows = study_tightness._bounds(TINY["tightness"], chain, chain_methods.as_module(chain), points)
    assert "lipsdp" not in {row["method"] for row in rows}
    table = tables["tightness"]
    figure = plot_tightness.draw(table[table["method"] != "lipsdp"], context("tightness"))
    assert any("solver not run" in text.get_text() for text in figure.texts)
    monkeypatch.setattr(bound_claims, "has_solver", lambda: False)
    for test in (bound_claims.order_of_bounds, bound_claims.lipsdp_below_seqlip):
        assert test(4, torch.Generator()).verdict == "not tested"


@pytest.mark.parametrize("name", ["seqlip_mlp", "seqlip_cnn"])
def test_lower_bounds_stay_below_upper_bounds(name, tables):
    table = tables[name]
    for values in cases(table, ["depth", "training"]):
        lower = values[[method for method in values.index if method in LOWER]]
        kinds = table.groupby("method")["kind"].first()
        upper = values[[method for method in values.index if kinds[method] == "upper"]]
        assert lower.max() * NEAR <= upper.min()
        bounds = upper.drop("frobenius", errors="ignore")
        assert bounds.max() <= values["autolip"] * (1 + 1e-9)
        assert values["seqlip_greedy"] * NEAR <= values.get("seqlip_exact", values["seqlip"])
        assert values["data"] * NEAR <= values["search"]
        if name == "seqlip_mlp":
            assert values["autolip"] <= values["frobenius"] * (1 + 1e-9)
            assert values["seqlip_alternating"] * NEAR <= values["seqlip_exact"]


def test_matrices_of_convolutions_are_those_of_the_net():
    model = study_seqlip_cnn.build(TINY["seqlip_cnn"], 5, 0).double()
    x = torch.randn(1, 1, 40, dtype=torch.float64)
    linear = [layer for layer in model if not isinstance(layer, torch.nn.ReLU)]
    expected = torch.nn.Sequential(*linear)(x) - torch.nn.Sequential(*linear)(0 * x)
    image = x.flatten()
    for matrix in study_seqlip_cnn._matrices(model):
        image = matrix @ image
    assert torch.allclose(image, expected.flatten())


def test_function_is_reproducible_and_smooth():
    one, two = (study_seqlip_mlp.sampled_function(TINY["seqlip_mlp"]) for _ in range(2))
    assert torch.equal(one[1], two[1])
    near = torch.cdist(one[0], one[0]) < 0.1
    assert ((one[1] - one[1].T).abs()[near] < 1).all()


def test_exact_maximum_and_names():
    ones = torch.ones(2, 2, dtype=torch.float64)
    chain = chain_methods.relu_chain([ones, -ones, ones])
    assert chain_methods.exact_maximum(chain).value == pytest.approx(8)
    assert chain_methods.short_name((4, 8, 3)) == "4-8-3"
    assert chain_methods.short_name((10, 40, 40, 40, 40, 5)) == "10-(40x4)-5"
    assert chain_methods.short_name((3, 4, 4, 4, 2)) == "3-4-4-4-2"


def test_annealing_finds_a_steep_place():
    model = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1)).double()
    with torch.no_grad():
        for layer, weight, bias in ((0, [[1.0], [9.0]], [0.0, -9.0]), (2, [[1.0, 1.0]], [0.0])):
            model[layer].weight.copy_(torch.tensor(weight))
            model[layer].bias.copy_(torch.tensor(bias))
    start = torch.full((3, 1), 0.5, dtype=torch.float64)
    found = small_nets.annealed_jacobian(model, start, walks=3, steps=50, reach=0.5, seed=0)
    assert found.value == pytest.approx(10)


def test_every_claim_has_a_verdict_and_a_rule(tables):
    table = tables["bound_claims"]
    columns = "claim source statement rule instances violations estimate low high verdict figure"
    assert set(table) >= set(columns.split())
    assert len(set(table["claim"])) == len(table) == 19
    assert (table["rule"].str.len() > 40).all()
    assert set(table["figure"]) <= {*studies.Studies.model_fields, "none"}
    verdict = table.set_index("claim")["verdict"]
    certain = {"A1", "A2", "A3", "A4", "A7", "B3", "D1", "D3", "D4", "X1"}
    assert (verdict[sorted(certain)] == "holds").all()
    assert (verdict[["A8", "B5", "D2"]] == "does not hold").all()
    assert verdict["B2"] == "holds in part"
    assert (table["low"] <= table["estimate"]).all()
    assert (table["estimate"] <= table["high"]).all()


def test_rules_on_planted_data():
    assert claims.universal([False] * 20).verdict == "holds"
    assert claims.universal([False] * 19 + [True]).verdict == "does not hold"
    assert claims.two_cases([False] * 5, [True, False]).verdict == "holds in part"
    assert claims.two_cases([True], [True, False]).verdict == "does not hold"
    assert claims.two_cases([False], [False]).verdict == "holds"
    assert claims.within([1.0, 1.1, 0.9, 1.0], 0.5, 1.5, "a mean").verdict == "holds"
    assert claims.within([1.0, 1.1, 0.9, 1.0], 2, 3, "a mean").verdict == "does not hold"
    assert claims.within([1.0, 3.0, 1.0, 3.0], 0, 2, "a mean").verdict == "holds in part"
    assert claims.within([1.0, 3.0], 0, 2, "a mean").violations == 1
    assert claims.within([1.0, 3.0], 0, 2, "a mean").unit == "a mean"
    assert claims.universal([False]).unit == "share of violations"


def test_intervals():
    share, low, high = claims.share(0, 30)
    assert (share, low) == (0, 0)
    assert high == pytest.approx(1 - 0.025 ** (1 / 30))
    assert claims.share(30, 30)[1] == pytest.approx(0.025 ** (1 / 30))
    assert claims.share(3, 10) == pytest.approx((0.3, 0.06673951, 0.65245285), rel=1e-6)
    mean, low, high = claims.mean_interval([1.0, 2.0, 3.0, 4.0] * 10)
    spread = math.sqrt(1.25 / 40)
    assert mean == 2.5
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.1)
    assert claims.mean_interval([5.0]) == (5.0, 5.0, 5.0)
