"""Intervals against closed forms, scipy, and their coverage on simulated data."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from pipeline.statistics.curves import (
    fall_after_peak,
    hump,
    log_log_slope,
    log_log_slope_over_seeds,
    peak_location,
    spearman,
)
from pipeline.statistics.intervals import AT_ONCE, bootstrap_interval, mean_interval, ratio_interval


def curve(function, widths, seeds=4, noise=0.1, rng=0):
    """Values of a function of the width, with noise that is relative and independent."""
    random = np.random.default_rng(rng)
    rows = [
        {"width": width, "seed": seed, "loss": function(width) * (1 + noise * random.standard_normal())}
        for width in widths
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows)


def hill(width, top=80.0):
    return 1 + 4 * math.exp(-(math.log(width / top) ** 2))


WIDTHS = [16, 32, 64, 80, 96, 128, 256, 512]


def test_bootstrap_of_three_values_against_all_their_samples():
    values = [1.0, 2.0, 6.0]
    means = [np.mean(sample) for sample in itertools.product(values, repeat=3)]
    found = bootstrap_interval(values, draws=40_000, level=0.8)
    assert found.estimate == 3
    assert found.low == pytest.approx(np.quantile(means, 0.1), abs=1e-9)
    assert found.high == pytest.approx(np.quantile(means, 0.9), abs=1e-9)


def test_bootstrap_agrees_with_scipy():
    values = np.random.default_rng(1).exponential(size=60)
    for statistic in (np.mean, np.median, np.max):
        found = bootstrap_interval(values, statistic, draws=4000)
        other = scipy.stats.bootstrap(
            (values,), statistic, n_resamples=4000, method="percentile", rng=np.random.default_rng(2)
        ).confidence_interval
        assert found.estimate == pytest.approx(statistic(values))
        assert found.low == pytest.approx(other.low, abs=0.05)
        assert found.high == pytest.approx(other.high, abs=0.05)


def test_bootstrap_covers_the_mean():
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        found = bootstrap_interval(random.normal(3, 2, 40), draws=300)
        hits += found.low <= 3 <= found.high
    assert 0.90 <= hits / 400 <= 0.98


def test_bootstrap_is_repeatable_and_drops_nan():
    values = np.random.default_rng(0).normal(size=20)
    assert bootstrap_interval(values) == bootstrap_interval([*values[:9], math.nan, *values[9:]])
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)
    state = np.random.get_state()[1].tolist()
    bootstrap_interval(values)
    assert np.random.get_state()[1].tolist() == state


def test_one_value_has_no_interval():
    found = bootstrap_interval([2.0])
    assert found.estimate == 2
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_many_values_are_resampled_in_slices():
    values = np.random.default_rng(0).normal(size=100_000)
    found = bootstrap_interval(values, draws=100)
    assert found.high - found.low == pytest.approx(2 * 1.96 / math.sqrt(100_000), rel=0.3)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([math.nan], {}, "not NaN"),
        ([1.0, math.inf], {}, "diverged"),
        ([1.0], {"level": 1.0}, "level"),
        ([1.0], {"draws": 0}, "draws"),
    ],
)
def test_bad_values_are_refused(values, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(values, **options)


def test_t_intervals_against_scipy():
    values = [1.0, 2.0, 6.0, 4.0]
    other = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = mean_interval([*values, math.nan])
    assert (found.estimate, found.low, found.high) == pytest.approx((3.25, other.low, other.high))
    above, below = [3.0, 5.0, 4.0], [1.0, 1.5, 2.0, 1.2]
    welch = scipy.stats.ttest_ind(np.log(above), np.log(below), equal_var=False).confidence_interval()
    found = ratio_interval(above, below)
    assert (found.low, found.high) == pytest.approx((math.exp(welch.low), math.exp(welch.high)))
    assert math.isnan(mean_interval([2.0]).low)
    with pytest.raises(ValueError, match="not NaN"):
        mean_interval([math.nan])


@pytest.mark.parametrize("seeds", [2, 4, 10])
def test_intervals_of_few_seeds_cover(seeds):
    random = np.random.default_rng(seeds)
    hits = []
    for _ in range(2000):
        above, below = np.exp(0.1 * random.standard_normal((2, seeds)))
        ends = [mean_interval(np.log(above)), ratio_interval(above, below, paired=True)]
        ends.append(ratio_interval(2 * above, below))
        hits.append([one.low <= truth <= one.high for one, truth in zip(ends, (0, 1, 2), strict=True)])
    assert (np.mean(hits, axis=0) >= 0.935).all()


@pytest.mark.parametrize("noise", [0.03, 0.3])
def test_falls_from_a_peak_cover_and_flat_curves_have_none(noise):
    flat, hits = [], []
    truth = 1 - hill(16) / hill(80)
    for rng in range(100):
        found = hump(curve(lambda width: 1.0, WIDTHS, noise=min(noise, 0.2), rng=rng), "width", "loss")
        flat.append(found.low > 0.05)
        found = hump(curve(hill, WIDTHS, noise=min(noise, 0.2), rng=rng), "width", "loss")
        hits.append(found.low <= truth <= found.high)
    assert np.mean(flat) <= 0.05
    assert np.mean(hits) >= 0.93


def test_slopes_of_few_seeds_cover():
    hits = []
    for rng in range(400):
        table = curve(lambda width: width**0.5, WIDTHS, noise=0.1, rng=rng)
        found = log_log_slope_over_seeds(table, "width", "loss")
        hits.append(found.low <= 0.5 <= found.high)
    assert np.mean(hits) >= 0.93


def test_ratio_of_values_that_belong_together_is_sharp_only_if_paired():
    below = np.random.default_rng(0).uniform(1, 10, 30)
    paired = ratio_interval(3 * below, below, paired=True)
    assert (paired.estimate, paired.low, paired.high) == pytest.approx((3, 3, 3))
    apart = ratio_interval(3 * below, below)
    assert apart.estimate == pytest.approx(3)
    assert apart.high - apart.low > 1


def test_ratios_drop_nan_and_refuse_what_has_none():
    found = ratio_interval([2, math.nan, 4, 6], [1, 5, math.nan, 3], paired=True)
    assert found.estimate == pytest.approx(2)
    assert ratio_interval([2, math.nan, 8], [2]).estimate == pytest.approx(2)
    with pytest.raises(ValueError, match="cannot be paired"):
        ratio_interval([1, 2], [1], paired=True)
    with pytest.raises(ValueError, match="not positive"):
        ratio_interval([1, 2], [1, -1])
    with pytest.raises(ValueError, match="no pairs"):
        ratio_interval([1, math.nan], [math.nan, 1], paired=True)


def test_peak_of_a_curve_without_noise():
    found = peak_location(curve(hill, WIDTHS, noise=0), "width", "loss")
    assert found.position == 80
    assert found.place.low == pytest.approx(found.place.estimate) == pytest.approx(found.place.high)
    assert found.value == pytest.approx(hill(80))
    assert found.interior
    assert found.share_interior == 1


def test_refined_peak_is_that_of_a_log_parabola():
    def parabola(width):
        return math.exp(2 - 0.7 * math.log(width / 73) ** 2)

    table = curve(parabola, WIDTHS, noise=0)
    found = peak_location(table, "width", "loss")
    assert found.position == 80
    assert found.place.estimate == pytest.approx(73)
    assert found.place.low == pytest.approx(73)


@pytest.mark.parametrize("seeds", [2, 4, 10])
@pytest.mark.parametrize("noise", [0.02, 0.15])
def test_intervals_of_places_cover(seeds, noise):
    truth = peak_location(curve(hill, WIDTHS, noise=0), "width", "loss").place.estimate
    hits = []
    for rng in range(150):
        table = curve(hill, WIDTHS, seeds=seeds, noise=noise, rng=rng)
        place = peak_location(table, "width", "loss").place
        hits.append(place.low <= truth <= place.high)
    assert np.mean(hits) >= 0.9


@pytest.mark.parametrize("power", [1, -1])
def test_monotone_curves_have_no_peak_inside(power):
    found = peak_location(curve(lambda width: width**power, WIDTHS, noise=0.01), "width", "loss")
    assert found.position == found.place.estimate == (512 if power == 1 else 16)
    assert not found.interior
    assert found.share_interior == 0


def test_one_seed_gives_a_peak_without_an_interval():
    found = peak_location(curve(hill, WIDTHS, seeds=1, noise=0), "width", "loss")
    assert found.position == 80
    assert math.isnan(found.place.low)


def test_fall_after_the_peak():
    for function, end in ((fall_after_peak, 512), (hump, 16)):  # 16 is the higher end
        found = function(curve(hill, WIDTHS, noise=0), "width", "loss")
        assert found.estimate == pytest.approx(1 - hill(end) / hill(80))
        assert found.low == pytest.approx(found.estimate)
        noisy = function(curve(hill, WIDTHS, seeds=30, noise=0.1), "width", "loss")
        assert 0 < noisy.low < 1 - hill(end) / hill(80) < noisy.high
        with pytest.raises(ValueError, match="positive"):
            function(curve(lambda width: -1.0, WIDTHS), "width", "loss")
        assert math.isnan(function(curve(hill, WIDTHS, seeds=1), "width", "loss").low)
    rising = curve(lambda width: width, WIDTHS, noise=0.01)
    assert fall_after_peak(rising, "width", "loss").estimate == 0
    assert hump(rising, "width", "loss").high < -0.5
    with pytest.raises(ValueError, match="fewer than three"):
        hump(curve(hill, WIDTHS[:2]), "width", "loss")


def test_slope_against_scipy():
    random = np.random.default_rng(0)
    x = np.geomspace(1, 1000, 25)
    y = 3 * x**0.59 * np.exp(0.1 * random.standard_normal(25))
    found = log_log_slope(x, y)
    fit = scipy.stats.linregress(np.log(x), np.log(y))
    margin = scipy.stats.t.ppf(0.975, 23) * fit.stderr
    assert found.slope == pytest.approx(fit.slope)
    assert found.r_squared == pytest.approx(fit.rvalue**2)
    assert found.low == pytest.approx(fit.slope - margin)
    assert found.high == pytest.approx(fit.slope + margin)
    assert found.points == 25
    assert log_log_slope([*x, math.nan, 1], [*y, 1, math.nan]) == found


def test_slope_interval_covers():
    random = np.random.default_rng(0)
    x = np.geomspace(1, 100, 8)
    found = [log_log_slope(x, x**2 * np.exp(0.3 * random.standard_normal(8))) for _ in range(400)]
    assert 0.92 <= np.mean([slope.low <= 2 <= slope.high for slope in found]) <= 0.98


def test_slopes_at_the_edges():
    exact = log_log_slope([1, 2], [5, 20])
    assert exact.slope == pytest.approx(2)
    assert math.isnan(exact.low)
    flat = log_log_slope([1, 2, 4], [5, 5, 5])
    assert flat.slope == 0
    assert math.isnan(flat.r_squared)
    with pytest.raises(ValueError, match="epoch 0"):
        log_log_slope([0, 1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="two values of x"):
        log_log_slope([1, 1], [1, 2])
    with pytest.raises(ValueError, match="2 values of x with 3"):
        log_log_slope([1, 2], [1, 2, 3])


def test_slope_over_seeds_is_that_of_the_mean_curve():
    table = curve(lambda width: width**0.5, WIDTHS, seeds=6, noise=0.1)
    means = table.groupby("width")["loss"].agg(scipy.stats.gmean)
    found = log_log_slope_over_seeds(table, "width", "loss")
    single = log_log_slope(means.index, means)
    assert found.slope == pytest.approx(single.slope)
    assert found.r_squared == pytest.approx(single.r_squared)
    assert found.points == len(WIDTHS)
    # relative noise of means and the spread of log x give the standard error
    log_x = np.log(WIDTHS)
    error = 0.1 / math.sqrt(6) / math.sqrt(((log_x - log_x.mean()) ** 2).sum())
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.3)


def test_whole_seeds_are_resampled_if_paired():
    # each seed a line of its own: the slope varies as that of the seeds, the deviations cancel
    table = pd.DataFrame(
        [
            {"epoch": epoch, "seed": seed, "bound": scale * epoch**0.5}
            for seed, scale in enumerate([1.0, 2.0, 5.0, 9.0])
            for epoch in (1, 10, 100)
        ]
    )
    paired = log_log_slope_over_seeds(table, "epoch", "bound", paired=True)
    assert paired.low == pytest.approx(0.5)
    assert paired.high == pytest.approx(0.5)
    apart = log_log_slope_over_seeds(table, "epoch", "bound")
    assert apart.high - apart.low > 0.1
    incomplete = table[(table.seed < 3) | (table.epoch < 100)]
    three = log_log_slope_over_seeds(table[table.seed < 3], "epoch", "bound", paired=True)
    assert log_log_slope_over_seeds(incomplete, "epoch", "bound", paired=True) == three


def test_spearman_against_scipy():
    table = curve(hill, WIDTHS, noise=0.3).rename(columns={"loss": "first"})
    table["second"] = curve(hill, WIDTHS, noise=0.3, rng=5)["loss"]
    each = [scipy.stats.spearmanr(own["first"], own["second"])[0] for _, own in table.groupby("seed")]
    found = spearman(table, "first", "second")
    assert found.estimate == pytest.approx(np.mean(each))
    margin = scipy.stats.t.ppf(0.975, len(each) - 1) * scipy.stats.sem(each)
    assert found.low == pytest.approx(found.estimate - margin)
    assert found.high == pytest.approx(min(1, found.estimate + margin))
    clean = curve(hill, WIDTHS, noise=0)
    clean["cube"] = -(clean["loss"] ** 3)
    exact = spearman(clean, "loss", "cube")
    assert exact.estimate == exact.low == pytest.approx(-1)
    assert -1 < exact.high < -0.9  # seeds that agree are no proof that all do
    one = spearman(clean[clean["seed"] == 0], "loss", "cube")
    assert math.isnan(one.low)
    still = clean.assign(cube=clean["cube"].where(clean["seed"] > 0, 1.0))
    assert math.isnan(spearman(still, "loss", "cube").estimate)
    seeds = clean["seed"].nunique()
    assert spearman(still, "loss", "cube", unchanged=0.0).estimate == pytest.approx(1 / seeds - 1)


@pytest.mark.parametrize(("of_z", "noise"), [(False, 0.4), (True, 0.4), (True, 0.05)])
@pytest.mark.parametrize("seeds", [4, 10])
def test_intervals_of_rank_correlations_cover(seeds, of_z, noise):
    def correlation(count, rng):
        table = curve(hill, WIDTHS, seeds=count, noise=noise, rng=rng).rename(columns={"loss": "first"})
        table["second"] = curve(hill, WIDTHS, seeds=count, noise=noise, rng=rng + 10_000)["loss"]
        return spearman(table, "first", "second", of_z=of_z)

    truth = correlation(1000, 0).estimate
    found = [correlation(seeds, rng) for rng in range(1, 201)]
    assert np.mean([one.low <= truth <= one.high for one in found]) >= 0.9
    assert all(-1 <= one.low < one.high <= 1 for one in found)


def test_means_of_z_are_those_of_scipy():
    table = curve(hill, WIDTHS, noise=0.3).rename(columns={"loss": "first"})
    table["second"] = curve(hill, WIDTHS, noise=0.3, rng=5)["loss"]
    each = [scipy.stats.spearmanr(own["first"], own["second"])[0] for _, own in table.groupby("seed")]
    z = np.arctanh(each)
    ends = scipy.stats.t.interval(0.95, len(z) - 1, z.mean(), scipy.stats.sem(z))
    found = spearman(table, "first", "second", of_z=True)
    assert (found.low, found.high) == pytest.approx(tuple(np.tanh(ends)))
    clean = curve(hill, WIDTHS, noise=0).assign(same=lambda rows: rows["loss"])
    exact = spearman(clean, "loss", "same", of_z=True)
    assert 0.9 < exact.low < exact.estimate < exact.high <= 1


def test_rows_with_nan_are_dropped_and_order_does_not_matter():
    table = curve(hill, WIDTHS)
    extra = pd.DataFrame([{"width": 64, "seed": 9, "loss": math.nan}])
    longer = pd.concat([extra, table]).sample(frac=1, random_state=0)
    for function in (peak_location, fall_after_peak, log_log_slope_over_seeds):
        assert function(longer, "width", "loss") == function(table, "width", "loss")


def test_tables_that_cannot_be_read_are_refused():
    table = curve(hill, WIDTHS)
    with pytest.raises(ValueError, match="no rows without NaN"):
        peak_location(table.assign(loss=math.nan), "width", "loss")
    with pytest.raises(ValueError, match="several rows for width = 16"):
        peak_location(pd.concat([table, table]), "width", "loss")
    with pytest.raises(ValueError, match="diverged"):
        spearman(table.assign(loss=math.inf, other=1.0), "loss", "other")
    with pytest.raises(ValueError, match="positive"):
        peak_location(table.assign(loss=table["loss"] - 3), "width", "loss")
    with pytest.raises(ValueError, match="no seed has all"):
        spearman(table[table["seed"] == table["width"] % 3].assign(other=1.0), "loss", "other")
    with pytest.raises(ValueError, match="rank correlation"):
        spearman(table[table["width"] < 64].assign(other=1.0), "loss", "other")


def test_wider_ends_are_those_of_higher_levels():
    values = [1.0, 2.0, 4.0, 3.5]
    found = mean_interval(values)
    for number in (1, 2, 5, 20):
        at = next(n for n in AT_ONCE if n >= number)
        strict = mean_interval(values, 1 - 0.05 / at)
        assert found.among(number) == pytest.approx((strict.low, strict.high))
    assert found.among(31) == (-math.inf, math.inf)
    halved = found.mapped(lambda value: -value / 2)
    assert halved.low == pytest.approx(-found.high / 2)
    assert halved.among(9) == pytest.approx(tuple(-end / 2 for end in reversed(found.among(9))))
    assert found.over(found).low == pytest.approx(found.low / found.high)
    assert found.minus(found).among(2)[0] == pytest.approx(found.among(2)[0] - found.among(2)[1])
