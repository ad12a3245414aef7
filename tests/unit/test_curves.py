"""Functions of one number that are written as several operators, against dense differences."""

import itertools
import math
import time
from fractions import Fraction

import pytest
import torch
from tests.unit.function import Function
from torch import nn
from torch.nn import functional

from lipbounds.bounds import UnknownLayerError, upper_bound
from lipbounds.curves import ARGUMENT, TOLERANCE, Step, exactly, slopes
from lipbounds.intervals import Interval

SILU, GELU, MISH = 1.0998393202, 1.1289041452, 1.0884981613


def of(value):
    return Fraction(value) if math.isfinite(value) else value


# ---------------------------------------------------------------- intervals


def test_sums_and_products_hold_the_exact_ones_and_are_exact_where_these_are_floats():
    generator = torch.Generator().manual_seed(0)
    scale = torch.randint(-60, 60, (400,), generator=generator)
    plain = torch.randn(400, generator=generator, dtype=torch.float64) * 2.0**scale
    short = torch.randint(-1000, 1000, (400,), generator=generator).double() / 8
    for numbers, exact in ((plain, False), (short, True)):
        ends = numbers.view(4, 100).sort(0).values
        a, b = Interval(ends[0], ends[2]), Interval(ends[1], ends[3])
        for found, operation in (
            (a + b, lambda x, y: x + y),
            (a - b, lambda x, y: x - y),
            (a * b, lambda x, y: x * y),
        ):
            for i in range(100):
                corners = [
                    operation(Fraction(x[i].item()), Fraction(y[i].item()))
                    for x, y in itertools.product((a.low, a.high), (b.low, b.high))
                ]
                low, high = of(found.low[i].item()), of(found.high[i].item())
                assert low <= min(corners)
                assert max(corners) <= high
                if exact:
                    assert (low, high) == (min(corners), max(corners))


def test_what_is_not_known_is_the_whole_line():
    zero, line = Interval.point(0.0, torch.zeros(1)), Interval.line(torch.zeros(1, dtype=torch.float64))
    over = Interval(torch.tensor([-1.0]).double(), torch.tensor([2.0]).double())
    for found in (zero * line, over.inverse(), over.increasing(torch.log), over.increasing(torch.sqrt)):
        assert (found.low, found.high) == (-math.inf, math.inf)
    huge = Interval.point(1e308, torch.zeros(1, dtype=torch.float64))
    assert (huge * huge).low < math.inf
    assert (huge * huge).high == math.inf
    tiny = Interval.point(5e-324, torch.zeros(1, dtype=torch.float64))
    assert (tiny * tiny).low <= 0 < (tiny * tiny).high


# ---------------------------------------------------------------- curves as models write them


def slope_of(function, dtype=torch.float32, **options):
    model = Function(lambda m, x: function(x) * m.one, one=nn.Parameter(torch.ones((), dtype=dtype)))
    found = upper_bound(model, (3,), **options)
    assert found.certified
    return found.value


def squared_normal(x):
    return torch.exp(-x.square() / 2)


CONTINUOUS = {
    "relu by a mask": (lambda x: x * (x > 0), 1),
    "leaky by masks": (lambda x: x * (x >= 0).float() - 2 * x * (x < 0).float(), 2),
    "relu by where": (lambda x: torch.where(x > 0, x, torch.zeros_like(x)), 1),
    "leaky by where": (lambda x: torch.where(x >= 0, 0.5 * x, 3 * x), 3),
    "relu by masked_fill": (lambda x: x.masked_fill(x < 0, 0.0), 1),
    "absolute by sign": (lambda x: x * x.sign(), 1),
    "elu by hand": (lambda x: torch.where(x > 0, x, torch.exp(x) - 1), 1),
    "huber": (lambda x: torch.where(x.abs() < 1, 0.5 * x * x, x.abs() - 0.5), 1),
    "square inside": (lambda x: torch.where((x > -1) & (x <= 2), x**2, (2 * x).clamp(1, 4)), 4),
    "cubic inside": (lambda x: torch.where((x > -1) & ~(x > 1), x**3, x.clamp(-1, 1)), 3),
    "outside": (lambda x: torch.where((x < -1) | (x > 1), 2 * x - x.sign(), x), 2),
    "swish": (lambda x: x * torch.sigmoid(x), SILU),
    "quick gelu": (lambda x: x * torch.sigmoid(1.702 * x), SILU),
    "gelu by hand": (lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))), GELU),
    "mish by hand": (lambda x: x * torch.tanh(functional.softplus(x)), MISH),
    "hard swish": (lambda x: x * functional.relu6(x + 3) / 6, 1.5),
    "gauss": (squared_normal, math.exp(-0.5)),
    "soft sign": (lambda x: x / (1 + x.abs()), 1),
    "rational": (lambda x: 1 / (1 + x * x), 3 * math.sqrt(3) / 8),
    "stable softplus": (lambda x: x.clamp(min=0) + torch.log1p(torch.exp(-x.abs())), 1),
    "exp of tanh": (lambda x: torch.exp(torch.tanh(x)), 1.2535595643),
    "power of sigmoid": (
        lambda x: (torch.sigmoid(x) + 1) ** 3,
        (lambda s: 3 * (1 + s) ** 2 * s * (1 - s))((1 + math.sqrt(17)) / 8),
    ),
    "atan and square root": (lambda x: torch.atan(x) * torch.sqrt(1 + torch.sigmoid(x)), None),
    "elu times tanh": (lambda x: functional.elu(x) * torch.tanh(x), None),
    "silu over softplus": (lambda x: functional.silu(x) / (1 + functional.softplus(x)), None),
    "what tanh leaves": (lambda x: x - torch.tanh(x), 1),
    "hat": (lambda x: torch.relu(x + 1) - 2 * torch.relu(x) + torch.relu(x - 1), 1),
    "leaky by two": (lambda x: torch.relu(x) - 0.2 * torch.relu(-x), 1),
    "two clamps": (lambda x: x.clamp(0, 1) + x.clamp(1, 2), 1),
    "residual gelu": (lambda x: x - functional.gelu(x), GELU),
    "residual tanh gelu": (
        lambda x: x.clamp(-9, 9) - functional.gelu(x.clamp(-9, 9), approximate="tanh"),
        None,
    ),
    "residual mish": (lambda x: x - functional.mish(x), None),
    "leaky rectified": (lambda x: functional.leaky_relu(x, 0.2) * torch.sigmoid(-x), None),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_curves_have_the_largest_slope_of_dense_differences(name, dtype):
    function, known = CONTINUOUS[name]
    line = torch.cat([torch.linspace(-12, 12, 200_001), torch.logspace(1, 30, 3000)]).double()
    line = torch.cat([-line, line]).unique()
    steps = function(line).diff() / line.diff()
    steepest = steps[line[1:].abs() < 1e12].abs().max().item()
    found = slope_of(function, dtype)
    assert steepest <= found * (1 + 1e-6)
    assert found <= (steepest if known is None else known) * (1 + 3 * TOLERANCE)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.where(x > 0, x, x + 1),
        lambda x: torch.where(x > 0.1, x, 0.3 * x + 0.07),  # 0.07 is not 0.7 * 0.1 in floats
        lambda x: torch.where(x == 0, x + 5, x),
        lambda x: x + x.sign(),
        lambda x: (x > 1) * (x + 1),
        lambda x: torch.where(x > 20, x, torch.log1p(torch.exp(x))),
        lambda x: x.masked_fill(x < -2, 0.0),
        lambda x: torch.where(x * x > 2, x * x - 2, torch.zeros_like(x)),  # no float is the root of 2
        lambda x: torch.where(torch.sqrt(x) > -1, x, x + 1),  # not a number is not above -1
        lambda x: torch.where(torch.tanh(torch.log(x)) < 2, x, x + 1),
        lambda x: torch.where(torch.tanh(x / x) < 2, x, x + 5),
        lambda x: x * torch.logical_not(x).float(),
        lambda x: torch.relu(x) * (2 - ((x > 0) + (x > 0)).float()),  # truths add up to a truth
        lambda x: x * (~((x > 0) * 2)),  # of a whole number
        lambda x: x * ((x > 0) * 2**62 * 4).float(),  # past the largest whole number
    ],
)
def test_curves_that_may_jump_are_refused(function):
    with pytest.raises(UnknownLayerError, match=r"jumps|logical_not"):
        slope_of(function)


def test_curves_that_grow_need_a_ball():
    for function, largest in (
        (lambda x: x * x * x, 27.0),
        (lambda x: torch.log(1 + torch.exp(x)), 0.953),
    ):
        assert slope_of(function) == math.inf
        assert slope_of(function, radius=3.0) == pytest.approx(largest, rel=2e-3)


def test_values_that_are_no_number_have_no_slope():
    assert slope_of(lambda x: torch.log(x).clamp(1.0, 0.0) * torch.sigmoid(x) + x) == math.inf
    assert slope_of(lambda x: torch.where(x > 1, torch.log(x), 0 * x)) == pytest.approx(1, rel=1e-3)


def test_conversions_that_round_are_not_passed_over():
    def rounded(m, x):
        y = (x * m.one).half()
        return (y * (y > 0)).float()

    found = upper_bound(Function(rounded, one=nn.Parameter(torch.ones(()))), (3,))
    assert found.value == pytest.approx(1.0)
    assert not found.certified


def test_curves_at_one_point_only():
    layer = nn.Linear(3, 3)
    nn.init.zeros_(layer.weight)
    for function in (lambda x: x * torch.exp(x), lambda x: torch.where(x > 0, x**3, x)):
        net = Function(lambda m, x, f=function: f(m.layer(x)), layer=layer)
        assert upper_bound(net, (3,), radius=1.0).value == 0


def test_long_curves_are_given_up_in_time():
    def polynomial(x):
        y = x
        for _ in range(24):
            y = y * x + 1
        return y

    def squares(x):
        y = x
        for _ in range(18):
            y = y * y - 0.1
        return torch.where(x > 0.3, y, x)

    started = time.process_time()
    assert slope_of(polynomial) == math.inf
    with pytest.raises(UnknownLayerError, match="jumps"):
        slope_of(squares)
    assert time.process_time() - started < 20


def test_curves_of_one_entry_only():
    """Entries that meet, and numbers that differ between entries, are left to the operators."""
    gates = torch.tensor([1.0, 2.0, 3.0])
    assert slope_of(lambda x: x * torch.sigmoid(gates * x)) == math.inf
    assert slope_of(lambda x: x * torch.sigmoid(x.flip(1))) == math.inf
    with pytest.raises(UnknownLayerError, match="jumps"):
        slope_of(lambda x: x * (x.flip(1) > 0))


def test_curves_within_a_net_are_bounded_from_where_they_begin():
    torch.manual_seed(0)
    first, last = torch.nn.Linear(5, 4), torch.nn.Linear(4, 2)

    class Net(torch.nn.Module):
        def __init__(self, activation):
            super().__init__()
            self.first, self.last, self.activation = first, last, activation

        def forward(self, x):
            return self.last(self.activation(self.first(x)))

    relu = upper_bound(Net(torch.relu), (5,), method="best")
    for function in (lambda x: x * (x > 0), lambda x: torch.where(x < 0, torch.zeros_like(x), x)):
        found = upper_bound(Net(function), (5,), method="best")
        assert found.value == pytest.approx(relu.value, rel=1e-12)
        assert found.certified


def test_numbers_that_are_too_large_or_small_for_the_line_are_left_to_the_operators():
    for limit in (1e200, 1e-200):
        with pytest.raises(UnknownLayerError, match="jumps"):
            slope_of(lambda x, limit=limit: torch.where(x > limit, 100 * x, x), torch.float64)


# ---------------------------------------------------------------- random curves


def random_curve(seed):
    """Of a few steps, some of which choose."""
    generator = torch.Generator().manual_seed(seed)

    def draw(count):
        return int(torch.randint(count, (1,), generator=generator))

    steps = [ARGUMENT, *(Step("constant", (), c) for c in (0.0, 1.0, -0.5, 0.25))]
    for _ in range(2 + draw(6)):
        of = draw(len(steps)), draw(len(steps))
        match draw(8):
            case 0 | 1:
                steps.append(Step("add", of))
            case 2:
                steps.append(Step("multiply", of))
            case 3:
                steps.append(Step(("maximum", "minimum")[draw(2)], of))
            case 4:
                steps.append(Step(("modulus", "negate")[draw(2)], of[:1]))
            case 5:
                steps.append(Step(("tanh", "sigmoid", "exp", "erf", "atan")[draw(5)], of[:1]))
            case 6:
                steps += [Step(("greater", "at_least")[draw(2)], (0, 1 + draw(4)))]
                steps.append(Step("where", (len(steps) - 1, *of)))
            case 7:
                steps.append(Step("divide", (of[0], 2)))
    return tuple(steps)


def value(curve, x):
    found = []
    for step in curve:
        of = [found[i] for i in step.of]
        match step.name:
            case "argument":
                found.append(x)
            case "constant":
                found.append(torch.full_like(x, step.value))
            case "where":
                found.append(torch.where(of[0] > 0, of[1], of[2]))
            case "greater":
                found.append((of[0] > of[1]).double())
            case "at_least":
                found.append((of[0] >= of[1]).double())
            case "modulus":
                found.append(of[0].abs())
            case "negate":
                found.append(-of[0])
            case name:
                found.append(getattr(torch, name)(*of))
    return found[-1]


@pytest.mark.parametrize("block", range(8))
def test_random_curves_have_no_steeper_difference_than_is_said(block):
    line = torch.linspace(-3, 3, 24_577, dtype=torch.float64)  # multiples of 2^-12 and a bit
    bounded = 0
    for seed in range(40 * block, 40 * block + 40):
        curve = random_curve(seed)
        found = slopes(curve, -3.0, 3.0)
        values = value(curve, line)
        low, high = found.values
        if found.jump is None:
            assert (values >= low - 1e-9).all(), seed
            assert (values <= high + 1e-9).all(), seed
        steps = values.diff() / line.diff()
        spare = 1e-9 * (1 + values.abs().max())
        low, high = found.slopes
        assert (steps >= low - spare).all(), seed
        assert (steps <= high + spare).all(), seed
        bounded += high < math.inf
    assert bounded > 10


def test_exact_values_are_those_of_the_curve():
    for seed in range(60):
        curve = random_curve(seed)
        for x in (Fraction(0), Fraction(1), Fraction(-3, 4)):
            exact = exactly(curve, x, {})
            if exact is not None:
                assert value(curve, torch.tensor([float(x)]).double()).item() == pytest.approx(
                    float(exact)
                )
