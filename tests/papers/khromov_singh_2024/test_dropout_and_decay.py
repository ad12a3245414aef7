"""Weight decay and dropout."""

import math

import pandas as pd
import pytest

from papers.khromov_singh_2024.dropout_and_decay import figure as room
from tests.papers.helpers import measured_and_drawn
from tests.papers.training_tables import context, variants
from tests.papers.width_tables import check_degenerate, check_one_seed, judged

CONTEXT = context("dropout_and_decay")


def nets(decay=(1, 0.8, 0.4), dropout=(0.9, 0.7), train_error=0.01):
    """C_lower over that with neither, by strength."""
    sizes = dict(zip((0, 500, 2500), decay, strict=True)), dict(zip((20, 40), dropout, strict=True))
    names = ("decay", "dropout")
    tables = [
        variants(name, list(by), lambda n, by=by: n.map(by))
        for name, by in zip(names, sizes, strict=True)
    ]
    return {"dropout_and_decay": pd.concat(tables).assign(train_error=train_error)}


def test_nets_with_neither_stand_at_the_start_of_both():
    data = room.prepared(nets()["dropout_and_decay"])
    strengths = data.groupby("method")["regularisation"].unique().map(sorted)
    assert strengths["decay"] == [0, 0.0005, 0.0025]
    assert strengths["dropout"] == [0, 0.2, 0.4]
    assert data.groupby(["method", "regularisation"])["seed"].nunique().eq(4).all()


def test_both_lower_the_bound_where_they_do():
    facts, drawing = measured_and_drawn(room, nets(), CONTEXT)
    assert facts["dropout"]["by_strength"]["0.4"]["over_none"]["c_upper"]["estimate"] == pytest.approx(
        0.7
    )
    # through (0, 0), (1/5, log 0.8), (1, log 0.4), centred at 0.4
    slope = (-0.2 * math.log(0.8) + 0.6 * math.log(0.4)) / (0.16 + 0.04 + 0.36)
    assert facts["decay"]["trend_of_log_c_lower"]["estimate"] == pytest.approx(slope)
    finding = judged(room, "C26", nets(), CONTEXT)
    assert finding.verdict == "holds", finding
    assert "weight decay 0.0025: holds 0.4 " in finding.reason
    assert len(drawing.axes) == 4


def test_one_of_them_is_not_both():
    finding = judged(room, "C26", nets(dropout=(1.1, 1.3)), CONTEXT)
    assert finding.verdict == "holds in part", finding
    assert finding.part in ("dropout 0.2", "dropout 0.4", "trend with dropout")
    assert judged(room, "C26", nets((1, 1.2, 1.5), (1.1, 1.3)), CONTEXT).verdict == "does not hold"


def test_nets_that_have_not_learnt_are_not_judged():
    table = nets()["dropout_and_decay"]
    error = table["variant"].map({"decay~2500": 0.3}).fillna(0.01)
    finding = judged(room, "C26", {"": table.assign(train_error=error)}, CONTEXT)
    assert finding.verdict == "holds in part"
    assert "weight decay 0.0025: not tested (training error 30 %)" in finding.reason
    assert "trend with weight decay: not tested (fewer than three strengths" in finding.reason
    assert judged(room, "C26", nets(train_error=0.3), CONTEXT).verdict == "not tested"


def test_nets_with_neither_are_needed():
    table = nets()["dropout_and_decay"]
    rows = table[table["variant"] != "decay~0"]
    finding = judged(room, "C26", {"": rows}, CONTEXT)
    assert finding.verdict == "not tested"
    assert "neither weight decay nor dropout are missing" in finding.reason


def test_the_claim_needs_numbers_and_seeds():
    check_degenerate(room, "C26", nets(), CONTEXT)
    check_one_seed(room, "C26", nets(), CONTEXT)
