"""Images are decoded to the same pixels as with Pillow and torch by hand."""

import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scoreline.pipeline.features.images import MOST_PIXELS

from pictures import MEAN, STD, agree, by_hand, colours, entry, opened, picture, png

INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")

ORIENTED = [f"{file} orientation {number}" for file, number in product(("JPEG", "PNG"), range(1, 9))]

JPEGS = ["JPEG L", "JPEG RGB", "JPEG CMYK", "JPEG progressive", "JPEG several", "JPEG broken EXIF"]

PNGS = [f"PNG {kind}" for kind in ("1", "L", "LA", "RGB", "RGBA", "RGB hole", "P", "P bits", "P hole", "P alpha")]

PNGS += ["PNG interlaced", "PNG 16-bit colours", "PNG animated"]


@pytest.mark.parametrize("kind", [*JPEGS, *PNGS, *ORIENTED])
def test_every_kind_has_the_pixels_it_has_by_hand(kind: str) -> None:
    """Bit for bit: stretched, cropped, in grey and in colour, with and without EXIF orientation."""
    files = [picture(kind), picture(kind, 34, 21, 1), picture(kind, 1, 1), picture(kind, 8, 8)]
    for size, resize, channels, exif in product(((8, 8), (7, 12)), (None, 13), (1, 3), (True, False)):
        given = entry(size=size, resize=resize, channels=channels, exif=exif, mean=MEAN[:channels], std=STD[:channels])
        assert agree(files, given) == 0


@pytest.mark.parametrize("kind", ["PNG interlaced", "PNG animated", "PNG RGB"])
def test_pixels_are_those_that_were_drawn(kind: str) -> None:
    """For lossless files the array is the reference; of several frames, the first is decoded."""
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
    """Odd and even, larger and smaller, with and without mean and standard deviation."""
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
def test_interpolations_differ(interpolation: str) -> None:
    """Each name gives its own result."""
    given = [entry(interpolation=name, size=(9, 11)) for name in (interpolation, *INTERPOLATIONS)]
    results = [opened([picture("PNG RGB")], one)[0] for one in given]
    assert [torch.equal(results[0], other) for other in results[1:]] == [n == interpolation for n in INTERPOLATIONS]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view(), None]
)
def test_every_type_of_text_and_bytes(kind: pa.DataType | None, tmp_path: Path) -> None:
    """Text is a path, bytes are the contents of a file; slices are supported."""
    files = [picture("PNG 1", seed=seed) for seed in range(3)]
    files = [data.ljust(max(map(len, files)), b"\0") for data in files]  # of one length, for a fixed size
    kind = kind or pa.binary(len(files[0]))
    for index, data in enumerate(files):
        (tmp_path / f"{index}.png").write_bytes(data)
    text = "string" in str(kind)
    column = pa.array(["0.png", "1.png", "2.png"] if text else files, kind)
    pixels, reasons = opened(column.slice(1), entry(), folder=str(tmp_path))
    assert not reasons
    assert torch.equal(pixels, torch.stack([by_hand(data, entry()) for data in files[1:]]))


def test_relative_paths_start_at_the_folder(tmp_path: Path) -> None:
    """Absolute paths do not; links and unusual names are supported."""
    data = picture("JPEG RGB")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "zwölf\n.txt").write_bytes(data)
    (tmp_path / "link").symlink_to("deep/zwölf\n.txt")
    names = ["deep/zwölf\n.txt", "deep/../link", str(tmp_path / "link")]
    pixels, reasons = opened(names, entry(), folder=str(tmp_path))
    assert not reasons
    assert all(torch.equal(one, by_hand(data, entry())) for one in pixels)


def test_threads_give_the_same_results() -> None:
    """The same pixels and reasons for several columns at once, without Pillow's warnings."""
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
    with pytest.warns(Image.DecompressionBombWarning):  # elsewhere Pillow still warns
        Image.open(io.BytesIO(files[-1]))


def test_the_mapper_runs_the_decoding() -> None:
    """It decodes every row once."""
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
