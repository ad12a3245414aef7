"""Matrix products by the faster of the two libraries that torch brings along.

``torch.mm`` multiplies through MKL, which takes its fastest kernels on Intel's processors only. On
others oneDNN multiplies two to three times as fast, as long as both operands lie in memory the way
its kernels read them: the dimension that is summed over last, without gaps. Which of the two is taken
depends on the operands and the build of torch, never on a clock, so equal calls give equal bytes.
"""

from functools import cache

import torch
from torch import Tensor

_LEAST_WORK = 1 << 21
"""Products of fewer multiplications than this are quicker through MKL: a call of oneDNN takes 10 us."""


@cache
def onednn_is_there() -> bool:
    """Whether this build of torch multiplies through oneDNN."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def takes_onednn(left: Tensor, right: Tensor) -> bool:
    """Whether :func:`times_transposed` hands these operands to oneDNN."""
    return (
        left.numel() * len(right) >= _LEAST_WORK
        and left.dtype == torch.float32
        and left.device.type == "cpu"
        and left.is_contiguous()
        and right.is_contiguous()
        and onednn_is_there()
    )


def times_transposed(left: Tensor, right: Tensor) -> Tensor:
    """``left @ right.T`` for left (m, k) and right (n, k).

    Not for tensors that require gradients. Rounding differs in the last digits between the two ways.
    """
    if takes_onednn(left, right):
        # its own relu is not asked for: it makes 0 of NaN
        found: Tensor = torch.ops.mkldnn._linear_pointwise.default(left, right, None, "none", [], "")
        return found
    return left @ right.T
