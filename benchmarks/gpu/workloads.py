"""The workloads of the GPU benchmark: their files, models and bundles."""

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image as Picture
from settings import CORES, FILES, FULL, LABELS, MEAN, ROWS, STD
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from scoreline import Image, Multiclass, TokenSequence, save_bundle


def parallel(function: Callable[[Any], None], items: Sequence[Any]) -> None:
    """Call the function in processes: creating data is work for Python and numpy."""

    with ProcessPoolExecutor(min(CORES, 16), mp_context=get_context("forkserver")) as pool:
        list(pool.map(function, items))


def _table_file(given: Any) -> None:
    """Normal numbers."""

    path, number, rows, features = given
    draw = np.random.default_rng(number)
    columns = {f"f{n}": pa.array(draw.normal(size=rows)) for n in range(features)}
    pq.write_table(pa.table({"row_id": pa.array(np.arange(rows) + number * rows), **columns}), path)


def _photo_file(given: Any) -> None:
    """JPEGs of 640 × 480 pixels of smooth noise, about 60 kB each."""

    path, number, rows = given
    photos = []
    for one in range(min(rows, 12)):
        draw = np.random.default_rng(number * 100 + one)
        coarse = draw.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        smooth = np.asarray(Picture.fromarray(coarse).resize((640, 480), Picture.Resampling.BICUBIC), dtype=np.int16)
        noisy = np.clip(smooth + draw.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Picture.fromarray(noisy).save(file, "JPEG", quality=85)
        photos.append(file.getvalue())
    table = pa.table(
        {"row_id": pa.array(np.arange(rows) + number * rows), "photo": [photos[n % len(photos)] for n in range(rows)]}
    )
    pq.write_table(table, path, row_group_size=512)


def _text_file(given: Any) -> None:
    """Lists of 8 to 128 tokens."""

    path, number, rows = given
    draw = np.random.default_rng(number)
    lengths = draw.integers(8, 129, rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    values = draw.integers(0, 30_000, offsets[-1])
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))
    pq.write_table(pa.table({"row_id": pa.array(np.arange(rows) + number * rows), "text": lists}), path)


def mlp(features: int, widths: list[int], outputs: int, *, norm: bool) -> nn.Module:
    """A multi-layer perceptron."""

    torch.manual_seed(0)
    layers, before = [], features
    for width in widths:
        layers += [nn.Linear(before, width), nn.ReLU()]
        if norm:
            layers.append(nn.BatchNorm1d(width))
            layers[-1].running_mean, layers[-1].running_var = torch.randn(width), torch.rand(width) + 0.5
        before = width
    return nn.Sequential(*layers, nn.Linear(before, outputs)).eval().requires_grad_(False)


def encoder(width: int, layers: int, heads: int) -> nn.Module:
    """A transformer encoder of classes."""

    class Encoder(nn.Module):
        """Tokens and positions, torch's own layers, the mean over the real tokens."""

        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(30_000, width), nn.Embedding(128, width)
            self.layers = nn.ModuleList(
                nn.TransformerEncoderLayer(width, heads, 4 * width, batch_first=True, activation="gelu")
                for _ in range(layers)
            )
            self.out = nn.Linear(width, len(LABELS))

        def forward(self, text: Tensor, padding: Tensor) -> Tensor:
            x = self.tokens(text) + self.places.weight[: text.shape[1]]
            for layer in self.layers:
                x = layer(x, src_key_padding_mask=padding)
            there = (~padding).unsqueeze(-1).float()
            return self.out((x * there.to(x.dtype)).sum(1) / there.to(x.dtype).sum(1))

    torch.manual_seed(0)
    return Encoder().eval().requires_grad_(False)


def resnet() -> nn.Module:
    """ResNet-18 where torchvision is installed, otherwise one convolution."""
    torch.manual_seed(0)
    try:
        import torchvision  # an optional package
    except ImportError:
        layers = (nn.Conv2d(3, 64, 7, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 5))
        return nn.Sequential(*layers).eval()
    return torchvision.models.resnet18(num_classes=len(LABELS)).eval().requires_grad_(False)


#: Width, layers and heads.
ENCODERS = {"tiny": (128, 2, 2), "base": (768, 12, 12) if FULL else (96, 2, 2)}


def network(work: str) -> nn.Module:
    """The model of a workload, the same in every process."""
    match work:
        case "tabular":
            return mlp(30, [128, 64], 5, norm=True)
        case "deep":
            return mlp(64, [2048] * 3 if FULL else [256] * 3, 5, norm=False)
        case "images":
            return resnet()
    return encoder(*ENCODERS[work])


def make(work: str, folder: Path) -> None:
    """Write the input files and the bundle of a workload, and what a loop by hand needs."""
    (folder / "in").mkdir(parents=True)
    rows = ROWS[work] // FILES
    paths = [str(folder / "in" / f"{number:05d}.parquet") for number in range(FILES)]
    torch.set_num_threads(CORES)
    net = network(work)
    torch.save(net.state_dict(), folder / "model.pt")
    more: dict[str, Any]
    if work in ("tabular", "deep"):
        width = 30 if work == "tabular" else 64
        parallel(_table_file, [(path, number, rows, width) for number, path in enumerate(paths)])
        names = [f"f{n}" for n in range(width)]
        sample = np.random.default_rng(5).normal(1, 2, size=(64, width))
        scaler = StandardScaler().fit(sample)
        np.savez(folder / "scaler.npz", mean=scaler.mean_, scale=scaler.scale_)
        more = {"features": names, "scaler": scaler, "sample": pd.DataFrame(sample, columns=names)}
    elif work == "images":
        parallel(_photo_file, [(path, number, rows) for number, path in enumerate(paths)])
        photos = pa.table({"photo": pq.read_table(paths[0], columns=["photo"])["photo"].slice(0, 6)})
        more = {"inputs": {"photo": Image("photo", size=(224, 224), mean=MEAN, std=STD)}, "sample": photos}
    else:
        parallel(_text_file, [(path, number, rows) for number, path in enumerate(paths)])
        draw = np.random.default_rng(9)  # few and short: the model runs many times on the CPU while it is saved
        lists = [draw.integers(0, 30_000, draw.integers(8, 24)).tolist() for _ in range(6)]
        text = TokenSequence("text", longest=128, mask="padding")
        more = {"inputs": {"text": text}, "sample": pd.DataFrame({"text": lists})}
    save_bundle(folder / "b", net, task=Multiclass(LABELS), **more)
