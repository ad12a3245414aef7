"""Archives are believed as far as their checksums go, and overwrite nothing."""

import hashlib
import json
import zipfile
from pathlib import Path

import pytest
from tests.unit import finished
from tests.unit.finished import FACTS, FIGURE, RUN, TABLE, WEIGHTS

from pipeline.archives.reading import opened
from pipeline.archives.restoring import restore
from pipeline.jobs.command import CommandError
from pipeline.provenance import seals
from pipeline.provenance.files import write_text
from pipeline.snakemake.private import METADATA

METADATA_NAME = "ro-crate-metadata.json"


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """Of a run that is no longer there; the working directory is empty otherwise."""
    monkeypatch.chdir(tmp_path)
    finished.make()
    path = finished.archive()
    finished.away()
    return path


def changed(archive, change, listed=True):
    """Pack again after ``change(content)``, and have the metadata list what is there."""
    with zipfile.ZipFile(archive) as file:
        content = {name: file.read(name) for name in file.namelist()}
    change(content)
    if listed:
        about = json.loads(content[METADATA_NAME])
        for entity in about["@graph"]:
            if entity["@type"] == "File" and entity["name"] in content:
                entity["sha256"] = hashlib.sha256(content[entity["name"]]).hexdigest()
                entity["contentSize"] = str(len(content[entity["name"]]))
        content[METADATA_NAME] = json.dumps(about).encode()
    with zipfile.ZipFile(archive, "w") as file:
        for name, one in content.items():
            file.writestr(name, one)


def edited(name, old, new):
    def edit(content):
        assert old in content[name], name
        content[name] = content[name].replace(old, new)

    return edit


def unpack(archive):
    with opened(archive) as found:
        return restore(found, [FIGURE[0]])


def refused(archive):
    """What is said of an archive, of which nothing must be unpacked."""
    before = {path for path in Path().rglob("*") if path.is_file()}
    with pytest.raises(CommandError) as error:
        unpack(archive)
    assert {path for path in Path().rglob("*") if path.is_file()} == before
    assert "\n" not in str(error.value)
    return str(error.value)


def test_another_file_is_no_archive(archive):
    assert "missing.zip is not a file" in refused(Path("missing.zip"))
    Path("text.zip").write_text("not a zip")
    assert "text.zip is no archive: it is not a zip file, or it was cut" in refused(Path("text.zip"))
    with zipfile.ZipFile("foreign.zip", "w") as file:
        file.writestr("readme.txt", "of something else")
    assert "no archive of this project: it has no archive.json" in refused(Path("foreign.zip"))


def test_a_cut_archive_is_refused(archive):
    content = archive.read_bytes()
    for length in (0, len(content) // 2, len(content) - 30):
        archive.write_bytes(content[:length])
        assert "it is not a zip file, or it was cut" in refused(archive)


def test_no_archive_with_a_flipped_bit_is_unpacked(archive):
    content = archive.read_bytes()
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
    for member in members:
        header = 30 + len(member.filename) + 20  # with the sizes of large files
        place = member.header_offset + header + member.compress_size // 2
        archive.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        said = refused(archive)
        assert "archive.zip is damaged" in said, member


@pytest.mark.parametrize(
    "name",
    ["../outside", "/tmp/outside", "results/../../outside", "results/.hidden", "C:\\x", "scripts/a.py"],
)
def test_files_that_lead_elsewhere_are_refused(archive, name):
    changed(archive, lambda content: content.update({name: b"x"}))
    said = refused(archive)
    assert repr(name) in said
    assert "nothing was unpacked" in said


@pytest.mark.parametrize(
    ("change", "listed", "said"),
    [
        (
            edited("archive.json", b'"format": 1', b'"format": 2'),
            True,
            "an archive of format 2, of version 0.1.0",
        ),
        (
            edited("archive.json", b'"scale": "smoke"', b'"scale": 3'),
            True,
            "its archive.json has no sense at scale",
        ),
        (lambda content: content.pop(TABLE), False, f"it lacks {TABLE}"),
        (lambda content: content.pop("seals.json"), False, "it lacks seals.json"),
        (lambda content: content.update({"results/more.csv": b"x"}), False, "does not name"),
        (edited(TABLE, b"1.5", b"7.5"), False, "does not have its checksum"),
        (edited(TABLE, b"1.5", b"7.5"), True, f"{TABLE} has the seal of other bytes"),
        (edited("seals.json", b'"size": 5', b'"size": 6'), True, "makes no sense"),
        (edited("seals.json", b"{", b""), True, "is damaged"),
        (edited(METADATA_NAME, b"contentSize", b"size"), False, "makes no sense"),
        (edited("archive.json", TABLE.encode(), b"results/smoke/tables/a.csv"), True, "do not agree on"),
    ],
)
def test_what_does_not_fit_together_is_refused(archive, change, listed, said):
    changed(archive, change, listed)
    assert said in refused(archive)


def test_a_file_that_is_there_twice_is_refused(archive):
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(archive, "a") as file:
        file.writestr(TABLE, "other")
    assert "has a file twice" in refused(archive)


def test_records_of_other_files_are_refused(archive):
    other = finished.coded("results/elsewhere.csv").encode()
    changed(archive, edited("snakemake.json", finished.coded(WEIGHTS).encode(), other))
    with pytest.raises(CommandError, match="is the record of another file"):
        unpack(archive)


def test_results_come_back_with_times_seals_and_records(archive):
    assert unpack(archive) == 6
    for file in (TABLE, WEIGHTS, f"{RUN}/run.json"):
        seal, fault = seals.fault_of(Path(file))
        assert fault is None
        assert Path(file).stat().st_mtime_ns == seal.written
        assert json.loads((METADATA / finished.coded(file)).read_bytes())["rule"] in ("collect", "train")
    assert not Path(FACTS).exists(), "facts are measured again"
    assert unpack(archive) == 0, "what is there already stays"


def test_what_was_cut_short_is_unpacked_to_the_end(archive):
    unpack(archive)
    Path(TABLE).unlink()
    seals.seal_path(Path(WEIGHTS)).unlink()
    assert unpack(archive) == 1
    assert seals.fault_of(Path(TABLE))[1] is None
    assert seals.fault_of(Path(WEIGHTS))[1] is None


def test_an_archive_without_weights_has_the_rest(archive, tmp_path, monkeypatch):
    finished.make()
    finished.archive(archive, weights=False)
    finished.away()
    assert unpack(archive) == 5
    assert not Path(WEIGHTS).exists()


def test_other_results_are_not_overwritten(archive):
    Path(TABLE).parent.mkdir(parents=True)
    Path(TABLE).write_text("mine")
    said = refused(archive)
    assert f"{TABLE} would be overwritten" in said
    assert Path(TABLE).read_text() == "mine"


def test_a_figure_of_another_scale_is_not_overwritten(archive):
    with seals.sealing("made", []):
        write_text(Path("results/laptop/tables/toy.csv"), "of another scale")
    with seals.sealing("made", [Path("results/laptop/tables/toy.csv")]):
        write_text(Path(FIGURE[0]), "of another scale")
    assert "figures/toy.pdf would be overwritten" in refused(archive)


def test_a_figure_drawn_from_the_archive_may_be_drawn_again(archive):
    unpack(archive)
    with seals.sealing("made", [Path(TABLE)]):
        write_text(Path(FIGURE[0]), "drawn by other packages")
    assert unpack(archive) == 0
    Path(FIGURE[0]).write_text("changed by hand")
    assert "figures/toy.pdf would be overwritten" in refused(archive)
