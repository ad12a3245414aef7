"""The exact Lipschitz constant (2-norm) of narrow ReLU nets with one hidden layer and no biases.

``f(x) = s(W2 relu(W1 x))`` with s the ReLU, leaky or not, or the identity. If the rows of W1 are
linearly independent, the hidden layer takes every pattern of signs, with any positive numbers at the
neurons that are on. So the Lipschitz constant is the largest ``|D W2[:, A] W1[A]|`` over the sets A
of neurons that are on and the slopes D of the outputs that occur for some positive numbers at A, which
a linear program decides.
"""

import heapq
from collections.abc import Iterator
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog
from torch import Tensor

Floats = NDArray[np.float64]
Signs = tuple[bool, ...]

_CHUNK = 1 << 12
_STRICT = 1e-9
"""How far from zero, relative to the sizes of the numbers, a neuron must get to count as on."""


def exact_constant(first: Tensor, second: Tensor, output_slope: float, at_least: float) -> float:
    """The Lipschitz constant of the net, up to rounding.

    Parameters
    ----------
    first, second
        Weights (n, d) and (K, n); 2^n sets A are looked at.
    output_slope
        Slope of s for negative values, from 0 to 1.
    at_least
        A lower bound of the constant, such as a Jacobian norm at some point: what cannot exceed
        it is not looked at. It is returned where nothing exceeds it.

    Raises
    ------
    ValueError
        If the rows of ``first`` are linearly dependent.

    Notes
    -----
    Best first: a norm with the outputs of undecided sign on bounds those of all decisions from
    above, so the first full set of decisions that occurs has the largest norm.
    """
    w1, w2 = first.detach().double().numpy(), second.detach().double().numpy()
    if np.linalg.matrix_rank(w1) < len(w1):
        raise ValueError(
            "the rows of the first weight are linearly dependent: not every sign pattern occurs"
        )
    tie = count()
    waiting: list[tuple[float, int, NDArray[np.bool_], Signs]] = [
        (-norm, next(tie), on, ()) for norm, on in _steep_patterns(first, second, at_least)
    ]
    heapq.heapify(waiting)
    while waiting:
        norm, _, on, signs = heapq.heappop(waiting)
        if len(signs) == len(w2):
            return -norm
        for positive in (True, False):
            decided: Signs = (*signs, positive)
            if not _occurs(w2[: len(decided), on], decided):
                continue
            slopes = np.ones(len(w2))
            slopes[: len(decided)][~np.array(decided)] = output_slope
            below = float(np.linalg.norm(slopes[:, None] * (w2[:, on] @ w1[on]), 2))
            if below > at_least:
                heapq.heappush(waiting, (-below, next(tie), on, decided))
    return at_least


def _steep_patterns(
    first: Tensor, second: Tensor, at_least: float
) -> Iterator[tuple[float, NDArray[np.bool_]]]:
    """Norms above ``at_least`` with all outputs on, and the neurons that are on."""
    neurons = len(first)
    places = torch.arange(neurons)
    for numbers in torch.arange(2**neurons).split(_CHUNK):
        on = ((numbers.unsqueeze(1) >> places) & 1).bool()
        jacobians = (second.detach().double() * on.unsqueeze(1)) @ first.detach().double()
        norms = torch.linalg.eigvalsh(jacobians @ jacobians.mT)[:, -1].clamp_min(0).sqrt()
        for place in (norms > at_least).nonzero().flatten().tolist():
            yield norms[place].item(), on[place].numpy()


def _occurs(rows: Floats, signs: Signs) -> bool:
    """Whether ``rows @ h`` has these signs for some h > 0: whether there is a margin t > 0 for all."""
    outputs, neurons = rows.shape
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    towards = np.where(np.array(signs)[:, None], -1.0, 1.0) * rows / np.where(lengths > 0, lengths, 1.0)
    limits = np.block([[towards, np.ones((outputs, 1))], [-np.eye(neurons), np.ones((neurons, 1))]])
    solved = linprog(
        c=np.append(np.zeros(neurons), -1.0),
        A_ub=limits,
        b_ub=np.zeros(outputs + neurons),
        bounds=[(0, 1)] * neurons + [(None, 1)],
    )
    return bool(solved.status == 0 and -solved.fun > _STRICT)
