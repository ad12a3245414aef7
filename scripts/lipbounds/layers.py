"""Layers that are Lipschitz by construction, with their rules for :mod:`lipbounds.bounds`.

The rescaled layers have norm at most 1 whatever their weights, up to rounding; how close to 1 they
come depends on the number of Gram products. :class:`L2SelfAttention` has a constant on the whole
space, which dot-product attention has not.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from lipbounds.graph import Shape
from lipbounds.maps import certified
from lipbounds.operator_norm import linear_norm
from lipbounds.operator_norm.gram import conv_spectral_rescaling, spectral_rescaling
from lipbounds.operators import LayerConstant, register_rule
from lipbounds.operators.table import weight_of
from lipbounds.rounding import down, product_up, quotient_up, sqrt_up, sum_up, up


class SpectralRescaledLinear(nn.Module):
    """``x -> x (D^-1 W)^T + b`` with the diagonal D of spectral rescaling, so of norm at most 1.

    Source: Delattre, Barthélemy & Allauzen 2024; with ``steps=1`` the almost-orthogonal layer of
    Prach & Lampert, ECCV 2022.

    Parameters
    ----------
    in_features, out_features, bias
        As for ``nn.Linear``, initialised in the same way; ``weight`` (out, in) holds W.
    steps
        Gram products, from 1. With each the norm comes closer to 1 and the layer gets dearer.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, steps: int = 6
    ) -> None:
        super().__init__()
        _check_steps(steps)
        plain = nn.Linear(in_features, out_features, bias)
        self.weight = plain.weight
        self.bias = plain.bias
        self.steps = steps

    def rescaled_weight(self) -> Tensor:
        """``D^-1 W``, differentiable with respect to W."""
        return self.weight / spectral_rescaling(self.weight, steps=self.steps).unsqueeze(1)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return functional.linear(x, self.rescaled_weight(), self.bias)

    def extra_repr(self) -> str:
        """Sizes and options."""
        out_features, in_features = self.weight.shape
        return f"{in_features}, {out_features}, bias={self.bias is not None}, steps={self.steps}"


class SpectralRescaledConv2d(nn.Module):
    """A convolution whose output channels are divided by their factors of spectral rescaling.

    Its norm is at most 1 for inputs of every size, every stride and dilation, and zero or circular
    padding (Delattre, Barthélemy & Allauzen 2024).

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride, padding, dilation, bias
        As for ``nn.Conv2d``, initialised in the same way; ``weight`` (out, in, k, k) holds the kernel
        before it is rescaled. There are no groups, and padding is given in numbers.
    padding_mode
        ``zeros``, or ``circular`` with no more padding than keeps the input's size. Other modes, and
        more circular padding, repeat entries, and the norm could exceed 1.
    steps
        Gram products, from 1. Time and memory grow about fourfold with each.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        steps: int = 3,
    ) -> None:
        super().__init__()
        _check_steps(steps)
        if padding_mode not in ("zeros", "circular"):
            raise ValueError(
                f"padding_mode must be zeros or circular, not {padding_mode!r}: only these keep the norm"
            )
        plain = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, bias=bias)
        if isinstance(plain.padding, str):
            raise ValueError(f"padding must be given in numbers, not {padding!r}")
        self.weight = plain.weight
        self.bias = plain.bias
        self.stride, self.dilation = plain.stride, plain.dilation
        self.padding: tuple[int, ...] = tuple(plain.padding)
        reach = [d * (k - 1) for d, k in zip(plain.dilation, plain.kernel_size, strict=True)]
        if padding_mode == "circular" and any(
            2 * p > r for p, r in zip(self.padding, reach, strict=True)
        ):
            raise ValueError(
                f"circular padding {padding!r} would repeat entries of the output, and the norm could "
                f"exceed 1; use at most {tuple(r // 2 for r in reach)}"
            )
        self.padding_mode = padding_mode
        self.steps = steps

    def rescaled_weight(self) -> Tensor:
        """The kernel that the layer applies, differentiable with respect to ``weight``."""
        factors = conv_spectral_rescaling(self.weight, steps=self.steps)
        return self.weight / factors.view(-1, 1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, height, width) to (n, out, ...)."""
        padding = self.padding
        if self.padding_mode == "circular":
            rows, columns = padding
            x = functional.pad(x, (columns, columns, rows, rows), mode="circular")
            padding = (0, 0)
        return functional.conv2d(
            x, self.rescaled_weight(), self.bias, self.stride, padding, self.dilation
        )

    def extra_repr(self) -> str:
        """Sizes and options."""
        out_channels, in_channels, *size = self.weight.shape
        return (
            f"{in_channels}, {out_channels}, kernel_size={tuple(size)}, stride={self.stride}, "
            f"padding={self.padding}, dilation={self.dilation}, bias={self.bias is not None}, "
            f"padding_mode={self.padding_mode!r}, steps={self.steps}"
        )


class L2SelfAttention(nn.Module):
    """Multi-head self-attention by distances, with tied queries and keys; Lipschitz everywhere.

    Source: Kim, Papamakarios & Mnih, The Lipschitz constant of self-attention, ICML 2021. Head h
    maps tokens x_i (rows) to ``sum_j P_ij x_j Q Q^T V / sqrt(d)``, where ``P_i`` is the soft-max of
    ``-|x_i Q - x_j Q|^2 / sqrt(d)`` over j and d is the size of a head; the heads stand side by side
    in front of a linear map.

    Parameters
    ----------
    embed_dim
        Size of a token.
    num_heads
        Number of heads, a divisor of ``embed_dim``.
    bias
        Whether the last linear map has a bias. The others have none.

    Notes
    -----
    The Lipschitz constant in the 2-norm for N tokens is at most ``|W_O| sqrt(sum_h (|Q_h|^2
    |V_h|)^2) kappa / sqrt(d)`` with ``kappa = sqrt N + 2 (sqrt N + 1) g`` and g the solution of ``g
    exp(g + 1) = N - 1``.

    Proof. With ``y = x Q``, ``z_ij = y_j - y_i`` and ``m_i = sum_j P_ij y_j``, a head is ``m_i Q^T V /
    sqrt(d)``, so it remains to bound the derivative of m with respect to y by kappa. It is

    ``dm_i = sum_j P_ij dy_j - 2 / sqrt(d) [sum_j P_ij (z_ij . dy_j) c_ij - Cov_i dy_i]``

    with ``c_ij = y_j - m_i`` and Cov_i the covariance of y under P_i. As the rows of P sum to 1, the
    first part has norm at most ``sqrt N``. Let ``v_i = sum_j P_ij |z_ij|^2``. Then ``|Cov_i| <= v_i``,
    and the sum over j, with blocks ``P_ij c_ij z_ij^T`` whose norms in row i sum to at most v_i, has
    norm at most ``sqrt N max v_i``. Last, with ``a_j = |z_ij|^2 / sqrt(d)``, which is 0 for j = i,
    ``v_i / sqrt(d) = sum a_j exp(-a_j) / sum exp(-a_j)`` is largest where all other a_j equal one more
    than the quotient, and there the quotient is g.

    Kim et al. have ``sqrt N (4 g + 1)``, which is no smaller, for kappa. The norm of Q enters squared:
    a factor of Q scales the tokens inside, and once more the values.
    """

    def __init__(self, embed_dim: int, num_heads: int = 1, bias: bool = True) -> None:
        super().__init__()
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ValueError(f"num_heads must divide embed_dim; {num_heads} does not divide {embed_dim}")
        shape = (num_heads, embed_dim, embed_dim // num_heads)
        bound = embed_dim**-0.5
        self.query_weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.value_weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.output = nn.Linear(embed_dim, embed_dim, bias)

    def forward(self, x: Tensor) -> Tensor:
        """(n, tokens, embed_dim) to the same shape."""
        root = math.sqrt(self.query_weight.shape[-1])
        y = torch.einsum("nte,hed->nhtd", x, self.query_weight)
        # the part of the distance that is the same along a row does not change the soft-max
        logits = (2 * y @ y.mT - y.square().sum(-1).unsqueeze(-2)) / root
        mixed = logits.softmax(-1) @ y
        heads = mixed @ (self.query_weight.mT @ self.value_weight / root)
        return self.output(heads.transpose(1, 2).flatten(2))

    def extra_repr(self) -> str:
        """Sizes."""
        heads, embed_dim, _ = self.query_weight.shape
        return f"{embed_dim}, num_heads={heads}"


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")


@register_rule(
    L2SelfAttention,
    constant="|W_O| sqrt(sum over heads of (|Q|^2 |V|)^2) (sqrt n + 2 (sqrt n + 1) g) / sqrt d",
    source="its Jacobian; g exp(g + 1) = n - 1 (after Kim et al. 2021)",
    tightness="not tight; ratios to sampled Jacobians of 0.1 to 0.5",
)
def _l2_attention(module: L2SelfAttention, input_shape: Shape, ord: float) -> LayerConstant:
    if ord != 2:
        raise ValueError(f"the constant of L2SelfAttention is known for ord=2 only, not {ord}")
    tokens = input_shape[-2]
    root = sqrt_up(tokens)
    twice = 2 * _largest_mean(tokens - 1)
    kappa = sum_up([root, product_up([twice, sum_up([root, 1.0])])])
    heads = []
    for query, value in zip(weight_of(module.query_weight), weight_of(module.value_weight), strict=True):
        q, v = linear_norm(query).value, linear_norm(value).value
        heads.append(product_up([q, q, q, q, v, v]))
    scale = quotient_up(1.0, down(math.sqrt(module.query_weight.shape[-1])))
    out = linear_norm(weight_of(module.output.weight)).value
    value = product_up([out, sqrt_up(sum_up(heads)), kappa, scale])
    how = f"closed form for {tokens} tokens"
    return LayerConstant(certified(value, how), how)


def _largest_mean(others: int) -> float:
    """Upper bound of the g with ``g exp(g + 1) = others``.

    The exponential is taken to be right to within 1e-13, which the C library keeps.
    """
    if others == 0:
        return 0.0
    g = math.log1p(others)
    for _ in range(60):
        slope = (g + 1) * math.exp(g + 1)
        g -= (g * math.exp(g + 1) - others) / slope
    while g * math.exp(g + 1) < others * (1 + 1e-12):
        g = up(g * (1 + 1e-13))
    return g
