"""Images: bytes or paths of JPEG and PNG files → float32 pixels, by Pillow.

Images are decoded one at a time into a small block of uint8, which is converted to float32 at once. Pillow is an
optional dependency, imported where it is used.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ...schemas.inputs import ImageInput
from ..errors import BundleError, one_line
from .columns import Columns
from .image_files import Fetch, ImageFiles, UnfitError, storage_error
from .kind import Filled, InputKind, Mapper, Unfit, Unopened
from .pinned import new_array, some_of

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

#: Images with more pixels are not decoded. This is Pillow's default limit for warnings about decompression bombs.
MOST_PIXELS = 89_478_485
#: Pillow's modes for JPEG and PNG files with up to 8 bits per channel. Other modes would be clipped.
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
#: The first bytes of these files.
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
#: The largest number of images per call of the mapper, since a call in a thread costs as much as decoding a tiny image.
#: Small blocks, which have large images, are divided into about `CALLS` calls, so that all threads have work.
IMAGES_PER_CALL, CALLS = 8, 32


class ImageKind(InputKind[ImageInput]):
    """Images of one size."""

    name = "image"
    opens_files = True

    @property
    def values_per_row(self) -> int:
        """The number of pixel values."""
        return self.entry.numbers

    @property
    def bytes_per_row(self) -> int:
        """The bytes of the float32 pixels."""
        return 4 * self.entry.numbers

    def describe(self) -> str:
        """The shape, and how images are resized."""
        how = f"resized to {self.entry.resize} pixels and cropped" if self.entry.resize is not None else "stretched"
        return f"float32 [rows, {self.entry.channels}, {self.entry.size[0]}, {self.entry.size[1]}], {how}"

    def require(self) -> None:
        """Raise BundleError where Pillow is not installed."""
        require_pillow()

    def open(
        self, column: pa.Array, *, folder: str, mapper: Mapper = map, pin: bool = False, fetch: Fetch | None = None
    ) -> tuple[NDArray[Any], Unopened]:
        """See `open_images`."""
        return open_images(column, self.entry, folder=folder, mapper=mapper, pin=pin, fetch=fetch)

    def fill(self, columns: Columns, rows: int, *, pin: bool) -> tuple[Filled, Unfit]:  # noqa: ARG002 - already decoded
        """The pixels that `open` decoded."""
        return columns[self.entry.columns[0]], []

    def keep(self, filled: Filled, fits: NDArray[np.bool_], *, pin: bool) -> Filled:
        """Only the rows that fit."""
        assert isinstance(filled, np.ndarray), "as it was filled"
        return some_of(filled, fits, pin=pin)

    def on_device(self, sent: Tensor, *, channels_last: bool) -> Tensor:
        """uint8 `[rows, height, width, channels]` → float32 `[rows, channels, height, width]`, the same bits as on the
        host."""
        return _normalised(sent, self.entry, channels_last=channels_last) if sent.dtype.itemsize == 1 else sent

    def tensor(self, filled: Filled) -> Tensor:
        """`[rows, channels, height, width]`; for a GPU, uint8 `[rows, height, width, channels]`."""
        import torch  # imported by now; planning does not need it

        assert isinstance(filled, np.ndarray), "as it was filled"
        return torch.from_numpy(filled)

    def example(self, rows: int, steps: int, device: Any) -> dict[str, Tensor]:  # noqa: ARG002 - images have no steps
        """Zeros `[rows, channels, height, width]`."""
        import torch  # imported by now; planning does not need it

        return {self.entry.name: torch.zeros(rows, self.entry.channels, *self.entry.size, device=device)}


def require_pillow() -> None:
    """Raise BundleError where Pillow is not installed."""
    try:
        from PIL import Image, ImageOps  # noqa: F401
    except ImportError as error:
        raise BundleError("the bundle takes images; install Pillow with: pip install 'scoreline[images]'") from error


def open_images(
    column: pa.Array,
    entry: ImageInput,
    *,
    folder: str,
    mapper: Mapper = map,
    pin: bool = False,
    fetch: Fetch | None = None,
) -> tuple[NDArray[Any], Unopened]:
    """Decode, rotate, convert, resize, crop and normalise every image according to `entry`.

    The result is bit for bit that of Pillow and torchvision's `Resize`, `CenterCrop`, `ToTensor` and `Normalize` on a
    single image. Torchvision is not used: its formulas are implemented here. Alpha is dropped. 16-bit colours keep
    their upper 8 bits, as Pillow reads them; 16-bit greys, which Pillow would clip, are rejected.

    Args:
        column: strings are paths or URIs, binary values are the contents of files; without nulls.
        folder: where relative paths start; may be a URI.
        mapper: runs the decoding, possibly in threads.
        pin: decode into pinned memory, without normalising: a GPU does that, and a quarter of the bytes are copied.
        fetch: reads objects; without it, URIs are rejected.

    Returns:
        float32 `[rows, channels, height, width]`, with `pin` uint8 `[rows, height, width, channels]`, and the rows that
        could not be decoded, which are zeros, with the reasons.

    Raises:
        BundleError: Pillow is not installed.
        StorageError: reading a file failed on the machine: a broken disk, too many open files.
    """
    require_pillow()
    at_once = max(1, min(IMAGES_PER_CALL, len(column) // CALLS))
    shape = *entry.size, entry.channels
    if pin:
        pixels = new_array((len(column), *shape), np.uint8, pin=True)
    else:
        pixels = np.zeros((len(column), entry.channels, *entry.size), dtype=np.float32)

    def decode(start: int) -> Unopened:
        rows = range(start, min(start + at_once, len(column)))
        block = pixels[rows.start : rows.stop] if pin else np.zeros((len(rows), *shape), dtype=np.uint8)
        failed, images = {}, ImageFiles([column[row] for row in rows], folder, fetch)
        for index, row in enumerate(rows):
            try:
                with images.open(index) as file:
                    block[index] = _decode(file, entry).reshape(block.shape[1:])
            except UnfitError as error:
                failed[row] = str(error)
        if not pin:
            pixels[rows.start : rows.stop] = _normalise(block, entry)
        return failed

    unfit: Unopened = {}
    with _QUIET:
        for failed in mapper(decode, range(0, len(column), at_once)):
            unfit |= failed
    if unfit:
        pixels[list(unfit)] = 0
    return pixels, unfit


def _normalise(block: NDArray[np.uint8], entry: ImageInput) -> NDArray[np.float32]:
    """uint8 `[rows, height, width, channels]` → float32 `[rows, channels, height, width]`, by the operations of
    `ToTensor` and `Normalize` in their order."""
    import torch  # imported by now; planning does not need it

    channels_first = torch.from_numpy(block).permute(0, 3, 1, 2)
    pixels = channels_first.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
    if entry.mean:
        pixels.sub_(torch.tensor(entry.mean, dtype=torch.float32).view(-1, 1, 1))
    if entry.std:
        pixels.div_(torch.tensor(entry.std, dtype=torch.float32).view(-1, 1, 1))
    return cast(NDArray[np.float32], pixels.numpy())


def _normalised(block: Tensor, entry: ImageInput, *, channels_last: bool) -> Tensor:
    """`_normalise` on a GPU. Divides by tensors: a GPU multiplies by the inverse of a number instead of dividing by it,
    which gives other bits."""
    import torch  # imported by now; planning does not need it

    layout = torch.channels_last if channels_last else torch.contiguous_format
    pixels = block.permute(0, 3, 1, 2).to(torch.float32, memory_format=layout)

    def constants(values: Sequence[float]) -> Tensor:
        filled = [pixels.new_full((1, 1, 1), value) for value in values]  # filled there: nothing is copied
        return torch.cat(filled)

    pixels.div_(constants([255.0]))
    if entry.mean:
        pixels.sub_(constants(entry.mean))
    if entry.std:
        pixels.div_(constants(entry.std))
    return pixels


def _decode(file: BinaryIO, entry: ImageInput) -> NDArray[np.uint8]:
    """One image, uint8 `[height, width]` or `[height, width, 3]`."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    mode = "L" if entry.channels == 1 else "RGB"
    try:
        image: Image.Image = Image.open(file, formats=("JPEG", "PNG"))
        if image.width * image.height > MOST_PIXELS:
            raise Image.DecompressionBombError
        if image.mode not in MODES:
            raise UnfitError(f"has more than 8 bits per channel (Pillow's mode {image.mode}), which would be clipped")
        image.load()
        if entry.exif:
            ImageOps.exif_transpose(image, in_place=True)
        if image.mode != mode:
            image = image.convert(mode)
        return np.asarray(_resize(image, entry))
    except (UnfitError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise UnfitError(_what_else(file)) from error
    except Image.DecompressionBombError as error:
        raise UnfitError(f"has more than {MOST_PIXELS:,} pixels, the limit for decoding") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno and hasattr(file, "name"):  # Pillow's own errors have no number
            raise storage_error(error, file.name) from error
        raise UnfitError(f"is broken: {one_line(error)[:200]}") from error


def _resize(image: Image.Image, entry: ImageInput) -> Image.Image:
    """Stretch to `size`, or resize the shorter side and crop the center."""
    from PIL import Image

    height, width = entry.size
    how = Image.Resampling[entry.interpolation.upper()]
    if entry.resize is None:
        return image.resize((width, height), how)
    short, long = sorted(image.size)
    longer = int(entry.resize * long / short)
    if entry.resize * longer > MOST_PIXELS:
        raise UnfitError(f"is too narrow to be resized: {image.width} × {image.height} pixels")
    size = (entry.resize, longer) if image.width <= image.height else (longer, entry.resize)
    if image.size != size:
        image = image.resize(size, how)
    left, top = round((image.width - width) / 2.0), round((image.height - height) / 2.0)
    return image.crop((left, top, left + width, top + height))


def _what_else(file: BinaryIO) -> str:
    """Why Pillow cannot identify a file."""
    file.seek(0)
    beginning = file.read(8)
    if not beginning:
        return "is empty"
    return "is broken: its header cannot be read" if beginning.startswith(MAGIC) else "is not a JPEG or PNG"


class _Quiet:
    """Ignores Pillow's warnings while any thread is inside.

    `warnings.catch_warnings` restores the filters that it found, which are the wrong ones if two threads overlap. This
    class removes only its own filter, when the last thread leaves.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._module = Lock(), 0, re.compile(r"PIL(?=\.)")

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            warnings.filterwarnings("ignore", module=self._module.pattern)  # inserted at the front, once

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                filters = cast(list[Any], warnings.filters)
                filters[:] = [found for found in filters if found[3] != self._module]


_QUIET = _Quiet()
