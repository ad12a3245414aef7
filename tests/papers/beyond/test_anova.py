"""Shares of the variance of a table."""

import math

import numpy as np
import pytest

from papers.beyond.seed_sources.anova import SOURCES, sums_of_squares, variance_shares


def test_sums_of_squares_of_a_table_by_hand():
    # mean 5; rows 3 and 7; columns 4 and 6; the interaction is +-1
    found = sums_of_squares([[3, 3], [5, 9]])
    assert found.squares == pytest.approx((2 * (4 + 4), 2 * (1 + 1), 4 * 1))
    assert found.freedom == (1, 1, 1)


def test_sums_of_squares_are_the_total_and_swap_with_the_axes():
    table = np.random.default_rng(1).normal(size=(4, 6))
    found, turned = sums_of_squares(table), sums_of_squares(table.T)
    assert sum(found.squares) == pytest.approx(np.square(table - table.mean()).sum())
    assert turned.squares == pytest.approx((found.squares[1], found.squares[0], found.squares[2]))


def test_only_rows_matter_where_columns_are_equal():
    shares = variance_shares([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [5.0, 5.0, 5.0]])
    assert shares["rows"].share == pytest.approx(1)
    assert shares["rows"].low == pytest.approx(1)
    assert shares["columns"].share == shares["columns"].high == 0


def test_p_value_is_that_of_the_f_test():
    # F = 16 with 1 and 1 degrees of freedom, whose distribution is that of a squared Cauchy variable
    shares = variance_shares([[4.0, 6.0], [9.0, 9.0]])
    squares = sums_of_squares([[4.0, 6.0], [9.0, 9.0]]).squares
    ratio = squares[0] / squares[2]
    assert shares["rows"].p == pytest.approx(1 - 2 / math.pi * math.atan(math.sqrt(ratio)))
    assert math.isnan(shares["interaction"].p)


def test_shares_recover_known_variances_and_intervals_cover_them():
    rng = np.random.default_rng(0)
    truth = np.array([4.0, 1.0, 1.0])
    estimates, covered = [], 0
    for number in range(150):
        rows, columns = rng.normal(0, 2, 8), rng.normal(0, 1, 8)
        table = rows[:, None] + columns + rng.normal(0, 1, (8, 8))
        shares = variance_shares(table, draws=1000, seed=number)
        estimates.append([shares[source].share for source in SOURCES])
        covered += shares["rows"].low <= 4 / 6 <= shares["rows"].high
    assert np.median(estimates, axis=0) == pytest.approx(truth / 6, abs=0.07)
    assert covered / 150 > 0.9


def test_shares_add_up_and_do_not_depend_on_the_unit():
    table = np.random.default_rng(3).normal(size=(4, 4))
    shares, scaled = variance_shares(table), variance_shares(1000 * table + 5)
    assert sum(share.share for share in shares.values()) == pytest.approx(1)
    for source in SOURCES:
        assert shares[source].low <= shares[source].share <= shares[source].high
        assert scaled[source].low == pytest.approx(shares[source].low)


def test_tables_without_variance_or_with_gaps():
    assert all(math.isnan(share.share) for share in variance_shares(np.ones((3, 3))).values())
    with pytest.raises(ValueError, match="two rows"):
        variance_shares([[1.0, 2.0]])
    with pytest.raises(ValueError, match="not finite"):
        variance_shares([[1.0, math.nan], [2.0, 3.0]])
