"""Typed settings: what a number in a YAML file may be. Imports neither torch nor anything else heavy."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from torch import Tensor, nn

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint


LARGEST = 2**32 - 1
"""The largest whole number that a setting can be, and the largest seed that numpy takes."""

MANY = 10**9
"""The most that there can be of anything."""


class Section(BaseModel):
    """A section of settings: a key that it does not know is a mistake.

    So is a text or a truth value where a number is wanted, and a number where a truth value is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    work: ClassVar[float] = 1
    """How many times as long an update takes with this, about; by it the longest jobs start first."""

    @model_validator(mode="before")
    @classmethod
    def _lists_are_tuples(cls, given: Any) -> Any:
        """YAML has lists only, which strict types do not take for tuples."""
        if not isinstance(given, Mapping):
            return given
        listed = _tuples_of(cls)
        return {key: _as_tuple(value) if key in listed else value for key, value in given.items()}


@cache
def _tuples_of(section: type[Section]) -> frozenset[str]:
    fields = section.model_fields.items()
    return frozenset(name for name, field in fields if _has_tuple(field.annotation))


def _has_tuple(annotation: Any) -> bool:
    return get_origin(annotation) is tuple or any(map(_has_tuple, get_args(annotation)))


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


class Family(Section):
    """Settings of a family of nets, from which it builds them."""

    def build(self, width: int, shape: tuple[int, ...], classes: int) -> "nn.Module":
        """A net from points of ``shape`` to logits (n, classes), drawn from torch's random state.

        Raises ``ValueError`` for points that the family is not for.
        """
        raise NotImplementedError(f"{type(self).__module__} has no build(width, shape, classes)")

    def accepts(self, net: "nn.Module", x: "Tensor", y: "Tensor") -> bool:
        """Whether an initialisation will do; another one is drawn where not.

        ``x`` is (n, *shape) and ``y`` (n,) int64, the training points.
        """
        return True

    def units(self, width: int) -> int:
        """Numbers that a point becomes on its way through the net, about.

        The memory of a job and its place in the queue are reckoned by it.
        """
        return width


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"{value} is even; kernels that keep the input's size have odd lengths")
    return value


Count = Annotated[int, Field(strict=True, ge=1, le=MANY)]
OddCount = Annotated[int, Field(strict=True, ge=1, le=MANY), AfterValidator(_odd)]
NonNegative = Annotated[int, Field(strict=True, ge=0, le=LARGEST)]
MOST_REPEATS = 10_000
Repeats = Annotated[int, Field(strict=True, ge=1, le=MOST_REPEATS)]
"""Independent repeats, whose results are held side by side."""

Percent = Annotated[int, Field(strict=True, ge=0, le=100)]
Flag = Annotated[bool, Field(strict=True)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Factor = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Device = Literal["auto", "cpu", "cuda"]
