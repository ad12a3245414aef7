"""Upper bounds of the Lipschitz constant of a whole network."""

import math
from dataclasses import dataclass

from torch import nn

from lipbounds.bounds.segments import CHAIN_BOUNDS, Tightening
from lipbounds.graph import Graph, Shape, check, export, plain
from lipbounds.operator_norm import Kind
from lipbounds.operators import Analysis, Layer, table
from lipbounds.twin import undisturbed


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
    budget: float | None = None,
) -> UpperBound:
    """Upper bound of the Lipschitz constant of ``model`` in eval mode.

    Parameters
    ----------
    model
        Any model of one tensor that torch.export can export and whose operators have rules; its
        outputs may be nested, and count side by side.
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
        The bound holds for pairs of points in the ball of this radius around zero (in the norm
        ``ord``), borders included; needed where a model is not Lipschitz on the whole space, as with
        attention. It is certified where values were bounded operator by operator alone; where the
        value at the centre plus bound times radius says more, that is taken, and since the rounding
        of the value at the centre is not bounded, the result is not certified.
    grid
        At most this many frequencies per axis for the norms of convolutions: faster and looser.
    gaps
        Also approach the norm of each linear layer from below (``Layer.lower``, by Lanczos), which
        shows how much of the bound is due to the norms; several times the work.

    budget
        Multiplications that the tighter methods may spend beyond ``autolip``, estimated from sizes
        before anything is computed: for matrices and the norms of their products (the search of
        ``eclipse`` among small ones takes up to six times that, ``descent`` more). Of a chain that
        would take more its last parts are taken, then those before them; the table says what was
        left out. None: 2e10 for ``best`` and ``tightest``, no limit for a method that was named. No
        matrix has more than 2^24 entries in any case.

    Raises
    ------
    UnknownLayerError
        For operators without a rule; the message names all of them, where they stand, and what to do.
    ValueError
        For an unknown method or order, weights that are not finite, layers in train mode that differ
        in eval mode, control flow that depends on values, an input shape that a layer rejects, and
        where the model is no one function of single samples: it draws random numbers, changes what
        its output depends on, or mixes the samples of a batch.

    Notes
    -----
    The bound is of the graph of operators that torch.export records. The model, or a copy that shares
    its weights, is also called itself: twice, and once with two samples; what the graph does not
    reproduce is refused. Exports take turns; other threads may run models meanwhile.
    """
    if ord not in (1, 2, math.inf):
        raise ValueError(f"ord must be 1, 2 or inf, not {ord!r}")
    if method not in METHODS:
        raise ValueError(f"unknown upper bound {method!r}; known: {', '.join(METHODS)}")
    if method != "autolip" and ord != 2:
        raise ValueError(f"{method} bounds the 2-norm only; with ord={ord} use method='autolip'")
    if not radius > 0:
        raise ValueError(f"radius must be positive, not {radius!r}")
    with undisturbed(model):
        graph, _kept = _graph(model, tuple(input_shape))
    with undisturbed(model):  # by the export, which may leave tensors without values in the model
        tighten = Tightening(METHODS[method], _budget(method, budget)) if METHODS[method] else None
        analysis = Analysis(graph, ord, radius, grid, tighten, gaps)
        check(graph, model)
        bound = analysis.run()
    return UpperBound(
        log10=bound.log10,
        value=bound.value,
        kind=analysis.kind,
        certified=analysis.certified and analysis.kind == "upper",
        layers=tuple(analysis.layers),
        method=_spelled(method, tighten),
    )


def _graph(model: nn.Module, input_shape: Shape) -> tuple[Graph, nn.Module]:
    """The graph, and the model that its operators need."""
    whole = any(type(module) in table.MODULES for module in model.modules())
    found = None if whole else plain(model, input_shape)
    if found is not None:
        return found, model
    return export(model, input_shape, table.OPERATORS.__contains__, table.MODULES)


def _budget(method: str, budget: float | None) -> float:
    if budget is not None:
        return budget
    return BUDGET if method in ("best", "tightest") else math.inf


def _spelled(method: str, tighten: Tightening | None) -> str:
    used = dict.fromkeys(tighten.used) if tighten is not None else {}
    return f"{method}: {', '.join(used)}" if used else method


BUDGET = 2e10
"""Multiplications that ``best`` and ``tightest`` may spend on chains: about a second of one core."""

METHODS: dict[str, tuple[str, ...]] = {
    "autolip": (),
    **{name: (name,) for name in CHAIN_BOUNDS},
    "best": ("liplt", "eclipse", "seqlip if small"),
    "tightest": ("liplt", "eclipse", "seqlip", "descent"),
}
"""Methods of :func:`upper_bound`, with the chain bounds that each may use."""
