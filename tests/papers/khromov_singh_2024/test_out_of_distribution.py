import numpy as np
import pytest
import torch

from papers.khromov_singh_2024.out_of_distribution import figure, study
from pipeline.jobs.seeds import derive_seed
from tests.papers.helpers import job_context, judged, measured_and_drawn
from tests.papers.trained_nets import (
    INPUTS,
    SETTINGS,
    hollow_marks,
    jacobian_norm,
    made_up_arrays,
    made_up_run,
    net,
    only,
    perturbed,
    scaled,
    without_numbers,
)

ROOM = "out_of_distribution"


@pytest.mark.usefixtures("single_threaded")
def test_noise_is_the_same_for_all_nets_and_none_at_radius_0(tmp_path):
    arrays = made_up_arrays()
    runs = [made_up_run(tmp_path / str(width), width) for width in (5, 7)]
    table = study.study(study.Settings(radii=(0, 0.5), seed=3), arrays, runs)
    assert len(table) == 2 * 2 * 2 * 2
    row = only(table, seed=0, width=5, points="train", radius=0).iloc[0]
    norms = [jacobian_norm(net(0, 20, 5), x) for x in arrays["x_train"]]
    assert row["c_lower"] == pytest.approx(max(norms))
    assert row["c_avg"] == pytest.approx(np.mean(norms))
    generator = torch.Generator().manual_seed(derive_seed(3, "test"))
    moved = arrays["x_test"] + 0.5 * torch.randn(20, INPUTS, generator=generator)
    for width in (5, 7):
        row = only(table, seed=1, width=width, points="test", radius=0.5).iloc[0]
        norms = [jacobian_norm(net(1, 30, width), x) for x in moved]
        assert row["c_lower"] == pytest.approx(max(norms))


def facts_of(table):
    return figure.measure({ROOM: table}, job_context(ROOM, SETTINGS))


def test_it_draws_with_hollow_marks_for_capped_nets():
    _, drawing = measured_and_drawn(figure, {ROOM: perturbed(5)}, job_context(ROOM, SETTINGS))
    assert all(axes.lines for axes in drawing.axes)
    assert hollow_marks(drawing.axes[0]) == {16}


def test_ratios_and_peaks():
    facts = facts_of(perturbed(5))
    ratios = facts["relative_to_no_noise"]["train"]
    assert ratios["c_avg"]["1"]["range"] == pytest.approx([1, 1])
    assert ratios["loss"]["1"]["16"]["estimate"] == pytest.approx(2.01, rel=1e-4)
    assert facts["peak_of_c_lower"]["1"]["position"] == 64


def as_claimed():
    return perturbed(5).assign(c_lower=lambda rows: rows["c_lower"] * (1 + 0.02 * rows["radius"]))


def verdict(table):
    facts = {"c_lower_over_that_without_noise": figure.over_all_widths({ROOM: table})}
    return judged(figure.robust_to_noise, ROOM, facts)


def test_noise_changes_little_where_the_table_says_so():
    found = judged(figure.robust_to_noise, ROOM, facts_of(as_claimed()))
    assert found.verdict == "holds"
    assert found.estimate == pytest.approx(1.02)  # the weakest part, radius 1
    assert found.reason.startswith("radius 0.5: holds 1.01 [1.01, 1.01]; radius 1: ")
    assert verdict(scaled(as_claimed(), "c_lower", 2, radius=0.0)).verdict == "does not hold"


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (as_claimed().iloc[:0], "no rows"),
        (without_numbers(as_claimed()), "no rows"),
        (as_claimed().drop(columns="c_lower"), "lacks"),
        (as_claimed().assign(c_lower=np.nan), "no values"),
        (as_claimed().query("radius > 0"), "radius 0"),
        (as_claimed().query("seed == 0"), "one seed"),
    ],
)
def test_what_is_missing_is_not_tested_and_says_why(table, reason):
    found = verdict(table)
    assert found.verdict == "not tested"
    assert reason in found.reason
