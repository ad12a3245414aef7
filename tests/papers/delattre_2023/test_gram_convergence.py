import numpy as np
import pytest
from tests.papers.helpers import measured_and_drawn, room_context

from papers.delattre_2023.gram_convergence import figure
from papers.delattre_2023.gram_convergence.study import Settings, study


def test_gram_iteration_is_above_and_power_iteration_below():
    settings = Settings(
        rows=20,
        columns=12,
        orthogonal_size=16,
        draws=2,
        starts=2,
        gram_steps=12,
        power_steps=20,
        repeats=1,
        device="cpu",
        seed=3,
    )
    table = study(settings, {})
    by_method = table.set_index("method")
    assert (by_method.loc["gram", "error"] >= -1e-14).all()
    assert (
        by_method.loc["gram_certified", "value"] >= by_method.loc["gram_certified", "reference"]
    ).all()
    assert (by_method.loc[["power", "gram_lower"], "error"] <= 1e-13).all()
    assert set(table["kind"]) == {"upper", "lower"}
    assert set(table.loc[table["certified"], "method"]) == {"gram_certified"}
    timed_rows = table[(table["draw"] == 0) & table["method"].isin(["gram"])]
    assert (timed_rows["best_s"] <= timed_rows["median_s"]).all()

    facts, drawing = measured_and_drawn(
        figure, {"gram_convergence": table}, room_context("gram_convergence", settings)
    )
    halves = np.array(facts["gram_errors_orthogonal"])
    assert halves == pytest.approx(16.0 ** (2.0 ** -np.arange(1, 14)) - 1)
    assert facts["certified_never_below_the_reference"]
    assert facts["published"]["gram 15 steps"] == {"difference": -3.6e-12, "ms": 0.93}
    assert any("2 draws" in text.get_text() for text in drawing.texts)
