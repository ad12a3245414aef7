import re
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from papers.khromov_singh_2024.subsampling import figure, study
from pipeline.figures.methods import REFERENCE
from pipeline.jobs.command import CommandError
from tests.papers.helpers import job_context, judged, measured_and_drawn
from tests.papers.trained_nets import (
    NAME,
    SETTINGS,
    grid,
    jacobian_norm,
    made_up_arrays,
    made_up_run,
    net,
    nets,
    only,
    scaled,
    spread,
    without_numbers,
)

ROOM = "subsampling"
CONTEXT = job_context(ROOM, SETTINGS)

# ---------------------------------------------------------------- study


def test_subsets_against_all_of_them():
    values = np.array([1.0, 2.0, 2.5, 4.0, 7.0])
    for size in (2, 3, 5):
        maxima = [max(subset) for subset in combinations(values, size)]
        mean, std = study.maximum_of_subset(values, size)
        assert mean == pytest.approx(np.mean(maxima))
        assert std == pytest.approx(np.std(maxima))


def test_tail_of_a_known_distribution():
    # uniform numbers have a tail of shape -1, and a largest value with a known mean
    values = np.sort(np.random.default_rng(0).random(20_000))
    tail = study.fitted_tail(values, 0.1)
    assert tail[1] == pytest.approx(-1, abs=0.05)
    for size in (1000, 100_000):
        expected = study.mean_maximum(*tail, 0.1, size)
        assert 1 - expected == pytest.approx(1 / (size + 1), abs=2e-4)


@pytest.mark.usefixtures("single_threaded")
def test_rows_say_what_all_points_have(tmp_path):
    arrays = made_up_arrays()
    settings = study.Settings(
        widths=(5,), sizes=(10, 30, 1000), draws=20, fresh_points=70, tail=0.5, seed=0
    )
    table = study.study(settings, arrays, [made_up_run(tmp_path / "run")])
    largest = max(jacobian_norm(net(0, 20, 5), x) for x in arrays["x_train"])
    own = only(table, seed=0, points="train", way="exact").set_index("size")
    assert list(own.index) == [10, 30]
    assert own.loc[30, "mean"] == pytest.approx(largest)
    assert own.loc[30, "shortfall"] == pytest.approx(0)
    drawn = only(table, seed=0, way="drawn").set_index("size")
    assert abs(drawn.loc[10, "mean"] - own.loc[10, "mean"]) < 5 * own.loc[10, "std"] / 20**0.5
    assert set(only(table, points="fresh")["size"]) == {10, 30, 35, 70}
    assert set(only(table, way="tail")["size"]) == {10, 30, 35, 70}


@pytest.mark.usefixtures("single_threaded")
@pytest.mark.parametrize("dead", [{0}, {0, 1}])
def test_constant_nets_have_no_rows(tmp_path, monkeypatch, caplog, dead):
    """Seed 2 has diverged."""

    def some_dead(seed, epoch, width):
        model = net(seed, epoch, width)
        if seed in dead:
            model.load_state_dict({name: 0 * weight for name, weight in model.state_dict().items()})
        return model

    monkeypatch.setattr("tests.papers.trained_nets.net", some_dead)
    settings = study.Settings(widths=(5,), sizes=(10,), draws=2, fresh_points=30, tail=0.5, seed=0)
    run = made_up_run(tmp_path / "run")
    if dead == {0}:
        assert set(study.study(settings, made_up_arrays(), [run])["seed"]) == {1}
        assert re.search("1 of 2 nets in .*run are constant", caplog.text)
    else:
        with pytest.raises(CommandError, match=r"no net in .*run can be measured.* lower learning_rate"):
            study.study(settings, made_up_arrays(), [run])


# ---------------------------------------------------------------- figure


def table_of_nets():
    rows = []
    for about, height in nets():
        common = about | {"full": height, "std": 0.1}
        for size, short in ((1000, 0.1), (2000, 0.04), (4000, 0.0)):
            values = {"size": size, "mean": height * (1 - short), "shortfall": short}
            rows.append(common | values | {"points": "train", "way": "exact", "draws": None})
            rows.append(common | values | {"points": "train", "way": "drawn", "draws": 100})
        for points, way, factor in (("fresh", "exact", 1.1), ("train", "tail", 1.05)):
            values = {"points": points, "way": way, "size": 8000, "mean": height * factor, "draws": None}
            full = height * 1.1 if points == "fresh" else height
            rows.append(common | values | {"full": full, "shortfall": 0.0})
    return pd.DataFrame(rows)


def test_it_draws_the_papers_values_as_rings():
    _, drawing = measured_and_drawn(figure, {ROOM: table_of_nets()}, CONTEXT)
    assert all(axes.lines for axes in drawing.axes)
    (rings,) = [
        line for line in drawing.axes[0].lines if line.get_markersize() == REFERENCE["markersize"]
    ]
    assert list(rings.get_ydata()) == [20.87, 15.69, 10.54, 7.76, 5.92]
    assert rings.get_xdata()[2] == pytest.approx(200_000 / 1_281_167)


def test_doublings_and_extrapolation():
    facts = figure.measure({ROOM: table_of_nets()}, CONTEXT)
    own = facts["64"]
    gains = own["points_gained_per_doubling"]
    assert gains["1000 to 2000"]["estimate"] == pytest.approx(6)
    assert gains["2000 to 4000"]["estimate"] == pytest.approx(4)
    assert own["fresh_maximum_over_trained"]["estimate"] == pytest.approx(1.1)
    assert own["predicted_over_fresh_maximum"]["estimate"] == pytest.approx(1.05 / 1.1)
    assert own["largest_deviation_of_draws_in_standard_errors"] == pytest.approx(0)
    assert facts["paper"]["shortfall"]["200000"] == 10.54
    at_share = figure.at_share_of_paper({ROOM: table_of_nets()}, CONTEXT["printed"])
    assert facts["at_the_share_of_the_paper"] == at_share


# ---------------------------------------------------------------- claim


def as_claimed():
    """Each doubling gains 4 per cent."""
    sizes = [125, 250, 500, 1000, 2000, 4000]
    rows = grid(**{key: [value] for key, value in NAME.items()}, width=[64], seed=range(4), size=sizes)
    shortfall = 0.04 * np.log2(4000 / rows["size"]) * spread(rows["seed"])
    return rows.assign(points="train", way="exact", shortfall=shortfall)


def verdict(rows):
    found = figure.at_share_of_paper({ROOM: rows}, CONTEXT["printed"])
    return judged(figure.subset_falls_short, ROOM, {"at_the_share_of_the_paper": found})


def test_a_subset_falls_short_where_the_table_says_so():
    found = verdict(as_claimed())
    assert found.verdict == "holds"
    shortfall = 0.04 * np.log2(1_281_167 / 200_000)
    assert f"shortfall: holds {shortfall:.3g} " in found.reason
    assert "gain of a doubling: holds 0.04 " in found.reason
    assert "gain of the next / of the last doubling: holds 1 " in found.reason


def test_a_subset_that_misses_much_or_gains_unevenly_speaks_against_it():
    much = verdict(scaled(as_claimed(), "shortfall", 5)).reason
    assert "shortfall: does not hold" in much
    assert "gain of a doubling: does not hold" in much
    uneven = as_claimed().assign(
        shortfall=lambda rows: 2000 / rows["size"] ** 1.5 * spread(rows["seed"])
    )
    assert "last doubling: does not hold 0.35" in verdict(uneven).reason


def test_a_subset_that_misses_next_to_nothing_holds():
    assert verdict(scaled(as_claimed(), "shortfall", 0.1)).verdict == "holds"


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (as_claimed().iloc[:0], "no rows"),
        (as_claimed()[["seed"]], "lacks"),
        (without_numbers(as_claimed()), "no values"),
        (as_claimed().query("seed == 0"), "one seed"),
    ],
)
def test_what_is_missing_is_not_tested_and_says_why(rows, reason):
    found = verdict(rows)
    assert found.verdict == "not tested"
    assert reason in found.reason
