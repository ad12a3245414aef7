"""The page to explore: what is read off a figure, which columns tell runs apart, what it holds."""

import base64
import gzip
import json
import re
import sys
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.lines import Line2D
from snakemake.exceptions import WorkflowError
from tests.conftest import ROOT

from pipeline.config.loading import load_config
from pipeline.config.yaml_files import read_mapping
from pipeline.explore import page
from pipeline.explore.drawn import MOST_CELLS, notes, panels
from pipeline.explore.labels import plain
from pipeline.explore.runs import MOST_ROWS, as_page_table
from pipeline.figures.looks import LOOKS, corner_note, draw_seeds, draw_threshold
from pipeline.jobs.packing import unpacked
from pipeline.snakemake.explored import Explored
from pipeline.snakemake.setup import WorkflowSetup
from pipeline.statistics.intervals import mean_interval


@pytest.fixture
def figure():
    made = []

    def drawn(draw, *shape, **how):
        made.append(plt.subplots(*shape, **how))
        draw(made[-1][1])
        made[-1][0].canvas.draw()
        return panels(made[-1][0])

    yield drawn
    for one, _ in made:
        plt.close(one)


def runs():
    rows = [(width, seed, width + seed) for width in (16, 32, 64) for seed in range(3)]
    table = pd.DataFrame(rows, columns=["width", "seed", "c_lower"])
    return table.assign(stop_reason=["epoch_cap"] + ["gradient_norm"] * 8)


def test_curves_have_the_numbers_bands_and_hollow_marks_that_are_drawn(figure):
    def draw(axes):
        draw_seeds(axes, runs(), "width", "c_lower", LOOKS["c_lower"])
        draw_threshold(axes, 20)
        axes.set(xscale="log", xlabel="width", ylabel=r"$C_\mathrm{lower}$", title="a")

    (panel,) = figure(draw)
    (series,) = panel.series
    assert (panel.title, panel.x.label, panel.y.label) == ("a", "width", "C_lower")
    assert (panel.x.scale, panel.y.scale) == ("log", "linear")
    assert (series.label, series.marker, series.line) == ("C_lower (largest Jacobian norm)", "o", True)
    assert series.x == [16, 32, 64]
    assert series.y == [17, 33, 65]
    assert series.low == [16, 32, 64]
    assert series.high == [18, 34, 66]
    assert series.hollow == [True, False, False]
    assert panel.rules == [("x", 20, "")]


def test_lines_without_a_label_have_that_of_the_legend(figure):
    def draw(axes):
        axes.plot([1, 2], [3, 4], "s--", color="#0072B2")
        axes.plot([1, 2], [5, np.nan], "s-", color="#0072B2")
        looks = [Line2D([], [], color="#0072B2", marker="s", linestyle=line) for line in ("-", "--")]
        axes.legend(looks, ["0.1", "0.5"], title="radius (of what)")

    (panel,) = figure(draw)
    assert [series.label for series in panel.series] == ["radius 0.5", "radius 0.1"]
    assert panel.series[1].y == [5, None]


def test_rows_with_names_bars_and_error_bars(figure):
    def draw(axes):
        axes[0].barh([0, 1], [2, 3], color="#009E73")
        axes[0].set_yticks([0, 1], ["one", "two"])
        axes[0].plot([2.5], [1], "o", color="black")
        axes[1].errorbar([1, 2], [3, 4], yerr=[[1, 1], [2, 2]], fmt="o", color="#CC79A7")

    bars, points = figure(draw, 1, 2)
    assert bars.y.ticks == [(0, "one"), (1, "two")]
    assert [cell[1:2] + cell[4:] for cell in bars.boxes[0].cells] == [[2, 2], [3, 3]]
    assert bars.series[0].label == "two"
    assert (points.series[0].low, points.series[0].high) == ([2, 3], [5, 6])
    assert points.series[0].bars


def test_maps_have_their_cells_and_large_ones_are_left_to_the_picture(figure):
    size = int(MOST_CELLS**0.5) + 1

    def draw(axes):
        axes[0].pcolormesh(np.arange(6.0).reshape(2, 3))
        axes[1].pcolormesh(np.zeros((size, size)))
        corner_note(axes[1].figure, "smoke scale")
        draw.notes = lambda: notes(axes[1].figure)

    (panel,) = figure(draw, 1, 2)
    assert panel.boxes[0].cells[4] == [1, 2, 1, 2, 4]
    assert len(panel.boxes[0].cells) == 6
    assert draw.notes() == [
        "smoke scale",
        "Maps of more than 2,000 cells are in the picture alone.",
    ]


def test_axes_without_a_label_have_that_of_the_panel_beside_them(figure):
    def draw(axes):
        for one in axes.flat:
            one.plot([1, 2], [1, 2])
        axes[1, 0].set(xlabel="width", ylabel="error")

    found = figure(draw, 2, 2, sharex=True, sharey=True)
    assert [panel.x.label for panel in found] == ["width", "", "width", ""]
    assert [panel.y.label for panel in found] == ["", "", "error", "error"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"$C_\mathrm{upper}$  (layer product)", "C_upper (layer product)"),
        (r"$\sigma_2/\sigma_1$ = 0.5", "σ_2/σ_1 = 0.5"),  # noqa: RUF001
        (r"$C_{S^*}$", "C_S*"),
        ("5 $\\times$ 3\nlines", "5 \N{MULTIPLICATION SIGN} 3 lines"),
    ],
)
def test_mathematics_in_plain_letters(text, expected):
    assert plain(text) == expected


def test_columns_that_tell_runs_apart_are_found_and_means_are_those_of_the_claims():
    table = runs().assign(log10_c_upper=2.0 + runs()["c_lower"], variant="base", parameters=5)
    found = as_page_table(table[["variant", "width", "parameters", "seed", "c_lower", "log10_c_upper"]])
    assert (found["keys"], found["replicate"]) == (["width"], "seed")
    assert found["quantities"] == ["c_lower", "log10_c_upper", "c_upper"]
    assert found["columns"]["c_upper"][0] == 10**18
    of_16 = mean_interval([16, 17, 18])
    assert found["means"]["columns"]["width"] == [16, 32, 64]
    assert found["means"]["quantities"]["c_lower"][0] == pytest.approx(
        [of_16.estimate, of_16.low, of_16.high, 3], rel=1e-6
    )


def test_long_tables_are_left_out_and_numbers_that_json_has_not_are_none():
    table = runs().assign(c_lower=[np.inf, np.nan, *range(7)])
    found = as_page_table(table)
    assert found["columns"]["c_lower"][:3] == [None, None, 0]
    assert found["means"]["quantities"]["c_lower"][0] == [0, None, None, 1]
    assert as_page_table(pd.DataFrame({"seed": range(MOST_ROWS + 1)})) is None


def test_the_page_holds_each_figure_and_no_address_that_is_loaded(monkeypatch):
    monkeypatch.setattr(page, "library", lambda: "LIBRARY")
    folder = ROOT / "scripts" / "pipeline" / "explore"
    parts = page.read_parts([folder / name for name in page.PARTS])
    one = page.Shown("name", "smoke", "A & B </script>", "title", {"facts": {"a": 1.5}}, b"webp")
    text = page.page([one], parts)
    assert text.count("</script>") == text.count("<script")
    assert "LIBRARY" in text
    packed = re.search('id="data-smoke-name">([^<]+)<', text)[1]
    assert json.loads(gzip.decompress(base64.b64decode(packed))) == {"facts": {"a": 1.5}}
    assert not re.search(r"(src|href)=.?(https?:|//)", text)
    assert page.page([one], parts) == text
    with pytest.raises(ValueError, match="JSON"):
        page.as_json(float("nan"))


@pytest.fixture
def explored(tmp_path):
    raw = read_mapping(ROOT / "config.yaml", "config.yaml") | {"scale": "smoke"}
    setup = WorkflowSetup(load_config(raw))

    def of(*files):
        for file in files:
            path = tmp_path / "results" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return Explored(setup, raw, tmp_path)

    return of


def test_figures_of_all_scales_whose_tables_are_there_are_explored(explored):
    found = explored(
        "smoke/facts/double_descent.json",
        "smoke/tables/double_descent.csv",
        "smoke/facts/depth.json",
        "smoke/claims.csv",
        "laptop/facts/double_descent.json",
        "laptop/tables/double_descent.csv",
    )
    assert [(one["scale"], one["name"]) for one in unpacked(found.figures)] == [
        ("smoke", "double_descent"),
        ("laptop", "double_descent"),
    ]
    assert json.loads(unpacked(found.figures)[1]["context"])["scale"] == "laptop"
    assert found.tables == [
        f"results/{scale}/tables/double_descent.csv" for scale in ("smoke", "laptop")
    ]
    assert found.claims == []  # what they were judged by is not there


def test_without_figures_the_way_to_make_one_is_named(explored):
    with pytest.raises(WorkflowError, match=r"no figure to explore yet.*scale=smoke -- figures/"):
        _ = explored().figures


def test_a_missing_library_of_charts_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(page.CommandError, match="make explore"):
        page.library()


def test_facts_of_an_older_drawing_are_named(tmp_path, monkeypatch):
    from pipeline.explore import gather

    def draw(tables, facts, context):
        return facts["missing"]

    monkeypatch.setattr(gather.importlib, "import_module", lambda name: SimpleNamespace(draw=draw))
    facts = tmp_path / "f.json"
    facts.write_text("{}")
    about = {"name": "f", "scale": "smoke", "module": "m", "context": "{}", "tables": [], "facts": facts}
    with pytest.raises(page.CommandError, match=r"f at smoke scale cannot be drawn.*make figures/f.pdf"):
        gather.gather(about, pd.DataFrame())
