import numpy as np
import pandas as pd
import pytest

from papers.beyond.sandwich import figure, study
from tests.papers.helpers import job_context, judged, measured_and_drawn
from tests.papers.trained_nets import (
    SETTINGS,
    grid,
    hollow_marks,
    made_up_arrays,
    made_up_run,
    nets,
    scaled,
    spread,
    without_numbers,
)

ROOM = "sandwich"
CONTEXT = job_context(ROOM, SETTINGS)


@pytest.mark.usefixtures("single_threaded")
def test_bounds_are_in_order(tmp_path):
    settings = study.Settings(
        searches=2,
        search_starts=8,
        search_steps=10,
        search_radius=2,
        exact_width=5,
        seqlip_width=5,
        descent_width=100,
        seed=0,
    )
    runs = [made_up_run(tmp_path / str(width), width) for width in (5, 7)]
    table = study.study(settings, made_up_arrays(), runs)
    for (width, _), own in table.groupby(["width", "seed"]):
        value = own.set_index("method")["value"]
        assert value["mean"] < value["data"] <= value["search"]
        assert ("exact" in value) == ("seqlip" in value) == (width == 5)
        truth = value.get("exact", value["search"])
        assert value["search"] <= truth
        upper = own[own["kind"] == "upper"]
        assert upper["certified"].all()
        # the Jacobians at points are those of float32 nets
        assert (upper["value"] * (1 + 1e-6) >= truth).all()
        assert value["lipsdp_descent"] <= value["autolip"]


# ---------------------------------------------------------------- figure


def table_of_nets():
    """Bounds that are multiples of one size; the constant itself is known at width 16."""
    factors = {
        "mean": ("lower", 0.5), "data": ("lower", 1), "search": ("lower", 1.2), "autolip": ("upper", 4),
        "liplt": ("upper", 3), "lipsdp_descent": ("upper", 1.5), "exact": ("exact", 1.25),
    }  # fmt: skip
    return pd.DataFrame(
        [
            about
            | {"method": method, "value": factor * height, "kind": kind}
            | {"certified": kind == "upper", "seconds": 1.0}
            for about, height in nets()
            for method, (kind, factor) in factors.items()
            if method != "exact" or about["width"] == 16
        ]
    )


def test_it_draws_with_hollow_marks_for_capped_nets():
    _, drawing = measured_and_drawn(figure, {ROOM: table_of_nets()}, CONTEXT)
    assert all(axes.lines for axes in drawing.axes)
    assert hollow_marks(drawing.axes[0]) == {16}


def test_gaps_and_the_exact_constant():
    facts = figure.measure({ROOM: table_of_nets()}, CONTEXT)
    wide, narrow = facts["gaps"]["256"], facts["gaps"]["16"]
    assert wide["paper_upper_over_lower"]["estimate"] == pytest.approx(4)
    assert wide["least_upper_over_largest_lower"]["estimate"] == pytest.approx(1.25)
    assert narrow["least_upper_over_largest_lower"]["estimate"] == pytest.approx(1)
    assert list(facts["over_exact"]) == ["16"]
    assert facts["over_exact"]["16"]["search"]["estimate"] == pytest.approx(1.2 / 1.25)
    assert facts["peaks"]["autolip"]["position"] == 64
    assert facts["uncertified_upper_bounds"] == []


def test_the_least_upper_bound_is_a_certified_one():
    table = table_of_nets()
    table.loc[table["method"] == "lipsdp_descent", "certified"] = False
    facts = figure.measure({ROOM: table}, CONTEXT)
    wide = facts["gaps"]["256"]
    assert wide["least_upper_over_largest_lower"]["estimate"] == pytest.approx(3 / 1.2)
    assert facts["uncertified_upper_bounds"] == ["lipsdp_descent"]


# ---------------------------------------------------------------- claims

CLAIMS = {"N2": figure.search_finds_little_more, "N3": figure.truth_is_near_lower}


def as_claimed():
    values = {"data": 10, "search": 12, "liplt": 14, "autolip": 40}
    rows = grid(width=[64, 256], seed=range(4), method=list(values))
    upper = rows["method"].isin(["liplt", "autolip"])
    return rows.assign(
        kind=np.where(upper, "upper", "lower"),
        certified=upper,
        value=rows["method"].map(values) * spread(rows["seed"]),
        stop_reason="gradient_norm",
        seconds=1.0,
    )


def verdict(name, table):
    data = figure.prepared(table)
    facts = {
        "gaps": figure.gaps(data),
        "truth_from_c_lower_0_to_c_upper_1": figure.truth(data),
    }
    return judged(CLAIMS[name], ROOM, facts)


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_hold_where_the_table_says_so(name):
    facts = figure.measure({ROOM: as_claimed()}, CONTEXT)
    found = judged(CLAIMS[name], ROOM, facts)
    assert found == verdict(name, as_claimed())
    assert found.verdict == "holds"
    assert np.isfinite(found.estimate)
    assert found.reason.startswith("width 64: holds")


def test_claims_do_not_hold_where_the_table_speaks_against_them():
    steep = scaled(as_claimed(), "value", 3, method="search")
    assert verdict("N2", steep).verdict == "does not hold"
    assert verdict("N3", scaled(steep, "value", 2.8, method="liplt")).verdict == "does not hold"


def test_claims_say_the_number_of_the_weakest_width():
    steep = scaled(as_claimed(), "value", 1.5, width=256, method="search")
    found = verdict("N2", steep)
    assert (found.verdict, found.part) == ("holds", "width 256")
    assert found.estimate == pytest.approx(1.8, rel=0.01)
    loose = scaled(as_claimed(), "value", 1.35, width=256, method="liplt")
    found = verdict("N3", loose)
    assert (found.verdict, found.part) == ("holds", "width 256")
    assert found.estimate == pytest.approx(np.log(1.89) / np.log(4), rel=0.01)


def test_one_width_that_speaks_against_a_claim_is_enough():
    found = verdict("N2", scaled(as_claimed(), "value", 2, width=256, method="search"))
    assert (found.verdict, found.part) == ("holds in part", "width 256")
    assert found.estimate == pytest.approx(2.4, rel=0.01)


def test_what_no_search_can_pass_is_a_fact():
    facts = figure.measure({ROOM: as_claimed()}, CONTEXT)
    assert facts["gaps"]["256"]["least_upper_over_data"]["estimate"] == pytest.approx(1.4)


def test_known_constants_decide_where_the_truth_lies():
    exact = as_claimed().query("method == 'search'")
    exact = exact.assign(method="exact", kind="exact", certified=False, value=13.0)
    found = verdict("N3", pd.concat([as_claimed(), exact]))
    assert found.verdict == "holds"
    assert found.estimate == pytest.approx(np.log(1.3) / np.log(4), rel=0.05)
    wide = scaled(as_claimed(), "value", 2.5, method="liplt")
    assert verdict("N3", wide).verdict == "undecided"


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (as_claimed().iloc[:0], "no rows"),
        (without_numbers(as_claimed()), "a table lacks"),
        (as_claimed().query("method != 'search' and method != 'data'"), "a table lacks"),
        (as_claimed().query("seed == 0"), "one seed"),
    ],
)
def test_what_is_missing_is_not_tested_and_says_why(name, table, reason):
    found = verdict(name, table)
    assert found.verdict == "not tested"
    assert reason in found.reason
