import numpy as np
import pandas as pd
import pytest

from papers.khromov_singh_2024.adversarial import figure, study
from pipeline.figures.attacks import attack_at_half
from tests.papers.helpers import job_context, judged, measured_and_drawn
from tests.papers.trained_nets import (
    SETTINGS,
    made_up_arrays,
    made_up_run,
    only,
    perturbed,
    scaled,
    without_numbers,
)

ROOM = "adversarial"
CONTEXT = job_context(ROOM, SETTINGS | {ROOM: {"steps": 5, "check_steps": 50}})


@pytest.mark.usefixtures("single_threaded")
def test_attacks_raise_the_loss_with_the_radius_and_are_checked_on_one_net(tmp_path):
    settings = study.Settings(radii=(0.5, 2), steps=15, first_step=1, last_step=0.05, check_steps=40)
    runs = [made_up_run(tmp_path / str(width), width) for width in (5, 7)]
    table = study.study(settings, made_up_arrays(), runs)
    checks = table[table["steps"] == 40]
    assert {(row.width, row.seed) for row in checks.itertuples()} == {(5, 0)}
    plain = table[table["steps"] != 40]
    for _, own in plain.groupby(["width", "seed", "points"]):
        assert own.sort_values("radius")["loss"].is_monotonic_increasing
    assert (only(table, radius=0)["c_secant"] == 0).all()
    moved = checks.merge(plain, on=["width", "seed", "points", "radius"], suffixes=("_more", ""))
    assert (moved["loss_more"] > 0.98 * moved["loss"]).all()


def checked():
    """One net attacked with more steps, which find more."""
    table = perturbed(5)
    more = table[(table["width"] == 16) & (table["seed"] == 0) & (table["radius"] > 0)]
    more = more.assign(steps=50, loss=more["loss"] / 0.9, c_lower=more["c_lower"] * 2)
    return pd.concat([table, more], ignore_index=True)


def facts_of(table):
    return figure.measure({ROOM: table}, CONTEXT)


def test_it_draws_with_the_ranges_of_the_paper():
    facts, drawing = measured_and_drawn(figure, {ROOM: perturbed(5)}, CONTEXT)
    assert all(axes.lines for axes in drawing.axes)
    shaded = [
        patch.get_extents().transformed(patch.axes.transData.inverted())
        for patch in drawing.axes[1].patches
    ]
    drawn = sorted((round(box.y0, 3), round(box.y1, 3)) for box in shaded)
    assert drawn == [(0.79, 0.83), (0.94, 1.045)]
    assert facts["paper"] == {"attacked_over_clean": [0.94, 1.045], "secant_over_clean": [0.79, 0.83]}


def test_ratios_and_peaks():
    facts = facts_of(perturbed(5))
    ratios = facts["relative_to_no_attack"]["train"]
    assert ratios["c_lower"]["0.5"]["range"] == pytest.approx([1, 1])
    assert ratios["loss"]["1"]["16"]["estimate"] == pytest.approx(2.01, rel=1e-4)
    assert facts["secant_over_clean"]["test"]["1"]["range"] == pytest.approx([0.8, 0.8])
    assert facts["peak_of_c_lower"]["1"]["position"] == 64
    assert facts["check"] == {}


def test_the_check_of_an_attack_compares_it_with_more_steps():
    check = facts_of(checked())["check"]
    assert check["loss_over_that_of_more_steps"] == pytest.approx(0.9)
    assert check["c_lower_over_that_of_more_steps"] == pytest.approx([0.5, 0.5])


def as_claimed():
    return checked().assign(c_lower=lambda rows: rows["c_lower"] * (1 + 0.02 * rows["radius"]))


def verdict(table):
    facts = {"over_c_lower_at_radius_near_0.5": attack_at_half(table, CONTEXT["settings"][ROOM])}
    return judged(figure.robust_to_attack, ROOM, facts)


def test_attacks_change_little_where_the_table_says_so():
    found = judged(figure.robust_to_attack, ROOM, facts_of(as_claimed()))
    assert found.verdict == "holds"
    assert "C_lower moved / clean: holds 1.01 " in found.reason
    against = scaled(scaled(as_claimed(), "c_lower", 2, radius=0.5), "c_secant", 9)
    assert verdict(against).verdict == "does not hold"


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (as_claimed().iloc[:0], "no rows"),
        (as_claimed()[["seed"]], "lacks"),
        (without_numbers(as_claimed()), "no values"),
        (as_claimed().assign(c_lower=np.nan), "no values"),
        (as_claimed().query("radius > 0"), "radius 0"),
        (as_claimed().query("radius == 0"), "no values"),
        (as_claimed().query("seed == 0"), "one seed"),
    ],
)
def test_what_is_missing_is_not_tested_and_says_why(table, reason):
    found = verdict(table)
    assert found.verdict == "not tested"
    assert reason in found.reason
