"""Peaks over widths on flanks that end beside the threshold, and are trained."""

import numpy as np
import pandas as pd
import pytest

from pipeline.claims.findings import UntestedError
from pipeline.figures.flanks import beside_threshold, fall_on_flanks
from pipeline.statistics.curves import hump

WIDTHS = (8, 16, 32, 64, 128, 256, 1024)


def sweep(widths=WIDTHS, **more):
    """C_lower falls by half for each octave from width 64; narrower nets do not fit."""
    rows = [(width, seed) for width in widths for seed in range(4)]
    data = pd.DataFrame(rows, columns=["width", "seed"])
    height = 2.0 ** -np.log2(data["width"] / 64).abs() * (1 + 0.01 * data["seed"])
    return data.assign(c_lower=height, stop_reason="gradient_norm", train_error=0.0).assign(**more)


def test_flanks_end_at_the_same_place_wherever_the_grid_starts():
    whole, cut = sweep(), sweep((16, 32, 64, 128, 256))
    assert sorted(beside_threshold(whole, 64, 4)["width"].unique()) == [16, 32, 64, 128, 256]
    found = fall_on_flanks(whole, "c_lower", 64, 4)
    assert found == fall_on_flanks(cut, "c_lower", 64, 4) == hump(cut, "width", "c_lower")
    assert found.estimate == pytest.approx(0.75)
    assert fall_on_flanks(whole, "c_lower", 64, 2).estimate == pytest.approx(0.5)


def test_a_grid_that_ends_too_early_is_not_tested():
    with pytest.raises(UntestedError, match="no width is near 1024"):
        fall_on_flanks(sweep((64, 128, 256, 512)), "c_lower", 256, 4)
    assert fall_on_flanks(sweep((12, 64, 256)), "c_lower", 64, 4).estimate > 0  # 12 stands for 16


def capped(flank, seeds_without_fit):
    data = sweep()
    rows = data["width"].isin(flank)
    errors = data["train_error"].mask(rows & (data["seed"] >= 4 - seeds_without_fit), 0.2)
    return data.assign(stop_reason=data["stop_reason"].mask(rows, "epoch_cap"), train_error=errors)


def test_the_wide_flank_has_to_be_trained():
    wide, narrow = (128, 256), (16, 32)
    assert fall_on_flanks(capped(wide, 2), "c_lower", 64, 4).estimate == pytest.approx(0.75)
    with pytest.raises(UntestedError, match="2 of 8 runs on the wide flank of C_lower"):
        fall_on_flanks(capped(wide, 3), "c_lower", 64, 4)
    assert fall_on_flanks(capped(narrow, 4), "c_lower", 64, 4).estimate == pytest.approx(0.75)


def test_runs_without_numbers_are_left_out():
    lost = sweep(c_lower=np.nan)
    with pytest.raises(UntestedError, match="no rows"):
        fall_on_flanks(lost, "c_lower", 64, 4)
