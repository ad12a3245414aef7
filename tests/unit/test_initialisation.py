import pytest
import torch
from torch import nn

from nets.models import fcn
from nets.models.fcn import seeded_fcn
from nets.settings import Family
from nets.training.initialisation import alive_share, check_outputs, first_accepted, seeded, with_state


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


def test_a_family_of_relu_outputs_redraws_until_the_share_is_met():
    x, y = torch.randn(200, 40), torch.arange(200) % 10
    draws = [seeded_fcn(s, 40, [16], 10) for s in range(50)]
    shares = [alive_share(model, x, y) for model in draws]
    wanted = max(shares[:10])

    def family(share):
        return fcn.Settings(hidden_layers=1, output_activation="relu", minimum_alive_share=share)

    assert first_accepted(draws, lambda net: family(0).accepts(net, x, y)) is draws[0]
    assert (
        first_accepted(draws, lambda net: family(wanted).accepts(net, x, y))
        is draws[shares.index(wanted)]
    )


def test_it_gives_up():
    with pytest.raises(ValueError, match="none of 5 initialisations"):
        first_accepted((nn.Identity() for _ in range(99)), lambda net: False, limit=5)


class Shifted(nn.Module):
    """With a table that is no part of its state."""

    def __init__(self, inputs, classes):
        super().__init__()
        self.layer = nn.Linear(inputs, classes)
        self.register_buffer("table", torch.arange(float(classes)), persistent=False)

    def forward(self, x):
        return self.layer(x) + self.table


class ShiftedFamily(Family):
    def build(self, width, shape, classes):
        return Shifted(shape[0], classes)


@pytest.mark.parametrize(
    "family",
    [
        ShiftedFamily(),
        fcn.Settings(hidden_layers=2, output_activation="relu", minimum_alive_share=0),
    ],
)
def test_a_net_comes_back_from_its_state(family):
    before = torch.get_rng_state()
    net = seeded(family, 3, 6, (4,), 5)
    x = torch.ones(2, 4)
    assert torch.equal(net(x), seeded(family, 3, 6, (4,), 5)(x))
    assert not torch.equal(net(x), seeded(family, 4, 6, (4,), 5)(x))
    again = with_state(family, net.state_dict(), 6, (4,), 5)
    assert torch.equal(again(x), net(x))
    assert torch.equal(torch.get_rng_state(), before)
    first = next(net.parameters())
    assert next(again.parameters()).data_ptr() == first.data_ptr(), "without a copy"


def test_a_net_of_another_shape_is_refused_in_words():
    check_outputs(nn.Linear(4, 5), torch.ones(3, 4), 5)
    with pytest.raises(ValueError, match=r"maps 2 points \(2, 4\) to \(2, 2, 5\); it must give"):
        check_outputs(nn.Linear(4, 5), torch.ones(3, 2, 4), 5)
    with pytest.raises(ValueError, match=r"cannot take points \(3,\)"):
        check_outputs(nn.Linear(4, 5), torch.ones(3, 3), 5)
    net = nn.BatchNorm1d(4)
    check_outputs(net, torch.ones(3, 4), 4)
    assert net.training
    assert net.num_batches_tracked == 0
