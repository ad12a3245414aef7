"""A net on three Gaussians in the plane: its bounds, and its Jacobian norm everywhere."""

import math
from collections.abc import Iterator
from typing import Annotated, Any

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from lipbounds.bounds import lower_bound, search_lower_bound, upper_bound
from lipbounds.jacobian import jacobian_norms
from lipbounds.threads import one_thread
from nets.settings import Count, NonNegative, PositiveFloat, Section
from nets.training.assemble import assemble
from nets.training.losses import cross_entropy
from nets.training.points import Points
from nets.training.recipe import Recipe
from nets.training.run import Memory
from pipeline.jobs.progress import LOG
from pipeline.measuring.arrays import Arrays
from pipeline.measuring.linear_regions import steepest_region
from pipeline.measuring.small_nets import seeded_mlp, trained, until


class Settings(Section):
    """A net on three Gaussians in the plane, and its Jacobian norm everywhere."""

    train_points: Count = Field(description="training points of each of the three classes")
    test_points: Count = Field(description="test points of each class")
    distance: PositiveFloat = Field(
        description="distance of the means from the origin; the covariances are the identity"
    )
    hidden_sizes: tuple[Count, ...] = Field(description="widths of the hidden layers, with biases")
    learning_rate: PositiveFloat = Field(description="rate of gradient descent, constant")
    steps: Count = Field(description="steps of gradient descent on all points, cross-entropy")
    history_points: Count = Field(description="steps at which losses and bounds are recorded, about")
    half_sides: tuple[PositiveFloat, ...] = Field(
        min_length=2, max_length=2, description="the squares searched and drawn are [-this, this]^2"
    )
    grid_points: Annotated[int, Field(strict=True, ge=2)] = Field(
        description="points of the grid on each side, for the largest Jacobian norm"
    )
    map_points: Annotated[int, Field(strict=True, ge=2)] = Field(
        description="points on each side of the maps that are drawn"
    )
    search_steps: Count = Field(description="steps of the search for points with large Jacobian norms")
    data_seed: NonNegative = Field(description="seed of the points")
    model_seed: NonNegative = Field(description="seed of the initialisation, and of the search")


ANGLES = (-90, 30, 150)
"""Directions of the means of the three classes, in degrees."""

_FAR = 1000
"""The exact maximum is also taken on a square that is this many times larger than the largest."""

Row = dict[str, Any]


def study(settings: Settings, arrays: Arrays) -> pd.DataFrame:
    """Rows of five kinds: fact, history, train_point, test_point and map.

    ``value`` is the fact or what the history is of, and else the Jacobian norm at (x, y).
    """
    with one_thread():  # most of the work are calls too short to be shared
        return _study(settings)


def _study(settings: Settings) -> pd.DataFrame:
    train, test = gaussians(settings)
    model = seeded_mlp([2, *settings.hidden_sizes, len(ANGLES)], settings.model_seed)
    descent = descend(settings, model, train)
    rows = list(_history(descent, model, train, test))
    rows += _data_facts(descent, model, train, test)
    exact = model.double()  # what is measured from here on is free of the rounding of float32
    rows += _bound_facts(settings, exact, train.x.double())
    for half_side in settings.half_sides:
        rows.append(_grid_fact(settings, exact, half_side))
        LOG.info("grid of half side %g: largest norm %.6g", half_side, rows[-1]["value"])
    rows += _region_facts(settings, exact)
    table = [pd.DataFrame(rows)]
    for kind, points in (("train_point", train), ("test_point", test)):
        table.append(_places(kind, exact, points.x.double()).assign(label=points.y.numpy()))
    for half_side in settings.half_sides:
        x = _grid(half_side, settings.map_points)
        table.append(_places("map", exact, x).assign(half_side=half_side))
    columns = ["kind", "name", "half_side", "step", "x", "y", "label", "predicted"]
    whole = pd.concat(table, ignore_index=True)[[*columns, "value", "log10", "certified"]]
    whole["certified"] = whole["certified"].eq(True)
    return whole.astype(dict.fromkeys(("step", "label", "predicted"), "Int64"))


def gaussians(settings: Settings) -> tuple[Points, Points]:
    """Training and test points (n, 2) with their classes, unit normal around the three means."""
    generator = torch.Generator().manual_seed(settings.data_seed)
    means = [
        torch.tensor([settings.distance * math.cos(angle), settings.distance * math.sin(angle)])
        for angle in map(math.radians, ANGLES)
    ]
    return _drawn(means, settings.train_points, generator), _drawn(
        means, settings.test_points, generator
    )


def _drawn(means: list[Tensor], count: int, generator: torch.Generator) -> Points:
    x = torch.cat([mean + torch.randn(count, 2, generator=generator) for mean in means])
    return Points(x, torch.arange(len(means)).repeat_interleave(count))


def descend(settings: Settings, model: nn.Sequential, train: Points) -> Memory:
    """The nets of a descent from ``model`` on all points at once, at the steps that are shown."""
    ensemble = assemble([model], Recipe(cross_entropy.LOSS), train.x.device, len(ANGLES))
    shown = frozenset(_shown_steps(settings.steps, settings.history_points))
    return trained(
        ensemble,
        train,
        until(settings.steps, settings.learning_rate, _constant, len(train), keep_epochs=shown),
    )


def _constant(update: int, updates_per_epoch: int) -> float:
    return 1.0


def _history(descent: Memory, model: nn.Sequential, train: Points, test: Points) -> Iterator[Row]:
    """Losses and bounds of one net after another, which ``model`` becomes; at the end it is the last."""
    for (_, step), state in sorted(descent.nets.items()):
        model.load_state_dict(state)
        values = {"c_upper": upper_bound(model, (2,)).value}
        lower = lower_bound(model, train.x)
        values |= {"c_lower": lower.max, "c_avg": lower.mean}
        for name, points in (("train", train), ("test", test)):
            with torch.no_grad():
                logits = model(points.x)
            values[f"{name}_loss"] = nn.functional.cross_entropy(logits, points.y).item()
            values[f"{name}_accuracy"] = (logits.argmax(1) == points.y).double().mean().item()
        for name, value in values.items():
            yield {"kind": "history", "name": name, "step": step, "value": value}
        LOG.info("step %d: loss %.4g, largest norm %.4g", step, values["train_loss"], lower.max)


def _shown_steps(last: int, count: int) -> list[int]:
    """0, ``last`` and about ``count`` steps between them, evenly spaced on a logarithmic axis."""
    spaced = (round(last ** (index / count)) for index in range(count))
    return sorted({0, last, *spaced})


def _data_facts(descent: Memory, model: nn.Module, train: Points, test: Points) -> list[Row]:
    points = torch.cat([train.x, test.x])
    return [
        _fact("parameters", sum(parameter.numel() for parameter in model.parameters())),
        _fact("data_min", points.min().item()),
        _fact("data_max", points.max().item()),
        _fact("gradient_norm", descent.records[-1].gradient_norm),
    ]


def _bound_facts(settings: Settings, model: nn.Module, x: Tensor) -> Iterator[Row]:
    lower = lower_bound(model, x)
    place = x[lower.argmax].tolist()
    yield _fact("c_avg", lower.mean, log10=math.log10(lower.mean))
    yield _fact("c_lower", lower.max, place=place, log10=math.log10(lower.max))
    limit = max(settings.half_sides)
    found = search_lower_bound(
        model,
        x,
        radius=2 * limit,
        domain=(-limit, limit),
        steps=settings.search_steps,
        seed=settings.model_seed,
    )
    row = _fact("search", found.value, place=found.point.tolist())
    yield row | {"half_side": limit, "log10": math.log10(found.value)}
    for name, method in (("c_upper", "autolip"), ("best", "best"), ("tightest", "tightest")):
        upper = upper_bound(model, (2,), method=method)
        yield _fact(name, upper.value, log10=upper.log10, certified=upper.certified)
        LOG.info("%s: %.6g (%s)", name, upper.value, upper.method)


def _grid_fact(settings: Settings, model: nn.Module, half_side: float) -> Row:
    """The largest Jacobian norm on the grid; one column of it at a time, so memory stays flat."""
    line = torch.linspace(-half_side, half_side, settings.grid_points, dtype=torch.float64)
    best, place = -math.inf, [math.nan, math.nan]
    for few in line.split(max(1, 100_000 // len(line))):
        points = torch.cartesian_prod(few, line)
        norms = jacobian_norms(model, points)
        if norms.max() > best:
            best, place = norms.max().item(), points[norms.argmax()].tolist()
    row = _fact("grid", best, place=place, log10=math.log10(best))
    return row | {"half_side": half_side}


def _region_facts(settings: Settings, model: nn.Sequential) -> Iterator[Row]:
    """The exact maximum, the area on which it is attained, and the number of linear regions."""
    for half_side in (*settings.half_sides, _FAR * max(settings.half_sides)):
        found = steepest_region(model, half_side)
        where = {"half_side": half_side}
        place = [found.x, found.y]
        log10 = math.log10(found.value)
        yield _fact("exact", found.value, place=place, log10=log10) | where
        yield _fact("steepest_area", found.area) | where
        yield _fact("regions", found.regions) | where


def _fact(name: str, value: float, place: list[float] | None = None, **more: Any) -> Row:
    x, y = place or (math.nan, math.nan)
    return {"kind": "fact", "name": name, "x": x, "y": y, "value": value, **more}


def _grid(half_side: float, count: int) -> Tensor:
    line = torch.linspace(-half_side, half_side, count, dtype=torch.float64)
    return torch.cartesian_prod(line, line)


def _places(kind: str, model: nn.Module, x: Tensor) -> pd.DataFrame:
    """Predicted class and Jacobian norm at points, to seven digits."""
    with torch.no_grad():
        predicted = model(x).argmax(1)
    norms = [float(f"{value:.7g}") for value in jacobian_norms(model, x).tolist()]
    return pd.DataFrame(
        {
            "kind": kind,
            "name": "jacobian_norm",
            "x": x[:, 0].numpy().round(7),
            "y": x[:, 1].numpy().round(7),
            "predicted": predicted.numpy(),
            "value": norms,
        }
    )
