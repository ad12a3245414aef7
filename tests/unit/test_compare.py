"""What of two runs differs, and by how much."""

import argparse
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from tests.unit import finished
from tests.unit.finished import CONTENT, FACTS, TABLE

import compare as command
from pipeline.archives.comparison import compare
from pipeline.archives.sides import Side


def side(content):
    files = {"results/smoke/tables/toy.csv": CONTENT[TABLE], **content}
    return Side("run", "smoke", "", tuple(sorted(files)), lambda name: files[name].encode())


def facts(**values):
    return side({FACTS: json.dumps(values)})


def table(text):
    return side({TABLE: text})


def test_the_same_is_the_same():
    found = compare(facts(a=1, b=[1, 2], c=None), facts(a=1, b=[1, 2], c=None))
    assert found.same
    assert (found.numbers, found.times) == (4 + 2, 2)


def test_numbers_differ_by_so_much():
    (found,) = compare(facts(a={"b": 2.0}, c=1), facts(a={"b": 2.5}, c=1)).facts
    assert (found.of, found.place, found.one, found.other) == ("facts of toy", "a.b", 2.0, 2.5)
    assert (found.absolute, found.relative, found.intervals) == (0.5, 0.2, None)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"estimate": 2.0, "low": 1.0, "high": 3.0}, {"estimate": 2.5, "low": 2.0, "high": 3.0}),
        ({"slope": 2.0, "low": 1.0, "high": 3.0}, {"slope": 2.5, "low": 1.0, "high": 3.0}),
        ({"estimate": 2.0, "interval": [1.0, 3.0]}, {"estimate": 2.5, "interval": [1.0, 3.0]}),
        ({"fall": 2.0, "fall_interval": [1.0, 3.0]}, {"fall": 2.5, "fall_interval": [1.0, 3.0]}),
    ],
)
def test_numbers_with_intervals_differ_by_half_widths_of_the_wider(one, other):
    found = compare(facts(**one), facts(**other)).facts
    assert [row.intervals for row in found if not row.end] == [0.5]


def test_small_differences_can_be_none():
    one, other = facts(a=1.0, b="x"), facts(a=1.0 + 1e-9, b="x")
    assert not compare(one, other).same
    assert compare(one, other, tolerance=1e-8).same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (float("nan"), float("nan"), True),
        (float("nan"), 1.0, False),
        (float("inf"), float("inf"), True),
        (float("inf"), 1.0, False),
        (0.0, 0, True),
        (0.0, 1e-300, False),
        (True, 1, True),
        ("holds", "undecided", False),
        (None, 0.0, False),
        ([1, 2], [1, 2, 3], False),
        ({"a": 1}, 1, False),
    ],
)
def test_values_that_are_no_plain_numbers(one, other, same):
    assert compare(facts(a=one), facts(a=other)).same is same
    assert compare(facts(a=other), facts(a=one)).same is same


def test_what_is_in_one_only_is_named():
    one = side({FACTS: '{"a": 1, "b": {"c": 2}}', "results/smoke/tables/more.csv": "x\n1\n"})
    other = side({FACTS: '{"a": 1, "b": {"d": 2}}', "results/smoke/facts/new.json": "{}"})
    assert compare(one, other).alone == [
        ("B", "the facts of new"),
        ("A", "facts of toy: b.c"),
        ("B", "facts of toy: b.d"),
        ("A", "the table more"),
    ]


def test_rows_are_matched_by_what_they_are_of():
    one = table("width,seed,c_lower\n4,0,1.5\n4,1,2.5\n8,0,3\n")
    other = table("width,seed,c_lower,c_upper\n8,0,3\n4,1,2.0\n4,0,1.5\n16,0,9\n")
    found = compare(one, other)
    (column,) = found.tables
    assert (column.place, column.one, column.other) == ("c_lower of width 4, seed 1", 2.5, 2.0)
    assert (column.absolute, column.relative, column.rows) == (0.5, 0.2, 1)
    assert found.alone == [
        ("B", "table toy: column c_upper"),
        ("B", "table toy: the row of width 16, seed 0"),
    ]


def test_a_column_counts_its_rows_and_shows_the_largest_difference():
    one = table("method,value\na,1.0\nb,100.0\nc,5.0\n")
    other = table("method,value\na,2.0\nb,110.0\nc,5.0\n")
    (column,) = compare(one, other).tables
    assert (column.place, column.rows) == ("value of method a", 2)
    assert (column.absolute, column.relative) == (10.0, 0.5)


def test_rows_that_nothing_tells_apart_are_matched_by_line():
    (column,) = compare(table("value\n1.0\n1.0\n2.0\n"), table("value\n1.0\n1.5\n2.0\n")).tables
    assert column.place == "value of line 3"


def test_what_a_clock_has_measured_is_not_compared():
    one = table("width,seed,seconds,best_s,losses\n4,0,1.0,3.0,1.0\n")
    other = table("width,seed,seconds,best_s,losses\n4,0,2.0,4.0,1.0\n")
    found = compare(one, other)
    assert found.same
    assert found.times == 2


def claims(verdict, estimate):
    rows = [{"claim": "C1", "verdict": verdict, "estimate": estimate, "low": 1.0, "high": 3.0}]
    return side({"results/smoke/claims.csv": pd.DataFrame(rows).to_csv(index=False)})


def test_verdicts_differ_and_their_numbers():
    found = compare(claims("holds", 2.0), claims("undecided", 2.5)).verdicts
    assert [(one.place, one.one, one.other, one.intervals) for one in found] == [
        ("verdict on C1", "holds", "undecided", None),
        ("number of C1", 2.0, 2.5, 0.5),
    ]


def test_settings_are_told_and_are_no_difference_by_themselves():
    one, other = (
        side({"figures/toy.json": json.dumps({"scale": "smoke", "settings": {"seeds": seeds}})})
        for seeds in (2, 4)
    )
    found = compare(one, other)
    assert found.same
    assert [(one.of, one.place, one.one, one.other) for one in found.settings] == [
        ("toy", "seeds", 2, 4)
    ]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A finished run with its archive."""
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text("scale: smoke\n")
    finished.make()
    finished.archive()
    return tmp_path


def call(one, other, **options):
    given = {"scale": None, "tolerance": 0.0, "all": False, "json": False} | options
    return command.main(argparse.Namespace(one=Path(one), other=Path(other), **given))


def test_an_archive_has_what_its_folder_has(run, capsys):
    assert call("archive.zip", ".") == 0
    assert call("archive.zip", "archive.zip") == 0
    assert call(".", ".") == 0
    assert "All 6 values are the same; 2 times are not compared." in capsys.readouterr().out


def test_another_run_is_compared_in_words_and_in_json(run, capsys):
    content = json.loads(CONTENT[FACTS])
    content["peak"]["estimate"] = 2.25
    finished.make(CONTENT | {FACTS: json.dumps(content)})
    assert call("archive.zip", ".") == 1
    said = capsys.readouterr().out
    assert re.search(r"peak\.estimate +2 +2\.25 +0\.25 +0\.11 +0\.5\n", said)
    assert "1 of 6 values differ, 0 verdicts among them" in said
    assert call("archive.zip", ".", json=True) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["same"] is False
    assert found["facts"][0]["intervals"] == 0.5


def test_a_folder_without_results_is_named(run):
    (run / "empty").mkdir()
    with pytest.raises(command.CommandError, match="empty has no results at scale smoke"):
        call("archive.zip", "empty")


def test_a_damaged_table_is_named(run):
    Path(FACTS).write_text("{")
    with pytest.raises(command.CommandError, match=f"{FACTS} is damaged"):
        call("archive.zip", ".")
