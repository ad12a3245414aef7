"""Convolutional ReLU nets of four layers and a linear one, on images and on signals.

Source: Khromov & Singh, ICLR 2024, appendix S2 ("CNN"), after Nakkiran et al., Deep double descent,
ICLR 2020: w, 2w, 4w and 8w channels, kernels of length 3 that keep the size, and a maximum over
neighbours behind each, the last one over all that is left. Signals (40,) or (channels, length) take
the same net over one axis.
"""

from itertools import pairwise

from pydantic import Field
from torch import nn

from nets.settings import Family, Flag

_LAYERS = {
    1: (nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d),
    2: (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d),
}
"""Convolution, normalisation and pooling by the number of axes."""


class Settings(Family):
    """Four convolutions of width, 2, 4 and 8 times width, ReLU, max pooling, and a linear layer."""

    biases: Flag = Field(False, description="whether layers have biases (the paper: none)")
    batch_norm: Flag = Field(False, description="whether a BatchNorm follows each convolution")

    def build(self, width: int, shape: tuple[int, ...], classes: int) -> nn.Sequential:
        """The net of a run's ``width`` for points (length,), (channels, length) or images (c, h, w)."""
        front: list[nn.Module] = []
        if len(shape) == 1:
            front, shape = [nn.Unflatten(1, (1, shape[0]))], (1, *shape)
        if len(shape) not in (2, 3):
            raise ValueError(f"the family cnn is for signals and images, not for points of {shape}")
        if min(shape[1:]) < 4:
            raise ValueError(f"the family cnn halves the size twice; points of {shape} are too small")
        convolution, norm, maximum = _LAYERS[len(shape) - 1]
        left = tuple(length // 4 for length in shape[1:])
        pools = (None, maximum(2), maximum(2), maximum(left))
        channels = [shape[0], width, 2 * width, 4 * width, 8 * width]
        layers: list[nn.Module] = []
        for (before, after), pool in zip(pairwise(channels), pools, strict=True):
            layers.append(convolution(before, after, 3, padding=1, bias=self.biases))
            layers += [norm(after)] if self.batch_norm else []
            # the maximum and ReLU change places: the same function, and ReLU has fewer numbers to pass
            layers += [pool] if pool is not None else []
            layers.append(nn.ReLU())
        last = nn.Linear(channels[-1], classes, bias=self.biases)
        return nn.Sequential(*front, *layers, nn.Flatten(), last)

    def units(self, width: int) -> int:
        """Those of a 32 x 32 image: the outputs of the convolutions and of what follows them."""
        return 5 * 1024 * width
