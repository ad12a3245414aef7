"""Upper bounds of the Lipschitz constant of a whole network."""

import math
from dataclasses import dataclass
from functools import partial

from torch import nn

from lipbounds.bounds.segments import CHAIN_BOUNDS, tightened
from lipbounds.graph import check, export
from lipbounds.operator_norm import Kind
from lipbounds.operators import Analysis, Layer
from lipbounds.operators.expressions import Expression
from lipbounds.rounding import Extended


@dataclass(frozen=True)
class UpperBound:
    """An upper bound of a Lipschitz constant, in units of output per unit of input.

    ``log10`` never overflows; ``value`` is inf when it does not fit into a float. ``certified`` is
    True only when the number is proved to be at least the true constant, rounding included.
    ``method`` says how the number was obtained, ``layers`` what each layer contributed to the product
    bound that every method starts from.
    """

    log10: float
    value: float
    kind: Kind
    certified: bool
    layers: tuple[Layer, ...]
    method: str


def upper_bound(
    model: nn.Module,
    input_shape: tuple[int, ...],
    *,
    method: str = "autolip",
    ord: float = 2,
    radius: float = math.inf,
    grid: int | None = None,
    gaps: bool = False,
) -> UpperBound:
    """Upper bound of the Lipschitz constant of ``model`` in eval mode.

    Parameters
    ----------
    model
        Any model of one input that torch.fx can trace and whose layers have rules.
    input_shape
        Shape of one input, without the batch dimension.
    method
        ``autolip``: Virmaux & Scaman, NeurIPS 2018, algorithm 1, on the computation graph; for a
        chain of layers the product of their constants (C_upper of Khromov & Singh, ICLR 2024).
        ``liplt``, ``eclipse``, ``seqlip``, ``descent``, ``lipsdp``: tighter bounds of the parts of
        the graph that are chains of layers small enough to be held as matrices, and never worse
        than ``autolip``. ``lipsdp`` needs cvxpy and small nets; ``descent`` minimises the same
        bound without a solver.
        ``best``: the least of autolip, liplt, eclipse and, where it takes milliseconds, seqlip,
        chosen part by part. ``tightest``: also descent (seconds).
    ord
        2, 1 or inf: the norm on inputs and outputs. The tighter methods are for 2.
    radius
        The bound holds on the ball of this radius around zero (in the norm ``ord``); needed where
        a model is not Lipschitz on the whole space, as with attention.
    grid
        At most this many frequencies per axis for the norms of convolutions: faster and looser.
    gaps
        Also approach the norm of each linear layer from below (``Layer.lower``, by Lanczos), which
        shows how much of the bound is due to the norms; several times the work.

    Raises
    ------
    UnknownLayerError
        For a module or function without a rule; the message names it and says how to register one.
    ValueError
        For an unknown method or order, weights that are not finite, forward hooks, dropout or batch
        normalisation in train mode, control flow that cannot be traced, or an input shape that a
        layer rejects (named in the message).

    Notes
    -----
    While it traces, torch.fx replaces the call of every module in the process: no other thread may
    run a model at the same time.
    """
    if ord not in (1, 2, math.inf):
        raise ValueError(f"ord must be 1, 2 or inf, not {ord!r}")
    if method not in METHODS:
        raise ValueError(f"unknown upper bound {method!r}; known: {', '.join(METHODS)}")
    if method != "autolip" and ord != 2:
        raise ValueError(f"{method} bounds the 2-norm only; with ord={ord} use method='autolip'")
    if not radius > 0:
        raise ValueError(f"radius must be positive, not {radius!r}")
    used: list[str] = []
    tighten = partial(_tightened, METHODS[method], used) if METHODS[method] else None
    graph, twin = export(model, tuple(input_shape))
    check(graph, twin)
    analysis = Analysis(graph, ord, radius, grid, tighten, gaps)
    bound = analysis.run()
    return UpperBound(
        log10=bound.log10,
        value=bound.value,
        kind=analysis.kind,
        certified=analysis.certified and analysis.kind == "upper",
        layers=tuple(analysis.layers),
        method=method if not used else f"{method}: {', '.join(dict.fromkeys(used))}",
    )


def _tightened(
    methods: tuple[str, ...], used: list[str], analysis: Analysis, expression: Expression
) -> Extended | None:
    found = tightened(analysis, expression, methods)
    if found is None:
        return None
    used.append(found.method)
    return found.bound


METHODS: dict[str, tuple[str, ...]] = {
    "autolip": (),
    **{name: (name,) for name in CHAIN_BOUNDS},
    "best": ("liplt", "eclipse", "seqlip if small"),
    "tightest": ("liplt", "eclipse", "seqlip", "descent"),
}
"""Methods of :func:`upper_bound`, with the chain bounds that each may use."""
