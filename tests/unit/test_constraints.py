"""The cap on the layers' norms, the temperature and the penalty on Jacobians."""

import csv
import io
import json
import math

import pytest
import torch
import yaml
from tests.conftest import ROOT
from torch import nn

from lipbounds.jacobian import jacobian_norms
from nets import parts
from nets.models.fcn import LEAKY_SLOPE, hidden_sizes, linear_weights, seeded_fcn
from nets.training.epochs import EpochRunner, make_batches
from nets.training.loss import loss_named
from nets.training.optimisers.adam import Adam
from nets.training.penalties.jacobian_penalty import JacobianPenalty, Scratch, find_peak
from nets.training.penalties.regularisation import LipschitzPenalty
from nets.training.penalties.spectral_cap import SpectralCap, cap_norms, norm_bounds
from nets.training.points import Points
from nets.training.run import Settings, TrainingRun
from nets.training.schedule import build_schedule
from nets.training.stacked import StackedFCN
from pipeline.config.errors import ConfigError
from pipeline.config.loading import load_config
from pipeline.config.training import TrainingJob
from pipeline.runs.training_job import build_run, history_csv

pytestmark = pytest.mark.usefixtures("single_threaded")

SLOPES = {"relu": 0.0, "leaky_relu": LEAKY_SLOPE, "identity": 1.0}
DEPTHS = [(24,), (24, 16), (14, 20, 16)]


def points(count=120, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Points(
        torch.randn(count, 12, generator=generator), torch.randint(0, 5, (count,), generator=generator)
    )


def build(hidden=(24,), output="identity", clip=math.inf, seeds=(0, 1, 2), **options):
    models = [seeded_fcn(s, 12, hidden, 5, activation_on_output=output) for s in seeds]
    weights = [torch.stack(layer) for layer in zip(*map(linear_weights, models), strict=True)]
    stack = StackedFCN(
        weights,
        output_slope=SLOPES[output],
        loss=loss_named("cross_entropy"),
        clip_norm=clip,
        largest_batch=50,
        **options,
    )
    return models, stack


def batches(data):
    return make_batches(data.x.T, nn.functional.one_hot(data.y, 5).float().T, 50)


@torch.no_grad()
def train(stack, data, epochs, rate=0.1):
    runner = EpochRunner(stack, batches(data))
    for _ in range(epochs):
        runner.run([rate] * 3)


def norm_products(stack):
    norms = [torch.linalg.matrix_norm(w.double(), 2) for w in stack.weights]
    return torch.stack(norms).prod(0)


@pytest.mark.parametrize("shape", [(4, 30, 8), (4, 8, 30), (4, 64, 64), (4, 1, 7)])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_norm_bounds_are_close_and_not_below(shape, scale):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * scale
    matrices[0] = torch.eye(*shape[1:]) * scale  # the worst case: all singular values equal
    exact = torch.linalg.matrix_norm(matrices.double(), 2)
    ratio = norm_bounds(matrices) / exact
    assert ratio.min() >= 1 - 1e-6
    assert ratio.max() <= 1.0005


def test_norm_bounds_of_zero_and_of_nan():
    matrices = torch.zeros(2, 3, 4)
    matrices[1, 0, 0] = math.nan
    bounds = norm_bounds(matrices)
    assert 0 <= bounds[0] < 1e-15
    assert bounds[1].isnan()
    cap_norms([matrices], 1.0)
    assert not matrices[0].any()
    assert matrices[1, 0, 0].isnan()


@pytest.mark.parametrize("hidden", DEPTHS)
@pytest.mark.parametrize("optimizer", [None, Adam()])
def test_cap_holds_from_the_start_and_is_reached(hidden, optimizer):
    data = points()
    _, stack = build(hidden, spectral_cap=SpectralCap(1.0), optimizer=optimizer)
    assert norm_products(stack).max() <= 1 + 1e-5
    train(stack, data, 80, 0.3 if optimizer is None else 0.02)
    assert norm_products(stack).max() <= 1 + 1e-5
    assert norm_products(stack).min() >= 0.997


def test_cap_that_is_never_met_changes_nothing():
    data = points()
    stacks = [build(spectral_cap=cap)[1] for cap in (None, SpectralCap(1e6))]
    for stack in stacks:
        train(stack, data, 3)
    assert all(torch.equal(*pair) for pair in zip(*(s.weights for s in stacks), strict=True))


@pytest.mark.parametrize("loss", parts.names("loss"))
@pytest.mark.parametrize("output", SLOPES)
def test_temperature_is_a_factor_of_the_logits(loss, output):
    data = points()
    models, stack = build(output=output, temperature=2.5)
    stack.loss = loss_named(loss)
    onehot = nn.functional.one_hot(data.y, 5).float()

    def reference(model, x, y):
        logits = 2.5 * model(x)
        if loss == "cross_entropy":
            return nn.functional.cross_entropy(logits, y.argmax(1))
        return nn.functional.mse_loss(logits, y, reduction="sum") / len(y)

    with torch.no_grad():
        found = stack.evaluate(batches(data), gradient=True)
    train(stack, data, 3, 0.03)
    for seed, model in enumerate(models):
        value = reference(model, data.x, onehot)
        gradient = torch.autograd.grad(value, list(model.parameters()))
        assert found.loss[seed] == pytest.approx(value.item(), rel=1e-5)
        norm = torch.cat([g.flatten() for g in gradient]).norm().item()
        assert found.gradient_norm[seed] == pytest.approx(norm, rel=1e-4)
        wrong = (model(data.x).argmax(1) != data.y).float().mean().item()
        assert found.error[seed] == pytest.approx(wrong)
        optimiser = torch.optim.SGD(model.parameters(), 0.03)
        for _ in range(3):
            for x, y in zip(data.x.split(50), onehot.split(50), strict=True):
                optimiser.zero_grad()
                reference(model, x, y).backward()
                optimiser.step()
        for expected, own in zip(linear_weights(model), stack.weights, strict=True):
            assert torch.allclose(own[seed], expected, rtol=1e-4, atol=1e-6)


def reference_peak(model, x):
    """Differentiable largest Jacobian norm over the points, by autograd alone."""
    at = x[jacobian_norms(model, x).argmax()]
    return torch.linalg.matrix_norm(torch.func.jacrev(model)(at), 2)


@pytest.mark.parametrize("hidden", DEPTHS)
@pytest.mark.parametrize("output", SLOPES)
@pytest.mark.parametrize("clip", [math.inf, 0.3])
def test_jacobian_penalty_has_the_trajectory_of_autograd(hidden, output, clip):
    data = points()
    models, stack = build(hidden, output, clip, jacobian_penalty=JacobianPenalty(0.3), temperature=2.0)
    train(stack, data, 2)
    for seed, model in enumerate(models):
        optimiser = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(2):
            for x, y in zip(data.x.split(50), data.y.split(50), strict=True):
                optimiser.zero_grad()
                loss = nn.functional.cross_entropy(2 * model(x), y)
                (loss + 0.3 * reference_peak(model, x)).backward()
                nn.utils.clip_grad_norm_(model.parameters(), clip)
                optimiser.step()
        for expected, found in zip(linear_weights(model), stack.weights, strict=True):
            assert torch.allclose(found[seed], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("hidden", DEPTHS)
def test_gradient_of_the_peak_against_finite_differences(hidden):
    x = points().x.double()
    model = seeded_fcn(0, 12, hidden, 5, activation_on_output="leaky_relu").double()
    weights = [w.detach().unsqueeze(0) for w in linear_weights(model)]
    generator = torch.Generator().manual_seed(1)

    def peak():
        outputs, below = [], x.T.unsqueeze(0)
        for weight in weights:
            slope = LEAKY_SLOPE if weight is weights[-1] else 0.0
            outputs.append(nn.functional.leaky_relu(weight @ below, slope))
            below = outputs[-1]
        return find_peak(weights, outputs, LEAKY_SLOPE, Scratch())

    with torch.no_grad():
        at = peak()
        assert at.norm.item() == pytest.approx(jacobian_norms(model, x).max().item(), rel=1e-12)
        for layer, weight in enumerate(weights):
            direction = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            weight += 1e-6 * direction
            above = peak().norm.item()
            weight -= 2e-6 * direction
            slope = (above - peak().norm.item()) / 2e-6
            weight += 1e-6 * direction
            gradient = at.above[layer].unsqueeze(2) * at.below[layer].unsqueeze(1)
            assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("both", [False, True])
def test_evaluation_adds_the_penalties_up_over_all_points(both):
    data = points()
    layers = LipschitzPenalty(0.2, 0.0, 0) if both else None
    models, stack = build((24, 16), penalty=layers, jacobian_penalty=JacobianPenalty(0.3))
    with torch.no_grad():
        found = stack.evaluate(batches(data), gradient=True)
        assert stack.evaluate(batches(data), gradient=False).penalty is None
    for seed, model in enumerate(models):
        extra = 0.3 * reference_peak(model, data.x)
        if both:
            extra = extra + 0.2 * sum(w.norm() for w in model.parameters())
        loss = nn.functional.cross_entropy(model(data.x), data.y)
        (loss + extra).backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        assert found.loss[seed] == pytest.approx(loss.item(), rel=1e-5)
        assert found.penalty[seed] == pytest.approx(extra.item(), rel=1e-5)
        assert found.gradient_norm[seed] == pytest.approx(gradient.norm().item(), rel=1e-4)


def test_peak_of_dead_and_of_diverged_nets_is_zero():
    _, stack = build(output="relu", jacobian_penalty=JacobianPenalty(0.3))
    stack.weights[1][0] = -stack.weights[1][0].abs()
    stack.weights[0][1] = math.nan
    with torch.no_grad():
        found = stack.evaluate(batches(points()), gradient=True)
    assert found.penalty[:2] == [0, 0]
    assert found.penalty[2] > 0
    assert math.isfinite(found.gradient_norm[0])
    assert math.isnan(found.loss[1])


OPTIONS = {
    "jacobian": {"jacobian_penalty": JacobianPenalty(0.1)},
    "cap": {"spectral_cap": SpectralCap(1.5)},
    "all": {
        "jacobian_penalty": JacobianPenalty(0.1),
        "penalty": LipschitzPenalty(0.01),
        "spectral_cap": SpectralCap(1.5),
        "temperature": 3.0,
        "optimizer": Adam(),
        "track_path": True,
    },
}


def make_run(name):
    settings = Settings(
        learning_rate=0.02,
        schedule=build_schedule("constant"),
        batch_size=50,
        min_epochs=4,
        max_epochs=9,
        target_gradient_norm=1e-9,
        gradient_norm_every=3,
        record_every=4,
    )
    stack = build((16, 12), clip=50.0, **OPTIONS[name])[1]
    return TrainingRun(stack, (0, 1, 2), points(), points(40, 1), settings)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("interrupted_at", [1, 6])
def test_resumed_run_ends_with_the_same_bytes(name, interrupted_at):
    whole, first, second = (make_run(name) for _ in range(3))
    while not whole.finished:
        whole.advance()
    while first.epoch < interrupted_at:
        first.advance()
    tensors, values = first.state()
    tensors = {key: tensor.clone() for key, tensor in tensors.items()}
    second.restore(tensors, json.loads(json.dumps(values)))
    while not second.finished:
        second.advance()
    assert second.records == whole.records
    assert all(torch.equal(second.kept[key], whole.kept[key]) for key in whole.kept)


# From settings to the engine


def setup(model=None, **training):
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    changes = {"double_descent": {"smoke": {"training": training, "model": model or {}}}}
    return load_config({**raw, "scale": "smoke", "overrides": changes}).setup("double_descent")


def run_of(setup):
    job = TrainingJob(
        model=setup.model, seeds=2, random_seed=1, training=setup.training, training_points=None
    )
    job = TrainingJob.model_validate_json(job.model_dump_json())
    return build_run(job, 8, points(60), points(20), 5, torch.device("cpu"))


def test_settings_reach_the_engine():
    plain = run_of(setup())._stack
    assert (plain.optimizer, plain.temperature, plain.spectral_cap) == (None, 1, None)
    assert (plain.jacobian_penalty, plain.track_path, plain.carried) == (None, False, {})
    stack = run_of(
        setup(
            optimizer={"name": "adam", "beta_2": 0.99},
            temperature=2,
            spectral_cap=10,
            jacobian_penalty={"strength": 0.5},
            track_path=True,
        )
    )._stack
    assert stack.optimizer == Adam(0.9, 0.99, 1e-8)
    assert (stack.temperature, stack.spectral_cap, stack.track_path) == (2, SpectralCap(10), True)
    assert stack.jacobian_penalty == JacobianPenalty(0.5)


def test_columns_of_the_history_only_where_there_is_something_to_say():
    run = run_of(setup(track_path=True))
    header = history_csv(run.records).splitlines()[0]
    assert header.endswith("gradient_norm,path_length,largest_gradient_norm")
    rows = list(csv.DictReader(io.StringIO(history_csv(run.records))))
    assert rows[0]["path_length"] == "0.0"
    run = run_of(setup(jacobian_penalty={"strength": 0.5}))
    assert history_csv(run.records).splitlines()[0].endswith("gradient_norm,penalty")


def test_order_seed_zero_is_the_order_there_always_was():
    seeds = [run_of(setup(shuffle=True, order_seed=n)).settings.order_seed for n in (0, 1, 2)]
    assert seeds[0] == run_of(setup()).settings.order_seed
    assert len(set(seeds)) == 3


def test_hidden_layers_have_widths_of_their_own():
    plain = setup().model.model_copy(update={"hidden_layers": 6})
    tapering = plain.model_copy(update={"relative_widths": (1, 1, 0.8, 0.8, 0.6, 0.6)})
    assert hidden_sizes(tapering, 100) == [100, 100, 80, 80, 60, 60]
    assert hidden_sizes(tapering, 1) == [1] * 6
    assert hidden_sizes(plain, 7) == [7] * 6


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": {"name": "adm"}}, ["training.optimizer", "nearest valid name: adam"]),
        (
            {"optimizer": {"name": "sgd", "beta_1": 0.9}},
            ["training.optimizer.beta_1", "unknown key", "valid here: name"],
        ),
        ({"optimizer": {}}, ["training.optimizer", "use adam or sgd"]),
        (
            {"optimizer": {"name": "adm"}},
            ["'adm' is not known"],
        ),
        ({"optimizer": {"name": "adam", "beta_3": 1}}, ["nearest valid name: beta_"]),
        ({"optimizer": {"name": "adam", "beta_1": 1}}, ["optimizer.beta_1", "less than 1"]),
        ({"temperature": 0}, ["temperature", "greater than 0"]),
        ({"spectral_cap": -1}, ["spectral_cap", "greater than 0"]),
        ({"jacobian_penalty": {"strenth": 1, "strength": 1}}, ["nearest valid name: strength"]),
        ({"shuffle": False, "order_seed": 3}, ["order_seed 3", "set shuffle to true"]),
        ({"model": {"hidden_layers": 2, "relative_widths": [1]}}, ["1 factors for 2 hidden layers"]),
        ({"model": {"hidden_layers": 1, "relative_widths": [1.5]}}, ["1.5 is out of range"]),
    ],
)
def test_mistakes_are_explained(changes, words):
    with pytest.raises(ConfigError) as caught:
        setup(**changes)
    for word in words:
        assert word in caught.value.problems[0]
