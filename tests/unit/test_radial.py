"""Vectors times a function of their lengths, against closed forms and difference quotients."""

import itertools
import math

import pytest
import torch
from tests.fuzz.truth import Ball, largest_quotient
from tests.unit.function import Function
from torch import nn
from torch.nn import functional

from lipbounds.bounds import upper_bound
from lipbounds.graph import export
from lipbounds.operators import MODULES, OPERATORS, Analysis

pytestmark = pytest.mark.usefixtures("single_threaded")


def bound(function, shape=(4,), dtype=torch.float64, **options):
    model = Function(lambda m, x: function(x) * m.one, one=nn.Parameter(torch.ones((), dtype=dtype)))
    return upper_bound(model, shape, **options)


def lengths(x):
    return x.norm(dim=-1, keepdim=True)


def mean_squares(x):
    return x.pow(2).mean(-1, keepdim=True)


def layer_norm(x, axes=-1):
    centred = x - x.mean(axes, keepdim=True)
    return centred / torch.sqrt((x - x.mean(axes, keepdim=True)).pow(2).mean(axes, keepdim=True) + 0.01)


def divided_by_deviation(x):
    return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 0.1)


def of_both(x):
    variance, mean = torch.var_mean(x, -1, unbiased=False, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + 0.01)


def capsule(x):
    square = (x * x).sum(-1, keepdim=True)
    return square / (1 + square) * x / torch.sqrt(square + 1e-12)


KNOWN = {
    "one more than the length": (lambda x: x / (lengths(x) + 1), 1),
    "root": (lambda x: x / torch.sqrt((x * x).sum(-1, keepdim=True) + 4), 0.5),
    "root mean square": (lambda x: x * torch.rsqrt(mean_squares(x) + 0.01), 10),
    "in other types": (lambda x: (x.float() * torch.rsqrt(mean_squares(x.float()) + 0.01)), 10),
    "factor first": (lambda x: torch.rsqrt(x.square().mean(-1, keepdim=True) + 0.01) * x, 10),
    "deviation": (layer_norm, 10),
    "variance": (lambda x: (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 0.01).sqrt(), 10),
    "standard deviation": (divided_by_deviation, 10),
    "mean and variance at once": (of_both, 10),
    "cut off": (lambda x: x / lengths(x).clamp_min(0.1), 10),
    "normalize": (lambda x: functional.normalize(x, eps=0.1), 10),
    "ball": (lambda x: x / (lengths(x) / 3).clamp(min=1), 1),
    "squash": (lambda x: lengths(x) * x / (1 + (x * x).sum(-1, keepdim=True)), 3 * math.sqrt(3) / 8),
    "twice": (lambda x: (x * 2) / (1 + lengths(x)), 2),
    "capsule": (capsule, 3 * math.sqrt(3) / 8),
    "bump": (lambda x: x * torch.exp(-(x * x).sum(-1, keepdim=True)), 1),
    "no axis kept": (lambda x: x / (torch.linalg.norm(x, dim=-1)[..., None] + 1), 1),
    "view": (lambda x: x / (x.square().sum(-1).view(*x.shape[:-1], 1) + 1).sqrt().expand_as(x), 1),
}  # fmt: skip


@pytest.mark.parametrize("shape", [(4,), (3, 5)])
@pytest.mark.parametrize("name", KNOWN)
def test_constants_are_those_of_the_radial_profile(name, shape):
    function, known = KNOWN[name]
    found = bound(function, shape, torch.float32 if name == "in other types" else torch.float64)
    assert found.value == pytest.approx(known, rel=3e-4)
    seen = largest_quotient(Function(lambda m, x: function(x)), Ball(shape, 2, 3.0), seed=0)
    assert seen.value <= found.value * (1 + 1e-5)


@pytest.mark.parametrize("axes", [1, (2, 3), (1, 2, 3)])
def test_axes_may_be_any(axes):
    found = bound(lambda x: layer_norm(x, axes), (3, 4, 2))
    assert found.certified
    assert found.value == pytest.approx(10, rel=3e-4)


@pytest.mark.parametrize(
    ("function", "known"),
    [
        (lambda x: functional.normalize(x), 1),
        (lambda x: x / (lengths(x) + 1), 1),
        (lambda x: x * torch.rsqrt(mean_squares(x) + 0.01), 2),
        (lambda x: x / (1 + x.abs()), 1),
        (lambda x: x / torch.sqrt(1 + x * x), 1),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_how_large_results_are_is_known_to_a_hundredth(function, known, dtype):
    model = Function(lambda m, x: function(x) * m.one, one=nn.Parameter(torch.ones((), dtype=dtype)))
    analysis = Analysis(export(model.eval(), (4,), OPERATORS.__contains__, MODULES)[0])
    analysis.run()
    peak = max(analysis.ranges.proved(node).peak for node in analysis.behaviours)
    assert known <= peak * (1 + 1e-9) <= known * 1.02


def test_the_result_lies_in_a_ball():
    weight = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).double()
    one = bound(lambda x: (lambda y: (y @ weight.T) * y.sum(-1, keepdim=True))(x / (lengths(x) + 1)))
    assert one.value < 100


def test_on_a_ball_vectors_are_no_longer_than_it():
    def scaled(x):
        return x * torch.exp((x * x).sum(-1, keepdim=True))

    assert bound(scaled).value == math.inf
    profile = 3 * math.exp(1)  # (1 + 2 r^2) exp(r^2) at 1
    assert profile * (1 - 1e-9) <= bound(scaled, radius=1.0).value <= profile * (1 + 3e-4)


SIMILAR = {
    "of another": lambda x: x / (lengths(2 * x.flip(-1) + 1) + 1),
    "another mean": lambda x: (x - x.mean(-2, keepdim=True)) / (x.var(-1, keepdim=True) + 0.1).sqrt(),
    "another axis": lambda x: x / ((x * x).sum(-2, keepdim=True) + 1),
    "two axes": lambda x: x / (1 + x.norm(dim=-1, keepdim=True) + x.norm(dim=-2, keepdim=True)),
    "turned": lambda x: x / (1 + x.norm(dim=-1)[:, None, :]),
    "square of sums": lambda x: x / (1 + x.sum(-1, keepdim=True) ** 2),
    "another power": lambda x: x / (1 + x.norm(p=1, dim=-1, keepdim=True)),
    "product of two": lambda x: x / (1 + (x * x.flip(-1)).sum(-1, keepdim=True).abs()),
    "jump": lambda x: x * (lengths(x) > 1),
}


@pytest.mark.parametrize("name", SIMILAR)
def test_what_is_only_similar_is_not_taken_for_it(name):
    function, shape = SIMILAR[name], (3, 3)
    try:
        found = bound(function, shape, radius=2.0)
    except (ValueError, LookupError):
        return
    seen = largest_quotient(Function(lambda m, x: function(x)), Ball(shape, 2, 2.0), seed=0)
    assert seen.value <= found.value * (1 + 1e-6)


FACTORS = (
    lambda r: 1 / (1 + r), lambda r: torch.exp(-r), lambda r: torch.tanh(r),
    lambda r: torch.sigmoid(r - 2),
    lambda r: (1 - r).clamp(0, 1), lambda r: 1 / (1 + r * r), lambda r: 1 / r.clamp(min=0.3),
    lambda r: torch.rsqrt(r + 0.5), lambda r: torch.atan(r) - 0.5, lambda r: torch.log1p(r) / (1 + r),
)  # fmt: skip
MEASURES = (
    lambda x: x.norm(dim=-1, keepdim=True), lambda x: (x * x).sum(-1, keepdim=True),
    lambda x: x.square().mean((-1, -2), keepdim=True), lambda x: x.norm(dim=1, keepdim=True),
)  # fmt: skip


@pytest.mark.parametrize("number", range(len(MEASURES)))
def test_random_factors_against_quotients(number):
    measure, shape = MEASURES[number], (2, 3)
    for seed, (one, other) in enumerate(itertools.pairwise(FACTORS)):

        def function(x, one=one, other=other):
            r = measure(x)
            return x * (one(r) - 0.7 * other(r))

        found = bound(function, shape, radius=5.0)
        seen = largest_quotient(Function(lambda m, x, f=function: f(x)), Ball(shape, 2, 5.0), seed=seed)
        assert found.certified
        assert seen.value <= found.value * (1 + 1e-6)
        assert found.value < 100
