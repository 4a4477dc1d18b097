"""Models of images, images of many kinds, and reference results by Pillow and plain torch."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from conftest import Result

LABELS = ["cat", "dog", "fox"]

#: The image preparation of each bundle.
PREPARED: dict[str, dict[str, Any]] = {
    "rgb": {"size": (12, 16), "resize": 18, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    "grey": {"size": (16, 12), "channels": 1, "mean": [0.4], "std": [0.3], "interpolation": "bicubic"},
}


class Cnn(nn.Module):
    """A small convolutional network. BatchNorm2d has seen some data, so that its statistics matter."""

    def __init__(self, channels: int = 3, outputs: int = 3, facts: int = 0, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.norm, self.act = nn.Conv2d(channels, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()
        self.pool, self.mean = nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(2)
        self.out = nn.Linear(24 + facts, outputs)
        nn.init.normal_(self.out.weight, std=1.5)
        self.train()
        for _ in range(3):
            self.norm(self.conv(torch.randn(8, channels, 12, 12) * 2 + 1))
        self.eval()

    def forward(self, photo: Tensor) -> Tensor:
        return self.out(self.mean(self.pool(self.act(self.norm(self.conv(photo))))).flatten(1))


def encoded(image: Image.Image, kind: str, **words: Any) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **words)
    return file.getvalue()


def pictures(number: int, seed: int = 0) -> list[bytes]:
    """JPEG and PNG files: colours, greys, palettes, alpha and EXIF, portrait and landscape."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(number):
        height, width = (int(side) for side in rng.integers(18, 48, 2))
        flat = rng.integers(0, 256, (3, 4, 3)).astype(np.uint8)
        image = Image.fromarray(flat).resize((width, height), Image.Resampling.BICUBIC)
        match index % 5:
            case 0:
                exif = Image.Exif()
                exif[0x0112] = 6
                made.append(encoded(image, "JPEG", quality=90, exif=exif))
            case 1:
                made.append(encoded(image, "PNG"))
            case 2:
                made.append(encoded(image.convert("L"), "JPEG"))
            case 3:
                made.append(encoded(image.quantize(16), "PNG"))
            case _:
                image.putalpha(image.convert("L"))
                made.append(encoded(image, "PNG"))
    return made


PHOTOS = pictures(30)


def pixels(
    data: bytes,
    *,
    size: tuple[int, int],
    resize: int | None = None,
    channels: int = 3,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    interpolation: str = "bilinear",
) -> Tensor:
    """One image `[channels, height, width]` by Pillow and torch, like torchvision's transforms."""
    how = Image.Resampling[interpolation.upper()]
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("L" if channels == 1 else "RGB")
    height, width = size
    if resize is None:
        image = image.resize((width, height), how)
    else:
        wide, high = image.size
        target = (resize, int(resize * high / wide)) if wide <= high else (int(resize * wide / high), resize)
        image = image.resize(target, how)
        left, top = round((image.size[0] - width) / 2), round((image.size[1] - height) / 2)
        image = image.crop((left, top, left + width, top + height))
    values = torch.tensor(np.array(image), dtype=torch.float32).reshape(height, width, channels).permute(2, 0, 1) / 255
    middle = torch.tensor(mean or [0.0] * channels).reshape(-1, 1, 1)
    return (values - middle) / torch.tensor(std or [1.0] * channels).reshape(-1, 1, 1)


def logits(model: nn.Module, photos: Sequence[bytes], *facts: Tensor, **prepared: Any) -> Tensor:
    """The logits of the user's own model, one image at a time."""
    with torch.no_grad():
        rows = [model(pixels(data, **prepared)[None], *(f[n : n + 1] for f in facts)) for n, data in enumerate(photos)]
    return torch.cat(rows)


def write_files(folder: Path, photos: Sequence[bytes]) -> list[str]:
    """Write the images as files; returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    suffixes = {0xFF: "jpg", 0x89: "png"}
    names = [f"photo {n} é.{suffixes[data[0]]}" for n, data in enumerate(photos)]
    for name, data in zip(names, photos, strict=True):
        (folder / name).write_bytes(data)
    return names


def write(path: Path, column: pa.Array, **columns: Any) -> None:
    """Write Parquet or CSV with a column `photo` and a row number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"id": np.arange(len(column)), "photo": column, **columns})
    (pc.write_csv if path.suffix == ".csv" else pq.write_table)(table, path)


def check(rows: pa.Table, wanted: Tensor, ids: Sequence[int] | None = None) -> None:
    """Check that rows are in order and have the labels and probabilities of these logits."""
    probabilities = wanted.double().softmax(dim=1).numpy()
    assert rows["id"].to_pylist() == list(range(len(wanted)) if ids is None else ids)
    got = np.stack([rows[f"probability_{label}"].to_numpy() for label in LABELS], axis=1)
    np.testing.assert_allclose(got, probabilities, rtol=0, atol=2e-6)
    assert rows["prediction"].to_pylist() == [LABELS[index] for index in probabilities.argmax(axis=1)]


@dataclass(frozen=True)
class Saved:
    """A bundle and the model that was saved."""

    bundle: Path
    model: nn.Module
    prepared: dict[str, Any]

    def truth(self, photos: Sequence[bytes]) -> Tensor:
        """The expected logits, computed with plain torch."""
        return logits(self.model, photos, **self.prepared)


Score = Callable[..., Result]

SIZE = {"size": (12, 16)}
