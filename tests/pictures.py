"""JPEG and PNG files of every kind, and their pixels by plain Pillow and torch."""

import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image, ImageOps
from scoreline.pipeline.features.images import open_images
from scoreline.schemas.inputs import ImageInput

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def entry(**settings: Any) -> ImageInput:
    """An input of 8 × 8 pixels by default."""
    return ImageInput(**{"name": "image", "columns": ["image"], "size": (8, 8), **settings})


def by_hand(data: bytes, entry: ImageInput) -> torch.Tensor:
    """The pixels `[channels, height, width]` by plain Pillow and torch. Raises what Pillow raises."""
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
    """Call `open_images` on a list or an Arrow array, and check what is true of every result."""
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


def agree(files: list[bytes], entry: ImageInput) -> int:
    """Check that each file has the same pixels as by hand, or is rejected and raises by hand. Returns the number of
    rejects."""
    pixels, reasons = opened(pa.array(files, pa.binary()), entry)
    for row, data in enumerate(files):
        if row in reasons:
            with pytest.raises(Exception):  # noqa: B017, PT011 - whatever Pillow raises
                by_hand(data, entry)
        else:
            assert torch.equal(pixels[row], by_hand(data, entry))
    return len(reasons)


def saved(image: Image.Image, kind: str, **settings: Any) -> bytes:
    """The bytes of an image file of this kind."""
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(colours: np.ndarray, *, interlaced: bool = False, size: tuple[int, int] | None = None) -> bytes:
    """uint8 or uint16 `[height, width, 3]` as a PNG; `size`: the width and height in the header."""
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    parts = [colours[y::down, x::right] for x, y, right, down in passes]
    lines = b"".join(b"\0" + line.astype(line.dtype.newbyteorder(">")).tobytes() for part in parts for line in part)
    width, height = size or colours.shape[1::-1]
    header = struct.pack(">IIBBBBB", width, height, colours.itemsize * 8, 2, 0, 0, interlaced)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def colours(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Noise that survives JPEG compression: uint8 `[height, width, 3]`."""
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
    """EXIF data with an orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif
