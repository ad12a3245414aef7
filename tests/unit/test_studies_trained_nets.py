"""Studies of trained nets at their stop, on tiny runs, against brute force."""

import json
import math

import pytest
import study_linearisation
import torch
import yaml
from tests.conftest import ROOT

from nets.models.fcn import seeded_fcn
from pipeline import studies
from pipeline.config.training import load_config
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
