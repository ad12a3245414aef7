"""Results say what they are, and what is not as it was written is never read."""

import json
import os
import time

import pytest

from pipeline.jobs.command import made_by
from pipeline.provenance import files, seals
from pipeline.provenance.files import DamagedFileError, write_json, write_text

TEXT = "seed,c_upper\n0,3.5\n1,4.25\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sealed(folder):
    path = folder / "width~64" / "bounds.csv"
    with seals.sealing("made", []):
        write_text(path, TEXT)
    return path


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def one_digit(path):
    text = path.read_text()
    path.write_text(text.replace('"written": 1', '"written": 2'))


def another_width(path):
    other = path.parents[1] / "width~256" / path.name
    with seals.sealing("made", []):
        write_text(other, TEXT.replace("3.5", "7.5"))
    return other


def with_its_seal(path):
    other = another_width(path)
    other.replace(path)
    seals.seal_path(other).replace(seals.seal_path(path))


def of_equal_content(path):
    """Its bytes are right and its seal is of another place."""
    other = another_width(path)
    seals.write_seal(other)
    other.write_text(TEXT)
    seals.write_seal(other)
    seals.seal_path(other).replace(seals.seal_path(path))


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "a bit": flip,
    "another file": lambda path: another_width(path).replace(path),
    "another file with its seal": with_its_seal,
    "the seal of another file": of_equal_content,
    "a bit of the seal": lambda path: flip(seals.seal_path(path)),
    "a digit of the seal": lambda path: one_digit(seals.seal_path(path)),
    "half a seal": lambda path: seals.seal_path(path).write_text('{"file": "width~64/bo'),
    "a seal of nothing": lambda path: seals.seal_path(path).write_text("[]"),
}


@pytest.mark.parametrize("kept_time", [False, True])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_file_that_is_not_as_it_was_written_is_set_aside(sealed, damage, kept_time):
    before = sealed.stat()
    damage(sealed)
    if kept_time:
        os.utime(sealed, ns=(before.st_atime_ns, before.st_mtime_ns))
    content = sealed.read_bytes()
    with pytest.raises(
        DamagedFileError, match=r"bounds\.csv .*now set-aside\.bounds\.csv\.1; call again"
    ):
        seals.checked(sealed)
    assert not sealed.exists()
    assert sealed.with_name("set-aside.bounds.csv.1").read_bytes() == content


def test_messages_say_what_is_wrong(sealed):
    with_its_seal(sealed)
    with pytest.raises(DamagedFileError, match="it was written as width~256/bounds"):
        seals.checked(sealed)
    with pytest.raises(DamagedFileError, match="is missing; call again"):
        seals.checked(sealed)


def test_a_second_damaged_file_does_not_replace_the_first(sealed):
    for number in (1, 2):
        with seals.sealing("made", []):
            write_text(sealed, TEXT)
        flip(sealed)
        with pytest.raises(DamagedFileError, match=rf"set-aside\.bounds\.csv\.{number}"):
            seals.checked(sealed)


def test_a_file_without_a_seal_is_refused_and_left(sealed):
    seals.seal_path(sealed).unlink()
    with pytest.raises(seals.UnsealedError, match="--vouch"):
        seals.checked(sealed)
    seals.write_seal(sealed)
    assert seals.checked(sealed) == files.sha256(sealed)


def test_a_seal_says_what_a_file_was_made_from(sealed):
    table = sealed.parents[1] / "table.csv"
    with seals.sealing(made_by(["--bounds", "x"]), [sealed]):
        write_text(table, "c_upper\n")
    content = json.loads(seals.seal_path(table).read_text())
    assert len(content.pop("seal")) == 16
    assert content == {
        "file": "table.csv",
        "size": 8,
        "sha256": files.sha256(table),
        "written": table.stat().st_mtime_ns,
        "made_by": made_by(["--bounds", "x"]),
        "made_from": {"width~64/bounds.csv": files.sha256(sealed)},
    }


def test_nothing_is_sealed_that_is_written_by_no_job(folder):
    write_json(folder / "page.json", {})
    assert not seals.seal_path(folder / "page.json").exists()
    flip_later = folder / "input.csv"
    flip_later.write_text("x")
    with pytest.raises(seals.UnsealedError), seals.sealing("", [flip_later]):
        pytest.fail("the job must not start")


def test_an_output_is_not_older_than_its_inputs_where_the_clock_went_back(sealed):
    tomorrow = time.time() + 86400
    os.utime(sealed, (tomorrow, tomorrow))
    with seals.sealing("", [sealed]):
        write_text(sealed.with_name("after.csv"), TEXT)
    assert sealed.with_name("after.csv").stat().st_mtime_ns == sealed.stat().st_mtime_ns
    assert seals.checked(sealed.with_name("after.csv"))


def test_an_output_is_not_older_than_a_source_that_has_no_seal(sealed, folder):
    yesterday = time.time() - 86400
    os.utime(sealed, (yesterday, yesterday))
    seals.write_seal(sealed)
    style = folder / "style"
    style.write_text("edited now")
    with seals.sealing("", [], [style]):
        write_text(sealed, TEXT)
    assert sealed.stat().st_mtime_ns == style.stat().st_mtime_ns


def test_an_output_that_comes_out_the_same_keeps_its_time(sealed):
    yesterday = time.time() - 86400
    os.utime(sealed, (yesterday, yesterday))
    seals.write_seal(sealed)
    sealed.unlink()
    for text, kept in ((TEXT, True), (TEXT + "2,5.0\n", False)):
        with seals.sealing("", []):
            write_text(sealed, text)
        assert (sealed.stat().st_mtime < yesterday + 1) is kept
        assert seals.checked(sealed)


def test_options_without_effect_are_no_part_of_what_made_a_file():
    assert made_by(["--a", "1", "--threads", "2", "--b"]) == made_by(["--threads=9", "--a", "1", "--b"])
    assert made_by(["--a", "1"]) != made_by(["--a", "2"])
