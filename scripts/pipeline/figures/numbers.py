"""Numbers on axes: one format for all of them, and where they stand on a logarithmic axis."""

import math

from matplotlib.axis import Axis, XAxis
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullFormatter

_LONGEST_IN_PLAIN, _LEAST_IN_PLAIN = 1e8, 5e-5
"""An axis that is longer, or that begins lower, has powers of ten at all of its numbers."""


def plain(value: float) -> str:
    """A number as all axes have it, with a comma from a thousand on: 0.01, 50, 1,000, 10,000."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
    return text.replace("-", "\N{MINUS SIGN}")


def signed(value: float, zero: str) -> str:
    """The same for a difference, with its sign, and a word for none."""
    return ("+" if value > 0 else "") + plain(value) if value else zero


def power(value: float) -> str:
    """The nearest power of ten."""
    return f"$10^{{{round(math.log10(value))}}}$"


PLAIN = FuncFormatter(lambda value, _: plain(value))

_POWERS = FuncFormatter(lambda value, _: power(value))


def log_numbers(axis: Axis, low: float, high: float) -> None:
    """Where numbers stand on a logarithmic axis from ``low`` to ``high``, and how.

    The shorter the axis, the more of them a decade has; they lie beside each other on an x axis, so
    that there are fewer.
    """
    across = isinstance(axis, XAxis)
    many = high > _LONGEST_IN_PLAIN * low or low < _LEAST_IN_PLAIN
    axis.set_major_locator(_locator(low, high, across, many))
    axis.set_major_formatter(_POWERS if many else PLAIN)
    axis.set_minor_formatter(NullFormatter())


def _locator(low: float, high: float, across: bool, many: bool) -> Locator:
    if many:
        return LogLocator(numticks=6 if across else 9)
    for least, digits in ((200 if across else 1000, (1,)), (6, (1, 2, 5)), (2.5, _CLOSE)):
        if high > least * low:
            return LogLocator(subs=digits, numticks=6 if across and len(digits) == 1 else 20)
    return MaxNLocator(5, steps=[1, 2, 5, 10])


_CLOSE = (1, 1.5, 2, 3, 4, 5, 7)
