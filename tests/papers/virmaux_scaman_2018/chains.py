"""What the tests of tables of bounds by method share."""

import torch

from pipeline.figures.looks import BOUND_LOOKS
from pipeline.figures.methods import REFERENCE

NEAR = 1 - 1e-9
LOWER = {"data", "grid", "search"}
MEASURED = {"method", "value", "kind", "certified", "seconds"}


def made_up_arrays(length=40):
    labels = torch.arange(60) % 10
    points = torch.randn(60, length, generator=torch.Generator().manual_seed(0))
    return {"x_train": points, "y_train": labels, "x_test": points, "y_test": labels}


def cases(table, keys):
    """The values by method of each case."""
    return [part.set_index("method")["value"] for _, part in table.groupby(keys)]


def check_rows_say_what_they_are(table):
    assert set(table) >= MEASURED
    assert set(table["kind"]) <= {"upper", "lower", "estimate"}
    assert not table.loc[table["kind"] != "upper", "certified"].any()
    assert (table["value"] > 0).all()
    assert set(table["method"]) <= set(BOUND_LOOKS)
    assert set(table.loc[table["kind"] == "lower", "method"]) <= LOWER


def check_lower_bounds_stay_below_upper_bounds(table):
    kinds = table.groupby("method")["kind"].first()
    for values in cases(table, ["depth", "training"]):
        lower = values[[method for method in values.index if method in LOWER]]
        upper = values[[method for method in values.index if kinds[method] == "upper"]]
        assert lower.max() * NEAR <= upper.min()
        bounds = upper.drop("frobenius", errors="ignore")
        assert bounds.max() <= values["autolip"] * (1 + 1e-9)
        assert values["seqlip_greedy"] * NEAR <= values.get("seqlip_exact", values["seqlip"])
        assert values["data"] * NEAR <= values["search"]


def rings(axes):
    """Where the values that are not ours are drawn."""
    size = REFERENCE["markersize"]
    return [line.get_xdata()[0] for line in axes.lines if line.get_markersize() == size]
