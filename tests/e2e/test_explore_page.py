"""The page to explore, opened from the disk in a browser: what it shows is what the results say."""

import csv
import json
import shutil

import pandas as pd
import pytest
from tests.conftest import Project, made_once
from tests.e2e.browser import Complaints, opened, overflows

pytestmark = pytest.mark.slow

pytest.importorskip("vl_convert", reason="vl-convert-python is not installed; make explore installs it")

SMOKE = ("--cores", "2", "--config", "scale=smoke", "simulations=0", "--")
FACTS = "results/smoke/facts"


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    """A finished project with the facts of a second figure of the same nets, and the page."""

    def make(folder):
        shutil.copytree(finished.folder, folder)
        project = Project(folder)
        project.snakemake(*SMOKE, f"{FACTS}/initialisation.json")
        project.snakemake(*SMOKE, "figures/explore.html")

    return Project(made_once(tmp_path_factory, "explored a b", make))


@pytest.fixture(scope="module")
def browser():
    with opened() as browser:
        yield browser


@pytest.fixture
def page(project, browser):
    page = browser.new_page(viewport={"width": 1300, "height": 1000})
    page.set_default_timeout(10_000)
    complaints = Complaints(page)
    page.goto((project.folder / "figures" / "explore.html").as_uri())
    ready(page, "smoke/double_descent/figure")
    yield page
    page.close()
    assert complaints == []


def ready(page, what):
    page.wait_for_function("what => document.body.dataset.ready === what", arg=what)
    page.wait_for_selector("[role=tabpanel]:not([hidden]) :is(.chart svg [aria-label*=', '], .facts)")


def means(project):
    table = pd.read_csv(project.folder / "results/smoke/tables/double_descent.csv")
    return table[table["points"] == "train"].groupby("width")["c_lower"].mean()


def downloaded(page, button):
    with page.expect_download() as file:
        page.click(button)
    with open(file.value.path(), newline="") as lines:  # noqa: PTH123
        return list(csv.DictReader(lines))


def test_a_mark_tells_the_number_that_the_table_has(project, page):
    marks = page.locator(".chart svg [aria-roledescription=point][aria-label^='C_lower']")
    assert marks.count() == 3
    marks.nth(1).hover(force=True)
    told = page.locator("#vg-tooltip-element td.value").all_inner_texts()
    assert told[:3] == ["C_lower (largest Jacobian norm)", "80", f"{means(project)[80]:.6g}"]
    label = f"{means(project)[256]:.6g}"
    assert label in marks.nth(2).get_attribute("aria-label")


def test_series_axes_and_numbers_are_chosen(project, page):
    rows = [row for row in downloaded(page, "#csv-figure") if row["series"].startswith("C_lower")]
    assert [float(row["y"]) for row in rows] == means(project).tolist()
    page.get_by_role("checkbox", name="C_lower (largest").uncheck()
    page.wait_for_function("!document.querySelector('.chart svg [aria-label^=C_lower]')")
    assert not any(row["series"].startswith("C_lower") for row in downloaded(page, "#csv-figure"))
    page.get_by_label("y axis").select_option("linear")
    page.locator("summary", has_text="Numbers").first.click()
    rows = page.locator("figure").first.locator("tbody tr")
    rows.last.wait_for()
    assert rows.count() == 6


def test_figures_are_switched_by_list_button_and_address(page):
    page.locator("#figure").select_option("initialisation")
    ready(page, "smoke/initialisation/figure")
    assert "initialisation" in page.title()
    assert page.locator("#picture img").evaluate("image => image.decode().then(() => image.width > 0)")
    page.get_by_label("Next figure").click()
    ready(page, "smoke/double_descent/figure")
    page.goto(page.url.split("#")[0] + "#smoke/initialisation/runs")
    ready(page, "smoke/initialisation/runs")


def test_runs_have_seeds_with_means_of_all(project, page):
    page.locator("#tab-figure").press("ArrowRight")
    ready(page, "smoke/double_descent/runs")
    page.get_by_role("checkbox", name="1", exact=True).uncheck()
    rows = downloaded(page, "#csv-runs")
    assert [row["seed"] for row in rows] == ["mean of 2"] * 3 + ["0"] * 3
    expected = means(project)
    assert [float(row["value"]) for row in rows[:3]] == pytest.approx(expected.tolist(), rel=1e-6)
    page.get_by_role("checkbox", name="C_upper", exact=True).check()
    assert page.locator("#legend span.swatch").count() == 2


def test_facts_are_those_of_the_figure(project, page):
    page.locator("#tab-facts").click()
    ready(page, "smoke/double_descent/facts")
    page.locator("summary", has_text="C_lower").first.click()
    peak = json.loads((project.folder / FACTS / "double_descent.json").read_bytes())["c_lower"]["peak"]
    shown = page.locator("details[open]").get_by_text("peak", exact=True)
    assert float(shown.evaluate("name => name.nextSibling.textContent")) == pytest.approx(peak, rel=1e-5)


def test_phones_and_dark_rooms(project, browser):
    page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    complaints = Complaints(page)
    for view in ("figure", "runs", "facts"):
        address = (project.folder / "figures" / "explore.html").as_uri()
        page.goto(f"{address}#smoke/double_descent/{view}")
        ready(page, f"smoke/double_descent/{view}")
        assert not overflows(page), view
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 31)"
    page.close()
    assert complaints == []
