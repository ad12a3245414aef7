"""What a training has found: each byte written once, and the same bytes after any kill."""

import json
import math
import os
import shutil
import tracemalloc
from contextlib import suppress

import pytest
import torch
from safetensors import safe_open

from nets.training.run import Record
from pipeline.provenance.files import OutputError
from pipeline.runs.journal import Journal

NET = {"0.weight": torch.zeros(6, 4), "1.running_mean": torch.zeros(6), "1.steps": torch.tensor(0)}
SEEDS, EPOCHS, LAST = (0, 1), (0, 3, 10), 10
ABOUT = {"shape": [4], "classes": 6}


@pytest.fixture(autouse=True)
def close_all(monkeypatch):
    opened = []
    start = Journal.__init__

    def noted(self, *arguments, **options):
        opened.append(self)
        start(self, *arguments, **options)

    monkeypatch.setattr(Journal, "__init__", noted)
    yield
    for journal in opened:
        journal.close()


def open_journal(folder, key="k"):
    most = len(SEEDS) * len(EPOCHS)
    return Journal(folder, key, NET, nets=most, last_epoch=LAST, seeds=len(SEEDS), metadata=ABOUT)


def net_at(seed, epoch):
    generator = torch.Generator().manual_seed(100 * seed + epoch)
    return {
        "0.weight": torch.randn(6, 4, generator=generator),
        "1.running_mean": torch.randn(6, generator=generator),
        "1.steps": torch.tensor(epoch),
    }


def record(seed, epoch):
    return Record(seed, epoch, math.pi * epoch, 0.1 + seed, math.inf, math.nan, 1 / 3)


def epoch_of(journal, epoch):
    """What a run does after an epoch: records, and kept nets."""
    for seed in SEEDS:
        journal.record(record(seed, epoch))
        if epoch in EPOCHS:
            journal.keep(seed, epoch, net_at(seed, epoch))


def save(journal, epoch):
    tensors = {f"net/{name}": value for name, value in net_at(9, epoch).items()}
    journal.save(tensors, {"epoch": epoch})


def go_on(folder, *, save_at=(2, 3, 7), stop_after=LAST):
    """A job that may find an earlier one's state, to the end or until it is killed."""
    journal = open_journal(folder)
    found = journal.load()
    if found is None:
        journal.begin()
        epoch_of(journal, 0)
        epoch = 0
    else:
        tensors, values = found
        epoch = values["epoch"]
        assert torch.equal(tensors["net/0.weight"], net_at(9, epoch)["0.weight"])
    while epoch < stop_after:
        epoch += 1
        epoch_of(journal, epoch)
        if epoch in save_at:
            save(journal, epoch)
    return journal


def finish(folder):
    journal = go_on(folder)
    journal.finish(folder / "checkpoints.safetensors")
    return (folder / "checkpoints.safetensors").read_bytes(), repr(journal.records)


@pytest.fixture
def whole(tmp_path_factory):
    return finish(tmp_path_factory.mktemp("whole"))


def test_the_library_reads_the_kept_nets(tmp_path):
    finish(tmp_path)
    with safe_open(tmp_path / "checkpoints.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["json"]) == ABOUT
        assert len(file.keys()) == len(SEEDS) * len(EPOCHS) * len(NET)
        for seed in SEEDS:
            for epoch in EPOCHS:
                for name, tensor in net_at(seed, epoch).items():
                    assert torch.equal(file.get_tensor(f"seed~{seed}/epoch~{epoch}/{name}"), tensor)


@pytest.mark.parametrize("stop_after", range(LAST + 1))
def test_killed_after_any_epoch(tmp_path, whole, stop_after):
    go_on(tmp_path, stop_after=stop_after)
    assert finish(tmp_path) == whole


def test_killed_in_the_middle_of_any_write(tmp_path, whole, monkeypatch):
    """Every file is cut at every size that it had on the way, before the next save."""
    written = []

    def note(file, content):
        written.append(len(content))
        file.write(content)

    (tmp_path / "count").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.provenance.tensor_file.write_all", note)
        patch.setattr("pipeline.runs.journal.write_all", note)
        finish(tmp_path / "count")
    for stop in range(len(written)):
        folder = tmp_path / f"{stop}"
        folder.mkdir()
        with monkeypatch.context() as patch:
            left = [stop]

            def cut(file, content, left=left):
                view = memoryview(content).cast("B")
                if left[0] == 0:
                    file.write(view[: len(view) // 2])
                    raise KeyboardInterrupt
                left[0] -= 1
                file.write(view)

            patch.setattr("pipeline.provenance.tensor_file.write_all", cut)
            patch.setattr("pipeline.runs.journal.write_all", cut)
            with suppress(KeyboardInterrupt):
                finish(folder)
        assert finish(folder) == whole


def test_outputs_that_are_deleted_come_back(tmp_path, whole):
    journal = go_on(tmp_path)
    save(journal, LAST)
    journal.finish(tmp_path / "checkpoints.safetensors")
    (tmp_path / "checkpoints.safetensors").unlink()
    assert finish(tmp_path) == whole


def test_a_new_start_leaves_a_finished_file_alone(tmp_path, whole):
    finish(tmp_path)
    for path in tmp_path.glob(".resume-*.state"):
        path.unlink()
    open_journal(tmp_path).begin()
    assert (tmp_path / "checkpoints.safetensors").read_bytes() == whole[0]


@pytest.mark.parametrize("ending", ["state", "nets", "lines"])
@pytest.mark.parametrize("how", ["cut", "flip", "gone"])
def test_damage_is_named_and_the_job_starts_over(tmp_path, whole, ending, how, caplog):
    go_on(tmp_path, stop_after=8)
    (path,) = tmp_path.glob(f".resume-*.{ending}")
    content = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    else:
        if how == "cut":
            content = content[: len(content) // 3]
        else:
            content[len(content) // 2 if ending == "lines" else -1] ^= 1
        path.write_bytes(content)
    assert finish(tmp_path) == whole
    assert how == "gone" or "damaged" in caplog.text


def test_another_key_finds_nothing_and_clearing_removes_all(tmp_path):
    journal = go_on(tmp_path)
    assert open_journal(tmp_path, "other").load() is None
    open_journal(tmp_path, "other").begin()
    journal.finish(tmp_path / "checkpoints.safetensors")
    journal.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints.safetensors"]


def test_a_disk_without_hard_links_gets_a_copy(tmp_path, whole, monkeypatch):
    def no_links(*_):
        raise PermissionError

    monkeypatch.setattr(os, "link", no_links)
    assert finish(tmp_path) == whole


def test_a_save_costs_the_state_alone(tmp_path):
    net = {"0.weight": torch.randn(2000, 40), "2.weight": torch.randn(10, 2000)}
    bytes_of_net = sum(tensor.nbytes for tensor in net.values())
    journal = Journal(tmp_path, "k", net, nets=40, last_epoch=40, seeds=1, metadata={})
    journal.begin()
    sizes = {}
    for epoch in range(40):
        journal.keep(0, epoch, net)
        if epoch in (1, 39):
            before = (tmp_path / ".resume-k.nets").stat()
            journal.save(net, {"epoch": epoch})
            after = (tmp_path / ".resume-k.nets").stat()
            assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
            sizes[epoch] = (tmp_path / ".resume-k.state").stat().st_size
    assert sizes[39] - sizes[1] < 100
    assert sizes[39] < bytes_of_net + 2000


def test_a_save_needs_the_memory_of_one_tensor(tmp_path):
    state = {f"{seed}": torch.randn(1000, 1000) for seed in range(8)}
    journal = Journal(tmp_path, "k", NET, nets=1, last_epoch=1, seeds=8, metadata={})
    journal.begin()
    tracemalloc.start()
    journal.save(state, {})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * 4_000_000


def test_a_full_disk_is_named_and_what_was_saved_stays(tmp_path, whole, monkeypatch):
    journal = go_on(tmp_path, stop_after=5)
    before = shutil.copytree(tmp_path, tmp_path.parent / f"{tmp_path.name}_before")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.provenance.tensor_file.write_all", full)
        with pytest.raises(OutputError, match=r"cannot write .*No space left"):
            save(journal, 5)
    names = sorted(path.name for path in before.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert finish(tmp_path) == whole
