"""Every bound of a chain of layers under the name it has in tables, and how it is measured."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import groupby, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from lipbounds.bounds.chain import Chain, product
from lipbounds.bounds.liplt import liplt
from lipbounds.bounds.lipsdp import eclipse_fast, lipsdp_descent, lipsdp_neuron
from lipbounds.bounds.seqlip import seqlip
from lipbounds.jacobian import jacobian_norms
from lipbounds.operator_norm import OperatorNorm

CHAIN_METHODS: dict[str, Callable[[Chain], OperatorNorm]] = {
    "autolip": product,
    "seqlip": seqlip,
    "seqlip_exact": partial(seqlip, pairs="exact"),
    "seqlip_greedy": partial(seqlip, pairs="greedy"),
    "seqlip_alternating": partial(seqlip, pairs="alternating"),
    "liplt": liplt,
    "eclipse": partial(eclipse_fast, search=False),
    "eclipse_search": eclipse_fast,
    "lipsdp_descent": partial(lipsdp_descent, steps=1000),
    "lipsdp": lipsdp_neuron,
}
"""Name in the tables, and function, of each bound or estimate of a chain."""


def has_solver() -> bool:
    """Whether cvxpy, which is optional, is installed."""
    return find_spec("cvxpy") is not None


def measured(method: str, chain: Chain) -> dict[str, Any]:
    """A bound of ``chain`` as columns of a table, with the seconds it took."""
    return timed(method, lambda: CHAIN_METHODS[method](chain))


def timed(method: str, compute: Callable[[], OperatorNorm]) -> dict[str, Any]:
    """What ``compute`` returns as columns of a table, with the seconds it took."""
    started = time.perf_counter()
    norm = compute()
    return {
        "method": method,
        "value": norm.value,
        "kind": norm.kind,
        "certified": norm.certified,
        "seconds": time.perf_counter() - started,
    }


def relu_chain(weights: Sequence[Tensor]) -> Chain:
    """The chain of these weights with ReLU in between."""
    exact = tuple(weight.detach().cpu().double() for weight in weights)
    return Chain(exact, ((0.0, 1.0),) * (len(exact) - 1))


def normal_chain(sizes: Sequence[int], generator: torch.Generator) -> Chain:
    """A ReLU chain with independent normal weights of variance 1 / fan-in."""
    return relu_chain(
        [
            torch.randn(rows, columns, dtype=torch.float64, generator=generator) / columns**0.5
            for columns, rows in pairwise(sizes)
        ]
    )


def as_module(chain: Chain) -> nn.Sequential:
    """The ReLU net without biases that has the weights of ``chain``."""
    layers: list[nn.Module] = []
    for weight in chain.weights:
        rows, columns = weight.shape
        linear = skip_init(nn.Linear, columns, rows, bias=False, dtype=torch.float64)
        linear.weight = nn.Parameter(weight.clone(), requires_grad=False)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def exact_maximum(chain: Chain) -> OperatorNorm:
    """The largest norm of W_K D_{K-1} ... D_1 W_1 over all vertices D, all layers at once.

    An upper bound of the Lipschitz constant, and below every other bound of this module, as they
    all bound this number. Not certified: norms are computed up to rounding.
    """
    images = chain.weights[0].unsqueeze(0)
    for weight, slopes in zip(chain.weights[1:], chain.slopes, strict=True):
        numbers = torch.arange(2 ** weight.shape[1]).unsqueeze(1)
        bits = (numbers >> torch.arange(weight.shape[1])) & 1
        vertices = torch.tensor(slopes, dtype=torch.float64)[bits]
        images = ((weight * vertices[:, None])[:, None] @ images).flatten(0, 1)
    largest = torch.linalg.matrix_norm(images, 2).max().item()
    return OperatorNorm(largest, "upper", False, "all vertices of all layers")


def largest_jacobian(model: nn.Module, points: Tensor) -> OperatorNorm:
    """The largest Jacobian norm at ``points``: a lower bound of the Lipschitz constant."""
    return OperatorNorm(jacobian_norms(model, points).max().item(), "lower", False, "Jacobians")


def short_name(sizes: Sequence[int]) -> str:
    """The sizes of a net in short: 4-8-3, 10-(40x5)-5."""
    parts = []
    for size, group in groupby(sizes):
        count = len(list(group))
        parts.append(f"({size}x{count})" if count > 3 else "-".join([str(size)] * count))
    return "-".join(parts)
