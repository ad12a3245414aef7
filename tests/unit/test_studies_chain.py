import json
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import plot_seqlip_cnn
import plot_seqlip_ideal
import plot_seqlip_mlp
import pytest
import study_seqlip_cnn
import study_seqlip_ideal
import study_seqlip_mlp
import torch

from lipbounds.bounds.lipsdp import lipsdp_descent
from lipbounds.threads import one_thread
from pipeline import chain_methods, figures, studies

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
}
STUDIES = {
    "seqlip_ideal": (study_seqlip_ideal, plot_seqlip_ideal),
    "seqlip_mlp": (study_seqlip_mlp, plot_seqlip_mlp),
    "seqlip_cnn": (study_seqlip_cnn, plot_seqlip_cnn),
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


@pytest.mark.parametrize("name", ["seqlip_ideal", "seqlip_mlp", "seqlip_cnn"])
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
