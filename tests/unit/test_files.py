import errno
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import ROOT, write_tensors

from pipeline.provenance import files
from pipeline.provenance.files import DamagedFileError, OutputError


def test_content_appears_whole_under_its_name(tmp_path):
    path = tmp_path / "new" / "file.txt"
    files.write_text(path, "one")
    files.write_text(path, "two")
    assert path.read_text() == "two"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_new_files_have_ordinary_permissions(tmp_path):
    files.write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def refuse_large_files():
    """Have the kernel refuse to write past 10 kB, as it would on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))


WRITE_TOO_MUCH = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from pipeline.provenance.files import OutputError, write_bytes
try:
    write_bytes(Path(sys.argv[2]), bytes(50_000))
except OutputError as error:
    print(error)
"""


def test_failed_write_leaves_the_old_file_and_no_debris(tmp_path):
    path = tmp_path / "checkpoints.safetensors"
    path.write_bytes(b"before")
    # in a process of its own: the limit would hit the log of the tests as well
    done = subprocess.run(
        [sys.executable, "-c", WRITE_TOO_MUCH, str(ROOT / "scripts"), str(path)],
        preexec_fn=refuse_large_files,
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.match(r"cannot write .*checkpoints.* \(50,000 bytes\): .*unchanged", done.stdout)
    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoints.safetensors"]


def test_full_disk_is_named(tmp_path, monkeypatch):
    def no_space(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OutputError, match=r"No space left on device, [\d,]+ bytes free in"):
        files.write_text(tmp_path / "a.txt", "x")
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "results").write_text("a file where a folder should be")
    with pytest.raises(OutputError, match=r"cannot write .*results/a.txt"):
        files.write_text(tmp_path / "results" / "a.txt", "x")


def test_arrays_and_tensors_come_back(tmp_path):
    arrays = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "y": np.array([3, 1])}
    files.write_arrays(tmp_path / "a", arrays)
    assert all(np.array_equal(v, arrays[k]) for k, v in files.read_arrays(tmp_path / "a")[0].items())
    write_tensors(tmp_path / "t", {"w": torch.eye(3).T[1:]}, {"epoch": 3, "active": [1, 2]})
    tensors, metadata = files.read_tensors(tmp_path / "t")
    assert torch.equal(tensors["w"], torch.eye(3)[1:])
    assert metadata == {"epoch": 3, "active": [1, 2]}


def test_equal_contents_give_equal_bytes(tmp_path):
    metadata = {str(i): i for i in range(50)}
    for name in "ab":
        write_tensors(tmp_path / name, {"w": torch.ones(3), "v": torch.zeros(2)}, metadata)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("read", [files.read_arrays, files.read_tensors])
@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b"not safetensors", lambda b: b""])
def test_damaged_files_are_recognised(tmp_path, read, damage):
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"w": torch.ones(100)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedFileError, match=r"a\.safetensors is damaged.*delete it"):
        read(path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_tensors_are_mapped_and_so_shared_by_all_jobs(tmp_path):
    """Pages of a file that is mapped belong to all who read it, and count as those of nobody."""
    size = 64 * 2**20
    files.write_arrays(tmp_path / "large", {"x": np.ones(size, np.uint8)})

    def own_kilobytes():
        return int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[1])

    before = own_kilobytes()
    tensors, _ = files.read_tensors(tmp_path / "large")
    assert int(tensors["x"].sum()) == size
    assert own_kilobytes() - before < size / 1024 / 4
