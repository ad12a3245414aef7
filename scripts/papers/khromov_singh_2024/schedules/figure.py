"""Draw the learning-rate schedules that trainings use."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.figures.looks import corner_note
from pipeline.figures.numbers import PLAIN
from pipeline.figures.room import Context, Facts, Tables, only

PANELS = {"warmup_step": "a  warm-up, then drops", "exponential_step": "b  a drop every so many epochs"}

_COLORS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#7A7A7A", "#E69F00", "#56B4E9")
_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 3)), (0, (3, 3)))


def measure(tables: Tables, context: Context) -> Facts:
    """The factors by update of each schedule, the trainings that use it with their base rates and caps,
    and the paper's name of it where it is one of the paper's. Trainings share a schedule if their
    factors are equal as long as both go on.
    """
    runs = [rows for _, rows in only(tables).groupby(["experiment", "variant", "cap"])]
    found: list[dict[str, Any]] = []
    for rows in sorted(runs, key=lambda rows: -rows["update"].max()):
        curve = _curve(rows)
        same = next((other for other in found if _begins_like(other, curve)), None)
        if same is None:
            same = curve | {"in_the_paper": _papers_name(curve, context["printed"]), "users": {}}
            found.append(same)
        first = rows.iloc[0]
        users = same["users"].setdefault(str(first["experiment"]), {"base_rates": [], "caps": []})
        for name, value in (("base_rates", float(first["learning_rate"])), ("caps", int(first["cap"]))):
            users[name] = sorted({*users[name], value})
    return {"schedules": found}


def _curve(rows: pd.DataFrame) -> dict[str, Any]:
    return {
        "form": str(rows["schedule"].iloc[0]),
        "updates": rows["update"].astype(int).tolist(),
        "factors": (rows["rate"] / rows["learning_rate"]).astype(float).tolist(),
    }


def _begins_like(long: dict[str, Any], short: dict[str, Any]) -> bool:
    end = short["updates"][-1]
    if long["form"] != short["form"] or long["updates"][-1] < end:
        return False
    updates = sorted({*short["updates"], *(update for update in long["updates"] if update <= end)})
    ours, theirs = (np.interp(updates, one["updates"], one["factors"]) for one in (short, long))
    return bool(np.allclose(ours, theirs, rtol=1e-9))


def _papers_name(curve: dict[str, Any], printed: dict[str, dict[str, float]]) -> str | None:
    for name, values in printed.items():
        updates = np.array([int(update) for update in values])
        if curve["updates"][-1] >= updates[-1]:
            factors = np.interp(updates, curve["updates"], curve["factors"])
            if np.allclose(factors, list(values.values()), rtol=1e-9):
                return name
    return None


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """A panel per form of a schedule."""
    forms = [form for form in PANELS if any(one["form"] == form for one in facts["schedules"])]
    figure, grid = plt.subplots(
        *(1, len(forms)), figsize=(6.9, 3.6), layout="constrained", squeeze=False, sharey=True
    )
    for axes, form in zip(grid[0], forms, strict=True):
        _draw_panel(axes, [one for one in facts["schedules"] if one["form"] == form])
        axes.set(title=PANELS[form], xlabel="updates", ylim=(0, 1.06))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), fontsize=6.5, handlelength=3)
    grid[0, 0].set_ylabel("factor of the base rate")
    corner_note(figure, f"{context['scale']} scale; in brackets: base rates; ticks: epoch caps")
    return figure


def _draw_panel(axes: Axes, curves: list[dict[str, Any]]) -> None:
    edge = 1.12 * max(_last_change(curve) for curve in curves)
    for curve, color, line in zip(curves, _COLORS * 3, _LINES * 3, strict=False):
        caps = sorted({cap for user in curve["users"].values() for cap in user["caps"]})
        updates = [*curve["updates"], max(caps)]
        factors = [*curve["factors"], curve["factors"][-1]]
        axes.plot(updates, factors, color=color, linestyle=line, linewidth=1.2, label=_label(curve))
        inside = [cap for cap in caps if cap < edge]
        ends = np.interp([cap - 1 for cap in inside], curve["updates"], curve["factors"])
        axes.plot(inside, ends, color=color, marker="|", markersize=8, linestyle="none")
    axes.set_xlim(0, edge)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(PLAIN)


def _last_change(curve: dict[str, Any]) -> int:
    """The update from which the factor stays, or the last one."""
    changing = np.flatnonzero(np.abs(np.diff(curve["factors"])) > 1e-12)
    last = int(changing[-1]) + 1 if len(changing) else -1
    return int(curve["updates"][last])


def _label(curve: dict[str, Any]) -> str:
    """The paper's name, and each training with its base rates."""
    users = [
        f"{experiment} ({', '.join(f'{rate:g}' for rate in user['base_rates'])})"
        for experiment, user in curve["users"].items()
    ]
    head = [f"{curve['in_the_paper']} of the paper"] if curve["in_the_paper"] else []
    lines = [", ".join(users[start : start + 3]) for start in range(0, len(users), 3)]
    return "\n".join([*head, *lines])
