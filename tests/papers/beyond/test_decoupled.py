"""Bounds against width where updates, training loss, training error or scale are the same."""

import numpy as np
import pytest
import torch

from papers.beyond.decoupled import cuts, study
from papers.beyond.decoupled import figure as room
from tests.papers import width_tables as given
from tests.papers.helpers import measured_and_drawn
from tests.papers.trained_nets import CLASSES, hollow_marks, made_up_arrays, made_up_run, net

WIDTHS = (16, 32, 64, 80, 128, 256)
EPOCHS = (0, 10, 20, 40, 100, 200, 400, 1000)
SHARES = [0.2, 0.4, 1]
CONTEXT = {
    "scale": "laptop",
    "settings": {
        "equal_updates": given.AT_80["settings"],
        "double_descent": given.AT_80["settings"],
        "decoupled": {"shares": SHARES},
    },
}
FLOOR = 0.5
"""Training loss that nets below the threshold do not get under."""

CLAIMS = ("N1", "N6", "N7", "N8")


def tables(height=None, *, sizes="bound"):
    """Bounds with a peak at width 80 that grow with the epoch, and sizes of outputs like them."""
    data = given.grid(width=WIDTHS, seed=range(4), epoch=EPOCHS)
    wide = data["width"] >= 80
    top = given.peak(data["width"], 80) if height is None else height(data["width"])
    bound = top * (1 + data["epoch"]) ** 0.3 * given.spread(data["seed"])
    loss = 160 / (1 + data["epoch"]) / data["width"].clip(lower=80)
    data = given.bounds(
        data, bound, train_loss=loss.where(wide, FLOOR), train_error=(0.1 - loss).abs().where(wide, 0.2)
    )
    data["train_error"] = np.where(wide, np.where(data["epoch"] >= 400, 0, loss.clip(upper=0.5)), 0.2)
    stop = given.grid(width=WIDTHS, seed=range(4))
    stop = given.bounds(stop, given.peak(stop["width"], 80))
    later = data[data["epoch"].isin([200, 400, 1000])]
    of = later["c_lower"] if sizes == "bound" else given.spread(later["seed"])
    outputs = later[["width", "seed", "epoch"]].assign(logit_norm=of / 3, margin=of / 5)
    return {"equal_updates_epochs": data, "double_descent": stop, "decoupled": outputs}


def verdict(name, given_tables):
    return given.judged(room, name, given_tables, CONTEXT)


# ---------------------------------------------------------------- cuts


def power_laws():
    return cuts.finite_rows(given.epochs())  # training loss 1 / epoch, C_lower 1000 / (width * loss)


def test_interpolation_is_exact_for_power_laws():
    found = cuts.reached_by_all(cuts.at_loss(power_laws(), 1 / 77), power_laws())
    assert set(found["width"]) == {32, 64, 128, 256}
    for _, one in found.iterrows():
        assert one["c_lower"] == pytest.approx(1000 * 77 / one["width"] * (1 + one["seed"] / 100))
    assert set(cuts.at_loss(power_laws(), 2)["epoch"]) == {0}


def test_a_width_with_a_seed_that_misses_the_loss_is_left_out_with_all_narrower_ones():
    data = power_laws()
    short = data[(data["width"] != 64) | (data["seed"] != 1) | (data["epoch"] <= 60)]
    found = cuts.at_loss(short, 1 / 100)
    assert set(cuts.reached_by_all(found, short)["width"]) == {128, 256}
    assert set(cuts.reached_by_half(found, short)["width"]) == {32, 64, 128, 256}
    assert set(cuts.reached_by_half(found[found["seed"] == 0], short)["width"]) == set()


def test_an_error_is_that_of_the_first_checkpoint_that_has_it():
    data = power_laws()
    data["train_error"] = np.where(data["epoch"] >= 60, 0.0, 0.3)
    data.loc[data["width"] == 128, "train_error"] = 0.3
    found = cuts.at_error(data, 0.0)
    assert set(found["epoch"]) == {60}
    assert sorted(found["width"].unique()) == [32, 64, 256]


def test_bounds_are_divided_by_the_size_of_the_same_net():
    found = tables()
    rows = cuts.over_sizes(found["equal_updates_epochs"].assign(c_upper=1.0), found["decoupled"])
    assert set(rows["epoch"]) == {200, 400, 1000}
    assert rows["c_lower_over_logit_norm"].to_numpy() == pytest.approx(np.full(len(rows), 3.0))
    assert rows["c_lower_over_margin"].to_numpy() == pytest.approx(np.full(len(rows), 5.0))


# ---------------------------------------------------------------- study


@pytest.mark.usefixtures("single_threaded")
def test_sizes_of_outputs_are_means_over_the_training_points(tmp_path):
    run, arrays = made_up_run(tmp_path / "run"), made_up_arrays()
    found = study.study(study.Settings(shares=(1,)), arrays, [run])
    assert list(zip(found["seed"], found["epoch"], strict=True)) == [(0, 20), (1, 30)]  # 2 diverged
    logits = net(1, 30, 5)(arrays["x_train"]).double()
    y = torch.arange(len(logits)) % CLASSES
    margins = [
        (row[c] - max(row[k] for k in range(CLASSES) if k != c)).item()
        for row, c in zip(logits, y.tolist(), strict=True)
    ]
    assert found["margin"].iloc[1] == pytest.approx(np.mean(margins))
    assert found["logit_norm"].iloc[1] == pytest.approx(logits.norm(dim=1).mean().item())
    assert min(margins) < 0  # a wrong class has a negative margin


def test_shares_are_of_all_epochs():
    assert cuts.epochs_of(SHARES, 5000) == [1000, 2000, 5000]


# ---------------------------------------------------------------- claims


@pytest.mark.parametrize("name", CLAIMS)
def test_what_is_claimed_holds_where_it_is_so(name):
    finding = verdict(name, tables())
    assert finding.verdict == "holds", finding


@pytest.mark.parametrize("name", ["N1", "N6", "N8"])
def test_bounds_that_grow_with_width_speak_against(name):
    finding = verdict(name, tables(lambda width: width**0.5))
    refuted = {part.verdict for part in finding.parts.values()}
    assert finding.verdict in ("does not hold", "holds in part"), finding
    assert "does not hold" in refuted


def test_no_hump_at_equal_updates_is_no_double_descent():
    assert verdict("N1", tables(lambda width: width**-0.5)).verdict == "does not hold"


def test_a_slope_that_is_less_than_half_of_that_at_the_stop_is_not_as_steep():
    # at equal loss wide nets have trained for a shorter time, which makes their bounds smaller
    flat = tables(lambda width: width**0.12)
    finding = verdict("N6", flat)
    slopes = {name: part for name, part in finding.parts.items() if name.startswith("slope")}
    beside = {name: part for name, part in finding.parts.items() if "over that at the stop" in name}
    assert {part.verdict for part in slopes.values()} == {"holds"}, finding
    assert {part.verdict for part in beside.values()} == {"does not hold"}, finding


def test_outputs_of_equal_scale_leave_the_hump():
    finding = verdict("N7", tables(sizes="equal"))
    assert finding.verdict == "does not hold", finding


def test_bounds_without_a_hump_have_none_to_explain():
    finding = verdict("N7", tables(lambda width: width**-0.5))
    assert finding.verdict == "not tested"
    assert "itself has no clear hump" in finding.reason


def test_a_flank_of_which_most_runs_diverged_is_not_tested():
    found = tables()
    rows = found["equal_updates_epochs"]
    lost = (rows["width"] > 80) & (rows["seed"] < 3) & (rows["epoch"] > 100)
    finding = verdict("N1", found | {"equal_updates_epochs": rows[~lost]})
    assert finding.verdict == "not tested"
    assert "2 of 8 runs on the wide flank" in finding.reason


def test_errors_that_few_runs_get_to_are_not_tested():
    found = tables()
    rows = found["equal_updates_epochs"]
    stuck = rows["train_error"].mask(rows["seed"] > 0, rows["train_error"].clip(lower=0.005))
    finding = verdict("N8", found | {"equal_updates_epochs": rows.assign(train_error=stuck)})
    verdicts = {name: part.verdict for name, part in finding.parts.items()}
    assert verdicts["C_lower, 0 %"] == verdicts["C_upper, 0 %"] == "not tested"
    assert verdicts["C_lower, 1 %"] == "holds"
    assert "3 of 12 runs from the threshold on get there" in finding.reason


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_need_numbers_and_seeds(name):
    given.check_degenerate(room, name, tables(), CONTEXT)
    given.check_one_seed(room, name, tables(), CONTEXT)


# ---------------------------------------------------------------- drawing


def test_narrow_nets_are_left_out_where_they_do_not_get():
    facts, drawing = measured_and_drawn(room, tables(), CONTEXT)
    assert list(facts["at_equal_loss"]["0.03 nats"]["seeds"]) == ["80", "128", "256"]
    top = drawing.axes[:4]
    drawn = [{round(x) for line in axes.lines for x in line.get_xdata() if x > 1} for axes in top]
    assert drawn[0] == drawn[3] == set(WIDTHS)
    assert drawn[2] == {80, 128, 256}
    assert [text.get_text() for text in top[0].get_legend().get_texts()] == [
        "200 epochs", "400 epochs", "1,000 epochs",
    ]  # fmt: skip


def test_marks_are_hollow_only_where_a_run_stopped_at_the_cap():
    found = tables()
    rows = found["equal_updates_epochs"].drop(columns="stop_reason")
    stop = found["double_descent"]
    stop["stop_reason"] = np.where(stop["width"] < 64, "epoch_cap", "gradient_norm")
    _, drawing = measured_and_drawn(
        room, found | {"equal_updates_epochs": rows, "double_descent": stop}, CONTEXT
    )
    assert hollow_marks(drawing.axes[0]) == set()
    assert hollow_marks(drawing.axes[1]) == {16, 32}
    assert "4 at the stop" in drawing.texts[0].get_text()


def test_it_draws_where_no_net_gets_to_any_loss():
    rows = tables()["equal_updates_epochs"].assign(train_loss=2.0, train_error=0.5)
    facts, drawing = measured_and_drawn(room, tables() | {"equal_updates_epochs": rows}, CONTEXT)
    assert facts["at_equal_error"]["5 %"]["seeds"] == {}
    labels = [text.get_text() for text in drawing.axes[2].get_legend().get_texts()]
    assert labels[0] == "5 % (too few runs)"
    low, high = drawing.axes[0].get_ylim()
    heights = 10 ** rows["log10_c_upper"] / 3  # C_lower
    shown = heights[rows["epoch"].isin([200, 400, 1000])]
    assert low < shown.min() < shown.max() < high
    assert high < 1000 * low
