import copy
import math

import pytest
import torch
from torch import nn

from lipbounds.jacobian import jacobian_norms
from nets.models.fcn import fcn, seeded_fcn


def exact_norms(model, x, ord=2):
    """Independent truth: autograd Jacobians in float64, then singular values or plain sums."""
    model = copy.deepcopy(model).double().eval()
    x = x.double()
    single = torch.func.jacrev(lambda point: model(point.unsqueeze(0)).flatten())
    matrices = torch.stack([single(point).flatten(1) for point in x]).detach()
    return torch.linalg.matrix_norm(matrices, ord)


def close(found, exact, relative):
    return bool(((found - exact).abs() <= relative * exact).all())


def trained(model, steps=300, rate=0.5):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(200, 40, generator=generator)
    y = torch.randint(0, 10, (200,), generator=generator)
    optimiser = torch.optim.SGD(model.parameters(), rate)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    return model


def points(n=60, *shape, seed=0):
    return torch.randn(n, *(shape or (40,)), generator=torch.Generator().manual_seed(seed))


NETS = {
    "fresh 16": lambda: seeded_fcn(0, 40, [16], 10),
    "fresh 256": lambda: seeded_fcn(0, 40, [256], 10),
    "fresh 64x5": lambda: seeded_fcn(0, 40, [64] * 5, 10),
    "fresh 4096": lambda: seeded_fcn(0, 40, [4096], 10),
    "trained 64": lambda: trained(seeded_fcn(0, 40, [64], 10)),
    "trained 32x3": lambda: trained(seeded_fcn(0, 40, [32] * 3, 10, activation_on_output="identity")),
    "leaky output": lambda: seeded_fcn(0, 40, [24], 10, activation_on_output="leaky_relu"),
    "linear": lambda: nn.Sequential(nn.Linear(40, 10)),
    "biases": lambda: nn.Sequential(nn.Linear(40, 30), nn.LeakyReLU(0.2), nn.Linear(30, 10)),
    "flattened": lambda: nn.Sequential(nn.Flatten(), nn.Linear(40, 12), nn.ReLU(), nn.Linear(12, 3)),
    "tall": lambda: nn.Sequential(nn.Linear(40, 50), nn.ReLU(), nn.Linear(50, 90)),
    "smooth": lambda: nn.Sequential(nn.Linear(40, 20), nn.Tanh(), nn.Linear(20, 10)),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("ord", [2, 1, math.inf])
def test_against_float64_singular_values(name, ord):
    torch.manual_seed(0)
    model, x = NETS[name](), points()
    assert close(jacobian_norms(model, x, ord=ord), exact_norms(model, x, ord), 1e-6)


def test_small_jacobians_of_fresh_nets_are_not_underestimated():
    # where a power iteration with an absolute stopping rule is up to 34 % low
    model = seeded_fcn(0, 40, [64] * 5, 10)
    for weight in model.parameters():
        weight.data *= 0.2
    x = points()
    assert exact_norms(model, x).max() < 1e-4
    assert torch.allclose(jacobian_norms(model, x), exact_norms(model, x), rtol=1e-6, atol=0)


def test_convolutional_net_with_batch_norm():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 5),
    )  # fmt: skip
    x = points(20, 3, 16, 16)
    model(x)  # gives BatchNorm statistics of its own
    assert close(jacobian_norms(model, x), exact_norms(model, x), 1e-5)


def test_dense_path_agrees_with_the_general_one():
    class Wrapped(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x)

    for hidden in ([50], [20, 30], []):
        model = seeded_fcn(0, 40, hidden, 10, activation_on_output="leaky_relu")
        x = points()
        assert torch.allclose(jacobian_norms(model, x), jacobian_norms(Wrapped(model), x), rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 60, 1000])
def test_batch_size_does_not_matter(batch_size):
    model, x = seeded_fcn(0, 40, [32], 10), points()
    assert torch.allclose(
        jacobian_norms(model, x, batch_size=batch_size), jacobian_norms(model, x), rtol=1e-6
    )


def test_inner_dimensions_of_the_input_are_not_mistaken_for_features():
    model, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU()), points(10, 5, 4)
    assert torch.allclose(jacobian_norms(model, x), exact_norms(model, x), rtol=1e-6)


@pytest.mark.parametrize("base", [nn.Identity, nn.ReLU, nn.LeakyReLU, nn.Dropout, nn.Flatten])
def test_subclasses_of_known_layers_are_not_taken_for_them(base):
    class Tripled(base):
        def forward(self, x):
            return 3 * super().forward(x)

    model, x = nn.Sequential(nn.Linear(4, 4), Tripled(), nn.Linear(4, 3)), points(10, 4)
    assert torch.allclose(jacobian_norms(model, x), exact_norms(model, x), rtol=1e-5)


def test_hooks_are_honoured():
    model, x = fcn(40, [8], 10, activation_on_output="identity"), points()
    plain = jacobian_norms(model, x)
    model[0].register_forward_hook(lambda module, args, output: 2 * output)
    assert torch.allclose(jacobian_norms(model, x), 2 * plain, rtol=1e-6)


def test_float64_model_is_exact_to_float64():
    model, x = seeded_fcn(0, 40, [64], 10).double(), points().double()
    assert torch.allclose(jacobian_norms(model, x), exact_norms(model, x), rtol=1e-12)


@pytest.mark.parametrize("plain", [True, False])
def test_model_and_random_state_are_left_as_they_were(plain):
    model = nn.Sequential(nn.Linear(40, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
    if not plain:
        model.insert(1, nn.BatchNorm1d(8))
    model.train()
    model[0].weight.requires_grad_(False)
    model[-1].weight.grad = torch.ones(3, 8)
    x = points().requires_grad_()
    state, random_state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    jacobian_norms(model, x)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in state.items())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(module.training for module in model.modules())
    assert not model[0].weight.requires_grad
    assert model[-1].weight.requires_grad
    assert torch.equal(model[-1].weight.grad, torch.ones(3, 8))
    assert model[0].bias.grad is None
    assert x.grad is None


def test_dead_net_has_norm_zero():
    model = fcn(40, [5], 10)
    with torch.no_grad():
        model[2].weight.copy_(-model[2].weight.abs())
    assert torch.equal(jacobian_norms(model, points()), torch.zeros(60, dtype=torch.float64))


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (torch.zeros(3, 40), {"ord": 3}, "ord must be"),
        (torch.zeros(3, 40), {"batch_size": 0}, "batch_size"),
        (torch.zeros(0, 40), {}, "n >= 1"),
        (torch.zeros(40), {}, "n, "),
    ],
)
def test_bad_arguments_are_refused(x, options, message):
    with pytest.raises(ValueError, match=message):
        jacobian_norms(fcn(40, [4], 10), x, **options)


def test_slopes_have_the_precision_of_the_model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.LeakyReLU(0.01), nn.Linear(6, 3)).double()
    x = torch.randn(20, 4, dtype=torch.float64)
    exact = [torch.autograd.functional.jacobian(model, point) for point in x]
    expected = torch.stack([torch.linalg.matrix_norm(jacobian, 2) for jacobian in exact])
    assert torch.allclose(jacobian_norms(model, x), expected, rtol=1e-13)


@pytest.mark.parametrize("outputs", [1, 2, 3, 10, 33])
@pytest.mark.parametrize("ord", [2, 1, math.inf])
def test_many_points(outputs, ord):
    # enough for what few points are not worth: oneDNN, several chunks, eigenvalues all at once
    model = seeded_fcn(0, 40, [64], outputs, activation_on_output="identity")
    x = points(1200)
    jacobians = torch.func.vmap(torch.func.jacrev(model))(x).detach()
    exact = torch.linalg.matrix_norm(jacobians.double(), ord)
    assert close(jacobian_norms(model, x, ord=ord), exact, 1e-6)


@pytest.mark.parametrize("hidden", [[], [64], [32, 32]])
def test_many_points_in_float64(hidden):
    model, x = seeded_fcn(0, 40, hidden, 10).double(), points(1000).double()
    jacobians = torch.func.vmap(torch.func.jacrev(model))(x).detach()
    exact = torch.linalg.matrix_norm(jacobians, 2)
    assert ((jacobian_norms(model, x) - exact).abs() <= 1e-12 * exact).all()


@pytest.mark.parametrize("hidden", [[64], [64, 64]])
def test_many_points_that_require_gradients(hidden):
    torch.manual_seed(0)
    model = nn.Sequential()
    for inputs, width in zip([40, *hidden[:-1]], hidden, strict=True):
        model.extend([nn.Linear(inputs, width), nn.LeakyReLU(0.1)])
    model.extend([nn.Linear(hidden[-1], 10), nn.ReLU()])
    x = points(1000).requires_grad_()
    norms = jacobian_norms(model, x)
    assert not norms.requires_grad
    assert torch.allclose(norms[:40], exact_norms(model, x[:40].detach()), rtol=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("number", [1, 1000])
def test_jacobians_that_are_not_finite_are_an_error(number, bad):
    model = seeded_fcn(0, 40, [256], 10, activation_on_output="identity")
    with torch.no_grad():
        model[0].weight[3, 5] = bad
    with pytest.raises(ValueError, match="not finite at"):
        jacobian_norms(model, points(number))


def test_a_forward_that_was_replaced_on_a_layer_counts():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(5, 3)
    before = jacobian_norms(model, x)
    forward = model[2].forward
    model[2].forward = lambda h: 3 * forward(h)
    torch.testing.assert_close(jacobian_norms(model, x), 3 * before, rtol=1e-5, atol=1e-6)
