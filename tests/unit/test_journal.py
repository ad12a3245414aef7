"""What a training has found: each byte written once, and the same bytes after any kill."""

import json
import math
import os
import shutil
import sys
import tempfile
import tracemalloc
import weakref
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch.overrides import TorchFunctionMode

from nets.training.run import Record
from pipeline.provenance import files, tensor_file
from pipeline.provenance.files import DamagedFileError, OutputError
from pipeline.runs import journal as journal_module
from pipeline.runs import run as runs
from pipeline.runs.journal import Journal

NET = {"0.weight": torch.zeros(6, 4), "1.running_mean": torch.zeros(6), "1.steps": torch.tensor(0)}
SEEDS, EPOCHS, LAST = (0, 1), (0, 3, 10), 10
ABOUT = {"shape": [4], "classes": 6}
OUTPUT = "checkpoints.safetensors"


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
    journal.finish(folder / OUTPUT)
    journal.close()
    return (folder / OUTPUT).read_bytes(), repr(journal.records)


@pytest.fixture
def whole(tmp_path_factory):
    return finish(tmp_path_factory.mktemp("whole"))


def test_the_library_reads_the_kept_nets(tmp_path):
    finish(tmp_path)
    with safe_open(tmp_path / OUTPUT, framework="pt") as file:
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


PIECE = 97
"""Bytes of a write after which the folder is looked at."""


def contents(folder):
    """What lies in a folder; a file with two names has one number."""
    found = {}
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            found[path.name] = (path.stat().st_ino, path.read_bytes())
    return found


def put(folder, snapshot):
    folder.mkdir()
    first = {}
    for name, (number, content) in snapshot.items():
        if number in first:
            (folder / name).hardlink_to(first[number])
        else:
            (folder / name).write_bytes(content)
            first[number] = folder / name


@contextmanager
def watched(folder, monkeypatch):
    """All that a kill can leave in a folder: it is looked at between any two lines and in any write."""
    seen = []

    def look():
        now = contents(folder)
        if not seen or now != seen[-1]:
            seen.append(now)

    def piecewise(file, content):
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest[:PIECE]) :]
            look()

    def trace(frame, *_):
        if frame.f_code.co_filename not in (journal_module.__file__, tensor_file.__file__):
            return None
        look()
        return trace

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(tensor_file, "write_all", piecewise)
        patch.setattr(journal_module, "write_all", piecewise)
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            yield seen
        finally:
            sys.settrace(before)
    look()


def finish_and_clear(folder):
    journal = go_on(folder, save_at=(2, 7))
    journal.finish(folder / OUTPUT)
    journal.clear()


@pytest.mark.parametrize("deleted", [True, False], ids=["outputs deleted", "outputs left"])
def test_killed_anywhere(tmp_path, whole, monkeypatch, deleted):
    (tmp_path / "watched").mkdir()
    with watched(tmp_path / "watched", monkeypatch) as snapshots:
        finish_and_clear(tmp_path / "watched")
    assert len(snapshots) > 100
    assert any(OUTPUT in snapshot for snapshot in snapshots)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    for number, snapshot in enumerate(snapshots):
        assert snapshot.get(OUTPUT, (0, whole[0]))[1] == whole[0]
        folder = tmp_path / f"{number}"
        put(folder, {name: file for name, file in snapshot.items() if not (deleted and name == OUTPUT)})
        assert finish(folder) == whole


def test_an_output_is_whole_while_its_job_runs_again(tmp_path, whole, monkeypatch):
    """It has been finished after the last save, so that what the journal has is to be cut."""
    finish(tmp_path)
    with watched(tmp_path, monkeypatch) as snapshots:
        finish(tmp_path)
    assert len(snapshots) > 10
    assert all(snapshot[OUTPUT][1] == whole[0] for snapshot in snapshots)


def test_outputs_that_are_deleted_come_back(tmp_path, whole):
    journal = go_on(tmp_path)
    save(journal, LAST)
    journal.finish(tmp_path / OUTPUT)
    (tmp_path / OUTPUT).unlink()
    assert finish(tmp_path) == whole


def test_a_new_start_leaves_a_finished_file_alone(tmp_path, whole):
    finish(tmp_path)
    for path in tmp_path.glob(".resume-*.state"):
        path.unlink()
    open_journal(tmp_path).begin()
    assert (tmp_path / OUTPUT).read_bytes() == whole[0]


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


def test_the_state_of_another_job_is_set_aside(tmp_path, whole, caplog):
    other = open_journal(tmp_path, "other")
    other.begin()
    save(other, 3)
    other.close()
    for ending in ("state", "nets", "lines"):
        (tmp_path / f".resume-other.{ending}").rename(tmp_path / f".resume-k.{ending}")
    before = (tmp_path / ".resume-k.state").read_bytes()
    assert finish(tmp_path) == whole
    assert (tmp_path / "set-aside.resume-k.state.1").read_bytes() == before
    assert ".resume-k.state is the state of another job" in caplog.text


@pytest.mark.parametrize("ending", ["state", "nets", "lines"])
def test_a_folder_in_the_place_of_a_file_is_set_aside(tmp_path, whole, ending, caplog):
    for _ in range(2):
        folder = tmp_path / f".resume-k.{ending}"
        folder.mkdir()
        (folder / "mine").write_text("kept")
        assert finish(tmp_path) == whole
        assert f"{folder} is a folder" in caplog.text
        open_journal(tmp_path).clear()
    for number in (1, 2):
        assert (tmp_path / f"set-aside.resume-k.{ending}.{number}" / "mine").read_text() == "kept"


def test_another_key_finds_nothing_and_clearing_removes_all(tmp_path):
    journal = go_on(tmp_path)
    assert open_journal(tmp_path, "other").load() is None
    open_journal(tmp_path, "other").begin()
    journal.finish(tmp_path / OUTPUT)
    journal.clear()
    assert [path.name for path in tmp_path.iterdir()] == [OUTPUT]


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


class Allocated(TorchFunctionMode):
    """Counts the bytes of tensors that are made; `tracemalloc` does not see them."""

    def __init__(self):
        super().__init__()
        self._tensors = Counter()
        self.live = self.peak = 0

    def __torch_function__(self, operation, types, arguments=(), options=None):
        made = operation(*arguments, **(options or {}))
        if isinstance(made, torch.Tensor):
            place = made.untyped_storage().data_ptr()
            given = {t.untyped_storage().data_ptr() for t in arguments if isinstance(t, torch.Tensor)}
            if place in self._tensors or place not in given:
                self._add(made, place, made.untyped_storage().nbytes())
        return made

    def _add(self, tensor, place, size):
        self.live += 0 if self._tensors[place] else size
        self.peak = max(self.peak, self.live)
        self._tensors[place] += 1
        weakref.finalize(tensor, self._remove, place, size)

    def _remove(self, place, size):
        self._tensors[place] -= 1
        if not self._tensors[place]:
            del self._tensors[place]
            self.live -= size


def test_a_save_needs_the_memory_of_one_tensor(tmp_path):
    """Of tensors that have to be copied, as those on another device."""
    state = {f"{net}": torch.randn(1300, 1250).T for net in range(4)}
    journal = Journal(tmp_path, "k", NET, nets=1, last_epoch=1, seeds=4, metadata={})
    journal.begin()
    tracemalloc.start()
    with Allocated() as allocated:
        journal.save(state, {})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
    assert allocated.peak == state["0"].nbytes
    assert allocated.live == 0


def test_a_save_writes_the_state_and_nothing_else(tmp_path, monkeypatch):
    written = []

    def note(file, content):
        written.append(len(memoryview(content)))
        file.write(content)

    journal = go_on(tmp_path, stop_after=8)
    monkeypatch.setattr(tensor_file, "write_all", note)
    monkeypatch.setattr(journal_module, "write_all", note)
    save(journal, 8)
    assert sum(written) == journal.path.stat().st_size


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


NAMES = st.text(st.sampled_from('w1ü"\\.0'), min_size=1, max_size=4)
SHAPES = st.lists(st.integers(0, 12), max_size=3)


@settings(deadline=None, max_examples=60)
@given(
    shapes=st.dictionaries(NAMES, SHAPES, min_size=1, max_size=8),
    seeds=st.integers(1, 12),
    epochs=st.sets(st.integers(0, 10**6), min_size=1, max_size=12),
    half=st.booleans(),
)
def test_no_header_outgrows_what_was_reserved(shapes, seeds, epochs, half):
    net = {n: torch.zeros(s, dtype=torch.bfloat16 if half else torch.float64) for n, s in shapes.items()}
    with tempfile.TemporaryDirectory() as name:
        most = {"nets": seeds * len(epochs), "last_epoch": max(epochs), "seeds": seeds}
        journal = Journal(Path(name), "k", net, **most, metadata=ABOUT)
        journal.begin()
        for seed in range(seeds):
            for epoch in epochs:
                journal.keep(seed, epoch, net)
        journal.finish(Path(name) / OUTPUT)
        journal.close()
        with safe_open(Path(name) / OUTPUT, framework="pt") as file:
            assert len(file.keys()) == seeds * len(epochs) * len(net)


def test_names_that_end_in_digits_have_headers_of_their_own():
    """Were they to run together with other numbers, the reserve would be too short."""
    net = {f"w{i}": torch.zeros(1) for i in range(200)}
    entries = list(journal_module._worst_entries(net, 150, 9, 1))
    assert len({entry.key for entry in entries}) == len(entries)


def test_nets_are_read_one_by_one_in_order(tmp_path, monkeypatch):
    finish(tmp_path)
    opened, read = [], files.tensors_one_by_one

    def noted(path):
        keys, one, about = read(path)
        return keys, lambda key: opened.append(key) or one(key), about

    monkeypatch.setattr(runs, "tensors_one_by_one", noted)
    monkeypatch.setattr(runs, "net_of", lambda state, *_: state)
    nets = runs.read_checkpoints(tmp_path / OUTPUT, None, 6)
    assert opened == []
    places = []
    for place, net in enumerate(nets, 1):
        places.append((net.seed, net.epoch))
        assert len(opened) == place * len(NET)
        for name, tensor in net_at(net.seed, net.epoch).items():
            assert torch.equal(net.model[name], tensor)
    assert places == [(seed, epoch) for seed in SEEDS for epoch in EPOCHS]


def test_damaged_checkpoints_are_named(tmp_path):
    finish(tmp_path)
    path = tmp_path / OUTPUT
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedFileError, match=r"damaged .*; delete it to have it rebuilt"):
        next(runs.read_checkpoints(path, None, 6))
