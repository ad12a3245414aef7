"""What the run of a training needs of the nets: several seeds of one net, trained side by side.

Two kinds exist. ``stacked`` computes all seeds in one product and knows fully connected ReLU nets;
``plain`` trains any ``nn.Module``, one net after another. Which of them a run has follows from its
nets and from how they are trained, see :mod:`nets.training.assemble`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from torch import Tensor

from nets.training.points import Points

Prepared = TypeVar("Prepared")


@dataclass(frozen=True)
class Evaluation:
    """Per net, in eval mode: sums over points, and the norm of the gradient of the mean loss.

    With penalties, ``loss`` is without them, ``gradient_norm`` is that of the whole, and ``penalty``
    is their sum; both are there only if gradients were asked for (else NaN and None). ``wrong`` is
    NaN where points have values and no labels.
    """

    points: int
    loss: list[float]
    wrong: list[float]
    gradient_norm: list[float]
    penalty: list[float] | None = None

    def mean_loss(self, position: int) -> float:
        """Of one net."""
        return self.loss[position] / self.points

    def error(self, position: int) -> float:
        """Share of the points whose class is wrong, of one net."""
        return self.wrong[position] / self.points


@dataclass(frozen=True)
class Path:
    """Per net: sum of the 2-norms of all updates so far, and the largest 2-norm of a batch's gradient.

    The gradient is that which is applied, so after clipping.
    """

    length: list[float]
    largest_gradient: list[float]


class Ensemble(Protocol[Prepared]):
    """Nets that differ in their initialisation only, and in nothing that happens to them."""

    @property
    def facts(self) -> dict[str, Any]:
        """What was chosen for this run and not set: the kind of ensemble, the library of products."""

    @property
    def parameter_count(self) -> int:
        """Parameters of one net."""

    def __len__(self) -> int: ...

    def prepare(self, points: Points, batch_size: int) -> Prepared:
        """Points as the nets want to have them, in memory on their device."""

    def train_epoch(
        self,
        points: Prepared,
        rates: Sequence[float],
        order: Tensor | None,
        randomness: Sequence[int],
    ) -> None:
        """One update for each of the ``rates``, on one batch after another.

        ``order`` (n,) int64 says which points come first; None leaves them as they are. All that is
        random in the epoch is drawn from the whole numbers ``randomness``, for each net alike
        whether or not others still train.
        """

    def evaluate(self, points: Prepared, *, gradient: bool) -> Evaluation:
        """Losses and errors in eval mode and without augmentation, and gradients if asked for."""

    def finite(self) -> list[bool]:
        """Per net, whether all that it is made of is finite."""

    def net(self, position: int) -> dict[str, Tensor]:
        """What ``state_dict`` of one net holds; tensors that later updates overwrite."""

    @property
    def path(self) -> Path | None:
        """How far the nets have gone, where that is tracked."""

    def state(self) -> dict[str, Tensor]:
        """All that later updates depend on, by name; tensors that later updates overwrite."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a :meth:`state` of as many nets."""

    def select(self, positions: Sequence[int]) -> None:
        """Go on with the nets at these positions alone."""
