"""Lower estimates of the norm of a linear or affine map that is given as code.

The power method is algorithm 2 of Virmaux & Scaman (NeurIPS 2018); the Golub-Kahan-Lanczos process
finds the same number in far fewer applications of the map. Both approach the norm from below: a
result is a ``lower`` bound, up to the rounding of the map itself.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lipbounds.operator_norm.result import OperatorNorm

LinearFunction = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Lanczos:
    """``value`` is ``|A v|`` for the unit ``vector`` v; ``residual`` is ``|A^T A v - value^2 v|``.

    Some singular value of A lies within ``residual / value`` of ``value``.
    """

    value: float
    vector: Tensor
    residual: float


def lanczos(
    apply: LinearFunction,
    transpose: LinearFunction,
    start: Tensor,
    *,
    steps: int = 60,
    tolerance: float = 1e-10,
) -> Lanczos:
    """Golub-Kahan-Lanczos bidiagonalisation with full reorthogonalisation.

    Parameters
    ----------
    apply, transpose
        x -> A x and y -> A^T y, on tensors of any shape.
    start
        First right vector, not zero; its shape, dtype and device are those of the inputs of A.
    steps
        Largest number of steps; each applies A and A^T once and keeps one vector of each side.
    tolerance
        Stop once the residual is at most this, relative to the squared norm.
    """
    right = [start / start.norm()]
    left: list[Tensor] = []
    diagonal: list[float] = []
    above: list[float] = []
    for _ in range(steps):
        image = apply(right[-1])
        if left:
            image = _orthogonal_to(left, image - above[-1] * left[-1])
        diagonal.append(image.norm().item())
        if diagonal[-1] == 0:
            break
        left.append(image / diagonal[-1])
        back = _orthogonal_to(right, transpose(left[-1]) - diagonal[-1] * right[-1])
        above.append(back.norm().item())
        top, _, last = _top_of_bidiagonal(diagonal, above)
        if above[-1] * last <= tolerance * top:
            break
        right.append(back / above[-1])
    _, weights, _ = _top_of_bidiagonal(diagonal, above)
    vector = torch.stack([w * v for w, v in zip(weights.tolist(), right, strict=False)]).sum(0)
    vector = vector / vector.norm()
    image = apply(vector)
    value = image.norm().item()
    return Lanczos(value, vector, (transpose(image) - value**2 * vector).norm().item())


def _orthogonal_to(basis: list[Tensor], vector: Tensor) -> Tensor:
    rows = torch.stack([b.flatten() for b in basis])
    flat = vector.flatten()
    for _ in range(2):
        flat = flat - rows.T @ (rows @ flat)
    return flat.view_as(vector)


def _top_of_bidiagonal(diagonal: list[float], above: list[float]) -> tuple[float, Tensor, float]:
    """Top singular value of the bidiagonal matrix, its right vector, last entry of its left one."""
    size = len(diagonal)
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    matrix.diagonal(1).copy_(torch.tensor(above[: size - 1], dtype=torch.float64))
    left, values, right = torch.linalg.svd(matrix)
    return values[0].item(), right[0], abs(left[-1, 0].item())


def affine_norm(
    function: LinearFunction,
    input_shape: tuple[int, ...],
    *,
    method: str = "lanczos",
    steps: int | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> OperatorNorm:
    """Lower estimate of the spectral norm of A for ``function(x) = A x + b``, from autograd alone.

    Parameters
    ----------
    function
        Maps a tensor of ``input_shape`` to a tensor; must be affine and differentiable.
    input_shape
        Shape of its argument (add a batch dimension of 1 for a module).
    method
        ``power``: algorithm 2 of Virmaux & Scaman, 100 steps by default, error ratio
        (sigma_2 / sigma_1)^2 per step; ``lanczos``: 30 steps by default.
    dtype, device
        Of the vectors handed to ``function``; both must be those of its weights.
    seed
        Of the random start vector; the global random state is not touched.

    Returns
    -------
    OperatorNorm
        ``kind="lower"``, never certified: up to the rounding of ``function``.

    Raises
    ------
    ValueError
        For an unknown method, fewer than one step, or a function that is seen not to be affine.
    """
    if method not in ("power", "lanczos"):
        raise ValueError(f"no method {method!r}; use power or lanczos")
    steps = steps if steps is not None else (100 if method == "power" else 30)
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(input_shape, generator=generator, dtype=torch.float64)
    start = start.to(dtype=dtype, device=device)
    with torch.enable_grad():
        probe = torch.zeros_like(start).requires_grad_()
        output = function(probe)
        offset = output.detach()

        def transpose(image: Tensor) -> Tensor:
            (back,) = torch.autograd.grad(output, probe, image, retain_graph=True)
            return back

        def apply(vector: Tensor) -> Tensor:
            with torch.no_grad():
                return function(vector) - offset

        _check_affine(apply, start)
        if method == "lanczos":
            result = lanczos(apply, transpose, start, steps=steps)
            how = f"Lanczos, residual {result.residual:.1e}"
            return OperatorNorm(result.value, "lower", certified=False, how=how)
        return OperatorNorm(
            _power(apply, transpose, start, steps), "lower", certified=False, how="power iteration"
        )


def _check_affine(apply: LinearFunction, start: Tensor) -> None:
    once, twice = apply(start), apply(-2 * start)
    tolerance = 1e3 * torch.finfo(start.dtype).eps ** 0.5
    if (twice + 2 * once).norm() > tolerance * once.norm():
        raise ValueError("the function is not affine: f(-2 v) - f(0) is not -2 (f(v) - f(0))")


def _power(apply: LinearFunction, transpose: LinearFunction, vector: Tensor, steps: int) -> float:
    vector = vector / vector.norm()
    for _ in range(steps):
        back = transpose(apply(vector))
        size = back.norm().item()
        if size == 0 or not math.isfinite(size):
            break
        vector = back / size
    return apply(vector).norm().item()
