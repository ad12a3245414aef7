import json
import math
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from pipeline.figures import looks as figures
from pipeline.figures.perturbed import share_scale
from pipeline.figures.tables import read_tables
from pipeline.figures.width import double_descent_facts, draw_double_descent, prepared

STYLE = Path(__file__).parents[2] / "scripts" / "style.mplstyle"
CONTEXT = {
    "scale": "laptop",
    "settings": {"threshold_width": 80, "training": {"loss": "cross_entropy"}},
    "departures": [],
    "code": {},
}


def table(diverged=()):
    rows = []
    for width in (16, 64, 80, 128, 512):
        for seed in range(3):
            height = 100 * math.exp(-(math.log2(width / 80) ** 2) / 4) * (1 + seed / 20)
            lost = (width, seed) in diverged
            rows.append(
                {
                    "width": width,
                    "seed": seed,
                    "points": "train",
                    "stop_reason": "diverged"
                    if lost
                    else "epoch_cap"
                    if width < 80
                    else "gradient_norm",
                    "c_upper": math.nan if lost else 3 * height,
                    "c_lower": math.nan if lost else height,
                    "c_avg": math.nan if lost else height / 2,
                    "train_loss": 1 / width,
                    "test_loss": math.nan if lost else height / 10,
                    "train_error": 0.1,
                    "test_error": 0.5,
                }
            )
    return pd.DataFrame(rows)


@pytest.fixture(autouse=True)
def _style():
    figures.use_style(STYLE)
    yield
    plt.close("all")


def test_files_are_the_same_bytes_each_time(tmp_path):
    for name in ("one", "two"):
        figure = draw_double_descent(table(), CONTEXT)
        figures.save(figure, tmp_path / f"{name}.pdf", tmp_path / f"{name}.png")
    for kind in ("pdf", "png"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()


def test_facts_name_the_peak_and_the_fall():
    facts = double_descent_facts(table(), 80)
    assert facts["c_upper"]["peak_width"] == 80
    expected = 100 * (1 - math.exp(-(math.log2(512 / 80) ** 2) / 4))
    assert facts["test_loss"]["fall_in_per_cent"] == pytest.approx(expected)
    assert facts["stop_reasons"] == {"epoch_cap": 6, "gradient_norm": 9}
    json.dumps(facts)


def test_runs_at_the_cap_are_hollow_and_the_others_filled():
    _, axes = plt.subplots()
    figures.draw_seeds(axes, table(), "width", "c_lower", figures.LOOKS["c_lower"])
    marked = {
        tuple(line.get_xdata()): line.get_markerfacecolor()
        for line in axes.lines
        if line.get_marker() == "o"
    }
    assert marked[(16, 64)] == "white"
    assert marked[(80, 128, 512)] == figures.LOOKS["c_lower"].color


def test_mean_and_band_are_those_of_the_seeds():
    _, axes = plt.subplots()
    data = table()
    figures.draw_seeds(axes, data, "width", "c_lower", figures.LOOKS["c_lower"])
    mean = next(line for line in axes.lines if line.get_label() == figures.LOOKS["c_lower"].label)
    expected = data.groupby("width")["c_lower"].mean()
    assert np.allclose(mean.get_ydata(), expected)
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx((expected + data.groupby("width")["c_lower"].std()).max())


def test_a_band_ends_at_the_lowest_seed():
    _, axes = plt.subplots()
    data = table()
    data["train_loss"] = np.where(data["seed"] == 0, 9.0, 0.1)  # a standard deviation above the mean
    figures.draw_seeds(axes, data, "width", "train_loss", figures.LOOKS["train"])
    assert axes.collections[0].get_paths()[0].vertices[:, 1].min() == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("low", "high", "least", "most"),
    [(1, 1e6, 4, 8), (0.02, 0.5, 4, 6), (20, 80, 3, 6), (0.7, 1.1, 3, 6)],
)
def test_log_axes_have_some_numbers_and_not_many(low, high, least, most):
    _, (first, second) = plt.subplots(1, 2, sharey=True)
    second.plot([0, 1], [low, low * 1.01])
    first.plot([0, 1], [low, high])
    for axes in (first, second):  # the second's own range is no guide
        figures.plain_log_axis(axes)
    bottom, top = second.get_ylim()
    shown = [tick for tick in second.yaxis.get_majorticklocs() if bottom <= tick <= top]
    assert least <= len(shown) <= most


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01, "0.01"), (50, "50"), (1000, "1,000"), (10_000, "10,000"), (-0.5, "\u22120.5"), (0, "0")],
)
def test_numbers_of_all_axes_look_alike(value, text):
    _, axes = plt.subplots()
    figures.width_axis(axes, [16, 64])
    assert figures.PLAIN(value) == text == axes.xaxis.get_major_formatter()(value)
    axes.plot([2, 2e4], [2, 2e4])
    figures.plain_log_x(axes)
    figures.plain_log_axis(axes)
    assert {axis.get_major_formatter()(value) for axis in (axes.xaxis, axes.yaxis)} == {text}


@pytest.mark.parametrize(("low", "high"), [(1e-9, 1e3), (1e-6, 1e2)])
def test_axes_of_many_decades_have_powers_of_ten(low, high):
    _, axes = plt.subplots()
    axes.plot([0, 1], [low, high])
    figures.plain_log_axis(axes)
    assert axes.yaxis.get_major_formatter()(0.01) == "$10^{-2}$"


def test_axes_of_one_scale_have_the_same_numbers():
    _, (first, second) = plt.subplots(1, 2)
    for axes, low in ((first, 0.01), (second, 2)):
        axes.plot([0, 1], [low, 40])
        figures.plain_log_axis(axes)
    share_scale(first, second)
    ends = first.get_ylim()
    assert second.get_ylim() == ends
    assert list(first.yaxis.get_major_locator()()) == list(second.yaxis.get_major_locator()())


def test_diverged_seeds_are_shown_and_left_out_of_the_mean():
    data = table(diverged={(128, 1)})
    figure = draw_double_descent(data, CONTEXT)
    crosses = [line for axes in figure.axes for line in axes.lines if line.get_marker() == "X"]
    assert [list(line.get_xdata()) for line in crosses] == [[128]]
    kept = data[data["width"] == 128]["c_lower"].mean()
    means = [
        line.get_ydata()[3]
        for axes in figure.axes
        for line in axes.lines
        if line.get_label() == figures.LOOKS["c_lower"].label
    ]
    assert means == [pytest.approx(kept)]


@pytest.mark.parametrize("widths", [(16,), (16, 64, 80, 128, 512)])
def test_widths_where_all_seeds_diverged_draw(widths):
    lost = {(width, seed) for width in widths for seed in range(3)}
    draw_double_descent(table(diverged=lost), CONTEXT).canvas.draw()


@pytest.mark.parametrize("share", [0.5, 1])
def test_constant_nets_are_told_and_have_no_bounds(tmp_path, caplog, share):
    given = table().assign(log10_c_upper=9.0)
    given.loc[given.index < share * len(given), ["c_lower", "c_avg"]] = 0.0
    given.to_csv(tmp_path / "sweep.csv", index=False)
    data = read_tables([tmp_path / "sweep.csv"])["sweep"]
    assert f"sweep.csv: {math.ceil(share * 15)} of 15 rows are of nets that are constant" in caplog.text
    assert "lower learning_rate" in caplog.text
    assert data["test_loss"].notna().all()
    left = prepared(data)
    assert (left["c_lower"].dropna() > 0).all()
    assert left["c_upper"].isna().sum() == left["c_avg"].isna().sum() == math.ceil(share * 15)
    facts = double_descent_facts(left, 80)
    assert ("c_lower" in facts) is (share < 1)
    figure = draw_double_descent(left, CONTEXT)
    figure.canvas.draw()
    low, high = figure.axes[0].get_xlim()
    assert low < 16 < 512 < high


def test_threshold_is_drawn_in_every_panel():
    figure = draw_double_descent(table(), CONTEXT)
    for axes in figure.axes:
        assert any(list(line.get_xdata()) == [80, 80] for line in axes.lines)


def test_colours_differ_in_grey():
    def luminance(color):
        return float(np.dot(to_rgb(color), (0.2126, 0.7152, 0.0722)))

    for names in (("c_upper", "c_lower", "c_avg"), ("train", "test")):
        looks = [figures.LOOKS[name] for name in names]
        assert len({look.marker for look in looks}) == len(looks), "told apart without colour"
        levels = sorted(luminance(look.color) for look in looks)
        assert min(b - a for a, b in pairwise(levels)) > 0.03
