"""Typed settings: what a number in a YAML file may be. Imports neither torch nor anything else heavy."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from torch import Tensor, nn

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint


class Section(BaseModel):
    """A section of settings: a key that it does not know is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    work: ClassVar[float] = 1
    """How many times as long an update takes with this, about; by it the longest jobs start first."""


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


Count = Annotated[int, Field(strict=True, ge=1)]
OddCount = Annotated[int, Field(strict=True, ge=1), AfterValidator(_odd)]
NonNegative = Annotated[int, Field(strict=True, ge=0)]
Percent = Annotated[int, Field(strict=True, ge=0, le=100)]
Flag = Annotated[bool, Field(strict=True)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Factor = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Device = Literal["auto", "cpu", "cuda"]
