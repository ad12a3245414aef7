import numpy as np
import pandas as pd
import pytest

from papers.beyond.sensitivity import figure, study
from pipeline.config.loading import load_config
from pipeline.config.training import Training
from tests.papers.helpers import job_context, judged, measured_and_drawn
from tests.papers.trained_nets import grid, scaled, spread
from tests.papers.training_runs import RAW, made_up_arrays, made_up_run

ROOM = "sensitivity"
SWEEP = "one_factor_at_a_time"
CONTEXT = job_context(ROOM, {SWEEP: {"threshold_width": 80}})
HILL = {20: 1.0, 40: 2.0, 80: 3.0, 160: 2.0, 320: 1.5}


def sweeps():
    """Every variant has a hill that falls by half to its wide end and more to the other."""
    rows = grid(variant=list(figure.VARIANTS), width=list(HILL), seed=range(3))
    dead = (rows["seed"] == 0) & (rows["variant"] == "redraw~0")
    return rows.assign(
        stop_reason="epoch_cap",
        c_lower=rows["width"].map(HILL) * spread(rows["seed"]),
        train_error=np.where(rows["width"] > 80, 0.001, 0.2),
        alive_share_at_start=np.where(dead, 0.01, 0.5),
        alive_share_at_stop=np.where(dead & (rows["width"] == 40), 0.0, 0.5),
    )


def found(table):
    facts = figure.measure({ROOM: table}, CONTEXT)
    return judged(figure.hangs_on_no_factor, ROOM, facts)


# ---------------------------------------------------------------- study


def run_of(folder, variant="base~0", **changed):
    """A made-up run, to be trained for some epochs of four updates."""
    own = load_config(RAW | {"scale": "smoke"}).setup(f"{SWEEP}/base~0").training
    own = own.model_dump(mode="json") | {"batch_size": 8, "min_epochs": 6, "max_epochs": 6} | changed
    run = made_up_run(folder)
    run.summary.unlink()  # it need not have been trained
    run.checkpoints.unlink()
    training = Training.model_validate(own)
    return run.model_copy(update={"experiment": SWEEP, "variant": variant, "training": training})


@pytest.mark.usefixtures("single_threaded")
def test_equal_variants_have_equal_nets_and_others_have_not(tmp_path):
    runs = [
        run_of(tmp_path / "base"),
        run_of(tmp_path / "same", "same~0"),
        run_of(tmp_path / "rate", "rate~2", learning_rate=0.4),
        run_of(tmp_path / "order", "order~1", shuffle=True, order_seed=1),
    ]
    table = study.study(study.Settings(seeds=2, seed=0), made_up_arrays(), runs)
    assert all(own["seed"].tolist() == [0, 1] for _, own in table.groupby("variant"))
    assert set(table["epoch"]) == {6}
    by_variant = table.groupby("variant")["c_lower"].apply(tuple)
    assert by_variant["base~0"] == by_variant["same~0"]
    assert len(set(by_variant)) == 3
    assert (table["c_lower"] <= 10 ** table["log10_c_upper"] * (1 + 1e-6)).all()
    starts = table.groupby("seed")["alive_share_at_start"].nunique()
    assert (starts == 1).all()


@pytest.mark.usefixtures("single_threaded")
def test_a_net_that_diverges_is_a_row_without_numbers(tmp_path):
    run = run_of(tmp_path / "run", learning_rate=1e30, clip_norm=None)
    table = study.study(study.Settings(seeds=1, seed=0), made_up_arrays(), [run])
    assert table["stop_reason"].tolist() == ["diverged"]
    assert "c_lower" not in table or table["c_lower"].isna().all()


def test_every_variant_of_the_set_up_has_a_name_and_as_many_updates():
    for scale in ("paper", "laptop", "smoke"):
        config = load_config(RAW | {"scale": scale})
        names = [variant.partition("/")[2] for variant in config.variants(SWEEP)]
        assert set(names) <= set(figure.VARIANTS)
        trainings = [config.setup(f"{SWEEP}/{name}").training for name in names]
        updates = {own.max_epochs * -(-4000 // own.batch_size) for own in trainings}
        assert len(updates) == 1
        assert all(own.min_epochs == own.max_epochs for own in trainings)


# ---------------------------------------------------------------- figure and claim


def test_the_claim_holds_where_every_variant_has_a_peak():
    finding = found(sweeps())
    assert finding.verdict == "holds"
    assert finding.estimate == pytest.approx(0.5, abs=0.01)


def test_one_variant_without_a_peak_speaks_against_it():
    flat = scaled(sweeps(), "c_lower", 3, variant="order~1", width=320)
    finding = found(flat)
    assert (finding.verdict, finding.part) == ("holds in part", "new batch order each epoch")
    assert finding.estimate == pytest.approx(1 - 4.5 / 3, abs=0.01)


def test_it_does_not_hold_where_no_variant_has_one():
    assert found(scaled(sweeps(), "c_lower", 3, width=320)).verdict == "does not hold"


def test_the_peak_may_be_anywhere_on_the_way():
    moved = scaled(sweeps(), "c_lower", 3, variant="rate~1", width=160)
    assert found(moved).verdict == "holds"


def test_variants_that_do_not_fit_or_diverge_are_not_judged():
    unfit = sweeps()
    unfit.loc[(unfit["variant"] == "rate~1") & (unfit["width"] == 320), "train_error"] = 0.1
    assert found(unfit).verdict == "holds"  # the nets of width 160 fit, half of those beyond the peak
    unfit.loc[unfit["variant"] == "rate~1", "train_error"] = 0.1
    finding = found(unfit)
    assert finding.verdict == "holds in part"
    assert "0 of 6 nets wider than the peak" in finding.reason
    lost = sweeps()
    lost.loc[(lost["variant"] == "rate~2") & (lost["seed"] == 1), "c_lower"] = np.nan
    assert "5 of 15 runs diverged" in found(lost).reason


def test_flanks_end_at_a_quarter_of_the_threshold_and_at_four_times_it():
    wide = sweeps()
    beyond = wide[wide["width"] == 320].assign(width=640, c_lower=0.1)
    narrow = wide[wide["width"] == 20].assign(width=10, c_lower=0.1)
    assert found(pd.concat([wide, beyond, narrow])) == found(wide)
    finding = found(wide[wide["width"] < 320])
    assert finding.verdict == "not tested"
    assert "no nets of width 320" in finding.reason


def test_without_rows_or_with_one_seed_nothing_is_tested():
    assert found(sweeps().iloc[:0]).verdict == "not tested"
    assert found(sweeps().query("seed == 0")).verdict == "not tested"
    assert found(sweeps().assign(c_lower=np.nan)).verdict == "not tested"


def test_redrawing_is_counted_and_compared():
    table = scaled(sweeps(), "c_lower", 0.9, variant="redraw~0", width=40)
    facts = figure.measure({ROOM: table}, CONTEXT)["redrawing"]
    assert (facts["starts"], facts["starts_that_are_redrawn"]) == (15, 5)
    assert facts["nets_with_a_dead_class_without_redrawing"] == 1
    ratios = facts["c_lower_with_over_without"]
    assert ratios["40"]["estimate"] == pytest.approx(1 / 0.9)
    assert ratios["80"]["estimate"] == pytest.approx(1)
    few = table[table["variant"] != "redraw~0"]
    assert figure.measure({ROOM: few}, CONTEXT)["redrawing"] == {}


def test_it_draws_a_row_per_variant_and_hollow_marks_for_untrained_ones():
    table = sweeps()
    table.loc[table["variant"] == "rate~1", "train_error"] = 0.1
    _, drawing = measured_and_drawn(figure, {ROOM: table}, CONTEXT)
    curves, heights, places = drawing.axes
    assert len(curves.lines) == len(figure.VARIANTS) + 1
    hollow = [line for line in places.lines if line.get_markerfacecolor() == "white"]
    assert [line.get_ydata()[0] for line in hollow] == [list(figure.VARIANTS).index("rate~1")]
    assert heights.get_yticklabels()[0].get_text() == "base"
