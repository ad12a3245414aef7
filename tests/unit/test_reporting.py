"""A report after a few figures has those, and none of another scale."""

import json

import pytest
import yaml
from docutils.core import publish_parts
from snakemake.exceptions import WorkflowError
from tests.conftest import ROOT

from pipeline.config.loading import load_config
from pipeline.snakemake.reporting import reports
from pipeline.snakemake.setup import WorkflowSetup


@pytest.fixture(scope="module")
def setup():
    return WorkflowSetup(load_config(yaml.safe_load((ROOT / "config.yaml").read_text())))


def draw(folder, setup, name, scale):
    """The files of a figure and of its tables at the scale of ``setup``, drawn at ``scale``."""
    tables = [table.replace("_epochs.csv", ".csv") for table in setup.tables(name)]
    for file in (f"figures/{name}.pdf", f"figures/{name}.png", *tables):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("made")
    (folder / f"figures/{name}.json").write_text(json.dumps({"scale": scale}))


def test_only_what_is_there_at_this_scale_is_reported(setup, tmp_path):
    draw(tmp_path, setup, "double_descent", setup.config.scale)
    draw(tmp_path, setup, "depth", "another")
    draw(tmp_path, setup, "bias_variance", setup.config.scale)
    (tmp_path / "figures/bias_variance.png").unlink()
    draw(tmp_path, setup, "theory", setup.config.scale)
    (tmp_path / "figures/theory.json").write_text("{")
    draw(tmp_path, setup, "evolution", setup.config.scale)
    assert setup.reported(tmp_path) == [
        f"figures/{name}.pdf" for name in setup.figures if name in ("double_descent", "evolution")
    ]


def test_tables_for_readers_and_verdicts_are_reported_where_all_behind_them_is_there(setup, tmp_path):
    draw(tmp_path, setup, "double_descent", setup.config.scale)
    results = f"results/{setup.config.scale}"
    name = setup.reader_tables[0]
    own = [f"{results}/tables/{name}.md", f"{results}/tables/{name}.json"]
    verdicts = [f"{results}/claims.csv", f"{results}/claims.md"]
    behind = [table for judged in setup.judged("claims") for table in setup.tables(judged)]
    for file in (
        *own,
        *setup.tables(name),
        *verdicts,
        *setup.facts_of("claims"),
        *setup.simulated_of("claims"),
        *behind,
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("made")
    assert setup.reported(tmp_path) == ["figures/double_descent.pdf", own[0], verdicts[0]]
    (tmp_path / own[1]).unlink()
    (tmp_path / setup.facts_of("claims")[0]).unlink()
    assert setup.reported(tmp_path) == ["figures/double_descent.pdf"]


def test_without_figures_there_is_nothing_to_report(setup, tmp_path):
    with pytest.raises(WorkflowError, match=r"there is no figure at scale \w+ to report yet. Make one"):
        setup.reported(tmp_path)
    draw(tmp_path, setup, "depth", "another")
    with pytest.raises(WorkflowError, match=r"another scale, add --config scale=another\. Make"):
        setup.reported(tmp_path)


def test_captions_and_pages_of_the_report_are_sound(setup):
    """What docutils has to say of them it would say in the report."""
    texts = [setup.figure_caption(name) for name in (*setup.figures, *setup.reader_tables)]
    texts += [page.read_text() for page in (ROOT / "docs" / "report").glob("*.rst")]
    for text in texts:
        html = publish_parts(text, writer="html5", settings_overrides={"report_level": 1})["body"]
        assert "system-message" not in html, text
    assert "|" in publish_parts(setup.figure_caption("linearisation"), writer="html5")["body"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["snakemake", "--report", "a.zip"], True),
        (["snakemake", "--report=a.zip"], True),
        (["snakemake", "--report-stylesheet", "a.css"], False),
        (["snakemake", "figures/report.pdf"], False),
    ],
)
def test_calls_for_a_report_are_recognised(words, expected):
    assert reports(words) is expected


@pytest.mark.parametrize("rule", ["train", "estimate_bounds"])
def test_advice_on_memory_names_settings_that_exist(setup, rule):
    text = setup.memory_advice(rule, {"training": "double_descent", "width": "512"}, 1016)
    seeds = setup.config.setup("double_descent").seeds
    assert "mem_mb=1016" in text
    assert "Width 512" in text
    if rule == "train":
        assert f"{seeds} seeds with batches of 512" in text
        key = f"double_descent.{setup.config.scale}.training.batch_size"
        lower = yaml.safe_load((ROOT / "config.yaml").read_text()) | {"overrides": {key: 64}}
        assert load_config(lower).setup("double_descent").training.batch_size == 64
    assert "no memory" in setup.memory_advice("study", {"study": "pairwise"}, None)
