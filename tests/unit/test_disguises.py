"""Models that are not what an export shows, and what calls of them would leave behind."""

import copy
import math
import random
from contextlib import suppress

import numpy as np
import pytest
import torch
from tests.unit.function import Function
from torch import nn
from torch.nn.utils import parametrizations

from lipbounds import (
    UnknownLayerError,
    lower_bound,
    register_rule,
    search_lower_bound,
    upper_bound,
)
from lipbounds.operators import MODULES, Slopes

pytestmark = pytest.mark.usefixtures("single_threaded")


def net(function, **parts):
    return Function(function, **parts).eval()


def tried(x):
    """What code does that hides a decision from the export."""
    try:
        return 100 * x if float(x.abs().max()) > 6 else x
    except Exception:
        return x


def unseen(condition):
    return lambda s, x: 100 * x if not torch.compiler.is_compiling() and condition(x) else x


@pytest.mark.parametrize(
    "function",
    [
        lambda s, x: tried(x),
        unseen(lambda x: x.abs().max() > 20),
        unseen(lambda x: x.abs().max() < 0.01),
        unseen(lambda x: x.min() >= 0 and x.max() <= 1),
        lambda s, x: 100 * x if "Fake" not in type(x).__name__ and x.abs().max() > 10 else x,
    ],
    ids=["try", "large", "small", "between 0 and 1", "type"],
)
def test_what_values_decide_unseen_by_the_export_is_refused(function):
    with pytest.raises(ValueError, match="computes something else than the model"):
        upper_bound(net(function), (4,))


def test_functions_that_magnify_roundings_are_no_contradiction():
    model = net(lambda s, x: torch.sin(3e5 * x), scale=nn.Parameter(torch.ones(())))
    assert upper_bound(model, (4,)).value >= 3e5


def counting(s, x):
    s.calls += 1
    return x * (1 if s.calls < 8 else 100)


def test_a_count_that_matters_later_is_refused_and_one_that_does_not_is_not():
    with pytest.raises(ValueError, match="calls changes with every call"):
        upper_bound(net(counting, calls=0), (4,))
    remembering = net(lambda s, x: s.seen.append(0) or x * (1 if len(s.seen) < 9 else 100), seen=[])
    with pytest.raises(ValueError, match="seen changes with every call"):
        upper_bound(remembering, (4,))
    assert remembering.seen == []
    keeping = net(lambda s, x: s.seen.append(0) or 3 * x, seen=[])
    assert upper_bound(keeping, (4,)).value == 3
    idle = net(lambda s, x: (setattr(s, "calls", s.calls + 1), 3 * x)[1], calls=0)
    assert upper_bound(idle, (4,)).value == 3
    assert idle.calls == 0


def normalising(s, x):
    with torch.no_grad():
        s.layer.weight.div_(s.layer.weight.norm())
    return s.layer(x)


def hooked():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).eval()
    model.calls = 0
    model[0].register_forward_hook(lambda *_: setattr(model, "calls", model.calls + 1))
    return model


def wrapped(**state):
    """A forward set on the model that calls the model's own, which keeps its input."""
    model = net(remember, **state)
    own = model.forward
    model.forward = lambda x: own(0.5 * x)
    return model


def remember(s, x):
    before = x if getattr(s, "last", None) is None else s.last
    s.last = x.detach().clone()
    if hasattr(s, "seen"):
        s.seen.append(s.last)
    return x + 3 * before


@pytest.mark.parametrize("state", [{}, {"last": None}, {"seen": []}], ids=["new", "none", "list"])
def test_what_a_wrapped_model_keeps_is_refused_and_forgotten(state):
    model = wrapped(**state)
    names = set(vars(model))
    with pytest.raises(ValueError, match="keeps a state"):
        upper_bound(model, (4,))
    assert set(vars(model)) == names
    assert getattr(model, "last", None) is None
    assert getattr(model, "seen", []) == []


def keeping(read, write):
    """Most outputs are 0, whatever was kept; where one is not, it depends on the call before."""

    def forward(s, x):
        now = x.sum(-1, keepdim=True)
        before = now if (kept := read(s)) is None or kept.shape != now.shape else kept
        write(s, now.detach().clone())
        return torch.relu(now + 3 * before - s.bias)

    return forward


class Box:
    last = None


@pytest.mark.filterwarnings("ignore:The tensor attribute")
@pytest.mark.parametrize("bias", [0.0, 5.0])
@pytest.mark.parametrize(
    ("read", "write", "parts"),
    [
        (lambda s: s.last, lambda s, now: setattr(s, "last", now), {"last": None}),
        (lambda s: s.last.get(0), lambda s, now: s.last.update({0: now}), {"last": {}}),
        (lambda s: s.last[-1], lambda s, now: s.last.append(now), {"last": [None]}),
        (lambda s: s.last[0], lambda s, now: s.last.__setitem__(0, now), {"last": [None]}),
        (lambda s: s.box.last, lambda s, now: setattr(s.box, "last", now), {"box": Box()}),
        (
            lambda s: s.boxes["b"].last,
            lambda s, now: setattr(s.boxes["b"], "last", now),
            {"boxes": {"b": Box()}},
        ),
    ],
    ids=["attribute", "dictionary", "list", "item", "object", "object in a dictionary"],
)
def test_a_state_that_shows_at_few_inputs_is_refused(read, write, parts, bias):
    model = net(keeping(read, write), bias=bias, **copy.deepcopy(parts))
    with pytest.raises(ValueError, match=r"keeps a state|changes with every call"):
        upper_bound(model, (4,))
    assert read(model) is None


def average(s, x):
    s.mean = s.mean + 1e-12 * (x.detach().mean() - s.mean)
    return torch.relu(x - s.mean)


@pytest.mark.filterwarnings("ignore:The tensor attribute")
def test_a_state_that_moves_slowly_is_refused():
    with pytest.raises(ValueError, match="mean changes with every call"):
        upper_bound(net(average, mean=torch.zeros(())), (4,))


@pytest.mark.filterwarnings("ignore:The tensor attribute")
@pytest.mark.parametrize(
    "function",
    [
        lambda s, x: s.kept.update(last=x.detach()) or 2 * x,
        lambda s, x: s.kept.setdefault("scale", torch.tensor(2.0)) * x,
        lambda s, x: setattr(s, "seen", s.seen + x.detach().sum()) or 2 * x,
    ],
    ids=["last input", "made once", "sum"],
)
def test_what_is_kept_without_use_is_no_state(function):
    assert upper_bound(net(function, kept={}, seen=torch.zeros(())), (4,)).value == pytest.approx(2)


def drawing(s, x):
    torch.rand(3), random.random(), np.random.rand()
    return 2 * x


@pytest.mark.parametrize(
    "build",
    [
        lambda: net(normalising, layer=nn.Linear(4, 4)),
        hooked,
        lambda: net(drawing),
        lambda: net(lambda s, x: nn.functional.gumbel_softmax(x)),
    ],
    ids=["weight", "hook of the model itself", "unused numbers", "numbers"],
)
def test_models_and_random_states_stay_as_they_were(build):
    model = build()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    calls = getattr(model, "calls", None)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    dtype = torch.float32 if weights else torch.float64
    points = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    for bound in (
        lambda: upper_bound(model, (4,)),
        lambda: lower_bound(model, points),
        lambda: search_lower_bound(model, points, radius=0.1, steps=1, starts=2),
    ):
        with suppress(ValueError, UnknownLayerError):
            bound()
        assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
        assert getattr(model, "calls", None) == calls
        assert torch.equal(torch.get_rng_state(), states[0])
        assert random.getstate() == states[1]
        assert (np.random.get_state()[1] == states[2]).all()


def wider():
    """Results in float64 of a layer in float32."""
    factor = nn.Parameter(torch.full((4,), 3.0).double())
    return net(
        lambda s, x: s.layer(x) * s.factor, layer=nn.Identity(), like=nn.Linear(2, 2), factor=factor
    )


def half_first():
    table = nn.Parameter(torch.ones(2).half())
    return net(lambda s, x: s.layer(x), table=table, layer=nn.ConvTranspose1d(1, 1, 1, bias=False))


def cayley():
    return parametrizations.orthogonal(nn.Linear(4, 4), orthogonal_map="cayley").eval()


@pytest.mark.parametrize(
    ("build", "shape", "expected"),
    [
        (lambda: net(lambda s, x: torch.stack([v.sum().expand(4) for v in x])), (4,), 4.0),
        (cayley, (4,), 1.0),
        (wider, (4,), 3.0),
        (half_first, (1, 4), None),
        (lambda: net(lambda s, x: x.clamp(-2, 1).exp()), (4,), math.e),
        (lambda: net(lambda s, x: nn.functional.hardtanh(x, 0.5, 2).log()), (4,), 2.0),
    ],
    ids=["0-d nodes", "checks of linear algebra", "wider results", "another type first", "clamp", "log"],
)
def test_ordinary_models_are_not_refused(build, shape, expected):
    bound = upper_bound(build(), shape, method="best")
    assert bound.certified
    assert expected is None or bound.value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda s, x: torch.full_like(x, x.sum().item()), "a number taken out of a tensor"),
        (lambda s, x: x + torch.randn(4, generator=torch.Generator()), "randn.generator"),
        (lambda s, x: x.to(torch.float8_e4m3fn).to(x.dtype), "quantises to torch.float8_e4m3fn"),
        (lambda s, x: torch.complex(x, 3 * x).angle(), r"angle.default \(of complex numbers\)"),
        (lambda s, x: (lambda z: (z * z).abs())(torch.fft.fft(x)), "product of complex numbers"),
        (lambda s, x: x.scatter(1, x.sort()[1], 2 * x), "positions"),
    ],
    ids=["number", "generator", "float8", "angle", "complex product", "places"],
)
def test_what_is_not_known_is_said(function, message):
    with pytest.raises((ValueError, UnknownLayerError), match=message):
        upper_bound(net(function), (4,))


@pytest.mark.parametrize("ord", [1, float("inf")])
def test_complex_numbers_have_a_constant_in_the_2_norm_only(ord):
    model = net(lambda s, x: (x * (1 + 5j)).abs())
    assert upper_bound(model, (4,)).value == pytest.approx(26**0.5)
    with pytest.raises(ValueError, match="ord=2 only"):
        upper_bound(model, (4,), ord=ord)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_types_narrower_than_the_input_are_not_certified(dtype):
    narrow = net(lambda s, x: 3 * x.to(dtype).to(x.dtype))
    bound = upper_bound(narrow, (4,))
    assert (bound.value, bound.kind, bound.certified) == (3.0, "upper", False)
    assert any(str(dtype) in layer.how for layer in bound.layers)
    wide = nn.Sequential(nn.Linear(4, 4), net(lambda s, x: x.float().to(dtype))).to(dtype).eval()
    assert upper_bound(wide, (4,)).certified


class Lies(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 1.0 * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return torch.where(x.abs().amax(1, keepdim=True) > 15, 50 * g, g)


POINTS = torch.linspace(-2, 2, 24, dtype=torch.float64).view(6, 4)


@pytest.mark.parametrize(
    ("function", "x", "message"),
    [
        (lambda s, x: Lies.apply(x), torch.cat([POINTS, 20 + POINTS]), "gradients contradict outputs"),
        (lambda s, x: (x * x).sqrt(), torch.cat([POINTS, 0 * POINTS]), "not finite at 6 of 12 points"),
        (lambda s, x: (x * x).sqrt().sum(1), 0 * POINTS, "not finite at 6 of 6 points"),
        (lambda s, x: 1 / x, 0 * POINTS, "not finite"),
        (lambda s, x: x // 0.1, POINTS, "autograd cannot differentiate"),
        (lambda s, x: torch.mul(x, 6, out=torch.empty_like(x)), POINTS, "autograd cannot differentiate"),
        (lambda s, x: x @ torch.ones(3, 2), POINTS, "cannot be called on points of shape"),
    ],
    ids=["lies far out", "root", "one output", "inverse", "floor", "out", "shape"],
)  # fmt: skip
@pytest.mark.parametrize(
    "bound", [lower_bound, lambda m, x: search_lower_bound(m, x, radius=0.1, steps=2, starts=2)]
)
def test_points_without_a_slope_are_said(function, x, message, bound):
    with pytest.raises(ValueError, match=message):
        bound(net(function), x)


def test_a_search_of_a_model_that_takes_one_point_at_a_time():
    model = net(lambda s, x: 3 * x.sin().view(1, 4))
    found = search_lower_bound(model, POINTS, radius=0.1, steps=2, starts=4)
    assert found.value == pytest.approx(3, rel=0.1)


def test_a_function_is_no_module():
    with pytest.raises(ValueError, match="not function"):
        upper_bound(lambda x: 2 * x, (4,))


class Mine(nn.Module):
    def forward(self, x, y=None):
        return 2 * x if y is None else (x, y)


@pytest.fixture
def mine(monkeypatch):
    monkeypatch.setitem(MODULES, Mine, None)
    return register_rule(Mine)


def test_a_rule_that_returns_something_else_is_named(mine):
    mine(lambda module, input_shape, ord: 2.0)
    with pytest.raises(ValueError, match=r"its rule returned 2\.0"):
        upper_bound(nn.Sequential(nn.Linear(4, 4), Mine()), (4,))


def test_own_layers_take_one_tensor_by_name_too(mine):
    mine(lambda *_: Slopes(2.0, 2.0))
    assert upper_bound(net(lambda s, x: s.mine(x=x), mine=Mine()), (4,)).value == 2
    with pytest.raises(ValueError, match="must take one tensor and nothing else"):
        upper_bound(net(lambda s, x: s.mine(x, y=x)[0], mine=Mine()), (4,))


@pytest.mark.parametrize("layer", [nn.Linear(4, 4), nn.Conv1d(4, 4, 1), None], ids=str)
def test_products_that_underflow_are_not_zero(layer):
    if layer is not None:
        layer.double().weight.data.fill_(1e-200)
    model = net(lambda s, x: (x * 1e-200 if layer is None else s.layer(x)) * 1e-150 * 1e300, layer=layer)
    assert upper_bound(model, (4, 1) if isinstance(layer, nn.Conv1d) else (4,)).value >= 0.9e-50


@pytest.mark.parametrize("model", [nn.Linear(4, 3, device="meta"), nn.Sequential(nn.LazyLinear(3))])
def test_weights_without_values_have_no_jacobian(model):
    with pytest.raises(ValueError, match="has no values yet"):
        lower_bound(model.eval(), POINTS.float())


@pytest.mark.parametrize("number", [complex(0.1, 0.37), complex(0.7, 0.37 / 7)])
def test_complex_numbers_of_python_are_not_rounded_to_single_precision(number):
    weight = nn.Parameter(torch.ones((), dtype=torch.float64))
    times = net(lambda s, x: (x * number).abs(), weight=weight)
    over = net(lambda s, x: ((x + 0j) / number).abs(), weight=weight)
    assert abs(number) <= upper_bound(times, (3,)).value <= abs(number) * (1 + 1e-12)
    assert 1 / abs(number) <= upper_bound(over, (3,)).value <= (1 + 1e-12) / abs(number)
