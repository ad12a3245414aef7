"""Simulated tables, and what they say about the intervals and rules of claims."""

import gzip

import numpy as np
import pandas as pd
import pytest

from pipeline.claims.claim import claim
from pipeline.claims.findings import judge_fact, measured
from pipeline.claims.simulated import (
    Simulated,
    calibrate,
    read_simulated,
    simulate,
    write_simulated,
)
from pipeline.provenance.files import DamagedFileError
from pipeline.statistics.intervals import Interval, mean_interval, ratio_interval
from pipeline.statistics.simulation import Simulator


def nets(seeds=4, noise=0.1, widths=(16, 64), rng=0):
    """Nets with a loss, a bound that is twice as large at the wider one, and a radius."""
    random = np.random.default_rng(rng)
    rows = []
    for width in widths:
        for seed in range(seeds):
            own = random.standard_normal()
            rows += [
                {
                    "width": width,
                    "seed": seed,
                    "radius": radius,
                    "stop": int(random.integers(100)),
                    "c_lower": width / 16 * np.exp(noise * (own + 0.1 * random.standard_normal())),
                    "log10_c": -1 + 0.1 * own,
                    "nothing": np.nan,
                }
                for radius in (0.0, 0.5)
            ]
    return pd.DataFrame(rows)


def test_simulated_tables_have_the_form_of_the_real_one():
    table = nets()
    drawn = Simulator(table).around(np.random.default_rng(0))
    same = ["width", "seed", "radius", "stop", "nothing"]
    pd.testing.assert_frame_equal(drawn[same], table[same])
    assert not np.isclose(drawn["c_lower"], table["c_lower"]).any()
    assert (drawn["c_lower"] > 0).all()


def test_simulated_seeds_have_the_mean_and_covariance_of_the_real_ones():
    table = nets(seeds=6)
    simulator = Simulator(table)
    drawn = pd.concat([simulator.around(np.random.default_rng(place)) for place in range(600)])
    cells = ["width", "radius"]
    logs = table.assign(c_lower=np.log(table["c_lower"])).groupby(cells)
    found = drawn.assign(c_lower=np.log(drawn["c_lower"])).groupby(cells)
    for name in ("c_lower", "log10_c"):
        assert found[name].mean().to_numpy() == pytest.approx(logs[name].mean().to_numpy(), abs=0.01)
        assert found[name].std().to_numpy() == pytest.approx(logs[name].std().to_numpy(), rel=0.05)
    of_cell = found[["c_lower", "log10_c"]].corr().to_numpy()
    assert of_cell == pytest.approx(logs[["c_lower", "log10_c"]].corr().to_numpy(), abs=0.02)


def test_cells_of_a_run_go_together_and_runs_do_not():
    simulator = Simulator(nets(seeds=8))
    near, apart = [], []
    for place in range(300):
        drawn = simulator.around(np.random.default_rng(place))
        logs = np.log(drawn.pivot(index="seed", columns=["width", "radius"], values="c_lower"))
        near.append(logs.corr().loc[(16, 0.0), (16, 0.5)])
        apart.append(logs.corr().loc[(16, 0.0), (64, 0.0)])
    assert np.mean(near) > 0.95
    assert abs(np.mean(apart)) < 0.1


def test_nothing_has_an_effect_on_flat_tables():
    simulator = Simulator(nets())
    drawn = pd.concat([simulator.flat(np.random.default_rng(place)) for place in range(400)])
    means = np.log(drawn["c_lower"]).groupby([drawn["width"], drawn["radius"]]).mean()
    assert means.to_numpy() == pytest.approx(np.log(nets()["c_lower"]).mean(), abs=0.02)


def test_tables_without_seeds_are_left_as_they_are():
    for table in (nets().drop(columns="seed"), nets(seeds=1), nets().iloc[:0]):
        simulator = Simulator(table)
        assert not simulator.has_chance
        pd.testing.assert_frame_equal(
            simulator.around(np.random.default_rng(0)), table.reset_index(drop=True)
        )


def test_cells_that_few_seeds_have_vary_among_those():
    table = nets(seeds=3)
    table = table[(table["radius"] == 0) | (table["seed"] == 0) | (table["width"] > 16)]
    drawn = Simulator(table).around(np.random.default_rng(0))
    alone = ((table["radius"] > 0) & (table["width"] == 16)).to_numpy()
    assert drawn["c_lower"][alone].to_numpy() == pytest.approx(table["c_lower"][alone].to_numpy())
    assert not np.isclose(drawn["c_lower"][~alone], table["c_lower"].to_numpy()[~alone]).any()


def ratio(tables):
    rows = tables["nets"][tables["nets"]["radius"] == 0].set_index("width")["c_lower"]
    return {"ratio": measured(ratio_interval, rows[64].to_numpy(), rows[16].to_numpy())}


def test_a_population_has_many_seeds_of_the_same_nets():
    table = nets(seeds=4)
    many = Simulator(table).population(np.random.default_rng(0), 50)
    assert many.groupby(["width", "radius"])["seed"].nunique().tolist() == [200] * 4
    logs = np.log(many["c_lower"]).groupby([many["width"], many["radius"]]).mean()
    real = np.log(table["c_lower"]).groupby([table["width"], table["radius"]]).mean()
    assert logs.to_numpy() == pytest.approx(real.to_numpy(), abs=0.03)
    assert len(Simulator(nets(seeds=1)).population(np.random.default_rng(0), 50)) == 4


def test_the_truth_of_a_largest_value_is_that_of_its_estimate():
    """The largest of ten is larger than that of their means, which no interval is about."""
    random = np.random.default_rng(0)
    values = np.exp(random.standard_normal((6, 10)))
    table = pd.DataFrame(
        [
            {"seed": seed, "point": point, "norm": value}
            for seed, own in enumerate(values)
            for point, value in enumerate(own)
        ]
    )

    def measure(tables):
        largest = tables["points"].groupby("seed")["norm"].max()
        return {"ratio": measured(mean_interval, largest)}

    found = simulate(measure, {"points": table}, 200, flat=False)
    trusted = calibrate(grows, "room", {"room": measure({"points": table})}, {"room": found})
    assert trusted.coverage > 0.75  # lognormal maxima of few seeds


@claim("C1", "The wider net has the larger bound", of_a_change=True)
def grows(facts):
    """Above 1."""
    return judge_fact(facts["ratio"], 1)


def test_honest_intervals_cover_and_rules_seldom_err():
    tables = {"nets": nets()}
    found = simulate(ratio, tables, 400, flat=True)
    trusted = calibrate(grows, "room", {"room": ratio(tables)}, {"room": found})
    assert 0.92 <= trusted.coverage <= 0.98
    assert trusted.false_holds <= 0.05


def test_intervals_that_are_too_short_are_found_out():
    def short(tables):
        fact = ratio(tables)["ratio"]
        middle = Interval(fact["estimate"], fact["estimate"] * 0.99, fact["estimate"] * 1.01)
        return {"ratio": middle.fact()}

    tables = {"nets": nets()}
    found = simulate(short, tables, 200, flat=True)
    trusted = calibrate(grows, "room", {"room": short(tables)}, {"room": found})
    assert trusted.coverage < 0.4
    assert trusted.false_holds > 0.3


def test_parts_that_are_seldom_tested_do_not_count():
    fact = ratio({"nets": nets()})
    found = simulate(ratio, {"nets": nets()}, 20, flat=False)
    seldom = [{"ratio": {"untested": "no peak"}}] * 30
    trusted = calibrate(grows, "room", {"room": fact}, {"room": found})
    assert trusted.coverage > 0.7
    mixed = Simulated(found.truth, [*found.around, *seldom], [])
    assert np.isnan(calibrate(grows, "room", {"room": fact}, {"room": mixed}).coverage)


def test_what_is_left_to_no_chance_has_no_coverage():
    tables = {"nets": nets(seeds=1)}
    assert simulate(ratio, tables, 5, flat=True) == Simulated({}, [], [])
    exact = {"ratio": {"estimate": 2.0}}
    assert np.isnan(calibrate(grows, "room", {"room": exact}, {}).coverage)
    same = Simulated(exact, [exact] * 9, [])
    assert np.isnan(calibrate(grows, "room", {"room": exact}, {"room": same}).coverage)


def test_tables_on_which_nothing_can_be_measured_are_passed_over():
    def moody(tables):
        if tables["nets"]["c_lower"].iloc[0] > 1.02:
            raise ValueError("no such rows")
        return {"mean": measured(mean_interval, tables["nets"]["c_lower"])}

    found = simulate(moody, {"nets": nets()}, 40, flat=False)
    assert 0 < sum(not facts for facts in found.around) < 40
    assert found.flat == []


def test_the_file_is_the_same_for_the_same_facts_and_damage_is_named(tmp_path):
    found = simulate(ratio, {"nets": nets()}, 3, flat=True)
    first, second = tmp_path / "a.json.gz", tmp_path / "b.json.gz"
    write_simulated(first, found)
    write_simulated(second, simulate(ratio, {"nets": nets()}, 3, flat=True))
    assert first.read_bytes() == second.read_bytes()
    assert read_simulated(first) == found
    content = first.read_bytes()
    for damaged in (content[:-9], b"", b"text", gzip.compress(b"[]")):
        first.write_bytes(damaged)
        with pytest.raises(DamagedFileError, match="damaged"):
            read_simulated(first)
