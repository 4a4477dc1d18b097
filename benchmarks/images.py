"""Photos: a run of Scoreline compared with only decoding them, taking turns.

    python benchmarks/images.py --photos 3000 --rounds 5

Decoding uses Pillow and torch directly (open, rotate, convert, resize, normalise) on bytes in memory, with one thread
per core and with one process per core; it reads no files, scores nothing and writes nothing. Reports the median rates,
and the median ratio of the run's rate, without its start-up, to theirs.
"""

import argparse
import io
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageOps
from runs import score, timed
from scoreline.pipeline.cores import available_cores
from torch import nn

import scoreline

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SIZE, DISTINCT = 64, 100


def photo(number: int) -> bytes:
    """640 × 480 pixels of smooth noise, about 60 kB."""
    draw = np.random.default_rng(number)
    coarse = draw.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC), dtype=np.int16)
    noisy = np.clip(smooth + draw.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "JPEG", quality=85)
    return file.getvalue()


def by_hand(data: bytes) -> np.ndarray:
    """Decode a photo with Pillow and torch to float32 `[3, 64, 64]`."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB").resize((SIZE, SIZE), 2)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(255)
    normalised = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    return normalised.numpy()


def saved(folder: Path, photos: list[bytes]) -> Path:
    """Save a bundle of a small network and write four files of photos; returns the bundle's path."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)).eval()
    sample = pa.table({"photo": photos[:32]})
    photo = scoreline.Image("photo", size=(SIZE, SIZE), mean=MEAN, std=STD)
    scoreline.save_bundle(folder / "b", net, inputs=photo, task=scoreline.Multiclass(list("abcde")), sample=sample)
    (folder / "in").mkdir()
    for number in range(4):
        some = photos[number::4]
        pq.write_table(pa.table({"id": range(len(some)), "photo": some}), folder / "in" / f"{number}.parquet")
    return folder / "b"


def main() -> None:
    """Print the rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cores = available_cores().count
    distinct = [photo(number) for number in range(DISTINCT)]
    photos = [distinct[number % DISTINCT] for number in range(arguments.photos)]
    seconds: dict[str, list[float]] = {"run": [], "threads": [], "processes": []}
    with (
        tempfile.TemporaryDirectory() as scratch,
        get_context("fork").Pool(cores) as processes,
        ThreadPoolExecutor(cores) as threads,
    ):
        folder = Path(scratch)
        saved(folder, photos)
        most = 0.0
        for number in range(arguments.rounds):
            seconds["threads"].append(timed(lambda: list(threads.map(by_hand, photos))))
            run = score(folder, number)
            seconds["run"].append(run.seconds)
            most = max(most, run.peak_mb)
            seconds["processes"].append(timed(lambda: processes.map(by_hand, photos, chunksize=8)))
    for name, taken in seconds.items():
        ratio = median(other / ours for ours, other in zip(seconds["run"], taken, strict=True))
        sys.stdout.write(
            f"{name:<10} {arguments.photos / median(taken):6.0f} photos/s; the run reaches {ratio:.2f} times that\n"
        )
    sys.stdout.write(f"{cores} cores, peak memory {most:.0f} MB\n")


if __name__ == "__main__":
    main()
