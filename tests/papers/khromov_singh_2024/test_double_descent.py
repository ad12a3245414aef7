"""The width double descent, of nets trained with cross-entropy and with the squared error."""

import pytest

from papers.khromov_singh_2024.double_descent import figure as room
from papers.khromov_singh_2024.double_descent_mse import figure as squared
from pipeline.figures.width import at_stop, curve_facts, prepared, shades
from tests.papers import width_tables as given


def test_curve_facts_are_those_of_the_means():
    facts = curve_facts(prepared(given.stops()), "c_lower")
    assert facts["peak_width"] == 64
    left, right = facts["peak_width_interval"]
    assert 63 < left < 64 < right < 65
    assert facts["peak_is_interior"] is True
    assert facts["peak"] == pytest.approx(200 * given.MEAN)
    assert facts["at_the_widest"] == pytest.approx(50 * given.MEAN)
    assert facts["fall_in_per_cent"] == pytest.approx(75)
    low, high = facts["fall_in_per_cent_interval"]
    assert 74 < low <= 75 <= high < 76
    assert curve_facts(prepared(given.stops(lost=True)), "c_lower") == {}


def test_the_stop_is_the_last_checkpoint():
    stop = at_stop(prepared(given.epochs()), {"training": {"max_epochs": 900}})
    assert dict(zip(stop["width"], stop["epoch"], strict=True)) == {
        16: 20,
        32: 100,
        64: 900,
        128: 900,
        256: 900,
    }
    assert set(stop.loc[stop["stop_reason"] == "epoch_cap", "width"]) == {64, 128, 256}


def test_shades_are_distinct_in_grey_and_have_their_own_markers():
    looks = shades([str(i) for i in range(10)])
    assert len({look.color for look in looks}) == len({look.marker for look in looks}) == 10


def test_rank_correlations_and_stop_reasons():
    table = given.stops()
    facts = given.as_json(squared, {"": table}, given.CONTEXT)
    # the test loss is a multiple of each bound
    assert facts["rank_correlation_with_test_loss"]["c_upper"]["estimate"] == pytest.approx(1)
    assert facts["stop_reasons"] == {"epoch_cap": 6, "gradient_norm": 9}
    few = given.as_json(squared, {"": table[table["width"] > 64]}, given.CONTEXT)
    assert few["rank_correlation_with_test_loss"]["c_upper"] is None


def test_peaks_stand_where_they_do_beside_threshold_and_test_loss():
    table = given.stops(128)
    table["test_loss"] = given.stops(32)["test_loss"]
    facts = given.as_json(room, {"": table}, given.CONTEXT)
    place = facts["peak_over_threshold"]["c_avg"]
    assert place["estimate"] == pytest.approx(2)
    assert 1.98 < place["low"] < 2 < place["high"] < 2.02
    assert facts["peak_over_that_of_the_test_loss"]["c_avg"]["estimate"] == pytest.approx(4)
    # to the narrowest nets all fall by three octaves, to the widest by one
    assert facts["smaller_fall_from_the_peak"]["c_upper"]["estimate"] == pytest.approx(0.5)


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("module", [room, squared])
def test_it_draws_also_when_every_seed_diverged(module, lost):
    tables = {"": given.stops(lost=lost)}
    drawn = module.draw(tables, given.as_json(module, tables, given.CONTEXT), given.CONTEXT)
    drawn.canvas.draw()


def test_the_squared_error_has_its_own_labels():
    context = given.CONTEXT | {"settings": given.BOTH["settings"]["double_descent_mse"]}
    tables = {"double_descent_mse": given.stops()}
    figure = squared.draw(tables, given.as_json(squared, tables, context), context)
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["Lipschitz bound (outputs per unit of input)", "squared error", "error (%)"]
    assert any("outputs" in text.get_text() for text in figure.axes[0].texts)


# ---------------------------------------------------------------- claims


def both(first, second):
    """What C10 finds."""
    facts = {
        "double_descent": room.measure({"double_descent": first}, given.AT_80),
        "double_descent_mse": squared.measure({"double_descent_mse": second}, given.AT_80),
    }
    return room.double_descent.judged("double_descent", facts)


def test_a_double_descent_of_all_bounds_is_one():
    finding = both(given.sweep(), given.sweep())
    assert finding.verdict == "holds", finding
    assert "height of C_lower, cross-entropy: holds 0.648 " in finding.reason
    assert "place of C_upper, squared error: holds 0.8 [0.78" in finding.reason
    assert "C_avg, cross-entropy, beside the test loss: holds 1 [0.97" in finding.reason


def test_rising_bounds_have_none():
    finding = both(given.rising(given.sweep()), given.rising(given.sweep()))
    assert finding.verdict == "does not hold", finding


def test_a_double_descent_of_one_loss_holds_in_part():
    finding = both(given.rising(given.sweep()), given.sweep())
    assert finding.verdict == "holds in part", finding
    assert "place of C_lower, cross-entropy: not tested (C_lower has no peak inside" in finding.reason


def test_a_peak_elsewhere_is_said_to_be_there():
    finding = both(given.sweep(), given.sweep(256))
    assert "place of C_lower, squared error: does not hold 3.2 [3.1" in finding.reason


def test_nets_that_do_not_fit_say_nothing_of_a_double_descent():
    unfit = given.sweep().assign(stop_reason="epoch_cap")
    finding = both(given.sweep(), unfit)
    assert finding.verdict == "holds in part", finding
    assert "place of C_avg, squared error: not tested (0 of 8 runs on the wide flank" in finding.reason
    facts = given.as_json(squared, {"": unfit}, given.AT_80)
    assert facts["share_that_fits_beyond_the_peak"] == {"estimate": 0.0}
    figure = squared.draw({"": unfit}, facts, given.AT_80)
    assert "no net fits all of its training points" in figure.texts[0].get_text()


def test_the_double_descent_needs_both_losses_and_numbers():
    facts = {"double_descent": room.measure({"": given.sweep()}, given.AT_80)}
    assert "double_descent_mse" in room.double_descent.judged("double_descent", facts).reason
    for empty in given.degenerate({"": given.sweep()}):
        given.check_untested(both(empty[""], empty[""]))
    one = given.one_seed({"": given.sweep()})[""]
    finding = both(one, one)
    assert finding.verdict == "not tested", finding
    assert "one seed" in finding.reason


def test_the_double_descent_names_both_figures():
    assert room.double_descent.figures == ("double_descent", "double_descent_mse")
