"""Fully connected nets with dropout."""

import pytest
import torch
from tests.conftest import write_tensors
from torch import nn

from lipbounds import lower_bound, upper_bound
from nets.models import fcn
from nets.models.fcn_dropout import Settings
from nets.training.initialisation import seeded
from nets.training.stacked import shape_of
from pipeline.config.training import BoundsJob
from pipeline.runs.run import read_checkpoints

WITHOUT = fcn.Settings(hidden_layers=2, output_activation="identity", minimum_alive_share=0)


def weights(net):
    return [module.weight for module in net.modules() if isinstance(module, nn.Linear)]


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_weights_and_function_are_those_of_the_family_fcn(share):
    net = seeded(Settings(hidden_layers=2, share=share), 3, 8, (40,), 10).eval()
    other = seeded(WITHOUT, 3, 8, (40,), 10).eval()
    assert all(map(torch.equal, weights(net), weights(other)))
    x = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    assert torch.equal(net(x), other(x))
    assert upper_bound(net, (40,)).value == pytest.approx(upper_bound(other, (40,)).value, rel=1e-12)
    assert lower_bound(net, x).max == pytest.approx(lower_bound(other, x).max, rel=1e-6)


def test_units_are_dropped_and_the_others_scaled_in_training():
    net = seeded(Settings(hidden_layers=1, share=0.25), 0, 4000, (40,), 10).train()
    x = torch.ones(1, 40)
    hidden = net[:2](x)
    kept = net[:3](x)
    alive = hidden > 0
    assert (kept[alive] == 0).double().mean().item() == pytest.approx(0.25, abs=0.05)
    assert torch.allclose(kept[kept > 0], hidden[kept > 0] / 0.75)


def test_without_dropout_seeds_train_side_by_side_and_with_it_one_by_one():
    assert shape_of(seeded(Settings(hidden_layers=1, share=0.0), 0, 4, (40,), 10)) is not None
    assert shape_of(seeded(Settings(hidden_layers=1, share=0.1), 0, 4, (40,), 10)) is None


def test_images_are_flattened():
    assert seeded(Settings(hidden_layers=1, share=0.1), 0, 4, (2, 3, 3), 5)(
        torch.rand(7, 2, 3, 3)
    ).shape == (7, 5)


def test_kept_nets_are_read_in_eval_mode(tmp_path):
    net = seeded(Settings(hidden_layers=1, share=0.5), 0, 4, (40,), 10)
    weights = {f"seed~0/epoch~0/{name}": value for name, value in net.state_dict().items()}
    write_tensors(tmp_path / "checkpoints", weights, {"shape": [40], "classes": 10})
    job = BoundsJob.model_validate(
        {
            "model": {"name": "fcn_dropout", "hidden_layers": 1, "share": 0.5},
            "bounds": {"upper": "autolip", "ord": 2},
        }
    )
    (kept,) = read_checkpoints(tmp_path / "checkpoints", job.model, 4)
    x = torch.randn(6, 40)
    assert torch.equal(kept.model(x), net.eval()(x))
    assert upper_bound(kept.model, (40,)).value > 0
