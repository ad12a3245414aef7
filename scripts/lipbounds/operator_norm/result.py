"""What every operator norm is returned as."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["upper", "lower", "estimate"]


@dataclass(frozen=True)
class OperatorNorm:
    """A bound on an operator norm.

    ``kind`` says on which side of the true norm ``value`` lies (``estimate``: not known);
    ``certified`` is True only when that is proved, rounding errors included. ``how`` names the
    method in a few words.
    """

    value: float
    kind: Kind
    certified: bool
    how: str = ""
