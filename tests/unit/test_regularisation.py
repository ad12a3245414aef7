"""Training with a penalty on the layers' norms: against autograd, and what runs record of it."""

import csv
import io
import json
import math

import pytest
import torch
import yaml
from tests.conftest import ROOT
from torch import nn

from lipbounds.gram_iteration import gram_norm_and_gradient
from lipbounds.operator_norm.gram import gram_norm
from nets.models.fcn import linear_weights, seeded_fcn
from nets.training.epochs import EpochRunner, make_batches
from nets.training.loss import loss_named
from nets.training.penalties.regularisation import LipschitzPenalty
from nets.training.points import Points
from nets.training.run import Settings, TrainingRun
from nets.training.schedule import build_schedule
from nets.training.stacked import StackedFCN
from pipeline.config.loading import load_config
from pipeline.config.training import TrainingJob, identity
from pipeline.runs.training_job import build_run, history_csv, summary

# initial norms of the nets below are 1.0 to 1.5
PENALTIES = [
    LipschitzPenalty(0.3, 0.0, 6),
    LipschitzPenalty(0.3, 1.3, 3),
    LipschitzPenalty(0.1, 0.0, 0),
    LipschitzPenalty(0.1, 50.0, 6),
]


def points(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Points(
        torch.randn(count, 12, generator=generator), torch.randint(0, 5, (count,), generator=generator)
    )


def build(penalty, clip=math.inf, hidden=(24, 16), seeds=(0, 1, 2)):
    models = [seeded_fcn(s, 12, hidden, 5, activation_on_output="identity") for s in seeds]
    weights = [torch.stack(layer) for layer in zip(*map(linear_weights, models), strict=True)]
    stack = StackedFCN(
        weights,
        output_slope=1.0,
        loss=loss_named("cross_entropy"),
        clip_norm=clip,
        largest_batch=50,
        penalty=penalty,
    )
    return models, stack


def reference_penalty(model, penalty):
    norms = [gram_norm(w, steps=penalty.steps) for w in model.parameters()]
    return penalty.strength * sum((n for n in norms if n > penalty.threshold), torch.zeros(()))


def batches(data):
    return make_batches(data.x.T, nn.functional.one_hot(data.y, 5).float().T, 50)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("clip", [math.inf, 0.3])
def test_same_trajectory_as_autograd(penalty, clip):
    data = points(120)
    models, stack = build(penalty, clip)
    runner = EpochRunner(stack, batches(data))
    with torch.no_grad():
        for _ in range(5):
            runner.run([0.1] * 3)
    for seed, model in enumerate(models):
        optimiser = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(5):
            for x, y in zip(data.x.split(50), data.y.split(50), strict=True):
                optimiser.zero_grad()
                loss = nn.functional.cross_entropy(model(x), y)
                (loss + reference_penalty(model, penalty)).backward()
                nn.utils.clip_grad_norm_(model.parameters(), clip)
                optimiser.step()
        for expected, found in zip(linear_weights(model), stack.weights, strict=True):
            assert torch.allclose(found[seed], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_evaluation_tells_loss_and_penalty_apart(penalty):
    data = points(120)
    models, stack = build(penalty)
    with torch.no_grad():
        found = stack.evaluate(batches(data), gradient=True)
        assert stack.evaluate(batches(data), gradient=False).penalty is None
    for seed, model in enumerate(models):
        loss = nn.functional.cross_entropy(model(data.x), data.y)
        extra = reference_penalty(model, penalty)
        (loss + extra).backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        assert found.loss[seed] == pytest.approx(loss.item(), rel=1e-5)
        assert found.penalty[seed] == pytest.approx(extra.item(), rel=1e-5)
        assert found.gradient_norm[seed] == pytest.approx(gradient.norm().item(), rel=1e-4)


def test_threshold_decides_layer_by_layer_and_seed_by_seed():
    weights = [torch.eye(3).repeat(2, 1, 1), torch.eye(3).repeat(2, 1, 1)]
    weights[0][1] *= 4
    weights[1][0] *= 2
    penalty = LipschitzPenalty(0.5, 2.5, 20)
    assert penalty.values(weights).tolist() == pytest.approx([0, 2], rel=1e-4)
    gradients = [torch.zeros_like(w) for w in weights]
    penalty.add_gradient(weights, gradients, 10.0)
    assert [[bool(g.any()) for g in layer] for layer in gradients] == [[False, True], [False, False]]


@pytest.mark.parametrize("shape", [(2, 5, 3), (2, 3, 5), (4, 4)])
@pytest.mark.parametrize("steps", [0, 1, 6])
def test_gradient_without_autograd_is_that_of_autograd(shape, steps):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    value, gradient = gram_norm_and_gradient(weight, steps=steps)
    leaf = weight.clone().requires_grad_()
    expected = gram_norm(leaf, steps=steps)
    expected.sum().backward()
    assert torch.equal(value, expected.detach())
    assert torch.allclose(gradient, leaf.grad, rtol=1e-12)
    assert not gradient.requires_grad


def test_a_stronger_penalty_leaves_smaller_norms():
    data = points(120)
    sums = []
    for strength in (0.0, 0.03, 0.3):
        _, stack = build(LipschitzPenalty(strength, 0.0, 6) if strength else None)
        runner = EpochRunner(stack, batches(data))
        with torch.no_grad():
            for _ in range(60):
                runner.run([0.2] * 3)
        sums.append(sum(torch.linalg.matrix_norm(w, 2).sum().item() for w in stack.weights))
    assert sums[0] > 1.1 * sums[1] > 1.2 * sums[2]


def make_run(penalty=PENALTIES[1]):
    settings = Settings(
        learning_rate=0.1,
        schedule=build_schedule("constant"),
        batch_size=50,
        min_epochs=4,
        max_epochs=12,
        target_gradient_norm=1e-9,
        gradient_norm_every=3,
        record_every=5,
        shuffle=True,
    )
    return TrainingRun(build(penalty, 50.0)[1], (0, 1, 2), points(120), points(40, 1), settings)


def finish(run):
    while not run.finished:
        run.advance()
    return run


@pytest.mark.parametrize("interrupted_at", [1, 7])
def test_resumed_run_ends_with_the_same_bytes(interrupted_at):
    whole, first, second = finish(make_run()), make_run(), make_run()
    while first.epoch < interrupted_at:
        first.advance()
    tensors, values = first.state()
    tensors = {key: tensor.clone() for key, tensor in tensors.items()}
    second.restore(tensors, json.loads(json.dumps(values)))
    finish(second)
    assert second.records == whole.records
    assert all(torch.equal(second.kept[key], whole.kept[key]) for key in whole.kept)


def test_a_net_alone_is_trained_as_in_the_stack():
    _, whole = build(PENALTIES[0])
    part = whole.select([2])
    assert part.penalty is whole.penalty
    data = points(120)
    with torch.no_grad():
        for stack in (whole, part):
            EpochRunner(stack, batches(data)).run([0.1] * 3)
    for all_seeds, one in zip(whole.weights, part.weights, strict=True):
        assert torch.allclose(all_seeds[2:], one, rtol=1e-4, atol=1e-6)


def test_penalty_is_recorded_only_where_there_is_one():
    for penalty, there in ((PENALTIES[0], True), (None, False)):
        run = finish(make_run(penalty))
        rows = list(csv.DictReader(io.StringIO(history_csv(run.records))))
        assert ("penalty" in rows[0]) is there
        assert all(("penalty" in seed) is there for seed in summary(run))
    header = history_csv(finish(make_run(None)).records).splitlines()[0]
    assert header == "seed,epoch,train_loss,train_error,test_loss,test_error,gradient_norm"


def test_settings_reach_the_engine():
    shipped = yaml.safe_load((ROOT / "config.yaml").read_text())
    config = load_config({**shipped, "scale": "smoke"})
    jobs = {
        variant: TrainingJob.model_validate_json(identity(config.training_job(variant)))
        for variant in config.variants("lipschitz_training")
    }
    assert list(jobs) == [f"lipschitz_training/strength~{n}" for n in (0, 100000)]
    data = points(60), points(20), 5, torch.device("cpu")
    stacks = [build_run(job, 8, *data)._stack for job in jobs.values()]
    assert [stack.penalty for stack in stacks] == [None, LipschitzPenalty(0.1, 1.0, 6)]
    for plain, regularised in zip(stacks[0].weights, stacks[1].weights, strict=True):
        assert torch.equal(plain, regularised), "they start from the same weights"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_penalty_in_a_replayed_graph_equals_single_launches():
    data = points(120)
    _, stack = build(PENALTIES[1], 50.0)
    on_gpu = StackedFCN(
        [w.cuda() for w in stack.weights],
        output_slope=1.0,
        loss=loss_named("cross_entropy"),
        clip_norm=50.0,
        largest_batch=50,
        penalty=PENALTIES[1],
    )
    with torch.no_grad():
        EpochRunner(stack, batches(data)).run([0.1] * 3)
        EpochRunner(on_gpu, batches(Points(data.x.cuda(), data.y.cuda()))).run([0.1] * 3)
    for cpu, gpu in zip(stack.weights, on_gpu.weights, strict=True):
        assert torch.allclose(cpu, gpu.cpu(), rtol=1e-3, atol=1e-5)
