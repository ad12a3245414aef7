"""Learning-rate schedules, as factors gamma_u of the base rate per update u = 0, 1, ...

Source: Khromov & Singh, ICLR 2024, appendix S2 (Figure S1) and the authors' released schedulers.
"""

from collections.abc import Callable
from typing import Any

from nets import parts

Schedule = Callable[[int, int], float]
"""``(update, updates_per_epoch) -> factor``."""


def build_schedule(name: str, **options: Any) -> Schedule:
    """The schedule of a file in nets/training/schedules, with its options.

    Raises ``ValueError`` for an unknown name and for wrong options.
    """
    schedule = parts.load("schedule", name).Settings(**options)
    factor: Schedule = schedule.factor
    return factor
