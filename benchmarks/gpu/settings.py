"""What the GPU benchmark runs on, and how much: from the environment, so that its processes agree."""

import os
import tempfile
from pathlib import Path

import torch

DEVICE = os.environ.get("DEVICE", "cuda")
CUDA = DEVICE.startswith("cuda")
#: The GPUs that `--device cuda` uses; 0 on a CPU, or if DEVICE names one of them.
GPUS = torch.cuda.device_count() if DEVICE == "cuda" else 0
#: `SIZE=tiny` runs the same code on any CPU in a few minutes, without meaningful figures.
FULL = os.environ.get("SIZE", "full") == "full"
#: gpu.json has the figures, log.txt what every phase printed.
OUT = Path(os.environ.get("OUT", f"{tempfile.gettempdir()}/scoreline-gpu"))
CORES = len(os.sched_getaffinity(0))
LABELS = list("abcde")
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
#: The rows of each workload, in this many files.
ROWS = {
    "tabular": 16_000_000 if FULL else 40_000,
    "deep": 9_000_000 if FULL else 4_000,
    "images": 16_000 if FULL else 96,
    "tiny": 300_000 if FULL else 600,
    "base": 20_000 if FULL else 48,
}
FILES = 16 if FULL else 4
