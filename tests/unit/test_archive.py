"""What is packed of a finished run, and that it is described as RO-Crates are."""

import hashlib
import json
import re
import zipfile
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from tests.unit import finished
from tests.unit.finished import FACTS, FIGURE, RUN, TABLE, WEIGHTS

from pipeline.archives.contents import contents
from pipeline.jobs.command import CommandError
from pipeline.provenance.files import DamagedFileError
from pipeline.provenance.seals import seal_path


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished.make()
    return tmp_path


@pytest.fixture
def crate(run):
    with zipfile.ZipFile(finished.archive()) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_all_that_the_figure_came_from_is_packed_and_no_data(crate):
    results = {name for name in crate if name.startswith(("results", "figures"))}
    made = {file for outputs, _ in list(finished.STEPS.values())[:-1] for file in outputs}
    assert results == made - {finished.ARRAYS}
    assert crate[TABLE].decode() == finished.CONTENT[TABLE]


def test_weights_can_be_left_out(run):
    found = contents(finished.jobs(), "smoke", weights=False)
    assert WEIGHTS not in found.seals
    assert f"{RUN}/run.json" in found.seals


def test_files_of_other_targets_are_left_out(run):
    found = contents(finished.jobs(), "smoke", [FIGURE[0]])
    assert set(found.drawn) == {*FIGURE, FACTS}
    with pytest.raises(
        CommandError,
        match=r"figures/other.pdf has not been made at scale smoke; .* figures/toy.pdf$",
    ):
        contents(finished.jobs(), "smoke", ["figures/other.pdf"])


def test_a_figure_of_another_scale_is_not_finished(run):
    with pytest.raises(CommandError, match="nothing is finished at scale laptop"):
        contents(finished.jobs(), "laptop")


def damaged(file):
    Path(file).write_text("x" * Path(file).stat().st_size)


def without_seal(file):
    seal_path(Path(file)).unlink()


def exchanged(file):
    """Another file, sealed as if it had been made from the same."""
    content = finished.CONTENT | {file: "other\n"}
    (outputs, inputs), name = finished.STEPS["collect/smoke/toy"], "collect/smoke/toy"
    with finished.seals.sealing(finished.made_by(finished.command(name).split()[2:]), map(Path, inputs)):
        finished.write_text(Path(file), content[file])
    assert file in outputs


@pytest.mark.parametrize(
    ("how", "file", "said"),
    [
        (damaged, TABLE, f"{TABLE} is damaged"),
        (damaged, f"{RUN}/history.csv", f"{RUN}/history.csv is damaged"),
        (damaged, FIGURE[1], "figures/toy.png is damaged"),
        (lambda file: Path(file).unlink(), WEIGHTS, f"{WEIGHTS} is missing"),
        (without_seal, FACTS, f"{FACTS} has no seal"),
        (exchanged, TABLE, f"{FACTS} was made from another {TABLE} than the one that is there"),
    ],
)
def test_what_is_not_as_it_was_written_is_not_packed(run, how, file, said):
    how(file)
    with pytest.raises(CommandError) as error:
        contents(finished.jobs(), "smoke")
    assert said in str(error.value)


def test_results_of_other_settings_are_not_packed(run):
    jobs = finished.jobs()
    name = finished.benchmark("draw/toy")
    command = """python scripts/draw.py --context '{"scale": "smoke"}'"""
    jobs[name] = jobs[name]._replace(outdated="settings", command=command, wildcards={"figure": "toy"})
    with pytest.raises(CommandError, match=r"figures/toy.pdf was made before a change of settings"):
        contents(jobs, "smoke")


def test_a_result_that_changes_meanwhile_leaves_no_archive(run, monkeypatch):
    found = contents(finished.jobs(), "smoke")
    monkeypatch.setattr(finished, "contents", lambda *_, **__: found)
    damaged(TABLE)
    Path("archive.zip").write_text("of before")
    with pytest.raises(DamagedFileError, match=r"toy.csv has changed while it was packed"):
        finished.archive()
    assert Path("archive.zip").read_text() == "of before"
    assert not list(run.glob(".archive*"))


def test_the_same_run_gives_the_same_bytes(run):
    one, other = finished.archive(Path("one.zip")), finished.archive(Path("other.zip"))
    assert one.read_bytes() == other.read_bytes()
    with zipfile.ZipFile(one) as file:
        assert file.namelist() == sorted(file.namelist())
        assert {member.date_time for member in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_where_a_machine_has_its_files_stays_there(crate, run):
    assert yaml.safe_load(crate["config.yaml"])["data_root"] is None
    for name, content in crate.items():
        assert b"/home/somebody" not in content, name
        assert str(run).encode() not in content, name


# https://www.researchobject.org/ro-crate/specification/1.1 and
# https://www.researchobject.org/workflow-run-crate/profiles/process_run_crate


def described(crate):
    content = json.loads(crate["ro-crate-metadata.json"])
    entities = {entity["@id"]: entity for entity in content["@graph"]}
    assert len(entities) == len(content["@graph"]), "an entity is described once"
    return content, entities


def test_the_crate_has_a_descriptor_and_a_root(crate):
    content, entities = described(crate)
    assert content["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    descriptor, root = entities["ro-crate-metadata.json"], entities["./"]
    assert descriptor["@type"] == "CreativeWork"
    assert descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert root["@type"] == "Dataset"
    assert root["name"]
    assert root["description"]
    assert datetime.fromisoformat(root["datePublished"])
    assert entities[root["license"]["@id"]]["name"]
    assert root["conformsTo"] == {"@id": "https://w3id.org/ro/wfrun/process/0.5"}


def test_the_crate_lists_every_file_as_it_is(crate):
    _, entities = described(crate)
    files = {unquote(key): one for key, one in entities.items() if one["@type"] == "File"}
    assert set(files) == set(crate) - {"ro-crate-metadata.json"}
    assert [part["@id"] for part in entities["./"]["hasPart"]] == sorted(
        key for key, one in entities.items() if one["@type"] == "File"
    )
    for name, about in files.items():
        assert about["sha256"] == hashlib.sha256(crate[name]).hexdigest()
        assert about["contentSize"] == str(len(crate[name]))
        assert re.fullmatch(r"\w+/[\w.+-]+", about["encodingFormat"])


def references(value):
    if isinstance(value, dict):
        yield from [value["@id"]] if set(value) == {"@id"} else []
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def test_every_reference_of_the_crate_leads_somewhere(crate):
    content, entities = described(crate)
    outside = {"https://w3id.org/ro/crate/1.1"}
    assert set(references(content["@graph"])) - outside <= set(entities)


def test_every_job_is_an_action_with_what_it_read_and_wrote(crate):
    _, entities = described(crate)
    actions = [one for one in entities.values() if one["@type"] == "CreateAction"]
    assert {one["name"] for one in actions} == {*list(finished.STEPS)[1:-1]}
    assert {ref["@id"] for ref in entities["./"]["mentions"]} == {one["@id"] for one in actions}
    for action in actions:
        outputs, inputs = finished.STEPS[action["name"]]
        assert {unquote(name) for name in references(action["result"])} == set(outputs)
        assert {unquote(name).lstrip("#") for name in references(action["object"])} == set(inputs)
        assert entities[action["instrument"]["@id"]]["@type"] == "SoftwareApplication"
        assert datetime.fromisoformat(action["endTime"])
