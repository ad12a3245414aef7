"""Numbers of parameters of the nets of the paper, counted in the nets that are trained here.

Source: Khromov & Singh, ICLR 2024, Tables S4 and S5.
"""

from collections.abc import Iterator
from typing import Any

import pandas as pd
import torch
from pydantic import Field

from nets.models import cnn, fcn
from nets.settings import Count, Family, Section
from pipeline.measuring.arrays import Arrays

_CLASSES = 10
_SIGNAL = (40,)
_IMAGE = (3, 32, 32)


class Settings(Section):
    """Numbers of parameters of fully connected and convolutional nets."""

    fcn_widths: tuple[Count, ...] = Field(description="widths of nets with one hidden layer")
    depths: tuple[Count, ...] = Field(description="numbers of hidden layers of deeper nets")
    depths_width: Count = Field(description="width of the deeper nets")
    cnn_widths: tuple[Count, ...] = Field(description="widths of convolutional nets")


def study(settings: Settings, arrays: Arrays) -> pd.DataFrame:
    """A row per net."""
    return pd.DataFrame(_rows(settings))


def _rows(settings: Settings) -> Iterator[dict[str, Any]]:
    for layers, width in [
        *((1, width) for width in settings.fcn_widths),
        *((layers, settings.depths_width) for layers in settings.depths),
    ]:
        family = fcn.Settings(
            hidden_layers=layers,
            output_activation="relu",
            minimum_alive_share=0,
            relative_widths=None,
        )
        hidden = ", ".join(map(str, family.hidden_sizes(width)))
        yield {"table": "S4", "net": hidden, "parameters": parameters(family, width, _SIGNAL)}
    for width in settings.cnn_widths:
        count = parameters(cnn.Settings(biases=False, batch_norm=False), width, _IMAGE)
        yield {"table": "S5", "net": str(width), "parameters": count}


def parameters(family: Family, width: int, shape: tuple[int, ...]) -> int:
    """Of the net of a family, without taking memory for it."""
    with torch.device("meta"):
        net = family.build(width, shape, _CLASSES)
    return sum(parameter.numel() for parameter in net.parameters())
