"""Vision transformers on images and signals cut into patches.

Source: Khromov & Singh, ICLR 2024, appendix S2 ("ViT"), in the form of Dosovitskiy et al., An image is
worth 16x16 words, ICLR 2021: a class token, learned positions, layer norms in front of each block. The
inner dimension of the attention, ``heads`` times ``head_size``, does not grow with the width.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from nets.settings import Count, Family


class Settings(Family):
    """A transformer of tokens of the run's width, one for each patch and one for the class."""

    patch: Count = Field(8, description="side of a patch, which divides the image's height and width")
    depth: Count = Field(6, description="number of blocks, each of attention and two linear layers")
    heads: Count = Field(6, description="attention heads of a block")
    head_size: Count = Field(64, description="size of each head, whatever the width")

    def build(self, width: int, shape: tuple[int, ...], classes: int) -> nn.Module:
        """The net for images (c, h, w). Raises ``ValueError`` where patches do not cover them."""
        if len(shape) != 3 or shape[1] % self.patch or shape[2] % self.patch:
            raise ValueError(
                f"the family vit cuts images into patches of {self.patch} x {self.patch}, "
                f"which do not cover points of {shape}"
            )
        blocks = [Block(width, self.heads, self.head_size) for _ in range(self.depth)]
        return nn.Sequential(
            Tokens(width, shape, self.patch),
            *blocks,
            nn.LayerNorm(width),
            First(),
            nn.Linear(width, classes),
        )

    def units(self, width: int) -> int:
        """Those of a 32 x 32 image: of 17 tokens, what each block makes of them."""
        return 17 * self.depth * (12 * width + 5 * self.heads * self.head_size)


class Tokens(nn.Module):
    """Patches of images (n, c, h, w) as tokens (n, 1 + patches, width), a class token in front."""

    def __init__(self, width: int, shape: tuple[int, ...], patch: int) -> None:
        super().__init__()
        channels, height, length = shape
        size = channels * patch**2
        self.patch = patch
        self.embedding = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, width), nn.LayerNorm(width))
        self.positions = nn.Parameter(torch.randn(1 + height * length // patch**2, width))
        self.class_token = nn.Parameter(torch.randn(width))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens with their positions added."""
        n, channels, height, length = x.shape
        p = self.patch
        cut = x.reshape(n, channels, height // p, p, length // p, p)
        patches = cut.permute(0, 2, 4, 3, 5, 1).reshape(n, -1, p * p * channels)
        first = self.class_token.expand(n, 1, -1)
        return torch.cat([first, self.embedding(patches)], 1) + self.positions


class Block(nn.Module):
    """Attention and two linear layers with GELU between, each added to what it is given."""

    def __init__(self, width: int, heads: int, head_size: int) -> None:
        super().__init__()
        self.heads, inner = heads, heads * head_size
        self.norm = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * inner, bias=False)
        self.out = nn.Linear(inner, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, tokens, width) to the same shape."""
        x = x + self.out(self._attended(self.norm(x)))
        return x + self.feed_forward(x)

    def _attended(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        parts = self.queries_keys_values(x).view(n, tokens, 3, self.heads, -1)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        scores = queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5
        return (scores.softmax(-1) @ values).transpose(1, 2).reshape(n, tokens, -1)


class First(nn.Module):
    """The first of the tokens, which stands for the class."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, tokens, width) to (n, width)."""
        return x[:, 0]
