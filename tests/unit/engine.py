"""Small nets, points and recipes for tests of the training engine."""

import copy
import json
from dataclasses import replace
from itertools import pairwise

import torch
from torch import nn

from nets import parts
from nets.models import cnn
from nets.models.fcn import seeded_fcn
from nets.training.assemble import assemble
from nets.training.initialisation import seeded
from nets.training.loss import loss_named
from nets.training.points import Points
from nets.training.recipe import Penalty
from nets.training.run import Memory, Settings, TrainingRun
from nets.training.schedule import build_schedule

CPU = torch.device("cpu")
CLASSES = 5
CROSS_ENTROPY = loss_named("cross_entropy")


def points(count=120, seed=0, shape=(12,)):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, *shape, generator=generator)
    return Points(x, torch.randint(0, CLASSES, (count,), generator=generator))


def settings_of(kind, name, **options):
    return parts.load(kind, name).Settings(**options)


def optimiser(name, **options):
    return settings_of("optimizer", name, **options).optimiser


def penalty(name, **options):
    own = settings_of("penalty", name, **options)
    return Penalty(name, own.stacked, own.plain)


def fcn(hidden=(24, 16), output="identity", inputs=12):
    """Of several seeds."""
    return [seeded_fcn(s, inputs, hidden, CLASSES, activation_on_output=output) for s in range(3)]


def biased(sizes=(12, 20, 16, CLASSES)):
    """Fully connected nets with biases, the last layer bare."""
    nets = []
    for seed in range(3):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers = [
                module
                for inputs, outputs in pairwise(sizes)
                for module in (nn.Linear(inputs, outputs), nn.ReLU())
            ]
            nets.append(nn.Sequential(*layers[:-1]))
    return nets


def copy_of(module):
    return copy.deepcopy(module)


def convolutional(shape, **options):
    family = cnn.Settings(**options)
    return [seeded(family, seed, 2, shape, CLASSES) for seed in range(3)]


SETTINGS = Settings(
    learning_rate=0.05,
    schedule=build_schedule("constant"),
    batch_size=50,
    min_epochs=4,
    max_epochs=9,
    target_gradient_norm=1e-9,
    gradient_norm_every=1,
    record_every=2,
)


def make_run(nets, recipe, train=None, seeds=(0, 1, 2), ensemble=None, **changes):
    """A run at its start; ``ensemble`` is a class to train with, else the one that fits."""
    train = points() if train is None else train
    test = points(40, 1, tuple(train.x.shape[1:]))
    if ensemble is None:
        made = assemble(nets, recipe, CPU, CLASSES)
    else:
        made = ensemble(nets, recipe, CPU, *([CLASSES] if ensemble.__name__ == "Plain" else []))
    return TrainingRun(made, seeds, train, test, replace(SETTINGS, **changes), Memory())


def finish(run):
    if run.epoch == 0:
        run.start()
    while not run.finished:
        run.advance()
    return run


def content(run):
    """All that a run has found, to the byte."""
    nets = {
        (*place, name): value.numpy().tobytes()
        for place, net in run.store.nets.items()
        for name, value in net.items()
    }
    return nets, repr(run.store.records), run.stopped


def resumed_at(epoch, make):
    """A run that another one hands its state and its finds over to after so many epochs."""
    first, second = make(), make()
    first.start()
    while not first.finished and first.epoch < epoch:
        first.advance()
    tensors, values = first.state()
    tensors = {key: tensor.clone() for key, tensor in tensors.items()}
    second.store = first.store
    second.restore(tensors, json.loads(json.dumps(values)))
    while not second.finished:
        second.advance()
    return second
