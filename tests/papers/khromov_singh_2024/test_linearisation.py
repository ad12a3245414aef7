"""The net linearised in its parameters."""

import math

import pandas as pd
import pytest
import torch

from papers.khromov_singh_2024.linearisation import figure as room
from papers.khromov_singh_2024.linearisation import study
from tests.papers.helpers import job_context, measured_and_drawn
from tests.papers.trained_nets import (
    NAME,
    SETTINGS,
    grid,
    jacobian_norm,
    made_up_arrays,
    made_up_run,
    net,
    only,
    scaled,
    spread,
)
from tests.papers.width_tables import check_degenerate, check_one_seed, judged

CONTEXT = job_context("linearisation", SETTINGS, "laptop")

# ---------------------------------------------------------------- study


@pytest.mark.usefixtures("single_threaded")
def test_linearised_bound_by_hand(tmp_path):
    arrays = made_up_arrays()
    settings = study.Settings(points=4, seed=0)
    table = study.study(settings, arrays, [made_up_run(tmp_path / "run")])
    own = only(table, seed=1)
    values = own[own["point"].isna()].set_index("quantity")["value"]
    start, end = net(1, 0, 5), net(1, 30, 5)
    pairs = zip(start.parameters(), end.parameters(), strict=True)
    distance = math.sqrt(sum((a - b).square().sum().item() for a, b in pairs))
    assert values["distance"] == pytest.approx(distance, rel=1e-5)
    norms = [jacobian_norm(end, x) for x in arrays["x_train"]]
    assert values["c_final"] == pytest.approx(max(norms))
    mixed = only(own, quantity="mixed")
    assert mixed["point"].nunique() == 4
    assert values["mixed_largest"] == mixed["value"].max()
    assert values["bound"] == pytest.approx(values["c_initial"] + distance * mixed["value"].max())
    # the bound holds for the linearised net itself
    assert (
        _linearised_norm(start, end, arrays["x_train"][int(mixed["point"].iloc[0])]) <= values["bound"]
    )


def _linearised_norm(start, end, x):
    """Norm of J + dJ for J = D2 W2 D1 W1, whose slopes D do not change with the weights."""
    first, second = (start[place].weight.detach().double() for place in (0, 2))
    first_way, second_way = (
        end[place].weight.detach().double() - weight for place, weight in ((0, first), (2, second))
    )
    hidden = first @ x.double()
    on = (hidden > 0).double()
    outputs = (second @ hidden.relu() > 0).double().unsqueeze(1)
    changed = second * on @ (first + first_way) + second_way * on @ first
    return torch.linalg.matrix_norm(outputs * changed, 2).item()


# ---------------------------------------------------------------- figure

VALUES = {
    "c_initial": 0.4,
    "c_final": 20.0,
    "distance": 2.0,
    "mixed_largest": 4.0,
    "bound": 8.4,
    "c_linearised": 5.0,
}


def table_of_nets():
    rows = []
    for seed in range(3):
        own = NAME | {"width": 256, "seed": seed}
        rows += [own | {"quantity": name, "point": None, "value": v} for name, v in VALUES.items()]
        rows += [own | {"quantity": "mixed", "point": i, "value": 2 + 2 * i / 9} for i in range(10)]
    return {"linearisation": pd.DataFrame(rows)}


def test_it_draws():
    _, drawing = measured_and_drawn(room, table_of_nets(), CONTEXT)
    assert all(axes.lines for axes in drawing.axes)


def test_linearisation_that_falls_short():
    facts = room.measure(table_of_nets(), CONTEXT)
    assert facts["growth"]["estimate"] == pytest.approx(50)
    assert facts["trained_exceeds_bound"] is True
    assert facts["means"]["mixed_mean"]["estimate"] == pytest.approx(3)
    assert facts["paper_growth"] == pytest.approx(24.228 / 0.369)


def test_means_are_written_as_they_were_measured():
    facts = room.measure(table_of_nets(), CONTEXT)
    facts["means"]["c_final"]["estimate"] = 12.3
    right = room.draw(table_of_nets(), facts, CONTEXT).axes[1]
    assert [text.get_text() for text in right.texts] == ["0.4", "2", "4", "8.4", "5", "12.3"]


# ---------------------------------------------------------------- claim


def as_claimed():
    values = VALUES | {"c_final": 24.0, "distance": 3.0, "bound": 12.4, "c_linearised": 6.0}
    rows = grid(seed=range(4), quantity=list(values))
    size = rows["quantity"].map(values) * spread(rows["seed"])
    return {"linearisation": rows.assign(point=float("nan"), width=256, value=size)}


def test_nets_are_far_from_linear_where_the_table_says_so():
    finding = judged(room, "C29", as_claimed(), CONTEXT)
    assert finding.verdict == "holds", finding
    assert finding.estimate == pytest.approx(24 / 12.4)
    assert "end / linearised net: holds 4 " in finding.reason
    assert "growth / mixed derivative: holds 5.9 " in finding.reason


def test_nets_are_not_far_from_linear_where_the_table_speaks_against_it():
    near = scaled(as_claimed()["linearisation"], "value", 0.1, quantity="c_final")
    finding = judged(room, "C29", {"linearisation": near}, CONTEXT)
    assert finding.verdict == "does not hold", finding


def test_the_claim_needs_numbers_and_seeds():
    check_degenerate(room, "C29", as_claimed(), CONTEXT)
    check_one_seed(room, "C29", as_claimed(), CONTEXT)
