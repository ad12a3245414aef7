"""Bounds and losses of trained nets at points attacked by projected gradient ascent of the loss."""

from collections.abc import Callable

from torch import Tensor

from lipbounds.bounds import lower_bound
from nets.adversarial import secant_lower_bound
from nets.training.points import Points
from pipeline.runs.run import Checkpoint, Run
from pipeline.runs.trained_nets import loss_name, outcome


def checked_net(runs: list[Run]) -> tuple[Run, int]:
    """The net, as its run and seed, on which more steps show whether attacks have converged."""
    narrowest = min(runs, key=lambda run: run.width)
    return narrowest, min(net.seed for net in narrowest.at_stop())


def falling(first: float, last: float, steps: int) -> Callable[[int], float]:
    """Lengths of steps that fall geometrically from the ``first`` to the ``last``."""
    decay = (last / first) ** (1 / max(1, steps - 1))
    return lambda step: first * decay**step


def bounds_at(
    run: Run, net: Checkpoint, points: Points, x: Tensor, batch_size: int | None = None
) -> dict[str, float]:
    """Bounds and loss at ``x``, and the steepest secant from the points to ``x``."""
    bound, result = lower_bound(net.model, x), outcome(net.model, Points(x, points.y), loss_name(run))
    return {
        "c_lower": bound.max,
        "c_avg": bound.mean,
        "c_secant": secant_lower_bound(net.model, points.x, x, batch_size=batch_size),
        "loss": result.loss,
        "error": result.error,
    }
