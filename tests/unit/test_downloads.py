"""Published files: looked for, downloaded from a server that misbehaves, checked and read."""

import dataclasses
import gzip
import logging
import os
import pickle
import socket
import subprocess
import sys

import numpy as np
import pytest
from tests.conftest import ROOT
from tests.unit.published import Server, archive, batch, checksum, cifar_of, idx_files, mnist_of

from nets.dataset import ChecksumError, FormatError
from nets.formats import idx
from nets.formats.cifar import unpickle
from pipeline.downloads.obtain import Sources, obtain
from pipeline.downloads.places import LOCK
from pipeline.downloads.records import (
    Reader,
    forget_lost_files,
    members_of,
    read_records,
    write_records,
)
from pipeline.downloads.transfer import Limits, shown
from pipeline.jobs.command import CommandError

LIMITS = Limits(timeout=0.3, tries=3, pause=0.01, progress_every=0)
IMAGES = "train-images-idx3-ubyte"
FIRST, SECOND = f"/first/{IMAGES}.gz", f"/second/{IMAGES}.gz"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def dataset(server):
    return mnist_of(server)


@pytest.fixture
def raw(tmp_path):
    return tmp_path / "results" / "raw" / "tiny"


def get(dataset, raw, **sources):
    return obtain(dataset.published, Sources(**sources), raw, LIMITS)


def arrays(dataset, raw, records):
    write_records(raw / "files.json", dataset.published, records)
    return dataset.prepare("tiny", Reader(raw / "files.json", dataset.published))


def asked(server, path):
    return [given for where, given in server.asked if where == path]


def test_downloaded_files_are_kept_as_they_are_and_read(server, dataset, raw):
    records = get(dataset, raw)
    assert len(server.asked) == 4
    found = arrays(dataset, raw, records)
    assert found.x_train.shape == (300, 1, 28, 28)
    assert found.x_train.dtype == np.uint8
    assert found.y_test.dtype == np.int64
    assert found.x_train.tobytes() == idx_files()[IMAGES][16:]
    path = raw / f"{IMAGES}.gz"
    assert path.read_bytes() == server.files[FIRST]
    assert records[path.name].path == str(path)
    assert records[path.name].origin == f"{server.url}{FIRST}"
    assert sorted(p.name for p in raw.iterdir()) == sorted(
        [LOCK, "files.json", *(file.name for file in dataset.published.files)]
    )


def test_what_is_there_is_not_downloaded_again(server, dataset, raw):
    get(dataset, raw)
    server.asked.clear()
    again = get(dataset, raw)
    assert server.asked == []
    assert {record.origin for record in again.values()} == {"found there"}


def test_a_redirect_is_followed(server, dataset, raw):
    server.plans[FIRST] = [("redirect", f"{server.url}{SECOND}")]
    get(dataset, raw)
    assert len(asked(server, SECOND)) == 1


def test_a_redirect_in_a_circle_ends(server, dataset, raw):
    server.plans[FIRST] = [("redirect", FIRST)] * 40
    records = get(dataset, raw)
    assert records[f"{IMAGES}.gz"].origin.endswith(SECOND)


def test_a_cut_download_goes_on_where_it_was(server, dataset, raw):
    server.plans[FIRST] = [("cut", 100_000), ("cut", 50_000)]
    get(dataset, raw)
    first, second, third = asked(server, FIRST)
    assert first is None
    sizes = [int(given.removeprefix("bytes=").rstrip("-")) for given in (second, third)]
    assert 80_000 < sizes[0] <= 100_000
    assert sizes[0] + 30_000 < sizes[1] <= sizes[0] + 50_000
    assert asked(server, SECOND) == []


def test_a_cut_download_starts_again_where_there_are_no_ranges(server, dataset, raw):
    server.ranges = False
    server.plans[FIRST] = [("cut", 100_000)]
    records = get(dataset, raw)
    assert len(asked(server, FIRST)) == 2
    assert arrays(dataset, raw, records).x_train.shape == (300, 1, 28, 28)


def test_what_a_killed_process_left_is_resumed(server, dataset, raw):
    raw.mkdir(parents=True)
    (raw / f".{IMAGES}.gz.part").write_bytes(server.files[FIRST][:70_000])
    get(dataset, raw)
    assert asked(server, FIRST) == ["bytes=70000-"]


def test_a_left_over_that_is_whole_is_not_asked_for(server, dataset, raw):
    raw.mkdir(parents=True)
    (raw / f".{IMAGES}.gz.part").write_bytes(server.files[FIRST])
    get(dataset, raw)
    assert asked(server, FIRST) == []


@pytest.mark.parametrize("length", [70_000, 10**6])
def test_a_wrong_left_over_is_thrown_away(server, dataset, raw, length):
    raw.mkdir(parents=True)
    (raw / f".{IMAGES}.gz.part").write_bytes(bytes(length))
    records = get(dataset, raw)
    assert asked(server, FIRST)[-1] is None
    assert records[f"{IMAGES}.gz"].origin.endswith(FIRST)


@pytest.mark.parametrize(
    ("plan", "times", "words"),
    [
        (["wrong"], 1, "wrong checksum: got md5:"),
        (["page"], 1, "an HTML page where a file of 2"),
        ([("status", 404)], 1, "HTTP 404 Not Found"),
        ([("status", 403)], 1, "HTTP 403 Forbidden"),
        ([("status", 503)] * 3, 3, "HTTP 503 Service Unavailable (asked 3 times)"),
        (["silence"], 1, "time-out: nothing came for 0.3 s, after 0 of 2"),
        ([("stall", 100_000)] + ["silence"] * 3, 4, "time-out: nothing came for 0.3 s, after "),
        ([("cut", 10)] * 3, 3, "cut after"),
    ],
)
def test_the_next_mirror_is_asked(server, dataset, raw, caplog, plan, times, words):
    caplog.set_level(logging.INFO, "pipeline")
    server.plans[FIRST] = plan
    records = get(dataset, raw)
    assert len(asked(server, FIRST)) == times
    assert records[f"{IMAGES}.gz"].origin.endswith(SECOND)
    assert arrays(dataset, raw, records).x_train.shape == (300, 1, 28, 28)
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any(words in text and FIRST in text for text in warned), warned


def test_a_busy_server_is_asked_again(server, dataset, raw):
    server.plans[FIRST] = [("status", 503), ("status", 503)]
    get(dataset, raw)
    assert len(asked(server, FIRST)) == 3
    assert asked(server, SECOND) == []


def test_progress_is_told_in_bytes(server, dataset, raw, caplog):
    caplog.set_level(logging.INFO, "pipeline")
    get(dataset, raw)
    bars = [r.getMessage() for r in caplog.records if r.getMessage().startswith(f"{IMAGES}.gz  [")]
    assert len(bars) > 5
    assert "[########################]" in bars[-1]
    assert "0:00 left" in bars[-1]


def test_the_users_mirror_is_asked_first(server, dataset, raw):
    server.files[f"/mine/tiny/{IMAGES}.gz"] = server.files[FIRST]
    records = get(dataset, raw, mirror=f"{server.url}/mine/")
    assert records[f"{IMAGES}.gz"].origin == f"{server.url}/mine/tiny/{IMAGES}.gz"
    assert asked(server, "/mine/tiny/t10k-labels-idx1-ubyte.gz") == [None]
    assert asked(server, "/first/t10k-labels-idx1-ubyte.gz") == [None]


def test_an_address_is_shown_without_its_password():
    assert shown("https://me:secret@host:8080/a/b") == "https://host:8080/a/b"


def test_when_nothing_helps_all_is_told(server, dataset, raw, tmp_path):
    for path in (FIRST, SECOND):
        server.plans[path] = [("status", 404)]
    refusing = f"http://127.0.0.1:{free_port()}/x"
    with pytest.raises(CommandError) as told:
        get(dataset, raw, mirror=refusing)
    text = str(told.value)
    for words in (
        f"{IMAGES}.gz of tiny could not be downloaded",
        f"{refusing}/tiny/{IMAGES}.gz\n    the connection was refused",
        f"{server.url}{FIRST}\n    HTTP 404 Not Found",
        f"{server.url}{SECOND}\n    HTTP 404 Not Found",
        f"{raw}/",
        "data_root=FOLDER",
        "Tiny/raw/",
        *(file.checksum for file in dataset.published.files),
    ):
        assert words in text


def free_port():
    server = Server()
    server.close()
    return server.url.rpartition(":")[2]


def test_a_host_that_is_not_known_is_no_riddle(dataset, raw, monkeypatch):
    def unknown(*arguments):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    elsewhere = dataclasses.replace(dataset.published, mirrors=("http://nowhere.invalid/",))
    with pytest.raises(CommandError, match="name of the host is not known: no route to the internet"):
        obtain(elsewhere, Sources(), raw, LIMITS)


def test_a_full_disk_is_told(dataset, raw, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.downloads.transfer.os.fsync", full)
    with pytest.raises(OSError, match=r"cannot write .*\.part: No space left on device, .* bytes free"):
        get(dataset, raw)


PROCESS = """
import sys
from pathlib import Path
from nets.dataset import Member, Published, PublishedFile
from pipeline.downloads.obtain import Sources, obtain
from pipeline.downloads.transfer import Limits
published = eval(sys.argv[1])
root = Path(sys.argv[2]) if sys.argv[2] else None
obtain(published, Sources(root), Path(sys.argv[3]), Limits(timeout=5))
"""


@pytest.mark.parametrize("shared", ["data_root", "results"])
def test_two_processes_download_once(server, dataset, raw, tmp_path, shared):
    for file in dataset.published.files:
        server.plans[f"/first/{file.name}"] = ["slow"] * 2
    root = tmp_path / "shared"
    root.mkdir()
    mine = [raw, raw] if shared == "results" else [raw, tmp_path / "clone" / "tiny"]
    running = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                PROCESS,
                repr(dataset.published),
                str(root) if shared == "data_root" else "",
                str(folder),
            ],
            env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")},
            stderr=subprocess.PIPE,
            text=True,
        )
        for folder in mine
    ]
    said = [process.communicate(timeout=60)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert len(server.asked) == 4


def lay(root, layout, dataset, packed):
    folder = root / layout
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in idx_files().items():
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    return folder


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("layout", ["", "tiny", "Tiny/raw", "tiny/Tiny/raw"])
def test_files_in_data_root_are_used_where_they_lie(server, dataset, raw, tmp_path, layout, packed):
    folder = lay(tmp_path / "root", layout, dataset, packed)
    before = sorted((tmp_path / "root").rglob("*"))
    records = get(dataset, raw, data_root=tmp_path / "root")
    assert server.asked == []
    assert {record.path.rpartition("/")[0] for record in records.values()} == {str(folder)}
    assert arrays(dataset, raw, records).x_test.shape == (20, 1, 28, 28)
    assert sorted((tmp_path / "root").rglob("*")) == before


def test_members_without_a_known_checksum_are_not_used(server, raw, tmp_path):
    dataset = mnist_of(server, members=False)
    lay(tmp_path / "root", "tiny", dataset, packed=False)
    records = get(dataset, raw, data_root=tmp_path / "root")
    assert set(records) == {file.name for file in dataset.published.files}
    assert len(server.asked) == 4
    assert arrays(dataset, raw, records).x_test.shape == (20, 1, 28, 28)


def test_what_is_missing_is_added_to_data_root(server, dataset, raw, tmp_path):
    folder = lay(tmp_path / "root", "tiny", dataset, packed=True)
    (folder / f"{IMAGES}.gz").unlink()
    records = get(dataset, raw, data_root=tmp_path / "root")
    assert server.asked == [(FIRST, None)]
    assert records[f"{IMAGES}.gz"].path == str(folder / f"{IMAGES}.gz")


@pytest.mark.parametrize(
    "how",
    [
        "in the way",
        pytest.param(
            "mode", marks=pytest.mark.skipif(os.geteuid() == 0, reason="root can write anywhere")
        ),
    ],
)
def test_a_data_root_that_cannot_be_written_to_is_left_alone(server, dataset, raw, tmp_path, how):
    root = tmp_path / "root"
    root.mkdir()
    if how == "mode":
        root.chmod(0o500)
    else:
        (root / "tiny").write_text("a file where the folder would be")
    records = get(dataset, raw, data_root=root)
    assert {record.path.rpartition("/")[0] for record in records.values()} == {str(raw)}


def test_a_damaged_file_in_data_root_is_named_and_left_alone(server, dataset, raw, tmp_path, caplog):
    folder = lay(tmp_path / "root", "tiny", dataset, packed=True)
    damaged = folder / f"{IMAGES}.gz"
    damaged.write_bytes(b"half")
    records = get(dataset, raw, data_root=tmp_path / "root")
    assert damaged.read_bytes() == b"half"
    assert records[damaged.name].path == str(raw / damaged.name)
    warned = [r.getMessage() for r in caplog.records if str(damaged) in r.getMessage()]
    assert len(warned) == 1
    assert f"has checksum {checksum(b'half', 'md5')}, but md5:" in warned[0]


def test_a_damaged_file_is_named_when_nothing_helps(server, dataset, raw, tmp_path):
    folder = lay(tmp_path / "root", "tiny", dataset, packed=True)
    (folder / f"{IMAGES}.gz").write_bytes(b"half")
    server.files.clear()
    with pytest.raises(CommandError) as told:
        get(dataset, raw, data_root=tmp_path / "root")
    assert f"{folder / IMAGES}.gz\n    has checksum" in str(told.value)
    assert f"data_root, {tmp_path / 'root'}" in str(told.value)


def test_a_file_that_was_damaged_later_is_refused(dataset, raw):
    records = get(dataset, raw)
    path = raw / f"{IMAGES}.gz"
    path.write_bytes(gzip.compress(bytes(100)))
    with pytest.raises(ChecksumError, match=rf"{path} .*has checksum md5:.* but md5:.* is expected"):
        arrays(dataset, raw, records)


def test_a_file_that_has_gone_is_named_and_looked_for_again(dataset, raw, tmp_path):
    records = get(dataset, raw)
    (raw / f"{IMAGES}.gz").unlink()
    with pytest.raises(CommandError, match=r"cannot be read \(No such file"):
        arrays(dataset, raw, records)
    forget_lost_files(tmp_path)
    assert not (raw / "files.json").exists()
    write_records(raw / "files.json", dataset.published, get(dataset, raw))
    forget_lost_files(tmp_path)
    assert set(read_records(raw / "files.json")) == set(records)


BATCHES = {
    "train": batch(40, 1, fine_labels=list(range(40)), coarse_labels=[i // 5 for i in range(40)]),
    "test": batch(10, 2, fine_labels=list(range(10)), coarse_labels=[1] * 10),
}


@pytest.mark.parametrize("labels", ["fine", "coarse"])
def test_batches_are_read_out_of_the_archive(server, raw, labels):
    dataset = cifar_of(server, BATCHES, labels=f"{labels}_labels".encode())
    found = arrays(dataset, raw, get(dataset, raw))
    assert found.x_train.shape == (40, 3, 32, 32)
    assert found.x_train.dtype == np.uint8
    expected = np.random.default_rng(1).integers(0, 255, (40, 3072)).astype(np.uint8)
    np.testing.assert_array_equal(found.x_train.reshape(40, -1), expected)
    assert found.y_train.tolist() == [i if labels == "fine" else i // 5 for i in range(40)]
    assert sorted(p.name for p in raw.iterdir()) == [LOCK, "files.json", "tiny.tar.gz"]


@pytest.mark.parametrize("layout", ["tiny-python", "tiny", "tiny/tiny-python", ""])
def test_batches_that_torchvision_has_unpacked_are_used(server, raw, tmp_path, layout):
    dataset = cifar_of(server, BATCHES)
    folder = tmp_path / "root" / layout
    folder.mkdir(parents=True)
    for name, content in BATCHES.items():
        (folder / name).write_bytes(content)
    records = get(dataset, raw, data_root=tmp_path / "root")
    assert server.asked == []
    assert set(records) == {"train", "test"}
    assert arrays(dataset, raw, records).y_test.tolist() == list(range(10))


def test_unpacked_batches_of_which_one_is_damaged_are_not_used(server, raw, tmp_path):
    dataset = cifar_of(server, BATCHES)
    (tmp_path / "tiny-python").mkdir()
    (tmp_path / "tiny-python" / "train").write_bytes(BATCHES["train"])
    (tmp_path / "tiny-python" / "test").write_bytes(BATCHES["test"][:-1])
    assert set(get(dataset, raw, data_root=tmp_path)) == {"tiny.tar.gz"}


def test_nothing_of_an_archive_is_written(server, raw, tmp_path):
    packed = archive(
        {"../../evil": b"x", "/tmp/evil": b"x", **{f"a/{k}": v for k, v in BATCHES.items()}}
    )
    dataset = cifar_of(server, BATCHES, packed)
    before = {*tmp_path.rglob("*"), raw, raw.parent, raw.parent.parent}
    arrays(dataset, raw, get(dataset, raw))
    new = {*tmp_path.rglob("*")} - before
    assert new == {raw / LOCK, raw / "files.json", raw / "tiny.tar.gz"}


def test_an_archive_with_another_batch_is_refused(server, raw):
    packed = archive({"a/train": BATCHES["test"], "a/test": BATCHES["test"]})
    dataset = cifar_of(server, BATCHES, packed)
    with pytest.raises(ChecksumError, match=r"train in .*tiny\.tar\.gz has checksum"):
        arrays(dataset, raw, get(dataset, raw))


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (archive({"a/train": BATCHES["train"]}), "has no test"),
        (archive({"a/train": BATCHES["train"]})[:-40_000], "cannot be unpacked"),
        (b"no archive", "cannot be unpacked"),
    ],
)
def test_an_archive_that_is_none_is_told(server, packed, words):
    file = cifar_of(server, BATCHES).published.files[0]
    with pytest.raises(FormatError, match=rf"tiny\.tar\.gz {words}"):
        members_of(file, packed)


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_of_another_checksum_is_never_opened(server, raw, tmp_path, monkeypatch):
    evil = pickle.dumps({b"data": Evil(tmp_path / "evil")})
    dataset = cifar_of(server, BATCHES, archive({"a/train": evil, "a/test": evil}))
    monkeypatch.setattr("nets.formats.cifar._ArraysOnly", None)
    with pytest.raises(ChecksumError):
        arrays(dataset, raw, get(dataset, raw))


def test_a_pickle_that_calls_something_is_refused(tmp_path):
    with pytest.raises(FormatError, match=r"mkdir has no place in it"):
        unpickle(pickle.dumps({b"data": Evil(tmp_path / "evil")}), "train")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a pickled batch"),
        (BATCHES["train"][:-100], "is not a pickled batch"),
        (pickle.dumps([1]), "holds a list"),
    ],
)
def test_a_batch_that_is_none_is_told(content, words):
    with pytest.raises(FormatError, match=f"train {words}"):
        unpickle(content, "train")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({b"data": np.zeros((2, 3072), np.uint8)}, "has no fine_labels"),
        ({b"data": np.zeros((2, 3072)), b"fine_labels": [1, 2]}, "images float64"),
        ({b"data": np.zeros((2, 3071), np.uint8), b"fine_labels": [1, 2]}, r"uint8 \(2, 3071\)"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"fine_labels": [1]}, r"\(1, 3072\) is expected"),
        ({b"data": b"", b"fine_labels": [1]}, "images bytes"),
    ],
)
def test_a_batch_of_other_content_is_told(server, content, words):
    dataset = cifar_of(server, BATCHES)
    with pytest.raises(FormatError, match=f"train has .*{words}|train {words}"):
        dataset.build(lambda name: pickle.dumps(content, protocol=3))


def test_an_idx_file_is_read():
    content = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, *range(6)])
    assert idx.parse(content, 2, "x").tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "begins with"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 1, 5]), "begins with 00000801, an IDX file with 00000802"),
        (bytes([0, 0, 13, 2, 0, 0, 0, 1, 0, 0, 0, 1, 5]), "begins with"),
        (bytes([0, 0, 8, 2, 0, 0]), "truncated"),
        (bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, *range(5)]), "truncated"),
        (bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, *range(7)]), "truncated or has more"),
        (bytes([0, 0, 8, 2, *[255] * 8, 1]), "truncated"),
    ],
)
def test_an_idx_file_that_is_none_is_told(content, words):
    with pytest.raises(FormatError, match=f"x.* {words}|x {words}"):
        idx.parse(content, 2, "x")


def download(folder, *arguments, **environment):
    return subprocess.run(
        [
            sys.executable,
            ROOT / "scripts" / "download.py",
            "--published",
            "mnist",
            *arguments,
            "--output",
            folder / "results" / "files.json",
        ],
        env={k: v for k, v in os.environ.items() if k != "CI"} | environment,
        text=True,
        capture_output=True,
        check=False,
    )


def test_a_data_root_in_the_environment_that_is_no_folder_is_told(tmp_path):
    done = download(tmp_path, "--data-root=", "--mirror=", DATA_ROOT=str(tmp_path / "none"))
    assert done.returncode == 1
    assert "the environment variable DATA_ROOT" in done.stderr
    assert "is not a folder" in done.stderr
    assert "Traceback" not in done.stderr
