"""Safetensors files written tensor by tensor, against the safetensors library."""

import errno
import hashlib
import os

import pytest
import torch
from safetensors import safe_open

from pipeline.provenance.files import DamagedFileError, OutputError, tensors_one_by_one
from pipeline.provenance.tensor_file import _NAMES, Entry, TensorFile, name_of, reserve_for

TENSORS = {
    "weight": torch.randn(5, 3, generator=torch.Generator().manual_seed(0)),
    "count": torch.tensor(7),
    "none": torch.zeros(0, 4),
    "flags": torch.tensor([True, False, True]),
    "half": torch.randn(3).bfloat16(),
    "wide": torch.arange(4, dtype=torch.float64),
    "turned": torch.arange(6.0).view(2, 3).T,
}


def reserve(tensors, metadata):
    total = sum(tensor.nbytes for tensor in tensors.values())
    entries = [
        Entry(key, name_of(tensor.dtype), tuple(tensor.shape), total, total)
        for key, tensor in tensors.items()
    ]
    return reserve_for(entries, metadata)


def write(path, tensors=TENSORS, metadata=None):
    metadata = {"a": [1, "ü"]} if metadata is None else metadata
    file = TensorFile(path, reserve(tensors, metadata))
    for key, tensor in tensors.items():
        file.append(key, tensor)
    file.seal(metadata)
    file.close()
    return file


def test_the_library_reads_what_was_written(tmp_path):
    path = tmp_path / "x.safetensors"
    write(path)
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == set(TENSORS)
        for key, tensor in TENSORS.items():
            found = file.get_tensor(key)
            assert found.dtype == tensor.dtype
            assert torch.equal(found, tensor)
    keys, read, metadata = tensors_one_by_one(path)
    assert metadata == {"a": [1, "ü"]}
    assert torch.equal(read("weight"), TENSORS["weight"])
    assert set(keys) == set(TENSORS)


def test_the_digest_is_of_the_bytes_behind_the_header(tmp_path):
    file = write(tmp_path / "x")
    content = (tmp_path / "x").read_bytes()
    assert file.digest == hashlib.sha256(content[file.reserve :]).hexdigest()
    assert len(content) == file.reserve + file.length


@pytest.fixture(autouse=True)
def close_all(monkeypatch):
    opened = []
    start = TensorFile.__init__

    def noted(self, *arguments, **options):
        opened.append(self)
        start(self, *arguments, **options)

    monkeypatch.setattr(TensorFile, "__init__", noted)
    yield
    for file in opened:
        if hasattr(file, "_file"):
            file.close()


@pytest.mark.parametrize("cut", range(len(TENSORS) + 1))
@pytest.mark.parametrize("beyond", [0, 1, 1000])
def test_going_on_gives_the_same_file(tmp_path, cut, beyond):
    write(tmp_path / "whole")
    path, size = tmp_path / "x", reserve(TENSORS, {"a": [1, "ü"]})
    file = TensorFile(path, size)
    names = list(TENSORS)
    for key in names[:cut]:
        file.append(key, TENSORS[key])
    entries, digest = list(file.entries), file.digest
    file._file.write(b"x" * beyond)
    file.close()
    again = TensorFile(path, size, entries, digest)
    for key in names[cut:]:
        again.append(key, TENSORS[key])
    again.seal({"a": [1, "ü"]})
    assert path.read_bytes() == (tmp_path / "whole").read_bytes()


def test_damage_is_found(tmp_path):
    path, size = tmp_path / "x", reserve(TENSORS, {})
    file = TensorFile(path, size)
    for key, tensor in TENSORS.items():
        file.append(key, tensor)
    file.close()
    content = path.read_bytes()
    for damaged in (content[:-1], content[:size] + bytes([content[size] ^ 1]) + content[size + 1 :]):
        path.write_bytes(damaged)
        with pytest.raises(DamagedFileError, match="damaged"):
            TensorFile(path, size, file.entries, file.digest)
    path.unlink()
    with pytest.raises(DamagedFileError, match="missing"):
        TensorFile(path, size, file.entries, file.digest)


def test_a_header_never_outgrows_what_was_reserved(tmp_path):
    many = {f"layer.{i}": torch.zeros(10**i % 97 + 1) for i in range(40)}
    for count in (1, 7, 40):
        own = dict(list(many.items())[:count])
        write(tmp_path / f"{count}", own, {"text": "x" * count})


@pytest.fixture
def full_disk(monkeypatch):
    """Every file takes 100 bytes more, the last write only in part."""

    class Full:
        def __init__(self, file):
            self._file, self._room = file, 100

        def write(self, content):
            if self._room == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            taken = self._file.write(memoryview(content)[: self._room])
            self._room -= taken
            return taken

        def __getattr__(self, name):
            return getattr(self._file, name)

    def after(file):
        file._file = Full(file._file)

    return after


def test_a_full_disk_is_named(tmp_path, full_disk):
    file = TensorFile(tmp_path / "x", 64)
    full_disk(file)
    with pytest.raises(OutputError, match="No space left"):
        file.append("weight", torch.zeros(50))


def test_a_header_that_does_not_fit_on_the_disk_is_no_header(tmp_path, full_disk):
    """The room for it is a hole in the file, which takes space only now."""
    file = TensorFile(tmp_path / "x", reserve(TENSORS, {}))
    for key, tensor in TENSORS.items():
        file.append(key, tensor)
    full_disk(file)
    with pytest.raises(OutputError, match="No space left"):
        file.seal({})


def test_a_sealed_file_can_go_on(tmp_path):
    write(tmp_path / "whole")
    file = TensorFile(tmp_path / "x", reserve(TENSORS, {"a": [1, "ü"]}))
    for key, tensor in TENSORS.items():
        file.append(key, tensor)
        file.seal({"a": [1, "ü"]})
    assert (tmp_path / "x").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("dtype", [*_NAMES.values()])
def test_every_type_is_read_back(tmp_path, dtype):
    (torch_name,) = (name for name, short in _NAMES.items() if short == dtype)
    values = torch.tensor([[0, 1, 2], [3, 4, 5]]).to(getattr(torch, torch_name.removeprefix("torch.")))
    write(tmp_path / "x", {"a": values, "b": values.T}, {})
    with safe_open(tmp_path / "x", framework="pt") as file:
        assert torch.equal(file.get_tensor("a"), values)
        assert torch.equal(file.get_tensor("b"), values.T)
        assert file.get_tensor("b").dtype == values.dtype
