"""Learning-rate schedules, as factors gamma_u of the base rate per update u = 0, 1, ...

Source: Khromov & Singh, ICLR 2024, appendix S2 (Figure S1) and the authors' released schedulers.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

Schedule = Callable[[int, int], float]
"""``(update, updates_per_epoch) -> factor``."""


def constant(update: int, updates_per_epoch: int) -> float:
    """gamma = 1."""
    return 1.0


def warmup_step(
    update: int,
    updates_per_epoch: int,
    *,
    warmup_updates: int,
    drop_epochs: Sequence[int],
    drop_factor: float,
) -> float:
    """Linear warm-up, then a drop by ``drop_factor`` at each of ``drop_epochs``.

    gamma_u = (u + 1) / N for u < N = ``warmup_updates``. Drop epochs are counted from update
    N + 1: the released code spends one update at factor 1 when it hands over from the warm-up.
    Warmup20000Step25 of the paper is N = 20,000, drops of 0.75 at epochs 2500, 5000 and 7500.
    """
    if update < warmup_updates:
        return (update + 1) / warmup_updates
    since_warmup = update - (warmup_updates + 1)
    return drop_factor ** sum(since_warmup >= epoch * updates_per_epoch for epoch in drop_epochs)


def exponential_step(
    update: int,
    updates_per_epoch: int,
    *,
    drop_every_epochs: int,
    drop_factor: float,
    minimum_factor: float = 0.0,
) -> float:
    """A drop by ``drop_factor`` every ``drop_every_epochs``, never below ``minimum_factor``.

    Cont100 of the paper is a drop of 0.95 every 100 epochs; Cont100LimitLR adds the floor 1e-3.
    """
    return max(drop_factor ** (update // (drop_every_epochs * updates_per_epoch)), minimum_factor)


SCHEDULES: dict[str, Callable[..., float]] = {
    "constant": constant,
    "warmup_step": warmup_step,
    "exponential_step": exponential_step,
}


def build_schedule(name: str, **options: Any) -> Schedule:
    """The schedule called ``name`` with its options bound. Raises ``KeyError`` for an unknown name."""
    return partial(SCHEDULES[name], **options)
