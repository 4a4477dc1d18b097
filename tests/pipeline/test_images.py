"""Images become the pixels that Pillow and torch make of each one by hand, or their row is a reject with its reason."""

import errno
import io
import os
import struct
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from scoreline.pipeline.errors import BundleError, StorageError
from scoreline.pipeline.features.images import MOST_PIXELS, open_images, require_pillow
from scoreline.schemas.inputs import ImageInput

INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def entry(**settings: Any) -> ImageInput:
    """An input of 8 × 8 pixels, unless told otherwise."""
    return ImageInput(**{"name": "image", "columns": ["image"], "size": (8, 8), **settings})


def by_hand(data: bytes, entry: ImageInput) -> torch.Tensor:
    """`[channels, height, width]` by bare Pillow and torch. Raises what Pillow raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image: Image.Image = Image.open(io.BytesIO(data))
        if entry.exif:
            image = ImageOps.exif_transpose(image)
        image = image.convert({1: "L", 3: "RGB"}[entry.channels])
    how = getattr(Image, entry.interpolation.upper())
    (height, width), (w, h) = entry.size, image.size
    if entry.resize is None:
        image = image.resize((width, height), how)
    else:
        if w <= h:
            w, h = entry.resize, int(entry.resize * h / w)
        else:
            w, h = int(entry.resize * w / h), entry.resize
        image = image.resize((w, h), how)
        top, left = int(round((h - height) / 2.0)), int(round((w - width) / 2.0))  # noqa: RUF046 - as torchvision has it
        image = image.crop((left, top, left + width, top + height))
    pixels = torch.from_numpy(np.array(image)).view(height, width, entry.channels)
    tensor = pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255)
    if entry.mean:
        tensor = tensor - torch.tensor(entry.mean, dtype=torch.float32)[:, None, None]
    if entry.std:
        tensor = tensor / torch.tensor(entry.std, dtype=torch.float32)[:, None, None]
    return tensor


def opened(images: Any, entry: ImageInput, *, folder: str = "", **settings: Any) -> tuple[torch.Tensor, dict[int, str]]:
    """`open_images` on a list or an Arrow array, with what holds of every result."""
    column = images if isinstance(images, pa.Array) else pa.array(images)
    pixels, reasons = open_images(column, entry, folder=folder, **settings)
    assert pixels.shape == (len(column), entry.channels, *entry.size)
    assert pixels.dtype == np.float32
    assert pixels.flags.c_contiguous
    for row, reason in reasons.items():
        assert not pixels[row].any()
        assert reason.isprintable()
        assert len(reason) < 250
    return torch.from_numpy(pixels), reasons


def reason(image: bytes | str, **settings: Any) -> str:
    """Why one image is a reject."""
    return opened([image], entry(), **settings)[1][0]


def agree(files: list[bytes], entry: ImageInput) -> int:
    """Each has the pixels it has by hand, or it is a reject, and raises by hand. The number of the rejects."""
    pixels, reasons = opened(pa.array(files, pa.binary()), entry)
    for row, data in enumerate(files):
        if row in reasons:
            with pytest.raises(Exception):  # noqa: B017, PT011 - whatever Pillow raises
                by_hand(data, entry)
        else:
            assert torch.equal(pixels[row], by_hand(data, entry))
    return len(reasons)


def saved(image: Image.Image, kind: str, **settings: Any) -> bytes:
    """The bytes of a file of that kind."""
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(colours: np.ndarray, *, interlaced: bool = False, size: tuple[int, int] | None = None) -> bytes:
    """uint8 or uint16 `[height, width, 3]` as a PNG; `size`: width and height that the header claims."""
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    parts = [colours[y::down, x::right] for x, y, right, down in passes]
    lines = b"".join(b"\0" + line.astype(line.dtype.newbyteorder(">")).tobytes() for part in parts for line in part)
    width, height = size or colours.shape[1::-1]
    header = struct.pack(">IIBBBBB", width, height, colours.itemsize * 8, 2, 0, 0, interlaced)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def colours(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Noise that a JPEG keeps: uint8 `[height, width, 3]`."""
    small = np.random.default_rng(seed).integers(0, 256, ((height + 3) // 4, (width + 3) // 4, 3), dtype=np.uint8)
    return small.repeat(4, axis=0).repeat(4, axis=1)[:height, :width]


def picture(kind: str, height: int = 21, width: int = 34, seed: int = 0) -> bytes:
    """A JPEG or PNG of some kind."""
    array = colours(height, width, seed)
    rgb, alpha = Image.fromarray(array), Image.fromarray(array[..., 1])
    file, _, mode = kind.partition(" ")
    if kind == "PNG interlaced":
        return png(array, interlaced=True)
    if kind == "PNG 16-bit colours":
        return png(array.astype(np.uint16) * 256 + array[::-1])
    if kind == "PNG animated":
        return saved(rgb, file, save_all=True, append_images=[ImageOps.invert(rgb)])
    if kind == "JPEG several":
        return saved(rgb, "MPO", save_all=True, append_images=[ImageOps.invert(rgb)])
    if kind == "JPEG progressive":
        return saved(rgb, file, progressive=True)
    if kind == "JPEG broken EXIF":
        return saved(rgb, file, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x12\0\x03\0\0")
    if mode.startswith("orientation"):
        return saved(rgb, file, exif=oriented(int(mode[-1])))
    if mode.startswith("P"):
        palette = rgb.quantize(16)
        seen = {
            "P": {},
            "P bits": {"bits": 4},
            "P hole": {"transparency": 3},
            "P alpha": {"transparency": b"\0\x7f" * 8},
        }
        return saved(palette, file, **seen[mode])
    if mode == "RGB hole":
        return saved(rgb, file, transparency=(1, 2, 3))
    if mode in ("LA", "RGBA"):
        rgb.putalpha(alpha)
    return saved(rgb.convert(mode), file)


def oriented(orientation: int) -> Image.Exif:
    """EXIF data that says how a camera was held."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


ORIENTED = [f"{file} orientation {number}" for file, number in product(("JPEG", "PNG"), range(1, 9))]
JPEGS = ["JPEG L", "JPEG RGB", "JPEG CMYK", "JPEG progressive", "JPEG several", "JPEG broken EXIF"]
PNGS = [f"PNG {kind}" for kind in ("1", "L", "LA", "RGB", "RGBA", "RGB hole", "P", "P bits", "P hole", "P alpha")]
PNGS += ["PNG interlaced", "PNG 16-bit colours", "PNG animated"]


@pytest.mark.parametrize("kind", [*JPEGS, *PNGS, *ORIENTED])
def test_every_kind_has_the_pixels_it_has_by_hand(kind: str) -> None:
    """Bit for bit, stretched, cut, in grey and in colour, upright or as the file lies."""
    files = [picture(kind), picture(kind, 34, 21, 1), picture(kind, 1, 1), picture(kind, 8, 8)]
    for size, resize, channels, exif in product(((8, 8), (7, 12)), (None, 13), (1, 3), (True, False)):
        given = entry(size=size, resize=resize, channels=channels, exif=exif, mean=MEAN[:channels], std=STD[:channels])
        assert agree(files, given) == 0


@pytest.mark.parametrize("kind", ["PNG interlaced", "PNG animated", "PNG RGB"])
def test_pixels_are_those_that_were_drawn(kind: str) -> None:
    """The array itself is the judge where nothing is lost: of the first frame, where there are several."""
    pixels, _ = opened([picture(kind)], entry(size=(21, 34)))
    assert torch.equal(pixels[0], torch.from_numpy(colours(21, 34)).permute(2, 0, 1) / 255)


@given(
    kind=st.sampled_from(["JPEG RGB", "JPEG L", "PNG RGBA", "PNG P alpha", *ORIENTED]),
    source=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    more=st.none() | st.integers(0, 15),
    channels=st.sampled_from([1, 3]),
    interpolation=st.sampled_from(INTERPOLATIONS),
    exif=st.booleans(),
    mean=st.booleans(),
    std=st.booleans(),
)
def test_every_size_has_the_pixels_it_has_by_hand(
    kind: str,
    source: tuple[int, int],
    size: tuple[int, int],
    more: int | None,
    channels: int,
    interpolation: str,
    exif: bool,
    mean: bool,
    std: bool,
) -> None:
    """Odd and even, larger and smaller, with and without a mean and a deviation."""
    given = entry(
        size=size,
        resize=None if more is None else max(size) + more,
        channels=channels,
        interpolation=interpolation,
        exif=exif,
        mean=MEAN[:channels] if mean else [],
        std=STD[:channels] if std else [],
    )
    assert agree([picture(kind, *source)], given) == 0


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_every_interpolation_is_the_one_of_its_name(interpolation: str) -> None:
    """No two of them give the same."""
    given = [entry(interpolation=name, size=(9, 11)) for name in (interpolation, *INTERPOLATIONS)]
    results = [opened([picture("PNG RGB")], one)[0] for one in given]
    assert [torch.equal(results[0], other) for other in results[1:]] == [n == interpolation for n in INTERPOLATIONS]


@pytest.mark.parametrize("kind", ["JPEG RGB", "JPEG progressive", "PNG RGB", "PNG interlaced", "PNG P alpha"])
def test_truncated_files_are_rejects(kind: str) -> None:
    """At every length: what still has all its pixels by hand has them here too."""
    data = picture(kind)
    rejects = agree([data[:cut] for cut in range(0, len(data), 3)], entry(size=(5, 5)))
    assert rejects > len(data) // 3 * 0.8
    assert reason(data[: len(data) // 2]).startswith("is broken: ")
    assert reason(data[:20]).startswith("is broken: ")


@given(st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]), st.binary(max_size=200))
def test_any_bytes_are_rejects(beginning: bytes, data: bytes) -> None:
    """Never a traceback."""
    assert reason(beginning + data).startswith("is ")


@cache
def victim(kind: str) -> bytes:
    """A small file to be damaged."""
    return picture(kind, 9, 9)


@settings(max_examples=300)
@given(st.data())
def test_damaged_files_are_rejects_or_as_by_hand(data: st.DataObject) -> None:
    """A few bytes are others."""
    file = bytearray(victim(data.draw(st.sampled_from(["JPEG RGB", "JPEG several", "PNG P alpha", "PNG RGB"]))))
    for place in data.draw(st.lists(st.integers(0, len(file) - 1), min_size=1, max_size=4)):
        file[place] = data.draw(st.integers(0, 255))
    agree([bytes(file)], entry(size=(4, 4)))


def test_what_is_wrong_with_bytes_is_said() -> None:
    """In words of one line, by row, and the rows beside them are none the worse."""
    grey = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    rgb = Image.fromarray(colours(8, 8))
    wrong = {
        b"": "is empty",
        b"GIF": "is no JPEG or PNG",
        saved(rgb, "GIF"): "is no JPEG or PNG",
        saved(rgb, "TIFF"): "is no JPEG or PNG",
        saved(rgb, "BMP"): "is no JPEG or PNG",
        saved(Image.fromarray(grey), "PNG"): "more than 8 bits",
        png(colours(1, 1), size=(60000, 60000)): f"more pixels than are decoded, which are {MOST_PIXELS}",
        png(colours(1, 1), size=(MOST_PIXELS + 1, 1)): "more pixels than are decoded",
        png(colours(1, 1), size=(MOST_PIXELS // 5, 5)): "is broken",  # as many as may be, and none is there
    }
    fine = picture("JPEG RGB")
    given = entry(mean=MEAN, std=STD)
    pixels, reasons = opened([fine, *wrong, fine], given)
    assert list(reasons) == list(range(1, len(wrong) + 1))
    for row, words in enumerate(wrong.values(), 1):
        assert words in reasons[row]
    assert torch.equal(pixels[0], by_hand(fine, given))
    assert torch.equal(pixels[-1], pixels[0])


def test_a_jpeg_that_claims_too_much_is_a_reject() -> None:
    """Its header alone is read."""
    data = picture("JPEG RGB")
    start = data.index(b"\xff\xc0") + 5
    assert "more pixels" in reason(data[:start] + struct.pack(">HH", 65500, 65500) + data[start + 4 :])


def test_a_line_is_not_resized_to_a_bomb() -> None:
    """1 by 60 000 pixels are few; 200 by 12 million are not."""
    line = saved(Image.new("L", (1, 60000)), "PNG")
    _, reasons = opened([line], entry(resize=200))
    assert reasons == {0: "is too narrow to be resized: 1 by 60000 pixels"}
    assert agree([line], entry()) == 0


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view(), None]
)
def test_every_type_of_text_and_bytes(kind: pa.DataType | None, tmp_path: Path) -> None:
    """Text is paths, bytes are files; a slice is its own rows."""
    files = [picture("PNG 1", seed=seed) for seed in range(3)]
    files = [data.ljust(max(map(len, files)), b"\0") for data in files]  # of one length, for a fixed size
    kind = kind or pa.binary(len(files[0]))
    for place, data in enumerate(files):
        (tmp_path / f"{place}.png").write_bytes(data)
    text = "string" in str(kind)
    column = pa.array(["0.png", "1.png", "2.png"] if text else files, kind)
    pixels, reasons = opened(column.slice(1), entry(), folder=str(tmp_path))
    assert not reasons
    assert torch.equal(pixels, torch.stack([by_hand(data, entry()) for data in files[1:]]))


def test_paths_start_at_the_folder(tmp_path: Path) -> None:
    """Unless they are absolute; links and odd names are followed as they are."""
    data = picture("JPEG RGB")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "zwölf\n.txt").write_bytes(data)
    (tmp_path / "link").symlink_to("deep/zwölf\n.txt")
    names = ["deep/zwölf\n.txt", "deep/../link", str(tmp_path / "link")]
    pixels, reasons = opened(names, entry(), folder=str(tmp_path))
    assert not reasons
    assert all(torch.equal(one, by_hand(data, entry())) for one in pixels)


def test_what_is_wrong_with_paths_is_said(tmp_path: Path) -> None:
    """And a pipe or a device is not waited for."""
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
        "a\0b": "no such file 'a\\x00b'",
        "a\nb": "no such file 'a\\nb'",
        "loop": "'loop' cannot be read: Too many levels of symbolic links",
        "n" * 300: "cannot be read: File name too long",
        "": "'' is a folder",
        "folder": "'folder' is a folder",
        "pipe": "'pipe' is no regular file",
        "/dev/zero": "'/dev/zero' is no regular file",
        "empty.png": "is empty",
        "cut.jpg": "is broken: ",
        "text.png": "is no JPEG or PNG",
    }
    _, reasons = opened(list(wrong), entry(), folder=str(tmp_path))
    assert list(reasons) == list(range(len(wrong)))
    for row, words in enumerate(wrong.values()):
        assert words in reasons[row]


def test_a_file_that_may_not_be_read_is_a_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read all, so that the refusal is made up."""
    (tmp_path / "x.png").touch()
    monkeypatch.setattr(Path, "open", failing(PermissionError(errno.EACCES, "Permission denied")))
    assert reason("x.png", folder=str(tmp_path)) == "'x.png' cannot be read: Permission denied"


def test_a_path_that_is_no_text_is_a_reject() -> None:
    """Arrow does not look into strings that come from elsewhere."""
    column = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe")]
    )
    assert opened(column, entry())[1] == {0: "is no path: not UTF-8"}


def failing(error: BaseException) -> Any:
    """A function that raises."""

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def test_a_failure_of_the_machine_is_no_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a run would go on without rows that are fine."""
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


def test_threads_give_the_same() -> None:
    """The same pixels and reasons, several columns at once, and all that Pillow warns of stays unseen."""
    kinds = [*JPEGS, *PNGS, *ORIENTED]
    files = [picture(kind, seed=seed) for seed, kind in enumerate(kinds)]
    files += [picture("JPEG RGB")[:300], b"", png(colours(1, 1), size=(MOST_PIXELS + 1, 1))] * 3
    before, given = list(warnings.filters), entry(mean=MEAN, std=STD)
    pixels, reasons = opened(files, given)
    assert sorted(reasons) == list(range(len(kinds), len(files)))
    with ThreadPoolExecutor(4) as pool, ThreadPoolExecutor(4) as callers:
        for other, others in callers.map(lambda _: opened(files, given, mapper=pool.map), range(8)):
            assert torch.equal(pixels, other)
            assert others == reasons
    assert warnings.filters == before
    with pytest.warns(Image.DecompressionBombWarning):  # elsewhere Pillow warns as ever
        Image.open(io.BytesIO(files[-1]))


def test_the_mapper_runs_the_decoding() -> None:
    """It is handed every row once, and what it leaves undone is not done."""
    columns, handed = pa.array([b""] * 50), []

    def backwards(decode: Any, starts: Any) -> list[dict[int, str]]:
        handed.extend(decode(start) for start in reversed(list(starts)))
        return handed

    _, reasons = opened(columns, entry(), mapper=backwards)
    assert handed
    assert sorted(row for rows in handed for row in rows) == sorted(reasons) == list(range(50))
    assert opened(columns.slice(0, 0), entry(), mapper=lambda *_: [])[1] == {}


def test_no_rows_are_no_pixels() -> None:
    """`[0, channels, height, width]`."""
    assert opened(pa.array([], pa.binary()), entry())[1] == {}


def test_without_pillow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first row, for who asks."""
    require_pillow()
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(BundleError, match=r"pip install 'scoreline\[images\]'"):
        require_pillow()
    with pytest.raises(BundleError, match="Pillow"):
        open_images(pa.array([b""]), entry(), folder="")
