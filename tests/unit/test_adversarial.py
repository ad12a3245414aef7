"""Attacks stay where they may go and find what closed forms say there is to find."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import nn
from torch.nn import functional

from lipbounds.bounds import upper_bound
from nets.adversarial import attack, project, secant_lower_bound, shrink_into_box
from nets.models.fcn import seeded_fcn


def source(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=source(seed))


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=source(seed))


def solved(point, center, radius, box):
    """The projection by an interior point solver."""
    cvxpy = pytest.importorskip("cvxpy")
    variable = cvxpy.Variable(len(point))
    limits = [cvxpy.norm(variable - center.numpy(), 2) <= radius, variable >= box[0], variable <= box[1]]
    cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(variable - point.numpy())), limits).solve(
        solver="CLARABEL"
    )
    return torch.from_numpy(variable.value)


@pytest.mark.parametrize("radius", [0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("scale", [0.2, 5.0])
def test_projection_is_that_of_a_convex_solver(radius, scale):
    centers = uniform(6, 8).double()
    centers[0, :4] = 0.0  # on the faces of the box
    centers[1, 2:5] = 1.0
    points = centers + scale * normal(6, 8, seed=1).double()
    points[2] = points[2].abs() + 2  # every coordinate is cut off
    found = project(points, centers, radius, (0.0, 1.0))
    exact = torch.stack([solved(p, c, radius, (0, 1)) for p, c in zip(points, centers, strict=True)])
    assert torch.allclose(found, exact, atol=1e-4)
    # the solver, inside up to its tolerance, comes no closer
    assert ((found - points).norm(dim=1) <= (exact - points).norm(dim=1) + 1e-6).all()


def by_multiplier(point, center, radius, box):
    """The projection by the multiplier of the ball, of which scipy finds the least."""

    def at(multiplier):
        return np.clip(center + (point - center) / (1 + multiplier), *box)

    def too_far(multiplier):
        return np.linalg.norm(at(multiplier) - center) - radius

    if too_far(0.0) <= 0:
        return at(0.0)
    return at(optimize.brentq(too_far, 0.0, np.linalg.norm(point - center) / radius, xtol=1e-14))


@pytest.mark.parametrize("radius", [0.1, 0.5, 5.0])
@pytest.mark.parametrize("scale", [0.002, 0.05, 3.0])
def test_projection_of_images_is_that_of_a_root_finder(radius, scale):
    centers = (4 * uniform(6, 3, 32, 32).double() - 1.5).clamp(0, 1)  # many at 0 or at 1
    points = centers + scale * normal(6, 3, 32, 32, seed=1).double()
    found = project(points, centers, radius, (0.0, 1.0))
    for point, center, own in zip(points.numpy(), centers.numpy(), found.numpy(), strict=True):
        exact = by_multiplier(point.ravel(), center.ravel(), radius, (0, 1))
        assert own.ravel() == pytest.approx(exact, abs=1e-10)


def test_projection_is_that_of_scipy_minimised():
    centers, radius = uniform(4, 6).double(), 0.4
    centers[0, :3] = 0.0
    points = centers + normal(4, 6, seed=1).double()
    found = project(points, centers, radius, (0.0, 1.0))
    for point, center, own in zip(points.numpy(), centers.numpy(), found.numpy(), strict=True):
        ball = {"type": "ineq", "fun": lambda v, c=center: radius**2 - np.sum((v - c) ** 2)}
        solution = optimize.minimize(
            lambda v, p=point: np.sum((v - p) ** 2),
            center,
            bounds=[(0, 1)] * 6,
            constraints=[ball],
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert own == pytest.approx(solution.x, abs=1e-5)


def test_the_step_of_the_authors_is_no_projection_on_the_box():
    box, radius = (0.0, 1.0), 0.5
    center = torch.tensor([[0.1, 0.5, 0.5]]).double()
    # 0.3 along each of two axes, of which one leads 0.2 out of the box
    point = center + torch.tensor([[-0.3, 0.3, 0.0]]).double()
    length = radius * 0.1 / (0.1 + 0.2)  # 0.1 of room where it is 0.2 outside
    expected = center + length * functional.normalize(point - center)
    found = shrink_into_box(point, center, radius, box)
    assert torch.allclose(found, expected)
    assert found.min() < 0  # 0.1 - 0.167 / sqrt(2)
    exact = project(point, center, radius, box)
    assert torch.allclose(exact, torch.tensor([[0.0, 0.8, 0.5]]).double())
    assert (exact - point).norm() < (found - point).norm()


def test_the_step_of_the_authors_goes_back_from_faces_and_leaves_the_rest_alone():
    box, radius = (0.0, 1.0), 0.5
    at_face = torch.tensor([[0.0, 0.5]])
    assert torch.equal(shrink_into_box(at_face - 0.1, at_face, radius, box), at_face)
    inside = uniform(20, 5) * 0.2 + 0.4
    moved = inside + 0.05 * normal(20, 5, seed=1)
    assert torch.equal(shrink_into_box(moved, inside, radius, box), moved)
    far = inside + 5 * functional.normalize(normal(20, 5, seed=2))
    assert torch.allclose(shrink_into_box(far, inside, 0.1, box), project(far, inside, 0.1, None))
    with pytest.raises(ValueError, match="box"):
        shrink_into_box(far, inside, radius, None)


def test_an_attack_with_the_step_of_the_authors_raises_the_loss_less():
    model, x = seeded_fcn(0, 40, [32], 10, activation_on_output="identity"), uniform(50, 40).round()
    y = torch.randint(10, (50,), generator=source())
    options = {"radius": 0.5, "steps": 20, "step_size": lambda t: 0.5 * 0.9**t, "box": (0.0, 1.0)}
    with torch.no_grad():
        exact, theirs = (
            functional.cross_entropy(model(attack(model, x, y, projection=way, **options)), y)
            for way in (None, shrink_into_box)
        )
        clean = functional.cross_entropy(model(x), y)
    assert clean <= theirs < exact


@pytest.mark.parametrize("box", [None, (0.0, 1.0)])
@pytest.mark.parametrize("ord", [2, math.inf])
@pytest.mark.parametrize("radius", [0.0, 1e-3, 0.5, 100.0])
def test_projection_is_exactly_inside_in_float32(box, ord, radius):
    centers = uniform(2000, 50)
    centers[:500] = centers[:500].round()
    if box is None:
        centers *= 1000
    points = centers + normal(2000, 50, seed=1) * torch.logspace(-4, 3, 2000).unsqueeze(1)
    found = project(points, centers, radius, box, ord)
    assert torch.linalg.vector_norm((found.double() - centers.double()), ord, dim=1).max() <= radius
    if box is not None:
        assert found.min() >= 0
        assert found.max() <= 1


def test_projection_leaves_points_inside_alone_and_is_radial_without_a_box():
    centers = normal(10, 5).double()
    inside = centers + 0.1 * normal(10, 5, seed=1).double()
    assert torch.allclose(project(inside, centers, 5.0, None), inside, rtol=1e-14)
    outside = centers + 10 * functional.normalize(normal(10, 5, seed=2).double())
    assert torch.allclose(project(outside, centers, 2.0, None), centers + (outside - centers) / 5)
    assert torch.equal(project(centers, centers, 1.0, None), centers)


@pytest.mark.parametrize("box", [None, (-9.0, 9.0)])
def test_linear_two_class_net_is_attacked_optimally(box):
    # the loss grows with w (x) for w the difference of the rows, so that x + r w / |w| is best
    model, x = nn.Linear(20, 2), normal(30, 20)
    y = torch.zeros(30, dtype=torch.int64)
    way = (model.weight[1] - model.weight[0]).detach()
    found = attack(model, x, y, radius=0.5, steps=40, step_size=lambda t: 0.5 * 0.9**t, box=box)
    assert torch.allclose(found - x, 0.5 * way / way.norm() + 0 * x, atol=1e-4)
    secant = secant_lower_bound(model, x, found)
    top = torch.linalg.matrix_norm(model.weight.detach(), 2).item()
    assert (model.weight @ way).norm().item() / way.norm().item() == pytest.approx(secant, rel=1e-3)
    assert secant <= top * (1 + 1e-6)


def test_linear_net_in_the_infinity_ball():
    model, x = nn.Linear(20, 2), normal(30, 20)
    y = torch.ones(30, dtype=torch.int64)
    found = attack(model, x, y, radius=0.1, steps=5, step_size=0.1, ord=math.inf)
    assert torch.allclose(found - x, 0.1 * (model.weight[0] - model.weight[1]).sign() + 0 * x, atol=1e-6)


@pytest.mark.parametrize("loss", ["cross_entropy", "mean_squared_error"])
@pytest.mark.parametrize("start_noise", [0.0, 1e-4])
def test_best_iterate_in_ball_and_box(loss, start_noise, single_threaded):
    model = seeded_fcn(0, 40, [32], 10, activation_on_output="identity")
    x, y = uniform(50, 40), torch.randint(10, (50,), generator=source())
    options = {"loss": loss, "radius": 0.5, "box": (0.0, 1.0), "start_noise": start_noise}
    losses = []
    for steps in (0, 4, 20):
        found = attack(
            model, x, y, steps=steps, step_size=lambda t: 10 * 0.95**t, generator=source(1), **options
        )
        assert (found.double() - x.double()).norm(dim=1).max() <= 0.5
        assert found.min() >= 0
        assert found.max() <= 1
        onehot = functional.one_hot(y, 10)
        with torch.no_grad():
            losses.append(
                functional.cross_entropy(model(found), y, reduction="none")
                if loss == "cross_entropy"
                else (model(found) - onehot).square().sum(1)
            )
    # more steps go on from fewer, and the best of them never gets worse
    for fewer, more in itertools.pairwise(losses):
        assert (more >= fewer - 1e-6).all()
    assert losses[-1].mean() > losses[0].mean() + 0.01


def test_one_hot_targets_and_batches_give_the_same():
    model, x = seeded_fcn(0, 40, [32], 10).double(), uniform(20, 40).double()
    y = torch.randint(10, (20,), generator=source())
    options = {"radius": 0.3, "steps": 10, "step_size": 0.1}
    whole = attack(model, x, y, **options)
    assert torch.allclose(attack(model, x, functional.one_hot(y, 10).double(), **options), whole)
    assert torch.allclose(attack(model, x, y, batch_size=7, **options), whole)


def test_model_gradients_and_random_state_are_left_as_they_were():
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3)
    )
    model.train()
    model[1].weight.requires_grad_(False)
    model[4].weight.grad = torch.ones(3, 8)
    x, y = uniform(9, 3, 2, 2), torch.zeros(9, dtype=torch.int64)
    state, random_state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    found = attack(
        model, x, y, radius=1, steps=3, step_size=1.0, generator=source(), start_noise=0.1, box=(0, 1)
    )
    secant_lower_bound(model, x, found)
    assert found.shape == x.shape
    assert not found.requires_grad
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(module.training for module in model.modules())
    assert not model[1].weight.requires_grad
    assert torch.equal(model[4].weight.grad, torch.ones(3, 8))
    assert model[1].bias.grad is None


def test_secants_skip_equal_rows_and_stay_below_upper_bounds():
    model, x = seeded_fcn(0, 40, [32], 10), normal(50, 40)
    moved = x + 1e-3 * normal(50, 40, seed=1)
    moved[::2] = x[::2]
    double = copy.deepcopy(model).double()
    way = moved.double() - x.double()
    with torch.no_grad():
        slopes = (double(moved.double()) - double(x.double())).norm(dim=1) / way.norm(dim=1)
    bound = secant_lower_bound(model, x, moved)
    assert bound == pytest.approx(slopes[1::2].max().item(), rel=1e-12)
    assert bound <= upper_bound(model, (40,)).value
    assert secant_lower_bound(model, x, moved, batch_size=7) == pytest.approx(bound, rel=1e-12)
    assert secant_lower_bound(model, x, x) == 0.0
    with pytest.raises(ValueError, match="n, "):
        secant_lower_bound(model, x, x[:3])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ord": 1}, "ord"),
        ({"loss": "hinge"}, "loss"),
        ({"radius": math.nan}, "radius"),
        ({"steps": -1}, "steps"),
        ({"box": (0.0, 0.5)}, "outside"),
        ({"start_noise": 0.1}, "generator"),
        ({"y": torch.zeros(2, dtype=torch.int64)}, "labels"),
        ({"x": torch.zeros(5, 4, dtype=torch.int64)}, "floating"),
    ],
)
def test_bad_arguments_are_refused(changes, message):
    arguments = {
        "x": torch.ones(5, 4),
        "y": torch.zeros(5, dtype=torch.int64),
        "radius": 1.0,
        "steps": 1,
    }
    arguments = {**arguments, "step_size": 1.0, **changes}
    with pytest.raises(ValueError, match=message):
        attack(nn.Linear(4, 2), arguments.pop("x"), arguments.pop("y"), **arguments)
