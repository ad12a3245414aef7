"""Rows along training, and lines fitted to bounds."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from tests.papers.training_tables import TRAINING, epochs_table

from pipeline.statistics.growth import (
    fitted,
    last_of_all,
    last_rows,
    last_tenfold,
    numbers_of,
    shared_epochs,
    slopes,
    slopes_along,
    stable_from,
    training_rows,
    warmup_epochs,
)


def test_shared_epochs_last_rows_and_warm_up():
    table = epochs_table(seeds=2)
    table = table[(table["points"] == "train") & ~((table["seed"] == 1) & (table["epoch"] > 100))]
    assert sorted(shared_epochs(table)["epoch"].unique()) == [0, 1, 10, 100]
    assert last_rows(table)["epoch"].tolist() == [1000, 100]
    assert sorted(last_tenfold(table)["epoch"].unique()) == [10, 100]
    assert warmup_epochs(TRAINING, 4000) == 10


def test_the_last_epoch_of_all_is_one_that_every_seed_of_both_groups_has():
    long, short = epochs_table(variant="a"), epochs_table(variant="b", epochs=[0, 10, 200])
    table = pd.concat([long, short])
    assert set(last_of_all(table, "variant")["epoch"]) == {200}
    early = table[~((table["seed"] == 1) & (table["epoch"] > 10))]
    assert set(last_of_all(early, "variant")["epoch"]) == {10}
    for rows in (long, table[(table["variant"] == "a") | (table["epoch"] == 7)], table.iloc[:0]):
        with pytest.raises(ValueError, match="no epoch that two values of variant share"):
            last_of_all(rows, "variant")


def test_seeds_that_share_initialisation_alone_have_no_last_tenfold():
    table = epochs_table(seeds=2)
    apart = table[(table["epoch"] == 0) | ((table["epoch"] < 50) == (table["seed"] == 0))]
    with pytest.raises(ValueError, match="share no epoch"):
        last_tenfold(apart)


def test_a_line_goes_through_the_points_that_it_was_fitted_to():
    data = training_rows(epochs_table())
    fit = slopes(data, 10)["c_lower"]
    means = data[data["epoch"] >= 10].groupby("epoch")["c_lower"].agg(scipy.stats.gmean)
    np.testing.assert_allclose(fitted(fit, means.index), means)
    assert slopes(data, 500) == {}  # two epochs are too few


def test_slopes_along_other_numbers_need_two_of_them():
    data = training_rows(
        pd.concat(epochs_table(variant=f"layers~{n}", start=n**2.0, epochs=[0]) for n in (1, 2, 4))
    )
    data = data.assign(layers=numbers_of(data["variant"]))
    fits = slopes_along(data, "layers", 2)
    assert fits["c_upper"]["slope"] == pytest.approx(2)
    mean = scipy.stats.gmean(data.loc[data["layers"] == 1, "c_upper"]) / 3
    np.testing.assert_allclose(fitted(fits["c_upper"], [2, 4]), [3 * mean * 4, 3 * mean * 16])
    assert slopes_along(data, "layers", 4) == {}


def test_the_stable_phase_is_the_papers_at_its_scale_alone():
    data = epochs_table()
    assert stable_from("paper", TRAINING, data, 2500) == 2500
    assert stable_from("laptop", TRAINING, data, 2500) == 10
    assert stable_from("paper", TRAINING, data, None) == 10
