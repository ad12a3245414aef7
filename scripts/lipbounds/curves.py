"""The largest and smallest slope of a function of one number that is written as a few operations.

The line is cut into cells. On each, values and slopes of secants are enclosed operation by operation, in
interval arithmetic (Moore, Interval Analysis, 1966): slopes of a product f g lie in f's values times g's
slopes plus g's values times f's. Cells whose enclosure is wider than what is reached are cut in two. An
operation that chooses (a comparison) must be decided within each cell; where neighbouring cells choose
differently, the function is computed exactly, in rational numbers, from both sides and at the point
itself, and has a finite slope only if the three agree.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, reduce
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from lipbounds.intervals import Interval

TOLERANCE = 1e-4
"""Relative distance from the slopes that are reached at which cells are cut no further."""

MOST = 1e15
"""Slopes, and values, above this are taken for unbounded: on all floats those of x**2 end at 7e38."""

_MOST_CELLS = 1 << 16
_MOST_UNBOUNDED = 1 << 13
"""Cells after which a slope that is not yet bounded is taken for unbounded."""

_VALUE_ROUNDS = 8
_VALUE_TOLERANCE = 0.01
"""As for slopes, of values: those are needed in products only."""

_MOST_DIGITS = 1 << 14
"""Binary digits of exact values, which squares double."""

_MOST_ROUNDS = 70


class Step(NamedTuple):
    """An operation on the results of earlier steps, by their numbers. The first step of a curve is
    ``argument``; a ``constant`` has the ``value``, and a ``power`` has it as exponent."""

    name: str
    of: tuple[int, ...] = ()
    value: float = 0.0


Curve: TypeAlias = tuple[Step, ...]
"""A function of one number: the result of the last step."""

ARGUMENT = Step("argument")


@dataclass(frozen=True)
class Found:
    """``values`` and ``slopes`` (low, high) on an interval, infinite where there is no bound.

    ``jump`` is a place where the function may jump, None if it is continuous.
    """

    values: tuple[float, float]
    slopes: tuple[float, float]
    jump: float | None = None


class Piece(NamedTuple):
    """On each cell what ``value`` lies in, and the slopes of all secants there.

    Where both are the whole line there may be no value, as of the root of a negative number.
    """

    value: Interval
    slope: Interval

    def unknown_where(self, condition: Tensor) -> "Piece":
        """Nothing is known where the condition holds."""
        line = Interval.line(self.value.low)
        return Piece(*(line.where(condition, interval) for interval in self))


@cache
def slopes(curve: Curve, low: float, high: float, error: float = 0.0) -> Found:
    """Values and slopes of ``curve`` on the finite interval [low, high].

    The values are those that are computed where functions of a library are wrong by ``error``,
    relative to their values or to 1; the slopes are those of the function that is meant.
    """
    line = -math.inf, math.inf
    ends = _first_cells(curve, low, high)
    cells, enclosed = _refined(curve, ends[:-1], ends[1:])
    jump = _jump(curve, cells)
    if jump is not None:
        return Found(line, line, jump)
    slope = enclosed.slope.low.min().item(), enclosed.slope.high.max().item()
    bounded = max(map(abs, slope)) <= MOST
    return Found(_finite(_values(curve, cells, error)), slope if bounded else line)


def _values(curve: Curve, cells: Interval, error: float) -> tuple[float, float]:
    """The least and the largest value, where functions of a library are wrong by ``error``.

    Cells that say more than is reached are cut in two a few times: of x / sqrt(1 + x^2) on [a, 2a] what
    is above and below varies alone. Each cut halves that.
    """
    low, high = cells.low, cells.high
    ends, reached = [math.inf, -math.inf], [math.inf, -math.inf]
    for number in range(_VALUE_ROUNDS):
        value = enclosure(curve, Interval(low, high), error)[-1].value
        middle = low / 2 + high / 2
        at_middle = enclosure(curve, Interval(middle, middle), error)[-1].value
        reached = [
            min(reached[0], at_middle.high.min().item()),
            max(reached[1], at_middle.low.max().item()),
        ]
        spare = _VALUE_TOLERANCE * max(map(abs, reached))
        wide = (value.high > reached[1] + spare) | (value.low < reached[0] - spare)
        wide &= (low < middle) & (middle < high)
        if number == _VALUE_ROUNDS - 1 or len(low) > _MOST_CELLS:
            wide = torch.zeros_like(wide)
        if not wide.all():
            kept = _those(value, ~wide)
            ends = [min(ends[0], kept.low.min().item()), max(ends[1], kept.high.max().item())]
        if not wide.any():
            break
        low, middle, high = low[wide], middle[wide], high[wide]
        low, high = torch.cat([low, middle]), torch.cat([middle, high])
    return ends[0], ends[1]


def _finite(ends: tuple[float, float]) -> tuple[float, float]:
    low, high = ends
    return low if low >= -MOST else -math.inf, high if high <= MOST else math.inf


def _first_cells(curve: Curve, low: float, high: float) -> Tensor:
    """Ends of cells: powers of two, and the constants of the curve, where it may choose or bend."""
    constants = {step.value for step in curve if step.name == "constant"}
    known = {0.0, *constants, *(-c for c in constants)}
    powers = {2.0**k for k in range(-8, 1024)}
    inner = {x for x in known | powers | {-p for p in powers} if low < x < high}
    return torch.tensor([low, *sorted(inner), high], dtype=torch.float64)


def _refined(curve: Curve, low: Tensor, high: Tensor) -> tuple[Interval, Piece]:
    """All cells in the end, and what encloses the function there.

    Where no bound comes of it, they are cut further only to decide comparisons.
    """
    done: list[tuple[Interval, Piece]] = []
    reached_low, reached_high, count = math.inf, -math.inf, 0
    for number in range(_MOST_ROUNDS):
        pieces = enclosure(curve, Interval(low, high))
        piece = pieces[-1]
        middle = low / 2 + high / 2
        at_middle = enclosure(curve, Interval(middle, middle))[-1].slope
        certain = at_middle.low.isfinite() & at_middle.high.isfinite()
        if certain.any():
            reached_low = min(reached_low, at_middle.high[certain].min().item())
            reached_high = max(reached_high, at_middle.low[certain].max().item())
        spare = TOLERANCE * max(abs(reached_low), abs(reached_high)) if reached_high > -math.inf else 0.0
        wide = (piece.slope.high > reached_high + spare) | (piece.slope.low < reached_low - spare)
        if not certain.all() or max(abs(reached_low), abs(reached_high)) > MOST:
            wide = _undecided(curve, pieces)
        wide &= (low < middle) & (middle < high)
        count += len(low)
        most = _MOST_CELLS if piece.slope.magnitude().high.max() <= MOST else _MOST_UNBOUNDED
        if not wide.any() or number == _MOST_ROUNDS - 1 or count > most:
            done.append((Interval(low, high), piece))
            break
        done.append((_those(Interval(low, high), ~wide), Piece(*(_those(i, ~wide) for i in piece))))
        low, middle, high = low[wide], middle[wide], high[wide]
        low, high = torch.cat([low, middle]), torch.cat([middle, high])
    cells = _joined([cell for cell, _ in done])
    return cells, Piece(*(_joined([piece[i] for _, piece in done]) for i in range(2)))


def _undecided(curve: Curve, pieces: list[Piece]) -> Tensor:
    """Cells in which comparisons may have both results."""
    unknown = torch.zeros_like(pieces[0].value.low, dtype=torch.bool)
    for step, piece in zip(curve, pieces, strict=True):
        if step.name in COMPARISONS:
            unknown |= piece.value.low != piece.value.high
    return unknown


def _those(interval: Interval, chosen: Tensor) -> Interval:
    return Interval(interval.low[chosen], interval.high[chosen])


def _joined(intervals: list[Interval]) -> Interval:
    return Interval(torch.cat([i.low for i in intervals]), torch.cat([i.high for i in intervals]))


# Enclosures


def enclosure(curve: Curve, cells: Interval, error: float = 0.0) -> list[Piece]:
    """What each step lies in on the cells, where functions of a library are wrong by ``error``."""
    found: list[Piece] = []
    for step in curve:
        of = [found[number] for number in step.of]
        if step.name == "argument":
            found.append(Piece(cells, Interval.point(1.0, cells.low)))
        elif step.name == "constant":
            found.append(Piece(*(Interval.point(c, cells.low) for c in (step.value, 0.0))))
        elif step.name in _CHOOSING:
            found.append(_OPERATIONS[step.name](*of))
        else:
            nowhere = reduce(torch.logical_or, [a.value.is_line() & a.slope.is_line() for a in of])
            found.append(_operated(step, of, error).unknown_where(nowhere))
    return found


def _operated(step: Step, of: list[Piece], error: float) -> Piece:
    if step.name == "power":
        return _power(of[0], step.value, error)
    if step.name in SMOOTH:
        value, slope = SMOOTH[step.name].enclosed(of[0].value, error)
        return Piece(value, slope * of[0].slope)
    return _OPERATIONS[step.name](*of)


def _add(a: Piece, b: Piece) -> Piece:
    return Piece(a.value + b.value, a.slope + b.slope)


def _multiply(a: Piece, b: Piece) -> Piece:
    if a is b:
        size = a.value.magnitude()
        return Piece(size * size, (a.value + a.value) * a.slope)
    return Piece(a.value * b.value, a.value * b.slope + b.value * a.slope)


def _divide(a: Piece, b: Piece) -> Piece:
    inverse = b.value.inverse()
    quotient = a.value * inverse
    return Piece(quotient, (a.slope - quotient * b.slope) * inverse)


def _negate(a: Piece) -> Piece:
    return Piece(-a.value, -a.slope)


def _modulus(a: Piece) -> Piece:
    return _maximum(a, _negate(a))._replace(value=a.value.magnitude())


def _maximum(a: Piece, b: Piece) -> Piece:
    first, second = a.value.low >= b.value.high, b.value.low >= a.value.high
    value = Interval(torch.maximum(a.value.low, b.value.low), torch.maximum(a.value.high, b.value.high))
    either = b.slope.where(second, a.slope.hull(b.slope))
    return Piece(value, a.slope.where(first, either))


def _minimum(a: Piece, b: Piece) -> Piece:
    return _negate(_maximum(_negate(a), _negate(b)))


def _truth(yes: Tensor, no: Tensor) -> Piece:
    """1 where a comparison holds in the whole interior of a cell, 0 where it does nowhere; where that
    is not known, no slope bounds it."""
    zeros = torch.zeros_like(yes, dtype=torch.float64)
    slope = torch.where(yes | no, zeros, torch.inf)
    return Piece(Interval(zeros.masked_fill(yes, 1.0), (~no).to(torch.float64)), Interval(-slope, slope))


def _signs(a: Piece, b: Piece) -> tuple[Tensor, Tensor, Tensor]:
    """Where a - b is positive, negative, zero in the interior of cells. An end may be a zero of a
    difference that rises or falls strictly."""
    difference = _add(a, _negate(b))
    value, slope = difference
    strict = (slope.low > 0) | (slope.high < 0)
    zero = (value.low == 0) & (value.high == 0)
    positive = (value.low > 0) | ((value.low == 0) & strict & ~zero)
    negative = (value.high < 0) | ((value.high == 0) & strict & ~zero)
    return positive, negative, zero


def _greater(a: Piece, b: Piece) -> Piece:
    positive, negative, zero = _signs(a, b)
    return _truth(positive, negative | zero)


def _at_least(a: Piece, b: Piece) -> Piece:
    positive, negative, zero = _signs(a, b)
    return _truth(positive | zero, negative)


def _equal(a: Piece, b: Piece) -> Piece:
    positive, negative, zero = _signs(a, b)
    return _truth(zero, positive | negative)


def _where(condition: Piece, a: Piece, b: Piece) -> Piece:
    yes, no = condition.value.low == 1, condition.value.high == 0
    line = Interval.line(a.value.low)
    value = a.value.where(yes, b.value.where(no, a.value.hull(b.value)))
    return Piece(value, a.slope.where(yes, b.slope.where(no, line)))


def _not(a: Piece) -> Piece:
    return Piece(Interval(1 - a.value.high, 1 - a.value.low), a.slope)


def _and(a: Piece, b: Piece) -> Piece:
    yes = (a.value.low == 1) & (b.value.low == 1)
    return _truth(yes, (a.value.high == 0) | (b.value.high == 0))


def _or(a: Piece, b: Piece) -> Piece:
    return _not(_and(_not(a), _not(b)))


_OPERATIONS: Mapping[str, Callable[..., Piece]] = {
    "add": _add, "multiply": _multiply, "divide": _divide, "negate": _negate, "modulus": _modulus,
    "maximum": _maximum, "minimum": _minimum, "greater": _greater, "at_least": _at_least,
    "equal": _equal, "where": _where, "not": _not, "and": _and, "or": _or,
}  # fmt: skip

COMPARISONS = ("greater", "at_least", "equal")
"""Steps that choose."""

_CHOOSING = (*COMPARISONS, "where")
"""Steps that have a value where not all that they take has one."""


def _power(a: Piece, exponent: float, error: float) -> Piece:
    """u ** exponent; of negative numbers whole powers only."""
    value = _raised(a.value, exponent, error)
    slope = _raised(a.value, exponent - 1) * Interval.point(exponent, a.value.low)
    return Piece(value, slope * a.slope)


def _raised(u: Interval, exponent: float, error: float = 0.0) -> Interval:
    if exponent == 0:
        return Interval.point(1.0, u.low)
    if exponent < 0:
        return _raised(u, -exponent, error).inverse()
    if exponent % 2 == 0:
        u = u.magnitude()
    odd = exponent % 2 == 1
    return u.increasing(lambda x: x.pow(exponent), -math.inf if odd else 0.0, error=error)


# Smooth functions


@dataclass(frozen=True)
class Smooth:
    """An increasing ``function``, between ``low`` and ``high``, and its ``slope`` on intervals.

    ``exact`` has the values that are rational at rational numbers.
    """

    function: Callable[[Tensor], Tensor]
    slope: Callable[[Interval], Interval]
    low: float = -math.inf
    high: float = math.inf
    exact: Mapping[int, Fraction] | None = None
    spare: float = 0.0
    """What values may be off by, for arguments from 20 on."""

    def enclosed(self, u: Interval, error: float = 0.0) -> tuple[Interval, Interval]:
        """Values, computed with an ``error``, and slopes for arguments in ``u``."""
        value = u.increasing(self.function, self.low, self.high, error)
        spare = self.spare * (u.high >= 20)
        return Interval(value.low - spare, value.high + spare), self.slope(u)


def _bell(function: Callable[[Tensor], Tensor]) -> Callable[[Interval], Interval]:
    """Of a slope that is even, positive, and falls with the modulus, in the end as exp(-|u|)."""
    return lambda u: _falling(
        u.magnitude().decreasing(function).within(0.0, math.inf), u.magnitude().low
    )


def _falling(value: Interval, size: Tensor) -> Interval:
    """Cut off at 30 / size^4, which is above 1.2 exp(-size), and smaller than the rounding of exp that
    the largest floats would be multiplied by."""
    limit = torch.nextafter(30 / size.square().square(), torch.full_like(size, math.inf))
    return Interval(value.low, torch.minimum(value.high, limit * (1 + 1e-15)))


def _sigmoid_slope(t: Tensor) -> Tensor:
    falling = (-t).exp()
    return falling / (1 + falling).square()


def _exp(u: Interval) -> Interval:
    return _falling(u.increasing(torch.exp, 0.0), (-u.high).clamp_min(0.0))


def _sigmoid(u: Interval) -> Interval:
    return _falling(u.increasing(torch.sigmoid, 0.0, 1.0), (-u.high).clamp_min(0.0))


def _atan_slope(u: Interval) -> Interval:
    return u.magnitude().decreasing(lambda t: 1 / (1 + t * t)).within(0.0, 1.0)


def _log_slope(u: Interval) -> Interval:
    line = Interval.line(u.low)
    return u.inverse().where(u.low > 0, line)


def _sqrt_slope(u: Interval) -> Interval:
    root = u.increasing(torch.sqrt)
    return _log_slope(root + root)


_ZERO = {0: Fraction(0)}

SMOOTH: Mapping[str, Smooth] = {
    "exp": Smooth(torch.exp, _exp, 0.0, exact={0: Fraction(1)}),
    "expm1": Smooth(torch.expm1, _exp, -1.0, exact=_ZERO),
    "log": Smooth(torch.log, _log_slope, exact={1: Fraction(0)}),
    "log1p": Smooth(torch.log1p, lambda u: _log_slope(u + Interval.point(1.0, u.low)), exact=_ZERO),
    "sqrt": Smooth(torch.sqrt, _sqrt_slope, 0.0, exact={0: Fraction(0), 1: Fraction(1)}),
    "sigmoid": Smooth(torch.sigmoid, _bell(_sigmoid_slope), 0.0, 1.0, {0: Fraction(1, 2)}),
    "tanh": Smooth(torch.tanh, _bell(lambda t: 4 * _sigmoid_slope(2 * t)), -1.0, 1.0, _ZERO),
    "erf": Smooth(torch.erf, _bell(lambda t: 2 / math.sqrt(math.pi) * (-t * t).exp()), -1.0, 1.0, _ZERO),
    "atan": Smooth(torch.atan, _atan_slope, -1.6, 1.6, _ZERO),
    # above 20 torch takes the identity, which is below by up to 2.1e-9
    "softplus": Smooth(nn.functional.softplus, _sigmoid, 0.0, spare=2.1e-9),
}
"""By the names of their steps."""


# Where cells meet


def _jump(curve: Curve, cells: Interval) -> float | None:
    """A place where the curve may jump, None if there is none: it is continuous between comparisons."""
    chosen = [number for number, step in enumerate(curve) if step.name in COMPARISONS]
    if not chosen:
        return None
    order = cells.low.argsort()
    cells = _those(cells, order)
    pieces = enclosure(curve, cells)
    decided = torch.stack([pieces[number].value.low for number in chosen])
    unknown = _undecided(curve, pieces)
    if unknown.any():
        return cells.low[unknown][0].item()
    ends = torch.cat([cells.low, cells.high[-1:]])
    at_ends = enclosure(curve, Interval(ends, ends))
    differ = (decided[:, 1:] != decided[:, :-1]).any(0)
    choice = nn.functional.pad(differ, (1, 1))
    for number in chosen:
        inside, there = (_difference(curve[number], found) for found in (pieces, at_ends))
        idle = (inside.low == 0) & (inside.high == 0)
        around = nn.functional.pad(idle, (1, 0), value=True) & nn.functional.pad(
            idle, (0, 1), value=True
        )
        choice |= (there.low <= 0) & (there.high >= 0) & ~around
    for place in choice.nonzero().flatten().tolist():
        sides = [decided[:, i].tolist() for i in (place - 1, place) if 0 <= i < len(cells.low)]
        if not _continuous(
            curve, ends[place].item(), [dict(zip(chosen, s, strict=True)) for s in sides]
        ):
            return ends[place].item()
    return None


def _difference(comparison: Step, found: list[Piece]) -> Interval:
    first, second = (found[number] for number in comparison.of)
    return first.value - second.value


def _continuous(curve: Curve, place: float, sides: list[dict[int, float]]) -> bool:
    """Whether the exact value at a place is the same with the choices of the cells beside it."""
    values = [exactly(curve, Fraction(place), choice) for choice in [{}, *sides]]
    return values[0] is not None and all(value == values[0] for value in values)


def exactly(curve: Curve, x: Fraction, choices: Mapping[int, float]) -> Fraction | None:
    """The value at ``x``, None where it is not known to be rational; ``choices`` replace comparisons."""
    found: list[Fraction | None] = []
    for number, step in enumerate(curve):
        of = [found[i] for i in step.of]
        if number in choices:
            found.append(Fraction(choices[number]))
        elif step.name == "argument":
            found.append(x)
        elif step.name == "constant":
            found.append(Fraction(step.value))
        elif step.name == "where":
            found.append(None if of[0] is None else of[1] if of[0] else of[2])
        else:
            value = _exact(step, [v for v in of if v is not None]) if None not in of else None
            found.append(value if value is not None and _is_short(value) else None)
    return found[-1]


def _is_short(value: Fraction) -> bool:
    return max(value.numerator.bit_length(), value.denominator.bit_length()) <= _MOST_DIGITS


def _exact(step: Step, of: list[Fraction]) -> Fraction | None:
    if step.name in SMOOTH:
        known = SMOOTH[step.name].exact or {}
        return known.get(int(of[0])) if of[0].denominator == 1 else None
    if step.name == "power":
        whole = step.value.is_integer() and abs(step.value) <= 64
        return of[0] ** int(step.value) if whole and (of[0] or step.value >= 0) else None
    if step.name == "divide":
        return of[0] / of[1] if of[1] else None
    return Fraction(_EXACT[step.name](*of))


_EXACT: Mapping[str, Callable[..., Fraction | bool]] = {
    "add": lambda a, b: a + b, "multiply": lambda a, b: a * b, "negate": lambda a: -a,
    "modulus": abs, "maximum": max, "minimum": min, "greater": lambda a, b: a > b,
    "at_least": lambda a, b: a >= b, "equal": lambda a, b: a == b, "not": lambda a: 1 - a,
    "and": lambda a, b: a and b, "or": lambda a, b: a or b,
}  # fmt: skip
