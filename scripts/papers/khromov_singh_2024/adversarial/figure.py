"""Draw bounds and losses at attacked points against width."""

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from pipeline.claims.claim import claim
from pipeline.claims.findings import Finding, combine, judge_fact
from pipeline.figures.attacks import attack_facts, draw_ratios, without_check
from pipeline.figures.looks import (
    corner_note,
    draw_seeds,
    draw_threshold,
    plain_log_axis,
    width_axis,
)
from pipeline.figures.perturbed import radius_legend, radius_looks, share_scale
from pipeline.figures.room import Context, Facts, Tables, only


def _settings(context: Context) -> dict[str, Any]:
    """Those of the study."""
    found: dict[str, Any] = context["settings"]["adversarial"]
    return found


def draw(tables: Tables, facts: Facts, context: Context) -> Figure:
    """Bounds at attacked training points, also relative to those of the points, and losses."""
    data = without_check(only(tables), _settings(context))
    figure, grid = plt.subplots(2, 2, figsize=(6.9, 4.6), layout="constrained", sharex=True)
    bounds, ratios, train_loss, test_loss = grid.flat
    train, test = (data[data["points"] == part] for part in ("train", "test"))
    looks = radius_looks(sorted(data["radius"].unique()), "{:g}")
    for radius, look in looks.items():
        draw_seeds(bounds, train[train["radius"] == radius], "width", "c_lower", look)
        draw_seeds(train_loss, train[train["radius"] == radius], "width", "loss", look)
        draw_seeds(test_loss, test[test["radius"] == radius], "width", "loss", look)
    moved = [
        (look, train[train["radius"].isin([0, radius])]) for radius, look in looks.items() if radius > 0
    ]
    draw_ratios(ratios, moved, facts["paper"])
    for axes in grid.flat:
        width_axis(axes, sorted(data["width"].unique()))
        draw_threshold(axes, context["settings"]["double_descent"]["threshold_width"])
    for axes in (bounds, train_loss, test_loss):
        plain_log_axis(axes)
    for axes in grid[1]:
        axes.set_xlabel("width")
    share_scale(train_loss, test_loss)
    bounds.set(title="a   training points", ylabel=r"$C_\mathrm{lower}$ (logits per unit of input)")
    ratios.set(title="b   training points", ylabel=r"relative to $C_\mathrm{lower}$ of radius 0")
    train_loss.set(title="c   training points", ylabel="cross-entropy (nats)")
    test_loss.set(title="d   test points")
    radius_legend(figure, looks, "radius of the attack (points: norms of about 6)")
    hollow = "; hollow: epoch cap" if "epoch_cap" in set(data["stop_reason"]) else ""
    seeds = data["seed"].nunique()
    corner_note(figure, f"{context['scale']} scale, {seeds} seeds, band: ±1 std{hollow}")
    return figure


def measure(tables: Tables, context: Context) -> Facts:
    """Bounds and losses relative to those without attack, and whether the attack has converged."""
    return attack_facts(only(tables), _settings(context), context["printed"])


@claim(
    "C8",
    "Adversarially moved points hardly change C_lower",
    reported="ratios 0.94 to 1.05 (CIFAR-10, radius 0.5)",
    unit="ratio of C_lower",
    refuted="C_lower at the moved points differs by more than a tenth, or secants to them are steeper.",
    untested="No radius was attacked, or one seed.",
    since="2026-11-28",
)
def robust_to_attack(facts: Facts) -> Finding:
    """At adversarially moved training points, at the radius nearest to 0.5, mean over widths by seed.
    C_lower over that at the points themselves holds in [0.9, 1.1]; the steepest secant from the points
    to the moved ones over C_lower holds below 1."""
    ratios = facts["over_c_lower_at_radius_near_0.5"]
    return combine(
        {
            "C_lower moved / clean": judge_fact(ratios["c_lower"], 0.9, 1.1),
            "secant / C_lower": judge_fact(ratios["c_secant"], 0, 1),
        }
    )
