"""How intervals become verdicts."""

import numpy as np
import pytest

from pipeline.claims.findings import (
    Finding,
    UntestedError,
    attempt,
    combine,
    judge,
    judge_between,
    judge_exact,
)
from pipeline.claims.slopes import judge_slope
from pipeline.statistics.intervals import Interval, around, mean_interval


def t_interval(estimate, error, freedom=9):
    return around(estimate, error, freedom, 0.95)


def test_limits():
    assert judge(Interval(2, 1.5, 3), 1).verdict == "holds"
    assert judge(Interval(2, 0.5, 3), 1).verdict == "undecided"
    assert judge(Interval(0.5, 0.2, 0.9), 1).verdict == "does not hold"
    with pytest.raises(UntestedError, match="one seed"):
        judge(Interval(2, np.nan, np.nan), 1)
    assert judge(t_interval(2, 0.2), 1, 3).limits == (1, 3)


@pytest.mark.parametrize(
    ("verdicts", "together"),
    [
        (["holds", "holds"], "holds"),
        (["holds", "not tested"], "holds in part"),
        (["holds", "does not hold"], "holds in part"),
        (["holds", "undecided"], "holds in part"),
        (["undecided", "does not hold"], "undecided"),
        (["not tested", "does not hold"], "does not hold"),
        (["does not hold", "does not hold"], "does not hold"),
    ],
)
def test_verdicts_together(verdicts, together):
    parts = {str(place): Finding(verdict, 1.0) for place, verdict in enumerate(verdicts)}
    assert combine(parts).verdict == together
    assert combine(dict(reversed(parts.items()))).verdict == together


def test_the_weakest_part_is_shown():
    missing = Finding("not tested", reason="nothing")
    yes, no = Finding("holds", 1.0), Finding("does not hold", 1.0)
    nothing = combine({"a": missing, "b": missing})
    assert (nothing.verdict, nothing.reason) == ("not tested", "nothing")
    assert combine({"a": missing, "b": yes}).part == "b"
    near, far = (judge(t_interval(value, 0.3), 0) for value in (1.5, 9))
    assert combine({"a": far, "b": near}).estimate == 1.5
    assert combine({"a": near, "b": no}).part == "b"
    assert "a: not tested (nothing)" in combine({"a": missing, "b": yes}).reason


def test_parts_are_judged_by_holm():
    """With 9 degrees of freedom t is 2.26 for one part, 2.69 for two and 2.93 for three."""
    margins = {"sure": 3.0, "good": 2.8, "fair": 2.4}
    parts = {name: judge(t_interval(value, 1), 0) for name, value in margins.items()}
    assert {part.verdict for part in parts.values()} == {"holds"}
    assert combine(parts).verdict == "holds"  # each is sure enough once those before it are
    parts["sure"] = judge(t_interval(2.9, 1), 0)
    together = combine(parts)
    assert {part.verdict for part in together.parts.values()} == {"undecided"}
    assert "alone: holds" in together.reason
    exact = {f"exact {number}": judge_exact(1.0, 0) for number in range(9)}
    assert combine({"fair": parts["fair"], **exact}).verdict == "holds"  # no chance in the others


@pytest.mark.parametrize(
    ("worse", "better", "verdict"),
    [
        (3, 9, "holds"),
        (-9, -3, "does not hold"),
        (-9, 9, "undecided"),
        (-9, 0, "undecided"),
        (0, 9, "undecided"),
    ],
)
def test_a_number_between_two_ends(worse, better, verdict):
    found = judge_between(judge(t_interval(worse, 1), 0), judge(t_interval(better, 1), 0))
    assert (found.verdict, found.limits[0]) == (verdict, 0)


def test_what_the_ends_leave_open_counts_among_the_parts():
    open_ = judge_between(judge(t_interval(-9, 1), 0), judge(t_interval(9, 1), 0))
    fair = judge(t_interval(2.4, 1), 0)  # sure enough alone, and not as one of two
    assert combine({"fair": fair}).verdict == "holds"
    assert combine({"fair": fair, "open": open_}).parts["fair"].verdict == "undecided"


def test_parts_of_parts_are_judged_as_one_family():
    inner = combine({"a": judge(t_interval(3, 1), 0), "b": judge(t_interval(2.75, 1), 0)})
    assert inner.verdict == "holds"
    outer = combine({"x": inner, "c": judge(t_interval(2.4, 1), 0)})
    assert list(outer.parts) == ["x, a", "x, b", "c"]


def test_holm_keeps_its_promise():
    """Five parts at their limit: hardly ever does one of them get a verdict."""
    random = np.random.default_rng(0)

    def decided():
        samples = random.standard_normal((5, 4))
        found = combine({str(n): judge(mean_interval(own), 0) for n, own in enumerate(samples)})
        return any(part.verdict != "undecided" for part in found.parts.values())

    assert np.mean([decided() for _ in range(1000)]) < 0.065


def test_errors_that_are_no_lack_of_data_are_not_hidden():
    def wrong() -> Finding:
        raise TypeError("a mistake in a rule")

    with pytest.raises(TypeError):
        attempt(wrong)


def test_slopes_are_judged_by_their_intervals():
    fits = {"c_lower": {"slope": 0.5, "low": 0.4, "high": 0.6}}
    found = judge_slope(fits, "c_lower", 0, 1)
    assert (found.verdict, found.number) == ("holds", "0.5 [0.4, 0.6]")
    assert judge_slope(fits, "c_lower", least=1).verdict == "does not hold"
    assert judge_slope(fits, "c_upper", 0, 1).verdict == "not tested"
    assert "too few values" in judge_slope({}, "c_lower").reason
