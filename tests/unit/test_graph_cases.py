"""Models that a graph of modules misreads: no bound of theirs may be below a difference quotient.

Views changed in place, default arguments, hooks, patched forwards, nested outputs, modes, types and
constants that a rule could drop; and models of every day, which need an answer.
"""

import math

import pytest
import torch
from tests.fuzz.truth import Ball, largest_quotient
from torch import nn
from torch.nn import functional

from lipbounds.bounds import UnknownLayerError, lower_bound, upper_bound
from lipbounds.jacobian import jacobian_norms

pytestmark = pytest.mark.usefixtures("single_threaded")


def net(forward, **modules):
    """A module in eval mode whose forward is ``forward(self, x)``."""
    model = type("Net", (nn.Module,), {"forward": forward})()
    for name, module in modules.items():
        setattr(model, name, module)
    return model.eval()


def linear(inputs=4, outputs=4):
    torch.manual_seed(1)
    return nn.Linear(inputs, outputs)


def view_scaled(view):
    def forward(self, x):
        h = 1.0 * x
        view(h).mul_(50.0)
        return h

    return net(forward)


def changed_after_it_was_kept():
    def forward(self, x):
        h = self.fc(x)
        features = [h]
        h += 5 * x
        return torch.cat([*features, h], 1)

    return net(forward, fc=linear())


def no_copy_of_dropout():
    drop, act = nn.Dropout(0.5), nn.LeakyReLU(5.0, inplace=True)
    return net(lambda s, x: s.act(s.drop(s.fc(x) - 9)) + s.fc(x), fc=linear(), drop=drop, act=act)


def flattened_and_scaled():
    def forward(self, x):
        h = 1.0 * x
        self.flat(h).mul_(20)
        return h

    return net(forward, flat=nn.Flatten())


def written_by_index():
    def forward(self, x):
        out = torch.zeros(x.size(0), 6, dtype=x.dtype)
        out[:, :4] = x
        return 3 * out

    return net(forward)


class Defaulted(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = linear()

    def forward(self, x, skip=None):
        h = self.fc(x)
        return h + 5 * x if skip is None else h + skip


def patched():
    layer = linear()
    old = layer.forward
    layer.forward = lambda x: 10 * old(x)
    return nn.Sequential(layer, nn.ReLU()).eval()


def nested():
    def forward(self, x):
        return {"out": {"logits": self.a(x)}, "features": [100 * self.b(x)]}

    return net(forward, a=linear(), b=linear())


def attention_weights():
    torch.manual_seed(1)
    layer = nn.MultiheadAttention(4, 1, batch_first=True)
    return net(lambda s, x: s.a(x, x, x)[1], a=layer)


def bias_alone():
    def forward(self, x):
        bias = torch.full((4,), 100.0, dtype=x.dtype)
        return functional.layer_norm(x, (4,), None, bias, 1.0) ** 2

    return net(forward)


def number_times_itself():
    def forward(self, x):
        mean = x.mean(1) + 100.0
        return (mean * mean).unsqueeze(1)

    return net(forward)


def lengths(x):
    return x.norm(dim=-1, keepdim=True)


def roots_times_themselves():
    def forward(self, x):
        h = (torch.tanh(x) + 100).sqrt()
        return h @ h.mT

    return net(forward)


TRICKY = {
    "narrow, changed in place": (lambda: view_scaled(lambda h: h.narrow(1, 0, 2)), (3, 3), {}),
    "select, changed in place": (lambda: view_scaled(lambda h: h.select(1, 0)), (3, 3), {}),
    "chunk, changed in place": (lambda: view_scaled(lambda h: h.chunk(3, 1)[1]), (3, 3), {}),
    "dropout in eval mode hands on its input": (no_copy_of_dropout, (4,), {}),
    "flatten is a view": (flattened_and_scaled, (2, 3), {}),
    "changed after it was kept": (changed_after_it_was_kept, (4,), {}),
    "written by index": (written_by_index, (4,), {}),
    "default argument": (lambda: Defaulted().eval(), (4,), {}),
    "nested output": (nested, (4,), {}),
    "attention weights": (attention_weights, (3, 4), {"radius": 2.0}),
    "forward replaced on an instance": (patched, (4,), {}),
    "the mode decides": (lambda: net(lambda s, x: x if s.training else 10 * x), (3,), {}),
    "eps of the dtype": (
        lambda: nn.Sequential(nn.RMSNorm(4, elementwise_affine=False)).double().eval(),
        (4,),
        {"radius": 1e-6},
    ),
    "softplus that jumps": (
        lambda: nn.Sequential(nn.Softplus(beta=10, threshold=0.4)),
        (1,),
        {"radius": 0.5},
    ),
    "constant in a square": (lambda: net(lambda s, x: torch.square(torch.tanh(x) + 100.0)), (1,), {}),
    "normalisation with a bias alone": (bias_alone, (4,), {}),
    "number times itself": (number_times_itself, (4,), {"radius": 1.0}),
    "broadcast product": (
        lambda: net(lambda s, x: x.sum((2, 3), keepdim=True) * (1e-3 * x + 1)),
        (1, 8, 8),
        {"ord": 1, "radius": 1.0},
    ),
    "norms of other rows": (
        lambda: net(lambda s, x: x / lengths(x).clamp_min(0.5).view(x.size(0), 1, -1)),
        (3, 3),
        {},
    ),
    "length cut off above": (
        lambda: net(lambda s, x: (x / lengths(x).clamp(0.5, 1.0)) ** 2),
        (3,),
        {},
    ),
    "limits with a leading axis": (
        lambda: net(lambda s, x: x.clamp(min=torch.zeros(5, 1, 3, dtype=x.dtype))),
        (3,),
        {},
    ),
    "roots far from zero": (roots_times_themselves, (3, 2), {}),
    "logarithm of a square": (
        lambda: net(lambda s, x: (torch.softmax(x, 1) - 0.4).square().log()),
        (2,),
        {"radius": 0.01},
    ),
    "converted on a ball": (
        lambda: net(lambda s, x: x.to(torch.float32).square()),
        (3,),
        {"radius": 1.0},
    ),
    "ones like the input": (lambda: net(lambda s, x: x * x.new_ones(())), (3,), {"radius": 1.0}),
    "weights with a leading axis": (
        lambda: net(lambda s, x: x * torch.ones(50, 1, 3, dtype=x.dtype)),
        (3,),
        {},
    ),
}


@pytest.mark.parametrize("name", TRICKY)
def test_bounds_are_above_the_quotients(name):
    """A refusal in words is a good answer, a number below the truth never is."""
    build, shape, options = TRICKY[name]
    try:
        found = upper_bound(build(), shape, **options)
    except (ValueError, UnknownLayerError):
        return
    assert found.kind == "upper"
    ball = Ball(shape, options.get("ord", 2), options.get("radius", math.inf))
    seen = largest_quotient(build().double(), ball, seed=0, points=12)
    assert seen is not None
    rounding = 1e-2 if "converted" in name else 1e-6  # of float32 over short steps
    assert found.value >= seen.value * (1 - rounding)


FLAT = torch.ones(2, 2, 2, 2)

ANSWERED = {
    "size()[:-1] + (2, 4)": (lambda s, x: x.view(x.size()[:-1] + (2, 4)), (8,), 1.0),
    "ndim": (lambda s, x: x if x.ndim == 2 else x.flatten(1), (4,), 1.0),
    "functional batch_norm": (
        lambda s, x: functional.batch_norm(x, torch.zeros(2), torch.ones(2)),
        (2, 3, 3),
        1 / math.sqrt(1 + 1e-5),
    ),
    "torch.max of two": (lambda s, x: torch.max(x[:, ::2], x[:, 1::2]), (4,), math.sqrt(2)),
    "expand": (lambda s, x: x.unsqueeze(1).expand(-1, 3, -1), (4,), math.sqrt(3)),
    "functional conv_transpose2d": (
        lambda s, x: functional.conv_transpose2d(x, FLAT),
        (2, 3, 3),
        4 + math.sqrt(8),
    ),
    "matrix on the right": (lambda s, x: x @ torch.ones(4, 3), (4,), math.sqrt(12)),
    "einsum": (lambda s, x: torch.einsum("bi,oi->bo", x, torch.ones(3, 4)), (4,), math.sqrt(12)),
    "queries of attention": (
        lambda s, x: x.reshape(x.size(0), 5, 3, 2, 2).permute(2, 0, 3, 1, 4).unbind(0)[0],
        (5, 12),
        1.0,
    ),
    "a module called by keyword": (lambda s, x: s.fc(input=x), (4,), None),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_models_of_every_day_have_bounds(name):
    forward, shape, most = ANSWERED[name]
    layer = linear()
    model = net(forward, fc=layer).float()
    if most is None:
        most = torch.linalg.matrix_norm(layer.weight.double(), 2).item()
    found = upper_bound(model, shape, method="best")
    assert found.kind == "upper"
    assert found.value == pytest.approx(most, rel=1e-2)
    assert found.value >= most * (1 - 1e-5)


def lenet():
    torch.manual_seed(0)
    blocks = [
        layer
        for inputs, outputs in ((1, 6), (6, 16))
        for layer in (nn.Conv2d(inputs, outputs, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
    ]
    head = [
        nn.Flatten(),
        nn.Linear(784, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    ]
    return nn.Sequential(*blocks, *head).eval()


def test_lenet():
    found = upper_bound(lenet(), (1, 28, 28))
    assert found.certified
    assert found.value >= lower_bound(lenet(), torch.randn(3, 1, 28, 28)).max


def with_old_weight_norm():
    model = nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 2)), nn.Tanh())
    model(torch.zeros(1, 4))
    return model


POINTS = {
    "view after a convolution": (
        lambda: net(
            lambda s, x: s.fc(functional.relu(s.conv(x)).view(x.size(0), -1)),
            conv=nn.Conv2d(1, 2, 5),
            fc=nn.Linear(32, 3),
        ),
        (1, 8, 8),
    ),
    "critic of one number": (lambda: net(lambda s, x: x.sum(1)), (4,)),
    "two results": (lambda: net(lambda s, x: (x, 2 * x)), (4,)),
    "first layer in place": (lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 2)), (4,)),
    "old weight norm": (with_old_weight_norm, (4,)),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", POINTS)
def test_jacobians_of_models_of_every_day(name):
    build, shape = POINTS[name]
    torch.manual_seed(0)
    found = lower_bound(build(), torch.randn(3, *shape))
    assert 0 < found.mean <= found.max < math.inf


def test_mixed_samples_have_no_jacobian_of_one():
    mixed = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2, track_running_stats=False)).eval()
    with pytest.raises(ValueError, match=r"."):
        lower_bound(mixed, torch.randn(3, 4))


def test_a_point_that_is_nan_is_said():
    model = nn.Sequential(nn.Linear(4, 2), nn.ReLU())
    try:
        found = lower_bound(model, torch.full((2, 4), float("nan"))).max
    except ValueError:
        return
    assert math.isnan(found)


def test_one_image_with_many_outputs():
    same = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1)).eval()
    assert jacobian_norms(same, torch.randn(1, 3, 12, 12))[0].item() > 0
