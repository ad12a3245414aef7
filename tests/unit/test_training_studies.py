"""Studies of nets along training, on a tiny run, against brute force."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from tests.conftest import ROOT
from torch import nn

import study_extended_set
import study_loss_function
import study_pairwise
import study_paper_run
import study_theory_bounds
from lipbounds.bounds import upper_bound
from nets.models.fcn import seeded_fcn
from pipeline.config.studies import ExtendedSet, ExtendedSetRuns, LossFunction, Pairwise, TheoryBounds
from pipeline.config.training import Training, load_config
from pipeline.provenance.files import write_tensors
from pipeline.runs.checkpoints import checkpoints_at
from pipeline.runs.run import Run

RAW = yaml.safe_load((ROOT / "config.yaml").read_text())
MODEL = load_config(RAW).setup("evolution").model.model_copy(update={"output_activation": "relu"})
PLACES = [(0, 0), (0, 5), (0, 20), (1, 0), (1, 5), (1, 10)]
NETS = {place: seeded_fcn(number, 6, [5], 3) for number, place in enumerate(PLACES)}

pytestmark = pytest.mark.usefixtures("single_threaded")


@pytest.fixture
def arrays():
    generator = torch.Generator().manual_seed(7)
    return {
        f"x_{part}": torch.randn(n, 6, generator=generator) for part, n in (("train", 30), ("test", 8))
    }


@pytest.fixture
def make_run(tmp_path, arrays):
    """A run whose seed 1 stopped as told, after 10 epochs."""

    def make(experiment="evolution", stop="epoch_cap", loss="cross_entropy"):
        folder = tmp_path / experiment
        folder.mkdir()
        labels = {f"y_{part}": torch.arange(len(arrays[f"x_{part}"])) % 3 for part in ("train", "test")}
        write_tensors(folder / "labels", labels)
        write_tensors(
            folder / "checkpoints",
            {
                f"seed~{seed}/epoch~{epoch}/{name}": weight
                for (seed, epoch), net in NETS.items()
                for name, weight in net.state_dict().items()
            },
        )
        stops = [(0, "gradient_norm", 20), (1, stop, 10)]
        seeds = [{"seed": s, "stop_reason": r, "epochs": e} for s, r, e in stops]
        summary = {"seeds": seeds, "settings": {"training": {"loss": loss}}}
        (folder / "run.json").write_text(json.dumps(summary))
        return Run(
            experiment=experiment,
            variant="base",
            noise=0,
            width=5,
            model=MODEL,
            training_points=None,
            labels=folder / "labels",
            checkpoints=folder / "checkpoints",
            summary=folder / "run.json",
        )

    return make


def jacobian_norm(net, x, *, behind=lambda y: y):
    """By autograd, in float64, as an independent check."""
    exact = seeded_fcn(0, 6, [5], 3).double()
    exact.load_state_dict(net.state_dict())
    jacobian = torch.autograd.functional.jacobian(lambda v: behind(exact(v[None])[0]), x.double())
    return torch.linalg.matrix_norm(jacobian, 2).item()


def places(nets):
    return [(net.seed, net.epoch) for net in nets]


def test_checkpoints_are_those_asked_for_and_both_ends(make_run):
    run = make_run()
    assert places(checkpoints_at(run, [5, 1000])) == PLACES
    assert places(checkpoints_at(run, [])) == [(0, 0), (0, 20), (1, 0), (1, 10)]
    assert places(checkpoints_at(run, [5], seeds=1)) == [(0, 0), (0, 5), (0, 20)]
    with pytest.raises(ValueError, match=r"seed 0: no net was kept after 7, 12 epochs"):
        checkpoints_at(run, [12, 7])


def test_the_end_of_a_diverged_seed_is_left_out(make_run):
    assert places(checkpoints_at(make_run(stop="diverged"), [5])) == PLACES[:-1]


def test_pairwise_is_brute_force(make_run, arrays):
    table = study_pairwise.study(Pairwise(epochs=(5,)), arrays, [make_run()])
    assert list(zip(table["seed"], table["epoch"], strict=True)) == PLACES
    assert (table["pairs"] == 30 * 29 // 2).all()
    x = arrays["x_train"]
    for row in table.itertuples():
        net = NETS[row.seed, row.epoch]
        with torch.no_grad():
            secants = [
                (torch.linalg.vector_norm(net(x[i]) - net(x[j])) / (x[i] - x[j]).norm()).item()
                for i in range(30)
                for j in range(i)
            ]
        assert row.c_pairwise == pytest.approx(max(secants), rel=1e-5)
        assert row.c_lower == pytest.approx(max(jacobian_norm(net, point) for point in x), rel=1e-5)


def extended(count=20, seeds=1):
    narrow = ExtendedSetRuns(epochs=(5,), seeds=seeds, combinations=count)
    return ExtendedSet(weights=(0.1, 0.5), evolution=narrow, evolution_wide=narrow, seed=0)


def test_extended_set_is_the_union_of_data_and_combinations(make_run, arrays):
    run = make_run()
    table = study_extended_set.study(extended(), arrays, [run])
    sets = study_extended_set.point_sets(extended(), run, arrays)
    names = ["train", "test", "convex_train", "convex_test", "all"]
    for epoch, part in table.groupby("epoch"):
        assert list(part["points"]) == names
        assert list(part["count"]) == [30, 8, 40, 40, 118]
        net = NETS[0, epoch]
        every = []
        for name, row in zip(names[:-1], part.itertuples(), strict=False):
            norms = [jacobian_norm(net, x) for chunk in sets[name]() for x in chunk]
            assert row.maximum == pytest.approx(max(norms), rel=1e-5)
            assert row.mean == pytest.approx(sum(norms) / len(norms), rel=1e-5)
            every += norms
        whole = part.iloc[-1]
        assert whole["maximum"] == pytest.approx(max(every), rel=1e-5)
        assert whole["mean"] == pytest.approx(sum(every) / len(every), rel=1e-5)
        lower = part.iloc[0]["maximum"]
        assert lower <= whole["maximum"] <= upper_bound(net, (6,)).value * (1 + 1e-6)


def test_all_nets_see_the_same_combinations(make_run, arrays):
    sets = study_extended_set.point_sets(extended(), make_run(), arrays)
    first, second = (torch.cat(list(sets["convex_train"]())) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first[:20], torch.cat(list(sets["convex_test"]()))[:20])


def test_losses_and_softmax(make_run, arrays):
    runs = [make_run("double_descent"), make_run("double_descent_mse", loss="mean_squared_error")]
    table = study_loss_function.study(LossFunction(widths=(5,)), arrays, runs)
    assert set(table.loc[table["experiment"] == "double_descent_mse", "quantity"]) == {
        "c_lower",
        "c_avg",
        "c_upper",
    }
    x, y = arrays["x_train"], torch.arange(30) % 3
    one = table[(table["seed"] == 1) & (table["epoch"] == 10)].set_index(["experiment", "quantity"])
    net = NETS[1, 10]
    softmax = max(jacobian_norm(net, point, behind=lambda z: z.softmax(0)) for point in x)
    assert one.loc[("double_descent", "c_lower_softmax"), "value"] == pytest.approx(softmax, rel=1e-5)
    with torch.no_grad():
        entropy = torch.nn.functional.cross_entropy(net(x), y).item()
        squared = (net(x) - torch.nn.functional.one_hot(y, 3)).square().sum(1).mean().item()
    assert one.loc[("double_descent", "c_lower"), "train_loss"] == pytest.approx(entropy, rel=1e-5)
    assert one.loc[("double_descent_mse", "c_lower"), "train_loss"] == pytest.approx(squared, rel=1e-5)


def test_constant_in_the_parameters_and_its_running_maximum(make_run, arrays):
    table = study_theory_bounds.study(TheoryBounds(), arrays, [make_run("theory")])
    x = arrays["x_train"]
    for (seed, epoch), net in NETS.items():
        row = table[(table["seed"] == seed) & (table["epoch"] == epoch)].iloc[0]
        norms = []
        for point in x:
            outputs = net(point[None])[0]
            rows = [torch.autograd.grad(o, list(net.parameters()), retain_graph=True) for o in outputs]
            jacobian = torch.stack([torch.cat([g.flatten() for g in grads]) for grads in rows])
            norms.append(torch.linalg.matrix_norm(jacobian.double(), 2).item())
        assert row["c_theta"] == pytest.approx(max(norms), rel=1e-5)
        before = table[(table["seed"] == seed) & (table["epoch"] <= epoch)]["c_theta"]
        assert row["c_theta_running"] == before.max()
    longest = max(math.dist(a.tolist(), b.tolist()) for a in x for b in x)
    assert table["diameter"].tolist() == pytest.approx([longest] * len(PLACES))


def test_tables_survive_being_written(make_run, arrays, tmp_path):
    table = study_extended_set.study(extended(), arrays, [make_run()])
    table.to_csv(tmp_path / "table.csv", index=False)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "table.csv"), table)


def trained_by_autograd(arrays, epochs, rate=0.5, warmup=4, batch=8):
    """PyTorch's own loop from its own seed, over the permuted points, with a linear warm-up."""
    order = np.random.RandomState(42).choice(30, 30, replace=False)
    x, y = arrays["x_train"][order], (torch.arange(30) % 3)[order]
    with torch.random.fork_rng():
        torch.manual_seed(42)
        first, last = nn.Linear(6, 5, bias=False), nn.Linear(5, 3, bias=False)
    net = nn.Sequential(first, nn.ReLU(), last, nn.ReLU())
    update = 0
    for _ in range(epochs):
        for part_x, part_y in zip(x.split(batch), y.split(batch), strict=True):
            net.zero_grad()
            nn.functional.cross_entropy(net(part_x), part_y).backward()
            with torch.no_grad():
                for weight in net.parameters():
                    weight -= rate * min(1.0, (update + 1) / warmup) * weight.grad
            update += 1
    return net


def test_the_paper_run_is_that_of_a_plain_loop_from_the_same_seed(make_run, arrays):
    run = make_run()
    smoke = load_config(RAW | {"scale": "smoke"}).setup("evolution").training.model_dump(mode="json")
    schedule = smoke["schedule"] | {"warmup_updates": 4, "drop_epochs": []}
    own = smoke | {"learning_rate": 0.5, "batch_size": 8, "schedule": schedule}
    run.summary.unlink()  # it need not have been trained
    settings = study_paper_run.Job(
        torch_seed=42, permuted=True, epochs=(3, 10), training=Training.model_validate(own)
    )
    table = study_paper_run.study(settings, arrays, [run])
    assert table["epoch"].tolist() == [0, 3, 10]
    for epoch, found in table.set_index("epoch")["c_lower"].items():
        net = trained_by_autograd(arrays, epoch)
        norms = [jacobian_norm(net, x) for x in arrays["x_train"]]
        assert found == pytest.approx(max(norms), rel=1e-4)
    assert (table["c_pairwise"] <= 10 ** table["log10_c_upper"]).all()
