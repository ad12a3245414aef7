"""Spectral norms of Jacobians too large to be written down, from products with them.

Golub and Kahan's bidiagonalisation (Golub & Van Loan, Matrix Computations, 10.4) with full
reorthogonalisation, at many points side by side. What it gives is ``|J v|`` for a unit vector v, so that
up to the rounding of one product it is never above the norm.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_BASIS_ELEMENTS = 1 << 27
"""Elements of the two bases of all points (512 MiB of float32); a search that needs more restarts."""

_LEAST_BASIS = 12
_FIRST_LOOK, _LOOK_EVERY = 8, 4
"""Steps until, and between, decompositions of the small matrices."""


@dataclass(frozen=True)
class Products:
    """Products with matrices J (n, rows, columns), one a point.

    ``times`` maps (n, columns) to (n, rows), ``adjoint`` (n, rows) to (n, columns); both linear, each
    point for itself.
    """

    times: Callable[[Tensor], Tensor]
    adjoint: Callable[[Tensor], Tensor]
    rows: int
    columns: int

    @property
    def transposed(self) -> "Products":
        """Those with the transposed matrices."""
        return Products(self.adjoint, self.times, self.columns, self.rows)


@dataclass(frozen=True)
class TopSingular:
    """Leading singular values and vectors of n matrices.

    ``values`` (n,) float64 are ``|J v|`` at unit ``right`` (n, columns), lower bounds of the spectral
    norms up to rounding; ``left`` (n, rows) are the unit vectors along J v. ``errors`` (n,) float64
    estimate by how much the norms are larger, relative: from the residuals r of the Ritz pairs, the
    smaller of r and r^2 over the distance to the second Ritz value. Nothing proves them: a start
    orthogonal to the leading vector, which has probability zero, would not be noticed. ``products``
    counts the products with J or its transpose.
    """

    values: Tensor
    left: Tensor
    right: Tensor
    errors: Tensor
    products: int


def top_singular(
    products: Products, points: Tensor, *, tolerance: float, most_steps: int | None = None
) -> TopSingular:
    """Leading singular triples of the matrices of ``products``.

    Parameters
    ----------
    products
        With the matrices at n points.
    points
        Any tensor (n, ...), for the number n, the dtype and the device of the vectors.
    tolerance
        Relative error estimate at which all points are done.
    most_steps
        Of two products each; where they do not suffice, the ``errors`` tell. None for as many as the
        shorter side has entries, with which the result is exact.

    Raises
    ------
    torch.linalg.LinAlgError
        For products that are not finite.
    """
    if products.columns > products.rows:  # the basis of the shorter side may then be complete
        found = top_singular(products.transposed, points, tolerance=tolerance, most_steps=most_steps)
        unit = found.left
        image = products.times(unit)
        return TopSingular(_lengths(image), _unit(image), unit, found.errors, found.products + 1)
    steps = products.columns if most_steps is None else min(most_steps, products.columns)
    room = _BASIS_ELEMENTS // (len(points) * (products.rows + products.columns))
    random = torch.Generator().manual_seed(0)
    start = torch.randn(products.columns, generator=random, dtype=torch.float64)
    right = _unit(start.to(points.device, points.dtype).expand(len(points), -1))
    used = 0
    while True:
        run = _Bidiagonalisation(products, right)
        run.extend(min(max(room, _LEAST_BASIS), max(steps - used, 1)), tolerance)
        used += run.steps
        right = run.leading()
        if used >= steps or bool((run.errors <= tolerance).all()):
            break
    image = products.times(right)
    return TopSingular(_lengths(image), _unit(image), right, run.errors, 2 * used + 1)


def graph_products(outputs: Tensor, points: Tensor) -> Products:
    """Products with the Jacobians of ``outputs`` (n, K) with respect to ``points`` (n, *input).

    One backward pass each through graphs that are kept: for J^T u that of the outputs, for J v that of
    ``J^T u``, which is linear in u, so that no operator needs a forward-mode derivative.

    Raises
    ------
    RuntimeError
        Where a backward pass has no derivative, or one that is not the transposed map.
    """
    with torch.enable_grad():
        weights = torch.zeros_like(outputs, requires_grad=True)
        (gradients,) = torch.autograd.grad(outputs, points, weights, create_graph=True)
        gradients = gradients.flatten(1)

    def times(vectors: Tensor) -> Tensor:
        return torch.autograd.grad(gradients, weights, vectors, retain_graph=True)[0]

    def adjoint(vectors: Tensor) -> Tensor:
        return torch.autograd.grad(outputs, points, vectors, retain_graph=True)[0].flatten(1)

    products = Products(times, adjoint, outputs.shape[1], gradients.shape[1])
    _check_transposed(products, outputs)
    return products


_TRANSPOSED = 1e-3
"""Difference of ``u . J v`` and ``J^T u . v`` relative to the lengths, above what rounding does."""


def _check_transposed(products: Products, like: Tensor) -> None:
    random = torch.Generator().manual_seed(0)
    left, right = (
        _unit(torch.randn(len(like), size, generator=random).to(like))
        for size in (products.rows, products.columns)
    )
    image, back = products.times(right), products.adjoint(left)
    difference = ((image * left).sum(1) - (back * right).sum(1)).abs()
    if not (difference <= _TRANSPOSED * torch.maximum(_lengths(image), _lengths(back))).all():
        raise RuntimeError("the derivative of a backward pass is not the transposed map")


class _Bidiagonalisation:
    """``J V = U B`` and ``J^T U = V B^T + rest``, with upper bidiagonal B (n, steps, steps)."""

    def __init__(self, products: Products, start: Tensor) -> None:
        self.steps = 0
        self.errors = torch.full((len(start),), math.inf, dtype=torch.float64)
        self._products = products
        self._right, self._left = [start], list[Tensor]()
        self._diagonal, self._beside = list[Tensor](), list[Tensor]()
        self._leading: Tensor | None = None

    def extend(self, most: int, tolerance: float) -> None:
        """Takes steps until all errors are below ``tolerance``, at most as many as given."""
        while self.steps < most:
            self._step()
            due = self.steps >= _FIRST_LOOK and (self.steps - _FIRST_LOOK) % _LOOK_EVERY == 0
            if due or self.steps == most:
                self._look()
                if bool((self.errors <= tolerance).all()):
                    return

    def leading(self) -> Tensor:
        """Unit Ritz vectors (n, columns)."""
        assert self._leading is not None
        basis = torch.stack(self._right[: self.steps], 2)
        return _unit((basis @ self._leading.to(basis).unsqueeze(2)).squeeze(2))

    def _step(self) -> None:
        image = self._products.times(self._right[-1])
        scale = _lengths(image)
        left, length = _next(image, scale, self._left)
        self._left.append(left)
        self._diagonal.append(length)
        back = self._products.adjoint(left)
        right, length = _next(back, torch.maximum(scale, _lengths(back)), self._right)
        self._right.append(right)
        self._beside.append(length)
        self.steps += 1

    def _look(self) -> None:
        matrix = torch.diag_embed(torch.stack(self._diagonal, 1))
        if self.steps > 1:
            matrix += torch.diag_embed(torch.stack(self._beside[:-1], 1), 1)
        if not matrix.isfinite().all():
            raise torch.linalg.LinAlgError(
                "the Jacobian has NaN or infinite entries at some of the points; look at the weights"
            )
        left, values, right = torch.linalg.svd(matrix.cpu())
        self._leading = right[:, 0]
        top = values[:, 0]
        second = values[:, 1] if self.steps > 1 else torch.zeros_like(top)
        whole = self.steps >= self._products.columns
        rest = torch.zeros_like(top) if whole else self._beside[-1].cpu()
        # relative, so that squares stay in range
        scale = torch.where(top > 0, top, 1)
        residuals, gaps = rest / scale * left[:, -1, 0].abs(), (top - second) / scale
        bent = residuals.square() / gaps.clamp_min(torch.finfo(gaps.dtype).tiny)
        self.errors = torch.minimum(residuals, bent)


def _next(vectors: Tensor, scale: Tensor, basis: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Unit vectors along what of ``vectors`` (n, m) is orthogonal to the ``basis``, and lengths (n,).

    Zero where no more is left than the rounding of vectors of length ``scale``.
    """
    if basis:
        spanned = torch.stack(basis, 1)
        for _ in range(2):  # once leaves roundings, which count after cancellation
            parts = spanned @ vectors.unsqueeze(2)
            vectors = vectors - (spanned.mT @ parts).squeeze(2)
    lengths = _lengths(vectors)
    noise = 8 * torch.finfo(vectors.dtype).eps * scale
    kept = ~(lengths <= noise)  # NaN stays NaN
    lengths = torch.where(kept, lengths, 0)
    return _unit(vectors) * kept.to(vectors.dtype).unsqueeze(1), lengths


def _lengths(vectors: Tensor) -> Tensor:
    """2-norms (n,) of rows in float64, also of entries whose squares leave its range."""
    wide = vectors.to(torch.float64)
    largest = wide.abs().amax(1)
    scale = torch.where(largest > 0, largest, 1)
    return torch.linalg.vector_norm(wide / scale.unsqueeze(1), dim=1) * scale


def _unit(vectors: Tensor) -> Tensor:
    lengths = _lengths(vectors)
    wide = vectors.to(torch.float64) / torch.where(lengths > 0, lengths, 1).unsqueeze(1)
    return wide.to(vectors.dtype)
