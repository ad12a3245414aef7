"""How intervals become verdicts."""

import numpy as np
import pytest

from pipeline.claims.findings import Finding, UntestedError, attempt, combine, judge
from pipeline.claims.slopes import judge_slope
from pipeline.statistics.intervals import Interval


def test_limits_and_parts():
    assert judge(Interval(2, 1.5, 3), 1).verdict == "holds"
    assert judge(Interval(2, 0.5, 3), 1).verdict == "holds in part"
    assert judge(Interval(0.5, 0.2, 0.9), 1).verdict == "does not hold"
    with pytest.raises(UntestedError, match="one seed"):
        judge(Interval(2, np.nan, np.nan), 1)
    yes, part, no = (Finding(v, 1.0) for v in ("holds", "holds in part", "does not hold"))
    missing = Finding("not tested", reason="nothing")
    assert combine({"a": missing, "b": yes}).verdict == "holds in part"
    assert combine({"a": yes, "b": no}).verdict == "holds in part"
    assert combine({"a": part, "b": no}).verdict == "holds in part"
    assert combine({"a": no, "b": no}).verdict == "does not hold"
    assert combine({"a": missing, "b": missing}) == Finding("not tested", reason="nothing")
    assert combine({"a": missing, "b": yes}).part == "b"
    near, far = (judge(Interval(value, value - 1, value + 1), 0) for value in (1.5, 9))
    assert (near.margin, far.margin) == (0.5, 8)
    assert combine({"a": far, "b": near}).estimate == 1.5
    assert combine({"a": near, "b": no}).part == "b"
    assert "a: not tested (nothing)" in combine({"a": missing, "b": yes}).reason


def test_errors_that_are_no_lack_of_data_are_not_hidden():
    def wrong() -> Finding:
        raise TypeError("a mistake in a rule")

    with pytest.raises(TypeError):
        attempt(wrong)


def test_slopes_are_judged_by_their_intervals():
    fits = {"c_lower": {"slope": 0.5, "low": 0.4, "high": 0.6}}
    assert judge_slope(fits, "c_lower", 0, 1) == Finding("holds", 0.5, 0.4, 0.6, margin=pytest.approx(4))
    assert judge_slope(fits, "c_lower", least=1).verdict == "does not hold"
    assert judge_slope(fits, "c_upper", 0, 1).verdict == "not tested"
    assert "too few values" in judge_slope({}, "c_lower").reason
