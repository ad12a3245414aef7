"""Jacobian norms of what people call a model, each against an independent truth."""

import copy
import dataclasses
import math
import warnings

import pytest
import torch
from tests.unit.function import Function
from torch import nn
from torch.nn import functional

from lipbounds.bounds import lower_bound, upper_bound
from lipbounds.bounds.pairwise import pairwise_lower_bound
from lipbounds.bounds.search import search_lower_bound
from lipbounds.frozen import Frozen
from lipbounds.jacobian import jacobian_norms

pytestmark = pytest.mark.usefixtures("single_threaded")


def points(*shape, seed=0, **options):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **options)


def seeded(build):
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old weight_norm and TorchScript are deprecated
        torch.manual_seed(0)
        return build()


@dataclasses.dataclass
class Result:
    logits: torch.Tensor
    label: torch.Tensor
    name: str = "net"


def used(model, x):
    """After a call, which leaves computed weights in modules of the old kind."""
    model(x)
    return model


def linear():
    return nn.Linear(4, 3)


IMAGE_MODELS = {
    "view after a convolution": lambda: Function(
        lambda s, x: s.fc(s.conv(x).relu().view(x.size(0), -1)),
        conv=nn.Conv2d(2, 3, 3), fc=nn.Linear(3 * 4 * 4, 5),
    ),
    "view in place of flatten, twice": lambda: Function(
        lambda s, x: s.conv(s.conv(x).view(-1, 2, 36).view(-1, 2, 6, 6)).view(len(x), -1),
        conv=nn.Conv2d(2, 2, 3, padding=1),
    ),
    "strides": lambda: Function(
        lambda s, x: torch.as_strided(s.conv(x), (len(x), 5), (48, 7)), conv=nn.Conv2d(2, 3, 3)
    ),
    "in place first": lambda: nn.Sequential(
        nn.ReLU(inplace=True), nn.Conv2d(2, 3, 3), nn.ReLU(inplace=True), nn.Flatten()
    ),
    "batch of one only": lambda: Function(
        lambda s, x: s.conv(x).reshape(1, 3, 4, 4).mean((2, 3)), conv=nn.Conv2d(2, 3, 3)
    ),
}  # fmt: skip

VECTOR_MODELS = {
    "(n,)": lambda: Function(lambda s, x: x.square().sum(1)),
    "tuple": lambda: Function(lambda s, x: (s.fc(x), x.sin()), fc=linear()),
    "dictionary with labels": lambda: Function(
        lambda s, x: {"logits": s.fc(x), "label": s.fc(x).argmax(1)}, fc=linear()
    ),
    "nested, with None": lambda: Function(
        lambda s, x: {"a": [s.fc(x), (x[:, 0], None)], "b": "text"}, fc=linear()
    ),
    "dataclass": lambda: Function(
        lambda s, x: Result(s.fc(x).tanh(), s.fc(x).argmax(1)), fc=linear()
    ),
    "in place first": lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 2)),
    "augmented in place": lambda: Function(lambda s, x: s.fc(x.mul_(2).add_(1)), fc=linear()),
    "old weight_norm": lambda: used(
        nn.Sequential(nn.utils.weight_norm(linear()), nn.Tanh()), torch.zeros(1, 4)
    ),
    "old spectral_norm": lambda: used(
        nn.Sequential(nn.utils.spectral_norm(linear()), nn.Tanh()), torch.zeros(1, 4)
    ),
    "parametrizations": lambda: nn.Sequential(
        nn.utils.parametrizations.spectral_norm(linear()),
        nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)),
    ),
    "TorchScript": lambda: torch.jit.script(nn.Sequential(linear(), nn.Tanh(), nn.Linear(3, 2))),
    "traced": lambda: torch.jit.trace(nn.Sequential(linear(), nn.Tanh()), torch.zeros(2, 4)),
    "scripted part": lambda: nn.Sequential(linear(), torch.jit.script(nn.Sequential(nn.Tanh()))),
    "attention": lambda: Function(
        lambda s, x: functional.scaled_dot_product_attention(*[s.fc(x).view(-1, 1, 2, 4)] * 3)[:, 0],
        fc=nn.Linear(4, 8),
    ),
    "recurrent": lambda: Function(
        lambda s, x: s.rnn(x.unsqueeze(2))[1].squeeze(0), rnn=nn.GRU(1, 5, batch_first=True)
    ),
    "constant": lambda: Function(lambda s, x: torch.ones(len(x), 2)),
    "partly constant": lambda: Function(lambda s, x: (x, torch.ones(len(x), 2))),
    "identity": lambda: Function(lambda s, x: x),
}  # fmt: skip


def numbers(model, x):
    """Floating outputs of one point, written down once more."""
    found = model(x.unsqueeze(0).clone())
    if isinstance(found, Result):
        found = found.logits
    leaves = torch.utils._pytree.tree_leaves(found)
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]
    return torch.cat([tensor.flatten() for tensor in tensors])


def difference_norms(model, x, ord=2):
    """Norms of central differences, which know nothing of autograd; for float32 about 1e-3 exact."""
    step, norms = 1e-2, []
    with torch.no_grad():
        for point in x:
            unit = torch.eye(point.numel()).view(-1, *point.shape)
            columns = [
                (numbers(model, point + step * e) - numbers(model, point - step * e)) / (2 * step)
                for e in unit
            ]
            norms.append(torch.linalg.matrix_norm(torch.stack(columns, 1).double(), ord))
    return torch.stack(norms)


@pytest.mark.parametrize("ord", [2, 1, math.inf])
@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_images(name, ord):
    model, x = seeded(IMAGE_MODELS[name]).eval(), 2 + points(3, 2, 6, 6).abs()
    found = jacobian_norms(model, x, ord=ord)
    assert torch.allclose(found, difference_norms(model, x, ord), rtol=1e-2, atol=0)


@pytest.mark.parametrize("name", VECTOR_MODELS)
def test_vectors(name):
    model, x = seeded(VECTOR_MODELS[name]).eval(), points(3, 4).sign() * (0.5 + points(3, 4).abs())
    assert torch.allclose(jacobian_norms(model, x), difference_norms(model, x), rtol=1e-2, atol=0)
    assert lower_bound(model, x).max == pytest.approx(difference_norms(model, x).max().item(), rel=1e-2)


@pytest.mark.parametrize("name", VECTOR_MODELS)
def test_search_and_secants(name):
    model, x = seeded(VECTOR_MODELS[name]), points(5, 4)
    found = search_lower_bound(model, x, radius=0.5, starts=2, steps=3)
    model.eval()
    assert found.value >= found.start_value
    expected = difference_norms(model, found.point.unsqueeze(0)).item()
    assert found.value == pytest.approx(expected, rel=5e-2)
    outputs = torch.stack([numbers(model, point) for point in x]).detach()
    slopes = torch.cdist(outputs, outputs) / torch.cdist(x, x).clamp_min(1e-6)
    assert pairwise_lower_bound(model, x).value == pytest.approx(slopes.max().item(), rel=1e-4)


@pytest.mark.parametrize("name", VECTOR_MODELS)
def test_the_model_stays_as_it_was(name):
    model = seeded(VECTOR_MODELS[name])
    state = copy.deepcopy(model.state_dict())
    flags = [parameter.requires_grad for parameter in model.parameters()]
    training = [module.training for module in model.modules()]
    x, random = points(3, 4), torch.get_rng_state()
    before = x.clone()
    jacobian_norms(model, x)
    assert torch.equal(x, before)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in state.items())
    assert flags == [parameter.requires_grad for parameter in model.parameters()]
    assert training == [module.training for module in model.modules()]
    assert torch.equal(torch.get_rng_state(), random)


def test_convolutions_are_channels_last_where_that_changes_nothing():
    x = points(2, 2, 6, 6)
    plain = Frozen(nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten()), x)
    assert plain.prepared(x).is_contiguous(memory_format=torch.channels_last)
    for name in ("view after a convolution", "strides"):
        assert Frozen(seeded(IMAGE_MODELS[name]), x).prepared(x).is_contiguous()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dense", [True, False])
def test_half_precision_is_computed_at_its_weights_and_in_float32(dtype, dense):
    inner = seeded(lambda: nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))).to(dtype)
    model = inner if dense else Function(lambda s, x: s.inner(x), inner=inner)
    x = points(20, 20).to(dtype)
    exact = copy.deepcopy(model).double()
    jacobians = torch.func.vmap(torch.func.jacrev(exact))(x.double()).detach()
    truth = torch.linalg.matrix_norm(jacobians, 2)
    found = jacobian_norms(model, x)
    assert found.dtype == torch.float64
    assert torch.allclose(found, truth, rtol=1e-6, atol=0)
    assert lower_bound(model, x).max <= truth.max().item() * (1 + 1e-6)
    assert search_lower_bound(model, x, radius=0.1, starts=2, steps=2).value >= found.max().item()
    assert next(model.parameters()).dtype == dtype


@pytest.mark.parametrize("dense", [True, False])
def test_autocast_and_inference_mode_around_the_call_do_not_matter(dense):
    inner = seeded(lambda: nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5)))
    model, x = inner if dense else Function(lambda s, x: s.inner(x), inner=inner), points(6, 20)
    plain = jacobian_norms(model, x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(jacobian_norms(model, x), plain)
    with torch.inference_mode():
        assert torch.equal(jacobian_norms(model, x.clone()), plain)


@pytest.mark.parametrize("ord", [1, 2, math.inf])
def test_few_inputs_and_many_outputs(ord):
    model = seeded(lambda: nn.Sequential(nn.Linear(3, 40), nn.Tanh(), nn.Linear(40, 300)))
    x, exact = points(5, 3), copy.deepcopy(model).double()
    jacobians = torch.func.vmap(torch.func.jacrev(exact))(x.double()).detach()
    truth = torch.linalg.matrix_norm(jacobians, ord)
    assert torch.allclose(jacobian_norms(model, x, ord=ord), truth, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda s, x: (x, x.sum()), r"output\[1\] has shape \(\) for 2 points"),
        (lambda s, x: x.T, r"output has shape \(4, 2\)"),
        (lambda s, x: {"label": x.argmax(1)}, "without any floating tensor"),
        (lambda s, x: torch.fft.fft(x), "view_as_real"),
    ],
)
def test_outputs_that_do_not_belong_to_points_are_refused(function, message):
    with pytest.raises(ValueError, match=message):
        jacobian_norms(Function(function), points(3, 4))


def test_integer_points_are_refused():
    with pytest.raises(ValueError, match=r"x must be floating, not torch\.int64"):
        jacobian_norms(Function(lambda s, x: x), torch.ones(2, 3, dtype=torch.int64))


@pytest.mark.filterwarnings("ignore:The tensor attribute:UserWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "normalised", [nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm], ids=["old", "new"]
)
def test_spectral_norm_counts_in_its_eval_form_and_is_refused_in_train_mode(normalised):
    """In train mode every call changes the vectors that the weight is divided by."""
    torch.manual_seed(0)
    layer = normalised(nn.Linear(5, 4).double())
    model = nn.Sequential(nn.Sequential(layer), nn.ReLU())
    for mode in (model.train, layer.train):
        model.eval()
        mode()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with pytest.raises(ValueError, match=r"is in train mode.*call model\.eval"):
            upper_bound(model, (5,))
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for mode in (model.eval, lambda: model.train() and layer.eval()):
        mode()
        found = upper_bound(model, (5,)).value
        columns = (layer(torch.eye(5).double()) - layer(torch.zeros(1, 5).double())).detach()
        assert found == pytest.approx(torch.linalg.matrix_norm(columns, 2).item(), rel=1e-12)
