"""Studies of trained nets at their stop, on tiny runs, against brute force."""

import json
import math
from itertools import combinations

import numpy as np
import pytest
import torch
import yaml
from tests.conftest import ROOT

import study_adversarial
import study_distribution
import study_linearisation
import study_out_of_distribution
import study_sandwich
import study_subsampling
from nets.models.fcn import seeded_fcn
from pipeline import studies
from pipeline.config.training import load_config
from pipeline.jobs.seeds import derive_seed
from pipeline.measuring.fresh_points import fresh_mnist1d
from pipeline.provenance.files import write_tensors
from pipeline.runs.run import Run

MODEL = load_config(yaml.safe_load((ROOT / "config.yaml").read_text())).setup("double_descent").model
INPUTS, CLASSES = 40, 3
PARTS = {"train": 30, "test": 20}
STOPS = [(0, "gradient_norm", 20), (1, "epoch_cap", 30), (2, "diverged", 10)]

pytestmark = pytest.mark.usefixtures("single_threaded")


@pytest.fixture
def arrays():
    generator = torch.Generator().manual_seed(7)
    return {f"x_{part}": torch.randn(n, INPUTS, generator=generator) for part, n in PARTS.items()}


def net(seed, epoch, width):
    return seeded_fcn(1000 * seed + 10 * epoch + width, INPUTS, [width], CLASSES)


@pytest.fixture
def make_run(tmp_path):
    def make(width=5, loss="cross_entropy", experiment="double_descent"):
        folder = tmp_path / f"{experiment}-{width}"
        folder.mkdir()
        labels = {f"y_{part}": torch.arange(n) % CLASSES for part, n in PARTS.items()}
        write_tensors(folder / "labels", labels)
        nets = {(s, e): net(s, e, width) for s, _, stop in STOPS for e in (0, stop)}
        weights = {
            f"seed~{seed}/epoch~{epoch}/{name}": weight
            for (seed, epoch), model in nets.items()
            for name, weight in model.state_dict().items()
        }
        write_tensors(folder / "checkpoints", weights)
        seeds = [{"seed": s, "stop_reason": r, "epochs": e} for s, r, e in STOPS]
        summary = {"seeds": seeds, "settings": {"training": {"loss": loss}}}
        (folder / "run.json").write_text(json.dumps(summary))
        return Run(
            experiment=experiment,
            variant="base",
            noise=0,
            width=width,
            model=MODEL,
            training_points=None,
            labels=folder / "labels",
            checkpoints=folder / "checkpoints",
            summary=folder / "run.json",
        )

    return make


def jacobian_norm(model, x):
    """By autograd, in float64."""
    model = model.double()
    jacobian = torch.autograd.functional.jacobian(lambda v: model(v[None])[0], x.double())
    return torch.linalg.matrix_norm(jacobian, 2).item()


def only(table, **values):
    for name, value in values.items():
        table = table[table[name] == value]
    return table


def test_distribution_has_every_point_of_every_seed_that_did_not_diverge(make_run, arrays):
    table = study_distribution.study(studies.Distribution(widths=(5,)), arrays, [make_run()])
    assert len(table) == 2 * sum(PARTS.values())
    row = only(table, seed=1, points="test", point=4).iloc[0]
    model, x = net(1, 30, 5), arrays["x_test"][4]
    assert row["norm"] == pytest.approx(jacobian_norm(model, x))
    logits = model(x[None].double())
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([4 % CLASSES])).item()
    assert row["loss"] == pytest.approx(expected, rel=1e-5)
    assert row["correct"] == (logits.argmax().item() == 4 % CLASSES)
    assert row["stop_reason"] == "epoch_cap"


def test_distribution_takes_the_loss_of_the_run(make_run, arrays):
    run = make_run(loss="mean_squared_error", experiment="double_descent_mse")
    table = study_distribution.study(studies.Distribution(widths=(5,)), arrays, [run])
    row = only(table, seed=0, points="train", point=7).iloc[0]
    target = torch.nn.functional.one_hot(torch.tensor(7 % CLASSES), CLASSES)
    expected = (net(0, 20, 5)(arrays["x_train"][7:8])[0] - target).square().sum().item()
    assert row["loss"] == pytest.approx(expected, rel=1e-5)


def test_noise_is_the_same_for_all_nets_and_none_at_radius_0(make_run, arrays):
    settings = studies.OutOfDistribution(radii=(0, 0.5), seed=3)
    table = study_out_of_distribution.study(settings, arrays, [make_run(), make_run(width=7)])
    assert len(table) == 2 * 2 * 2 * 2
    row = only(table, seed=0, width=5, points="train", radius=0).iloc[0]
    norms = [jacobian_norm(net(0, 20, 5), x) for x in arrays["x_train"]]
    assert row["c_lower"] == pytest.approx(max(norms))
    assert row["c_avg"] == pytest.approx(np.mean(norms))
    generator = torch.Generator().manual_seed(derive_seed(3, "test"))
    moved = arrays["x_test"] + 0.5 * torch.randn(20, INPUTS, generator=generator)
    for width in (5, 7):
        row = only(table, seed=1, width=width, points="test", radius=0.5).iloc[0]
        norms = [jacobian_norm(net(1, 30, width), x) for x in moved]
        assert row["c_lower"] == pytest.approx(max(norms))


def test_attacks_raise_the_loss_with_the_radius_and_are_checked_on_one_net(make_run, arrays):
    settings = studies.Adversarial(
        radii=(0.5, 2), steps=15, first_step=1, last_step=0.05, check_steps=40
    )
    table = study_adversarial.study(settings, arrays, [make_run(), make_run(width=7)])
    checks = table[table["steps"] == 40]
    assert {(row.width, row.seed) for row in checks.itertuples()} == {(5, 0)}
    plain = table[table["steps"] != 40]
    for _, own in plain.groupby(["width", "seed", "points"]):
        assert own.sort_values("radius")["loss"].is_monotonic_increasing
    assert (only(table, radius=0)["c_secant"] == 0).all()
    moved = checks.merge(plain, on=["width", "seed", "points", "radius"], suffixes=("_more", ""))
    assert (moved["loss_more"] > 0.98 * moved["loss"]).all()


def test_linearised_bound_by_hand(make_run, arrays):
    run = make_run()
    table = study_linearisation.study(studies.Linearisation(points=4, seed=0), arrays, [run])
    own = only(table, seed=1)
    values = own[own["point"].isna()].set_index("quantity")["value"]
    start, end = net(1, 0, 5), net(1, 30, 5)
    pairs = zip(start.parameters(), end.parameters(), strict=True)
    distance = math.sqrt(sum((a - b).square().sum().item() for a, b in pairs))
    assert values["distance"] == pytest.approx(distance, rel=1e-5)
    norms = [jacobian_norm(end, x) for x in arrays["x_train"]]
    assert values["c_final"] == pytest.approx(max(norms))
    mixed = only(own, quantity="mixed")
    assert mixed["point"].nunique() == 4
    assert values["mixed_largest"] == mixed["value"].max()
    assert values["bound"] == pytest.approx(values["c_initial"] + distance * mixed["value"].max())
    # the bound holds for the linearised net itself
    assert (
        _linearised_norm(start, end, arrays["x_train"][int(mixed["point"].iloc[0])]) <= values["bound"]
    )


def _linearised_norm(start, end, x):
    """Norm of J + dJ for J = D2 W2 D1 W1, whose slopes D do not change with the weights."""
    first, second = (start[place].weight.detach().double() for place in (0, 2))
    first_way, second_way = (
        end[place].weight.detach().double() - weight for place, weight in ((0, first), (2, second))
    )
    hidden = first @ x.double()
    on = (hidden > 0).double()
    outputs = (second @ hidden.relu() > 0).double().unsqueeze(1)
    changed = second * on @ (first + first_way) + second_way * on @ first
    return torch.linalg.matrix_norm(outputs * changed, 2).item()


def test_bounds_of_the_sandwich_are_in_order(make_run, arrays):
    settings = studies.Sandwich(
        searches=2,
        search_starts=8,
        search_steps=10,
        search_radius=2,
        exact_width=5,
        seqlip_width=5,
        descent_width=100,
        seed=0,
    )
    table = study_sandwich.study(settings, arrays, [make_run(), make_run(width=7)])
    for (width, _), own in table.groupby(["width", "seed"]):
        value = own.set_index("method")["value"]
        assert value["mean"] < value["data"] <= value["search"]
        assert ("exact" in value) == ("seqlip" in value) == (width == 5)
        truth = value.get("exact", value["search"])
        assert value["search"] <= truth
        upper = own[own["kind"] == "upper"]
        assert upper["certified"].all()
        # the Jacobians at points are those of float32 nets
        assert (upper["value"] * (1 + 1e-6) >= truth).all()
        assert value["lipsdp_descent"] <= value["autolip"]


def test_subsets_against_all_of_them():
    values = np.array([1.0, 2.0, 2.5, 4.0, 7.0])
    for size in (2, 3, 5):
        maxima = [max(subset) for subset in combinations(values, size)]
        mean, std = study_subsampling.maximum_of_subset(values, size)
        assert mean == pytest.approx(np.mean(maxima))
        assert std == pytest.approx(np.std(maxima))


def test_tail_of_a_known_distribution():
    # uniform numbers have a tail of shape -1, and a largest value with a known mean
    values = np.sort(np.random.default_rng(0).random(20_000))
    tail = study_subsampling.fitted_tail(values, 0.1)
    assert tail[1] == pytest.approx(-1, abs=0.05)
    for size in (1000, 100_000):
        assert 1 - study_subsampling.mean_maximum(*tail, 0.1, size) == pytest.approx(
            1 / (size + 1), abs=2e-4
        )


def test_subsampling_says_what_all_points_have(make_run, arrays):
    settings = studies.Subsampling(
        widths=(5,), sizes=(10, 30, 1000), draws=20, fresh_points=70, tail=0.5, seed=0
    )
    table = study_subsampling.study(settings, arrays, [make_run()])
    largest = max(jacobian_norm(net(0, 20, 5), x) for x in arrays["x_train"])
    own = only(table, seed=0, points="train", way="exact").set_index("size")
    assert list(own.index) == [10, 30]
    assert own.loc[30, "mean"] == pytest.approx(largest)
    assert own.loc[30, "shortfall"] == pytest.approx(0)
    drawn = only(table, seed=0, way="drawn").set_index("size")
    assert abs(drawn.loc[10, "mean"] - own.loc[10, "mean"]) < 5 * own.loc[10, "std"] / 20**0.5
    assert set(only(table, points="fresh")["size"]) == {10, 30, 35, 70}
    assert set(only(table, way="tail")["size"]) == {10, 30, 35, 70}


def test_fresh_points_are_like_the_data_and_not_the_data():
    state = np.random.get_state()[1].copy()
    points = fresh_mnist1d(50, 0)
    assert points.shape == (50, 40)
    assert points.std().item() == pytest.approx(1, abs=0.01)
    assert (np.random.get_state()[1] == state).all()
    assert torch.equal(points, fresh_mnist1d(50, 0))
    with pytest.raises(ValueError, match="the data itself"):
        fresh_mnist1d(50, 42)
    with pytest.raises(ValueError, match="multiple of 10"):
        fresh_mnist1d(55, 0)
