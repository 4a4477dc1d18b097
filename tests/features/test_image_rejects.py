"""Images that cannot be decoded and paths without an image are rejected with a reason; failures of the machine are
errors."""

import errno
import os
import struct
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scoreline.pipeline.errors import BundleError, StorageError
from scoreline.pipeline.features.images import MOST_PIXELS, open_images, require_pillow

from pictures import MEAN, STD, agree, by_hand, colours, entry, opened, picture, png, saved


def reason(image: bytes | str, **settings: Any) -> str:
    """The reason why an image is rejected."""
    return opened([image], entry(), **settings)[1][0]


@pytest.mark.parametrize("kind", ["JPEG RGB", "JPEG progressive", "PNG RGB", "PNG interlaced", "PNG P alpha"])
def test_truncated_files_are_rejects(kind: str) -> None:
    """At every length; a file that Pillow can still decode has the same pixels."""
    data = picture(kind)
    rejects = agree([data[:cut] for cut in range(0, len(data), 3)], entry(size=(5, 5)))
    assert rejects > len(data) // 3 * 0.8
    assert reason(data[: len(data) // 2]).startswith("is broken: ")
    assert reason(data[:20]).startswith("is broken: ")


@given(st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]), st.binary(max_size=200))
def test_any_bytes_are_rejects(beginning: bytes, data: bytes) -> None:
    """They never raise."""
    assert reason(beginning + data).startswith("is ")


@cache
def victim(kind: str) -> bytes:
    """A small file, which is then damaged."""
    return picture(kind, 9, 9)


@settings(max_examples=300)
@given(st.data())
def test_damaged_files_are_rejected_or_decoded_as_by_hand(data: st.DataObject) -> None:
    """A few bytes are changed."""
    file = bytearray(victim(data.draw(st.sampled_from(["JPEG RGB", "JPEG several", "PNG P alpha", "PNG RGB"]))))
    for offset in data.draw(st.lists(st.integers(0, len(file) - 1), min_size=1, max_size=4)):
        file[offset] = data.draw(st.integers(0, 255))
    agree([bytes(file)], entry(size=(4, 4)))


def test_reasons_of_bytes() -> None:
    """One line per row; other rows are not affected."""
    grey = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    rgb = Image.fromarray(colours(8, 8))
    wrong = {
        b"": "is empty",
        b"GIF": "is not a JPEG or PNG",
        saved(rgb, "GIF"): "is not a JPEG or PNG",
        saved(rgb, "TIFF"): "is not a JPEG or PNG",
        saved(rgb, "BMP"): "is not a JPEG or PNG",
        saved(Image.fromarray(grey), "PNG"): "more than 8 bits",
        png(colours(1, 1), size=(60000, 60000)): f"more than {MOST_PIXELS:,} pixels, the limit for decoding",
        png(colours(1, 1), size=(MOST_PIXELS + 1, 1)): "more than 89,478,485 pixels",
        png(colours(1, 1), size=(MOST_PIXELS // 5, 5)): "is broken",  # the largest allowed size, but without data
    }
    fine = picture("JPEG RGB")
    given = entry(mean=MEAN, std=STD)
    pixels, reasons = opened([fine, *wrong, fine], given)
    assert list(reasons) == list(range(1, len(wrong) + 1))
    for row, words in enumerate(wrong.values(), 1):
        assert words in reasons[row]
    assert torch.equal(pixels[0], by_hand(fine, given))
    assert torch.equal(pixels[-1], pixels[0])


def test_a_jpeg_with_too_many_pixels_is_a_reject() -> None:
    """Only its header is read."""
    data = picture("JPEG RGB")
    start = data.index(b"\xff\xc0") + 5
    assert "the limit for decoding" in reason(data[:start] + struct.pack(">HH", 65500, 65500) + data[start + 4 :])


def test_narrow_images_are_not_resized_to_huge_ones() -> None:
    """1 × 60,000 pixels would become 200 × 12 million."""
    line = saved(Image.new("L", (1, 60000)), "PNG")
    _, reasons = opened([line], entry(resize=200))
    assert reasons == {0: "is too narrow to be resized: 1 × 60000 pixels"}
    assert agree([line], entry()) == 0


def test_reasons_of_paths(tmp_path: Path) -> None:
    """Pipes and devices are not opened."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "cut.jpg").write_bytes(picture("JPEG RGB")[:400])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    wrong = {
        "x.png": "no such file 'x.png'",
        "empty.png/x.png": "no such file 'empty.png/x.png'",
        "dangling": "no such file 'dangling'",
        "s3://b/x.png": "'s3://b/x.png' is not a local file",
        "a\0b": "no such file 'a\\x00b'",
        "a\nb": "no such file 'a\\nb'",
        "loop": "'loop' cannot be read: Too many levels of symbolic links",
        "n" * 300: "cannot be read: File name too long",
        "": "'' is a folder",
        "folder": "'folder' is a folder",
        "pipe": "'pipe' is not a regular file",
        "/dev/zero": "'/dev/zero' is not a regular file",
        "empty.png": "is empty",
        "cut.jpg": "is broken: ",
        "text.png": "is not a JPEG or PNG",
    }
    _, reasons = opened(list(wrong), entry(), folder=str(tmp_path))
    assert list(reasons) == list(range(len(wrong)))
    for row, words in enumerate(wrong.values()):
        assert words in reasons[row]


def test_a_file_that_may_not_be_read_is_a_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is simulated, since root may read all files."""
    (tmp_path / "x.png").touch()
    monkeypatch.setattr(Path, "open", failing(PermissionError(errno.EACCES, "Permission denied")))
    assert reason("x.png", folder=str(tmp_path)) == "'x.png' cannot be read: Permission denied"


def test_a_path_that_is_not_utf8_is_a_reject() -> None:
    """Arrow does not validate strings from other sources."""
    column = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe")]
    )
    assert opened(column, entry())[1] == {0: "is not a valid path: not UTF-8"}


def failing(error: BaseException) -> Any:
    """A function that raises."""

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def test_a_failure_of_the_machine_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a run would skip valid rows."""
    (tmp_path / "x.png").write_bytes(picture("PNG RGB"))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", failing(OSError(errno.EMFILE, "Too many open files")))
        with pytest.raises(StorageError, match=r"x\.png' cannot be read: Too many open files"):
            reason("x.png", folder=str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", failing(OSError(errno.EIO, "Input/output error")))
        with pytest.raises(StorageError, match=r"x\.png' cannot be read: Input/output error"):
            reason("x.png", folder=str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "resize", failing(MemoryError()))
        with pytest.raises(MemoryError):
            reason("x.png", folder=str(tmp_path))


def test_a_missing_pillow_is_reported_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """By `require_pillow` before the first row, and by `open_images`."""
    require_pillow()
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(BundleError, match=r"pip install 'scoreline\[images\]'"):
        require_pillow()
    with pytest.raises(BundleError, match="Pillow"):
        open_images(pa.array([b""]), entry(), folder="")
