"""Functional calls and tensor methods, each turned into the module that does the same."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional


def _plain(module: type[nn.Module]) -> Callable[..., nn.Module]:
    """For functions without options besides ``inplace``."""
    return lambda inplace=False: module()


def _pool(module: type[nn.Module]) -> Callable[..., nn.Module]:
    def build(*arguments: Any, **options: Any) -> nn.Module:
        options.pop("return_indices", None)
        return module(*arguments, **options)

    return build


def _interpolation(
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> nn.Module:
    if antialias:
        raise ValueError("interpolation with antialias is not supported")
    return nn.Upsample(size, scale_factor, mode, align_corners, recompute_scale_factor)


MODULES: dict[Any, Callable[..., nn.Module]] = {
    functional.leaky_relu: lambda negative_slope=0.01, inplace=False: nn.LeakyReLU(negative_slope),
    functional.elu: lambda alpha=1.0, inplace=False: nn.ELU(alpha),
    functional.celu: lambda alpha=1.0, inplace=False: nn.CELU(alpha),
    functional.gelu: lambda approximate="none": nn.GELU(approximate),
    functional.softplus: lambda beta=1.0, threshold=20.0: nn.Softplus(beta, threshold),
    functional.hardtanh: lambda min_val=-1.0, max_val=1.0, inplace=False: nn.Hardtanh(min_val, max_val),
    functional.threshold: lambda threshold, value, inplace=False: nn.Threshold(threshold, value),
    functional.softmax: lambda dim=None, **options: nn.Softmax(dim),
    functional.log_softmax: lambda dim=None, **options: nn.LogSoftmax(dim),
    functional.dropout: lambda p=0.5, training=True, inplace=False: nn.Dropout(p).train(training),
    functional.max_pool1d: _pool(nn.MaxPool1d),
    functional.max_pool2d: _pool(nn.MaxPool2d),
    functional.max_pool3d: _pool(nn.MaxPool3d),
    functional.avg_pool1d: _pool(nn.AvgPool1d),
    functional.avg_pool2d: _pool(nn.AvgPool2d),
    functional.avg_pool3d: _pool(nn.AvgPool3d),
    functional.adaptive_avg_pool1d: nn.AdaptiveAvgPool1d,
    functional.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    functional.adaptive_avg_pool3d: nn.AdaptiveAvgPool3d,
    functional.adaptive_max_pool1d: _pool(nn.AdaptiveMaxPool1d),
    functional.adaptive_max_pool2d: _pool(nn.AdaptiveMaxPool2d),
    functional.interpolate: _interpolation,
    functional.pixel_shuffle: nn.PixelShuffle,
    torch.softmax: lambda dim, **options: nn.Softmax(dim),
    torch.log_softmax: lambda dim, **options: nn.LogSoftmax(dim),
    "softmax": lambda dim, **options: nn.Softmax(dim),
    "log_softmax": lambda dim, **options: nn.LogSoftmax(dim),
}
"""From a function or the name of a method to a builder: options of the call -> module."""

_SAME_NAME: dict[type[nn.Module], tuple[Any, ...]] = {
    nn.ReLU: (functional.relu, functional.relu_, torch.relu, torch.relu_, "relu", "relu_"),
    nn.ReLU6: (functional.relu6,),
    nn.SELU: (functional.selu, torch.selu),
    nn.SiLU: (functional.silu,),
    nn.Mish: (functional.mish,),
    nn.Hardswish: (functional.hardswish,),
    nn.Hardsigmoid: (functional.hardsigmoid,),
    nn.Sigmoid: (functional.sigmoid, torch.sigmoid, "sigmoid", "sigmoid_"),
    nn.Tanh: (functional.tanh, torch.tanh, "tanh", "tanh_"),
    nn.Tanhshrink: (functional.tanhshrink,),
    nn.Softsign: (functional.softsign,),
    nn.LogSigmoid: (functional.logsigmoid,),
    nn.Identity: ("contiguous", "clone", torch.clone),
}
for _module, _functions in _SAME_NAME.items():
    for _function in _functions:
        MODULES[_function] = _plain(_module)

ABSOLUTE = (torch.abs, "abs", "abs_", operator.abs)
SLOPE_BOUNDED: dict[Any, tuple[float, float]] = {
    **dict.fromkeys(ABSOLUTE, (-1.0, 1.0)),
    **dict.fromkeys((torch.sin, "sin", torch.cos, "cos"), (-1.0, 1.0)),
    **dict.fromkeys((torch.arctan, torch.atan, "arctan", "atan"), (0.0, 1.0)),
    **dict.fromkeys((torch.asinh, torch.arcsinh, "asinh"), (0.0, 1.0)),
    **dict.fromkeys((torch.clamp, torch.clip, "clamp", "clip", "clamp_"), (0.0, 1.0)),
    **dict.fromkeys((torch.special.erf, torch.erf, "erf"), (0.0, 1.1283791670955129)),
}
"""Elementwise functions with no module of their own, with the interval of their slopes."""
