import pytest
import torch
from torch import nn

from nets.models.fcn import seeded_fcn
from nets.training.initialisation import alive_share, first_alive


class Fixed(nn.Module):
    def __init__(self, logits):
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, x):
        return self.logits


def test_alive_share_is_that_of_the_worst_class_on_its_own_points():
    y = torch.tensor([0, 0, 1, 1, 1, 3])
    logits = [
        [1.0, 9.0, 0.0, 0.0],
        [0.0, 9.0, 0.0, 0.0],
        [9.0, 1.0, 0.0, 0.0],
        [9.0, 0.0, 0.0, 0.0],
        [9.0, -1.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 2.0],
    ]
    assert alive_share(Fixed(logits), torch.zeros(6, 1), y) == pytest.approx(1 / 3)


def test_first_alive_redraws_until_the_share_is_met():
    x, y = torch.randn(200, 40), torch.arange(200) % 10
    draws = [seeded_fcn(s, 40, [16], 10) for s in range(50)]
    shares = [alive_share(model, x, y) for model in draws]
    assert first_alive(draws, x, y, 0) is draws[0]
    wanted = max(shares[:10])
    assert first_alive(draws, x, y, wanted) is draws[shares.index(wanted)]


def test_first_alive_gives_up():
    x, y = torch.randn(20, 40), torch.arange(20) % 10
    with pytest.raises(ValueError, match="none of 5 initialisations"):
        first_alive((seeded_fcn(s, 40, [4], 10) for s in range(99)), x, y, 1.1, limit=5)
