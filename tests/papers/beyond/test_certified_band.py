import numpy as np
import pytest

from papers.beyond.certified_band import figure, study
from tests.papers.helpers import job_context, judged, measured_and_drawn
from tests.papers.trained_nets import grid, made_up_arrays, made_up_run, scaled, spread

ROOM = "certified_band"
CONTEXT = job_context(ROOM, {"label_noise": {"threshold_width": 80}})
WIDTHS = (32, 64, 128, 256, 512)
HILL = {32: 1.0, 64: 2.0, 128: 3.0, 256: 2.0, 512: 1.0}


def bands(width_of_band=1.2, noise_factor=2.0):
    """The constant lies between a hill and ``width_of_band`` times it, which noise multiplies."""
    rows = grid(
        noise=[0, 100], width=WIDTHS, seed=range(4), method=["search", "seqlip", "lipsdp_descent"]
    )
    height = rows["width"].map(HILL) * np.where(rows["noise"] == 100, noise_factor, 1.0)
    factor = rows["method"].map({"search": 1.0, "seqlip": 3.0, "lipsdp_descent": width_of_band})
    upper = rows["method"] != "search"
    return rows.assign(
        value=height * factor * spread(rows["seed"]),
        kind=np.where(upper, "upper", "lower"),
        certified=upper,
        stop_reason=np.where(rows["width"] > 64, "gradient_norm", "epoch_cap"),
        train_error=np.where(rows["width"] > 64, 0.0, 0.2),
        seconds=1.0,
    )


def found(claim, table):
    return judged(claim, ROOM, figure.measure({ROOM: table}, CONTEXT))


@pytest.mark.usefixtures("single_threaded")
def test_the_ends_of_the_band_are_in_order_at_the_least_and_the_most_noise(tmp_path):
    settings = study.Settings(
        widths=(5, 7),
        seeds=1,
        search_starts=4,
        search_steps=3,
        search_radius=2,
        descent_widths=(5,),
        seed=0,
    )
    runs = [
        made_up_run(tmp_path / f"{width}-{noise}", width).model_copy(update={"noise": noise})
        for width in (5, 7)
        for noise in (0, 50, 100)
    ]
    for run in runs:  # the made-up summary has no errors
        text = run.summary.read_text().replace('"seed": 0,', '"seed": 0, "train_error": 0.5,')
        text = text.replace('"seed": 1,', '"seed": 1, "train_error": 0.5,')
        run.summary.write_text(text.replace('"seed": 2,', '"seed": 2, "train_error": 0.5,'))
    table = study.study(settings, made_up_arrays(), runs)
    assert set(table["noise"]) == {0, 100}
    assert set(table["seed"]) == {0}
    for (_, width), own in table.groupby(["noise", "width"]):
        assert ("lipsdp_descent" in set(own["method"])) == (width == 5)
        lower = own.loc[own["kind"] == "lower", "value"].item()
        upper = own[own["kind"] == "upper"]
        assert upper["certified"].all()
        assert (upper["value"] * (1 + 1e-6) >= lower).all()


def test_the_upper_end_is_the_least_certified_bound():
    table = bands()
    assert set(figure.prepared(table)["method"]) == {"lipsdp_descent"}
    table.loc[table["method"] == "lipsdp_descent", "certified"] = False
    assert set(figure.prepared(table)["method"]) == {"seqlip"}
    facts = figure.measure({ROOM: table}, CONTEXT)
    assert facts["uncertified_upper_bounds"] == ["lipsdp_descent"]
    assert facts["bands"]["0"]["128"]["upper_over_lower"]["estimate"] == pytest.approx(3)


def test_a_narrow_band_proves_the_peak():
    finding = found(figure.constant_has_a_peak, bands())
    assert finding.verdict == "holds"
    assert finding.estimate == pytest.approx(1 - 1.2 / 3, abs=0.01)


def test_a_wide_band_leaves_the_peak_open():
    finding = found(figure.constant_has_a_peak, bands(width_of_band=2.99, noise_factor=1.0))
    assert finding.verdict == "undecided"
    assert finding.estimate < 0.05


def test_a_curve_that_rises_to_the_end_refutes_the_peak():
    rising = bands()
    rising["value"] *= rising["width"] ** 2 / rising["width"].map(HILL)
    finding = found(figure.constant_has_a_peak, rising)
    assert finding.verdict == "does not hold"


def test_flanks_that_were_not_trained_are_not_judged():
    table = bands().assign(stop_reason="epoch_cap", train_error=0.01)
    finding = found(figure.constant_has_a_peak, table)
    assert finding.verdict == "not tested"
    assert "reach the stop" in finding.reason


@pytest.mark.parametrize(
    ("factor", "verdict"), [(2.0, "holds"), (1.1, "undecided"), (0.5, "does not hold")]
)
def test_noise_is_judged_at_the_widths_that_fit(factor, verdict):
    finding = found(figure.noise_raises_the_constant, bands(noise_factor=factor))
    assert finding.verdict == verdict
    assert "width 64" not in finding.reason
    assert "width 512" in finding.reason


def test_one_width_may_speak_against_noise():
    table = scaled(bands(), "value", 0.2, width=512, noise=100)
    finding = found(figure.noise_raises_the_constant, table)
    assert (finding.verdict, finding.part) == ("holds in part", "width 512")


def test_without_noise_or_rows_nothing_is_tested():
    alone = bands().query("noise == 0")
    finding = found(figure.noise_raises_the_constant, alone)
    assert finding.verdict == "not tested"
    assert "one level" in finding.reason
    assert found(figure.constant_has_a_peak, bands().query("width < 100")).verdict == "not tested"
    for claim in (figure.constant_has_a_peak, figure.noise_raises_the_constant):
        assert found(claim, bands().iloc[:0]).verdict == "not tested"
        assert found(claim, bands().query("seed == 0")).verdict == "not tested"


def test_it_draws_hollow_marks_for_the_looser_bound():
    table = bands()
    table = table[(table["method"] != "lipsdp_descent") | (table["width"] < 512)]
    facts, drawing = measured_and_drawn(figure, {ROOM: table}, CONTEXT)
    assert facts["bands"]["0"]["512"]["methods"] == ["seqlip"]
    hollow = [line for line in drawing.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert {float(line.get_xdata()[0]) for line in hollow} == {512}
