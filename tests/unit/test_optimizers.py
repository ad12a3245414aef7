"""Adam on stacked nets against torch.optim, what it carries along, and the length of the path."""

import json
import math

import pytest
import torch
from torch import nn

from nets.models.fcn import linear_weights, seeded_fcn
from nets.training.epochs import EpochRunner, make_batches
from nets.training.loss import loss_named
from nets.training.optimisers.adam import Adam
from nets.training.penalties.spectral_cap import SpectralCap
from nets.training.points import Points
from nets.training.run import Settings, TrainingRun
from nets.training.schedule import build_schedule
from nets.training.stacked import StackedFCN

pytestmark = pytest.mark.usefixtures("single_threaded")

KINDS = {
    "sgd": {},
    "adam": {"optimizer": Adam(0.8, 0.99, 1e-6)},
    "capped": {"spectral_cap": SpectralCap(2.0)},
    "capped adam": {"optimizer": Adam(), "spectral_cap": SpectralCap(2.0)},
}


def points(count=120, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Points(
        torch.randn(count, 12, generator=generator), torch.randint(0, 5, (count,), generator=generator)
    )


def build(clip=math.inf, hidden=(24, 16), seeds=(0, 1, 2), **options):
    models = [seeded_fcn(s, 12, hidden, 5, activation_on_output="identity") for s in seeds]
    weights = [torch.stack(layer) for layer in zip(*map(linear_weights, models), strict=True)]
    stack = StackedFCN(
        weights,
        output_slope=1.0,
        loss=loss_named("cross_entropy"),
        clip_norm=clip,
        largest_batch=50,
        **options,
    )
    return models, stack


def batches(data):
    return make_batches(data.x.T, nn.functional.one_hot(data.y, 5).float().T, 50)


@pytest.mark.parametrize("clip", [math.inf, 0.3])
@pytest.mark.parametrize("adam", [Adam(), Adam(0.5, 0.9, 1e-3)])
def test_same_trajectory_as_torch_optim(adam, clip):
    data = points()
    models, stack = build(clip, optimizer=adam)
    runner = EpochRunner(stack, batches(data))
    with torch.no_grad():
        for _ in range(5):
            runner.run([0.01, 0.02, 0.005])
    for seed, model in enumerate(models):
        optimiser = torch.optim.Adam(
            model.parameters(), betas=(adam.beta_1, adam.beta_2), eps=adam.epsilon
        )
        for _ in range(5):
            for x, y, rate in zip(data.x.split(50), data.y.split(50), [0.01, 0.02, 0.005], strict=True):
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                nn.utils.clip_grad_norm_(model.parameters(), clip)
                optimiser.param_groups[0]["lr"] = rate
                optimiser.step()
        for expected, found in zip(linear_weights(model), stack.weights, strict=True):
            assert torch.allclose(found[seed], expected, rtol=1e-4, atol=2e-6)


def test_selected_nets_keep_their_moments_and_paths():
    data = points()
    _, whole = build(optimizer=Adam(), track_path=True)
    with torch.no_grad():
        EpochRunner(whole, batches(data)).run([0.01] * 3)
        part = whole.select([2, 0])
        for stack in (whole, part):
            EpochRunner(stack, batches(data)).run([0.01] * 3)
    for name, value in whole.carried.items():
        assert torch.allclose(value[[2, 0]], part.carried[name], rtol=1e-3, atol=1e-6), name
    for all_seeds, some in zip(whole.weights, part.weights, strict=True):
        assert torch.allclose(all_seeds[[2, 0]], some, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("clip", [math.inf, 0.5])
def test_path_is_the_sum_of_the_steps(kind, clip):
    data = points()
    _, stack = build(clip, **KINDS[kind], track_path=True)
    length, largest = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    rate = torch.tensor(0.05)
    with torch.no_grad():
        for batch in batches(data) * 4:
            before = [w.double() for w in stack.weights]
            gradient = torch.tensor(stack.evaluate([batch], gradient=True).gradient_norm)
            stack.update(batch, rate)
            steps = [(w - b).flatten(1) for w, b in zip(stack.weights, before, strict=True)]
            length += torch.cat(steps, 1).norm(dim=1)
            largest = torch.maximum(largest, gradient.double().clamp(max=clip))
    assert stack.carried["path/length"].tolist() == pytest.approx(length.tolist(), rel=1e-4)
    assert stack.carried["path/largest_gradient"].tolist() == pytest.approx(largest.tolist(), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_tracking_changes_no_weight(kind):
    data = points()
    stacks = [build(0.5, **KINDS[kind], track_path=track)[1] for track in (False, True)]
    with torch.no_grad():
        for stack in stacks:
            EpochRunner(stack, batches(data)).run([0.05] * 3)
    assert all(torch.equal(*pair) for pair in zip(*(s.weights for s in stacks), strict=True))


def make_run(**options):
    settings = Settings(
        learning_rate=0.05 if options.get("optimizer") is None else 0.002,
        schedule=build_schedule("constant"),
        batch_size=50,
        min_epochs=4,
        max_epochs=12,
        target_gradient_norm=options.pop("target", 1e-9),
        gradient_norm_every=1,
        record_every=5,
    )
    return TrainingRun(build(50.0, **options)[1], (0, 1, 2), points(), points(40, 1), settings)


def finish(run):
    while not run.finished:
        run.advance()
    return run


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("interrupted_at", [1, 7, 11, 12])
def test_resumed_run_ends_with_the_same_bytes(kind, interrupted_at):
    options = {**KINDS[kind], "track_path": True, "target": 0.1}
    whole, first, second = finish(make_run(**options)), make_run(**options), make_run(**options)
    assert set(whole.stopped.values()) == {"gradient_norm", "epoch_cap"}
    while not first.finished and first.epoch < interrupted_at:
        first.advance()
    tensors, values = first.state()
    tensors = {key: tensor.clone() for key, tensor in tensors.items()}
    second.restore(tensors, json.loads(json.dumps(values)))
    finish(second)
    assert second.records == whole.records
    assert all(torch.equal(second.kept[key], whole.kept[key]) for key in whole.kept)
    assert second.kept.keys() == whole.kept.keys()


def test_records_have_the_path_from_zero_on():
    run = finish(make_run(track_path=True))
    own = [record for record in run.records if record.seed == 1]
    assert own[0].path_length == own[0].largest_gradient_norm == 0
    lengths = [record.path_length for record in own]
    assert lengths == sorted(lengths)
    assert lengths[-1] > 0
    assert finish(make_run()).records[-1].path_length is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_replayed_graph_equals_single_launches(kind):
    data = points()
    _, stack = build(0.5, **KINDS[kind], track_path=True)
    on_gpu = StackedFCN(
        [w.cuda() for w in stack.weights],
        output_slope=1.0,
        loss=loss_named("cross_entropy"),
        clip_norm=0.5,
        largest_batch=50,
        track_path=True,
        **KINDS[kind],
    )
    with torch.no_grad():
        EpochRunner(stack, batches(data)).run([0.01] * 3)
        EpochRunner(on_gpu, batches(Points(data.x.cuda(), data.y.cuda()))).run([0.01] * 3)
    for cpu, gpu in zip(stack.weights, on_gpu.weights, strict=True):
        assert torch.allclose(cpu, gpu.cpu(), rtol=1e-3, atol=1e-5)
    for name, value in stack.carried.items():
        assert torch.allclose(value, on_gpu.carried[name].cpu(), rtol=1e-3, atol=1e-5)
