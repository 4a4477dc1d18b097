"""Files of torch.save, read by the opcodes of their pickle: tensors equal those that torch reads, and nothing else is
built, whatever the bytes are.
"""

import collections
import contextlib
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.saving.torch_files import StoredTensor, TorchFile, Unbuilt, read_torch_file
from torch import nn


class Marker:
    """An object of a class that must not be built."""

    built = 0

    def __setstate__(self, state: Any) -> None:
        Marker.built += 1


def saved(value: Any, *, old: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not old)
    return buffer.getvalue()


def read(data: bytes) -> TorchFile:
    file = read_torch_file(data, "w.pt")
    assert file is not None
    return file


BASE = torch.arange(60.0).reshape(3, 4, 5)
TENSORS: dict[str, torch.Tensor] = {
    **{
        str(dtype): torch.tensor([[1, 0, 3], [4, 5, 6]]).to(dtype)
        for dtype in (
            torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
            torch.int8, torch.uint8, torch.bool,
        )
    },
    "scalar": torch.tensor(3.5),
    "empty": torch.empty(0, 7),
    "transposed": BASE.permute(2, 0, 1),
    "part of a storage": BASE[1:, ::2, 1],
    "another part": BASE[0],
    "parameter": nn.Parameter(torch.ones(2, 3) * 2),
    "buffer": nn.Buffer(torch.ones(3)),
}  # fmt: skip


def test_tensors_equal_those_of_torch() -> None:
    """Of every supported dtype, with strides and shared storages, in an OrderedDict with metadata."""
    state = collections.OrderedDict(TENSORS)
    state._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
    tagged = nn.Parameter(torch.ones(4))
    tagged.note = "an attribute"  # type: ignore[attr-defined]
    file = read(saved({"state": state, "tagged": tagged, "other": [Marker(), {1: 2}, ("a", 2.5, None, True)]}))
    for name, value in TENSORS.items():
        found = file.tensor(file.content["state"][name])
        assert found.dtype == value.dtype
        assert torch.equal(found, value), name
    assert torch.equal(file.tensor(file.content["tagged"]), tagged)
    assert file.content["other"][1:] == [{}, ("a", 2.5, None, True)]
    assert Marker.built == 0


@pytest.mark.parametrize("protocol", range(2, 6))
def test_every_protocol_of_pickle(protocol: int) -> None:
    """As torch.save and pickle write them."""
    value = {"w": BASE, "n": Marker(), "l": [1, 2**70, -1.5], "d": collections.defaultdict(list, a=[1]), "s": {1, 2}}
    buffer = io.BytesIO()
    torch.save(value, buffer, pickle_protocol=protocol)
    file = read(buffer.getvalue())
    assert torch.equal(file.tensor(file.content["w"]), BASE)
    plain = read(pickle.dumps({**value, "w": None}, protocol))
    for content in (file.content, plain.content):
        assert content["n"].name.endswith("Marker")
        assert content["l"] == [1, 2**70, -1.5]
        assert content["d"] == {"a": [1]}


@pytest.mark.filterwarnings("ignore::torch.serialization.SourceChangeWarning")
@pytest.mark.parametrize("old", [False, True])
def test_the_class_of_a_module(old: bool) -> None:
    """Read from the file, also in the format before torch 1.6."""
    file = read(saved(nn.Sequential(nn.Linear(2, 2)), old=old))
    assert isinstance(file.content, Unbuilt)
    assert (file.content.name, file.content.is_module) == ("torch.nn.modules.container.Sequential", True)
    assert not read(saved(Marker(), old=old)).content.is_module


def test_old_files_are_recognised_but_not_read() -> None:
    """torch reads their state dicts."""
    file = read(saved({"w": BASE}, old=True))
    with pytest.raises(ValueError, match="cannot be read without unpickling"):
        file.tensor(file.content["w"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_other_formats(tmp_path: Path) -> None:
    """They are not files of torch.save."""
    program = torch.export.export(nn.Linear(2, 2), (torch.ones(3, 2),))
    torch.export.save(program, tmp_path / "m.pt2")
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(3, 2)), str(tmp_path / "m.pt"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "text")
    for data in ((tmp_path / "m.pt2").read_bytes(), (tmp_path / "m.pt").read_bytes(), buffer.getvalue(), b"", b"text"):
        assert read_torch_file(data, "m") is None


def archive_of(content: bytes, **more: bytes) -> bytes:
    """An archive of torch.save with this pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", content)
        for name, data in more.items():
            archive.writestr(f"a/{name}", data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a file of torch.save, or is damaged"),
        (b"\x80\x02.", "is not a file of torch.save, or is damaged"),
        (b"\x80\x02N", "is not a file of torch.save, or is damaged"),
        (b"\x80\x020.", "damaged"),
        (b"\x80\x02h\x05.", "damaged"),
        (b"\x80\x02X\xff\xff\xff\x7fab.", "damaged"),
        (b"\x80\x02(u.", "damaged"),
        (b"\x80\x02}(K\x01u.", "damaged"),
        (b"\x80\x02)\x81.", "damaged"),
        (b"\x80\x04\x97.", "damaged"),
        (b"I" + b"9" * 5000 + b"\n.", "damaged"),
    ],
)
def test_damaged_pickles(content: bytes, message: str) -> None:
    """One line, never another exception."""
    with pytest.raises(BundleError, match=message) as caught:
        read_torch_file(archive_of(content), "w.pt")
    assert "\n" not in str(caught.value)


def test_files_of_another_byte_order() -> None:
    """Refused, since their numbers would be wrong."""
    with pytest.raises(BundleError, match="was saved on a big-endian machine; load it with torch and save it again"):
        read_torch_file(archive_of(pickle.dumps({}, 2), byteorder=b"big"), "w.pt")


def test_a_storage_that_is_missing_or_too_short() -> None:
    """Refused when the tensor is read."""
    whole = saved({"w": BASE, "n": Marker()})
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        content = archive.read("archive/data.pkl")
    file = read(archive_of(content))
    with pytest.raises(BundleError, match=r"its entry 'data/0' cannot be read"):
        file.tensor(file.content["w"])
    for short, message in ((b"", "0 bytes"), (b"123", "3 bytes"), (bytes(236), "more numbers than the 59 in the file")):
        file = read(archive_of(content, **{"data/0": short}))
        with pytest.raises(ValueError, match=message):
            file.tensor(file.content["w"])
    file = read(archive_of(content, **{"data/0": bytes(240)}))
    assert torch.equal(file.tensor(file.content["w"]), torch.zeros(3, 4, 5))
    stored = file.content["w"]
    for forged in (
        StoredTensor(stored.storage, 59, (2,), (1,)),
        StoredTensor(stored.storage, 0, (10**9, 10**9), (0, 0)),
        StoredTensor(stored.storage, 2**61, (1,), (1,)),
    ):
        with pytest.raises(ValueError, match="needs more numbers"):
            file.tensor(forged)


WHOLE = saved({"state_dict": {"w": BASE[0]}, "hyper_parameters": {"m": Marker(), "p": [1.5, "a", (2,)]}})


@given(st.data())
def test_changed_bytes(data: st.DataObject) -> None:
    """A changed or cut file is read or refused; nothing is built, and nothing else is raised."""
    with zipfile.ZipFile(io.BytesIO(WHOLE)) as archive:
        content, numbers = bytearray(archive.read("archive/data.pkl")), archive.read("archive/data/0")
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    for changed in (bytes(content), bytes(content[:cut])):
        try:
            file = read(archive_of(changed, **{"data/0": numbers}))
            values = file.content.get("state_dict") if isinstance(file.content, dict) else None
            for value in values.values() if isinstance(values, dict) else ():
                if isinstance(value, StoredTensor):
                    file.tensor(value)
        except (BundleError, ValueError):
            pass
    assert Marker.built == 0


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    """Of a pickle inside an archive."""
    with contextlib.suppress(BundleError):
        read_torch_file(archive_of(b"\x80\x02" + data), "w.pt")
