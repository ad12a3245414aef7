"""Residual nets for small images: ResNet-20, 32, 44, 56 and 110.

Source: He, Zhang, Ren & Sun, Deep residual learning for image recognition, CVPR 2016, section 4.2: a
convolution, three stages of blocks with w, 2w and 4w channels (w = 16 there), shortcuts without
parameters ("option A"), a mean over the image and a linear layer. Weights are drawn as in He et al.,
Delving deep into rectifiers, ICCV 2015.
"""

from itertools import pairwise

from pydantic import Field
from torch import Tensor, nn

from nets.settings import Count, Family


class Settings(Family):
    """Residual nets of 6 blocks + 2 layers, with the run's width, 2 and 4 times width as channels."""

    blocks: Count = Field(
        3, description="blocks in each of the three stages: 3 in ResNet-20, 18 in ResNet-110"
    )

    def build(self, width: int, shape: tuple[int, ...], classes: int) -> nn.Module:
        """The net for images (c, h, w)."""
        if len(shape) != 3:
            raise ValueError(f"the family resnet is for images, not for points of {shape}")
        layers: list[nn.Module] = [
            nn.Conv2d(shape[0], width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        for before, after in pairwise([width, width, 2 * width, 4 * width]):
            layers.append(ResidualBlock(before, after, stride=after // before))
            layers += [ResidualBlock(after, after) for _ in range(self.blocks - 1)]
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, classes)]
        net = nn.Sequential(*layers)
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
        return net

    def units(self, width: int) -> int:
        """Those of a 32 x 32 image: outputs of the convolutions and of what follows them."""
        return int(5 * 1024 * width * (1 + 2 * self.blocks * (1 + 1 / 2 + 1 / 4)))


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut that leaves out pixels and adds channels of zeros."""

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.stride, self.added = stride, after - before
        self.branch = nn.Sequential(
            nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, before, h, w) to (n, after, h / stride, w / stride)."""
        shortcut = x[:, :, :: self.stride, :: self.stride]
        sides = (self.added // 2, self.added - self.added // 2)
        shortcut = nn.functional.pad(shortcut, (0, 0, 0, 0, *sides)) if self.added else shortcut
        return (self.branch(x) + shortcut).relu()
