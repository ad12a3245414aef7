"""Gradient descent and Adam."""

import numpy as np
import pandas as pd
import pytest

from papers.khromov_singh_2024.optimizer import figure as room
from pipeline.statistics.growth import training_rows
from tests.papers.helpers import measured_and_drawn
from tests.papers.training_tables import EPOCHS, context, epochs_table, growing
from tests.papers.width_tables import check_degenerate, check_one_seed, judged

CONTEXT = context("optimizer")


def tables():
    slow = epochs_table(variant="adam~0")
    fast = epochs_table(variant="adam~1", epochs=EPOCHS[:-1], factor=10)
    return {"optimizer_epochs": pd.concat([slow, fast]), "optimizer": pd.DataFrame()}


def test_optimisers_at_the_same_epoch_and_at_their_ends():
    facts, _ = measured_and_drawn(room, tables(), CONTEXT)
    assert facts["epoch_of_both"] == 500
    same = facts["adam_over_sgd_of_the_same_seeds"]["same epoch"]
    assert same["c_lower"]["estimate"] == pytest.approx(10)
    assert facts["end_epochs"] == {"SGD": [500] * 3, "Adam": [500] * 3}
    assert facts["end_epochs_of_the_paper"] == {"SGD": 83000, "Adam": 1100}
    ends = room.own_ends(training_rows(tables()["optimizer_epochs"]), 1e-4)
    assert not ends["met"].any()
    assert sorted(set(ends["epoch"])) == [500, 1000]


def test_marks_at_the_ends_are_those_of_the_facts():
    facts = room.measure(tables(), CONTEXT)
    facts["ends"]["SGD"][1] |= {"c_lower": 123.0, "met": False}
    right = room.draw(tables(), facts, CONTEXT).axes[1]
    (mark,) = [line for line in right.lines if list(line.get_ydata()) == [123.0]]
    assert mark.get_markerfacecolor() == "white"


def test_distances_at_the_ends_are_on_an_axis_from_zero():
    _, drawing = measured_and_drawn(room, tables(), CONTEXT)
    right = drawing.axes[3]
    assert right.get_yscale() == "linear"
    assert right.get_ylim()[0] == 0


# ---------------------------------------------------------------- claim


def as_claimed():
    rows = pd.concat([growing("adam~0"), growing("adam~1")], ignore_index=True)
    factor = np.where(rows["variant"] == "adam~1", 5, 1)
    bigger = {name: rows[name] * factor for name in ("c_lower", "c_avg", "parameter_distance")}
    bigger["gradient_norm"] = np.where(rows["epoch"] < 3000, 1, 0.001)
    bigger["log10_c_upper"] = rows["log10_c_upper"] + np.log10(factor)
    return {"optimizer_epochs": rows.assign(**bigger)}


def swapped(given):
    rows = given["optimizer_epochs"]
    names = rows["variant"].replace({"adam~0": "adam~1", "adam~1": "adam~0"})
    return {"optimizer_epochs": rows.assign(variant=names)}


def test_adam_is_above_where_the_table_says_so():
    finding = judged(room, "C21", as_claimed(), CONTEXT)
    assert finding.verdict == "holds", finding
    assert finding.estimate == pytest.approx(5)
    assert finding.reason.count("holds 5 ") == 8


def test_adam_is_not_above_where_the_table_speaks_against_it():
    finding = judged(room, "C21", swapped(as_claimed()), CONTEXT)
    assert finding.verdict == "does not hold", finding


def test_adam_is_judged_at_its_own_end():
    rows = as_claimed()["optimizer_epochs"]
    early = (rows["variant"] == "adam~1") & (rows["epoch"] >= 100)
    rows = rows.assign(gradient_norm=rows["gradient_norm"].mask(early, 0.005))
    finding = judged(room, "C21", {"optimizer_epochs": rows}, CONTEXT)
    assert finding.estimate == pytest.approx(5 * (101 / 3001) ** 0.5)
    assert finding.verdict == "holds in part"


def test_the_claim_needs_numbers_and_seeds():
    check_degenerate(room, "C21", as_claimed(), CONTEXT)
    check_one_seed(room, "C21", as_claimed(), CONTEXT)
