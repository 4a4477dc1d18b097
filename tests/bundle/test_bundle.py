"""A bundle that was changed does not load."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import safetensors.torch
import torch
from scoreline.pipeline.digests import sha256
from torch import nn

from conftest import Example
from scoreline import BundleError, GoldenMismatchError, ScorelineError, Scorer
from six_columns import X, save


def tensor_file(offsets: dict[str, list[int]], size: int) -> bytes:
    """A safetensors file with a forged header."""
    header = json.dumps(
        {n: {"dtype": "F32", "shape": [(e - s) // 4], "data_offsets": [s, e]} for n, (s, e) in offsets.items()}
    ).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)


@pytest.fixture
def copied(tmp_path: Path, iris: Example) -> Path:
    """A copy of a bundle, to be tampered with."""
    return Path(shutil.copytree(iris.bundle, tmp_path / "bundle"))


def rewritten(bundle: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change bundle.json without updating digests."""
    fields = json.loads((bundle / "bundle.json").read_text())
    change(fields)
    (bundle / "bundle.json").write_text(json.dumps(fields))


def resigned(bundle: Path, name: str, data: bytes) -> None:
    """Change a file together with its digest, as a forger would."""
    (bundle / name).write_bytes(data)
    rewritten(bundle, lambda fields: fields["files"].update({name: sha256(data)}))


MANIFESTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another format": lambda b: b.update(format=2),
    "no format": lambda b: b.pop("format"),
    "unknown field": lambda b: b.update(code="import os"),
    "path out of the bundle": lambda b: b["files"].update({"../x": "sha256:" + "0" * 64}),
    "absolute path": lambda b: b["members"][0].update(graph="/etc/passwd"),
    "file without digest": lambda b: b["files"].pop("graph.json"),
    "scale of 0": lambda b: b["steps"][0]["scale"].__setitem__(0, 0.0),
    "scale of wrong length": lambda b: b["steps"][0]["scale"].pop(),
    "scale with a wrong name": lambda b: b["steps"][0]["features"].__setitem__(0, "nobody"),
    "scale of NaN": lambda b: b["steps"][0]["mean"].__setitem__(0, float("nan")),
    "step of another kind": lambda b: b["steps"][0].update(kind="python"),
    "labels fewer": lambda b: b["heads"][0]["labels"].pop(),
    "labels more": lambda b: b["heads"][0]["labels"].append(9),
    "feature twice": lambda b: b["features"].append(b["features"][0]),
    "no features": lambda b: b.update(features=[]),
    "digest of another": lambda b: b["files"].update({"graph.json": b["files"]["golden.parquet"]}),
    "columns swapped": lambda b: b["inputs"][0]["columns"].reverse(),
    "labels reordered": lambda b: b["heads"][0]["labels"].reverse(),
    "scaler lost": lambda b: b.update(steps=[]),
    "scaler of elsewhere": lambda b: b["steps"][0]["mean"].__setitem__(0, 0.0),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_changed_manifest_does_not_load(copied: Path, name: str) -> None:
    """It raises an error of one line, with exit code 78."""
    rewritten(copied, MANIFESTS[name])
    with pytest.raises(BundleError) as caught:
        Scorer.load(copied, device="cpu")
    assert caught.value.exit_code == 78
    assert "\n" not in str(caught.value)


def test_a_changed_file_does_not_load(copied: Path) -> None:
    """For a change in any file."""
    for name in ("graph.json", "weights.safetensors", "golden.parquet"):
        data = (copied / name).read_bytes()
        (copied / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(BundleError, match=f"{name} is not the file"):
            Scorer.load(copied, device="cpu")
        (copied / name).write_bytes(data)
    Scorer.load(copied, device="cpu")


def test_other_weights_do_not_reproduce_golden_rows(copied: Path) -> None:
    """Forged together with their digest; the error names the largest difference."""
    tensors = safetensors.torch.load((copied / "weights.safetensors").read_bytes())
    resigned(copied, "weights.safetensors", safetensors.torch.save({k: v * 1.01 for k, v in tensors.items()}))
    with pytest.raises(GoldenMismatchError, match=r"differs by \d.*at row \d+: expected"):
        Scorer.load(copied, device="cpu")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        tensor_file({"a": [0, 8], "b": [4, 12]}, 12),
        tensor_file({"a": [0, 8], "b": [12, 20]}, 20),
        tensor_file({"a": [0, 8]}, 4),
        b"\x80\x04\x95pickle",
        b"PK\x03\x04torch zip",
        (2**40).to_bytes(8, "little") + b"{}",
        safetensors.torch.save({"network.0.weight": torch.full((32, 4), float("nan"))}),
    ],
)
def test_invalid_weights_are_refused(copied: Path, data: bytes) -> None:
    """M1, M3: empty, tensors that overlap, leave gaps or are missing, a pickle, a false header, NaN."""
    resigned(copied, "weights.safetensors", data)
    with pytest.raises(BundleError):
        Scorer.load(copied, device="cpu")


def test_a_link_in_a_bundle_is_refused(copied: Path, tmp_path: Path) -> None:
    """Even with the right content."""
    (copied / "graph.json").rename(tmp_path / "elsewhere.json")
    (copied / "graph.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(BundleError, match="not a regular file"):
        Scorer.load(copied, device="cpu")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "[" * 100_000, "\xff"])
def test_an_invalid_manifest_is_refused(copied: Path, text: str) -> None:
    """Not JSON, not an object, nested too deeply."""
    (copied / "bundle.json").write_text(text, encoding="latin-1")
    with pytest.raises(BundleError):
        Scorer.load(copied, device="cpu")


def test_every_file_of_a_bundle_is_read_once(copied: Path) -> None:
    """M5: the bytes whose digest was compared are those that are used, so a file cannot be swapped in between."""
    import subprocess
    import sys

    code = (
        "import sys\nfrom scoreline import Scorer\nScorer; opened = []\n"
        "def hook(event, args):\n"
        f"    if event == 'open' and str(args[0]).startswith({str(copied)!r}): opened.append(str(args[0]))\n"
        f"sys.addaudithook(hook); Scorer.load({str(copied)!r}, device='cpu')\n"
        "print(len(opened), len(set(opened)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["4", "4"]


def test_escape_codes_in_names_are_inert(tmp_path: Path) -> None:
    """M10: HTML, formulas, line ends and terminal codes are unchanged in Parquet, and escaped in messages."""
    names = ["<b>x</b>", "=1+1", "a\nb", "\x1b[31mred", "e", "f"]
    save(tmp_path / "b", nn.Linear(6, 3), features=names, sample=pd.DataFrame(X, columns=names))
    scorer = Scorer.load(tmp_path / "b", device="cpu")
    assert scorer.features == names
    table = pa.table({name: X[:, at] for at, name in enumerate(names)} | {"=cmd|' /C calc'!A0": ["x"] * 40})
    assert scorer.score_table(table).column_names[0] == "=cmd|' /C calc'!A0"
    with pytest.raises(ScorelineError) as caught:
        scorer.score_table(table.drop_columns(["\x1b[31mred"]))
    assert "\x1b" not in str(caught.value)
    with pytest.raises(ScorelineError) as caught:
        scorer.score_table(table.drop_columns(["a\nb"]))
    assert "\n" not in str(caught.value)
