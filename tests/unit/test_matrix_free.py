"""Norms from products with Jacobians: exact, never above, and cheap."""

import copy

import pytest
import torch
from torch import nn

import lipbounds.jacobian
from lipbounds.jacobian import jacobian_norms
from lipbounds.matrix_free import Products, graph_products, top_singular

pytestmark = pytest.mark.usefixtures("single_threaded")

F64 = {"dtype": torch.float64}


def points(*shape, seed=0, **options):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **options)


def seeded(build):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


def products_with(matrices):
    """Products with explicit matrices (n, rows, columns)."""
    return Products(
        lambda v: (matrices @ v.unsqueeze(2)).squeeze(2),
        lambda u: (matrices.mT @ u.unsqueeze(2)).squeeze(2),
        *matrices.shape[1:],
    )


def with_singular_values(rows, columns, values):
    left, right = (
        torch.linalg.qr(points(size, len(values), seed=size, **F64))[0] for size in (rows, columns)
    )
    return ((left * values) @ right.T).unsqueeze(0)


SPECTRA = {
    "random": points(3, 150, 200, **F64),
    "random, tall": points(2, 300, 120, **F64),
    "orthogonal": with_singular_values(150, 150, torch.ones(150, **F64)),
    "close to the top": with_singular_values(200, 180, 1 - torch.arange(180, **F64) * 1e-4),
    "double at the top": with_singular_values(150, 130, torch.tensor([2.0, 2.0, *[1.0] * 100], **F64)),
    "nearly double": with_singular_values(150, 130, torch.tensor([2.0, 2 - 1e-9, *[1.0] * 50], **F64)),
    "of rank 1": with_singular_values(150, 130, torch.ones(1, **F64)),
    "of rank 3": with_singular_values(130, 150, torch.tensor([3.0, 2.0, 1.0], **F64)),
    "zero": torch.zeros(2, 100, 120, **F64),
    "decaying": with_singular_values(150, 150, 0.5 ** torch.arange(150, **F64)),
    "one zero, one not": torch.stack([torch.zeros(100, 120, **F64), points(100, 120, **F64)]),
    "of different scales": points(3, 100, 120, **F64)
    * torch.tensor([1e-150, 1, 1e150], **F64).view(-1, 1, 1),
    "graded": points(1, 128, 128, **F64) * torch.linspace(0.1, 1, 128, **F64),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SPECTRA)
def test_against_singular_values(name, dtype):
    matrices = SPECTRA[name].to(dtype)
    if not (matrices.isfinite().all() and torch.equal(matrices == 0, SPECTRA[name] == 0)):
        pytest.skip("out of the range of float32")
    exact = torch.linalg.matrix_norm(matrices.double(), 2)
    relative = {torch.float32: 1e-6, torch.float64: 1e-12}[dtype]
    rounding = 20 * torch.finfo(dtype).eps
    found = top_singular(products_with(matrices), matrices, tolerance=relative / 10)
    assert (found.values <= exact * (1 + rounding)).all()
    assert (found.values >= exact * (1 - relative)).all()
    assert (found.errors <= relative / 10).all()
    some = exact > 0
    reached = torch.einsum("nk,nkd,nd->n", *(t.double() for t in (found.left, matrices, found.right)))
    assert torch.allclose(reached[some], exact[some], rtol=1e-5)
    assert torch.allclose(found.right.norm(dim=1)[some], torch.ones((), dtype=dtype), rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 5, 9, 20])
@pytest.mark.parametrize("name", SPECTRA)
def test_values_are_never_above_the_norm_however_few_the_steps(name, steps):
    matrices = SPECTRA[name]
    exact = torch.linalg.matrix_norm(matrices, 2)
    found = top_singular(products_with(matrices), matrices, tolerance=0.0, most_steps=steps)
    assert (found.values <= exact * (1 + 1e-13)).all()
    assert found.products <= 2 * steps + 2


def test_stated_errors_are_of_the_size_of_the_true_ones():
    matrices = points(20, 120, 140, **F64)
    exact = torch.linalg.matrix_norm(matrices, 2)
    for tolerance in (1e-2, 1e-4, 1e-8):
        found = top_singular(products_with(matrices), matrices, tolerance=tolerance)
        missing = 1 - found.values / exact
        assert (missing <= 3 * tolerance).all()
        assert missing.max() > 1e-14  # or the tolerance would say nothing


def test_a_search_with_little_memory_restarts(monkeypatch):
    matrices = points(2, 150, 200, **F64)
    monkeypatch.setattr("lipbounds.matrix_free._BASIS_ELEMENTS", 2 * 350 * 20)
    found = top_singular(products_with(matrices), matrices, tolerance=1e-9, most_steps=1000)
    assert torch.allclose(found.values, torch.linalg.matrix_norm(matrices, 2), rtol=1e-8, atol=0)


class Conv(nn.Module):
    """(n, 3, 18, 18) to (n, 972), one image to another."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, 1, 1),
            nn.Conv2d(8, 3, 3, padding=1),
        )

    def forward(self, x):
        return self.net(x)


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_a_thousand_outputs_take_a_tenth_of_the_passes_of_an_explicit_jacobian(kind):
    def dense():
        return nn.Sequential(nn.Linear(1200, 1500), nn.Tanh(), nn.Linear(1500, 1000))

    model = seeded(Conv if kind == "conv" else dense)
    x = points(4, *((3, 18, 18) if kind == "conv" else (1200,))).requires_grad_()
    outputs = model(x).flatten(1)
    found = top_singular(graph_products(outputs, x), x, tolerance=1e-3)
    sums = outputs.sum(0).unbind()
    rows = [torch.autograd.grad(total, x, retain_graph=True)[0].flatten(1) for total in sums]
    exact = torch.linalg.matrix_norm(torch.stack(rows, 1).double(), 2)
    assert ((1 - found.values / exact).abs() <= 1e-3).all()
    assert 10 * found.products <= len(sums)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["dense", "general", "conv"])
def test_many_outputs_agree_with_explicit_jacobians(kind, dtype, monkeypatch):
    def build():
        dense = [nn.Linear(160, 180), nn.LeakyReLU(0.1), nn.Linear(180, 170), nn.ReLU()]
        return Conv() if kind == "conv" else nn.Sequential(*dense, *[nn.Tanh()] * (kind == "general"))

    model, x = seeded(build).to(dtype), points(7, *((3, 18, 18) if kind == "conv" else (160,))).to(dtype)
    found = jacobian_norms(model, x)
    split = jacobian_norms(model, x, batch_size=3)
    for name in ("_EXPLICIT", "_EXPLICIT_DENSE"):
        monkeypatch.setattr(lipbounds.jacobian, name, 10**9)
    exact = jacobian_norms(model, x)
    relative = {torch.float32: 1e-6, torch.float64: 1e-11}[dtype]
    for norms in (found, split):
        assert torch.allclose(norms, exact, rtol=relative, atol=0)
        assert (norms <= exact * (1 + 1e-6 * relative**0.5)).all() or dtype == torch.float32


def test_points_whose_error_stays_large_are_taken_from_explicit_jacobians(monkeypatch):
    model, x = (
        seeded(lambda: nn.Sequential(nn.Linear(150, 160), nn.Tanh(), nn.Linear(160, 140))),
        points(3, 150),
    )
    expected = jacobian_norms(copy.deepcopy(model), x)
    whole = lipbounds.jacobian.top_singular

    def hasty(products, points, *, tolerance, most_steps):
        return whole(products, points, tolerance=tolerance, most_steps=3)

    monkeypatch.setattr(lipbounds.jacobian, "top_singular", hasty)
    assert torch.allclose(jacobian_norms(model, x), expected, rtol=1e-6)
    monkeypatch.setattr(lipbounds.jacobian, "_MATRIX_ELEMENTS", 1000)
    with pytest.warns(RuntimeWarning, match=r"may be up to .* larger than found"):
        assert (jacobian_norms(model, x) < expected).all()


def test_backward_passes_with_wrong_derivatives_are_noticed():
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.square()

        @staticmethod
        def backward(ctx, gradient):
            return 2 * ctx.saved_tensors[0] * gradient.detach()

    class Squares(nn.Module):
        def forward(self, x):
            return Square.apply(x) @ torch.eye(120)

    x = points(3, 120)
    with pytest.raises(RuntimeError):
        graph_products(Squares()(x.requires_grad_()), x)
    expected = 2 * x.detach().abs().amax(1).double()
    assert torch.allclose(jacobian_norms(Squares(), x.detach()), expected, rtol=1e-6)


def test_weights_that_are_not_finite_are_an_error():
    model = seeded(lambda: nn.Sequential(nn.Linear(150, 160), nn.ReLU(), nn.Linear(160, 140)))
    model[0].weight.data[3, 5] = torch.nan
    with pytest.raises(ValueError, match="not finite at 3 of 3 points"):
        jacobian_norms(model, points(3, 150))


@pytest.mark.parametrize("ord", [1, 2, float("inf")])
def test_wide_dense_nets_need_no_table_of_outer_products(ord, monkeypatch):
    model, x = (
        seeded(lambda: nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 10))),
        points(90, 30),
    )
    expected = jacobian_norms(model, x, ord=ord)
    monkeypatch.setattr(lipbounds.jacobian, "_outer_products", None)
    monkeypatch.setattr(lipbounds.jacobian, "_TABLE_ELEMENTS", 30 * 20 * 10 - 1)
    monkeypatch.setattr(lipbounds.jacobian, "_MATRIX_ELEMENTS", 4 * 300)
    assert torch.allclose(jacobian_norms(model, x, ord=ord), expected, rtol=1e-6)
