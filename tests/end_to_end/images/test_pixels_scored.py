"""Images through the whole pipeline, as bytes and as paths, compared with Pillow and bare torch image by image."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from scoreline.pipeline.errors import ScorelineError
from torch import nn

from image_models import LABELS, PHOTOS, PREPARED, SIZE, Cnn, Saved, Score, check, write, write_files
from scoreline import Image as ImageSpec
from scoreline import Multiclass, Scorer, save_bundle

pytestmark = pytest.mark.usefixtures("one_core")

BROKEN = ["truncated", "text", "empty", "deep", "null", "gone"]


@pytest.mark.parametrize("kind", PREPARED)
@pytest.mark.parametrize("column", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_bytes_equal_by_hand(saved: dict[str, Saved], score: Score, tmp_path: Path, kind: str, column: Any) -> None:
    """For every Arrow type of bytes."""
    write(tmp_path / "in" / "a.parquet", pa.array(PHOTOS, column))
    done = score(saved[kind].bundle)
    assert done.code == 0, done.message
    rows = pq.read_table(tmp_path / "out" / "a.parquet")
    assert rows.column_names == ["id", "prediction", *(f"probability_{label}" for label in LABELS)]
    check(rows, saved[kind].truth(PHOTOS))


@pytest.mark.parametrize("kind", PREPARED)
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.parametrize("absolute", [False, True])
def test_paths_equal_by_hand(
    saved: dict[str, Saved], score: Score, tmp_path: Path, kind: str, suffix: str, absolute: bool
) -> None:
    """Relative paths are resolved beside their table, wherever the command runs; names may contain spaces and
    accents."""
    folder = tmp_path / "in" / "day=1"
    names = write_files(folder / "pictures", PHOTOS)
    paths = [str(folder / "pictures" / n) if absolute else f"pictures/../pictures/{n}" for n in names]
    write(folder / f"a.{suffix}", pa.array(paths))
    done = score(saved[kind].bundle)
    assert done.code == 0, done.message
    (part,) = (tmp_path / "out" / "day=1").glob("*.parquet")
    rows = pq.read_table(part, partitioning=None)
    numbers = rows["id"].cast(pa.int64())  # columns of a CSV are carried through as text
    check(rows.set_column(0, "id", numbers), saved[kind].truth(PHOTOS))


@pytest.mark.parametrize("column", [pa.dictionary(pa.int32(), pa.string()), pa.large_string(), pa.string_view()])
def test_paths_of_every_type(saved: dict[str, Saved], score: Score, tmp_path: Path, column: Any) -> None:
    """Dictionary values may repeat; a file that is named twice is scored twice."""
    names = write_files(tmp_path / "in", PHOTOS[:5]) * 3
    write(tmp_path / "in" / "a.parquet", pa.array(names).cast(column))
    assert score(saved["rgb"].bundle).code == 0
    check(pq.read_table(tmp_path / "out" / "a.parquet"), saved["rgb"].truth(PHOTOS[:5] * 3))


def test_score_frame_and_score_table(saved: dict[str, Saved]) -> None:
    """Bytes or paths; an image that cannot be decoded is rejected with a reason."""
    scorer = Scorer.load(saved["rgb"].bundle, device="cpu")
    frame = pd.DataFrame({"photo": PHOTOS, "id": range(30)}, index=range(100, 130))
    scored = scorer.score_frame(frame)
    assert scored.index.tolist() == frame.index.tolist()
    check(pa.Table.from_pandas(scored, preserve_index=False), saved["rgb"].truth(PHOTOS))
    cells = pa.array([PHOTOS[0], b"GIF89a", PHOTOS[1]], pa.binary())
    with pytest.raises(ScorelineError, match="row 1: column 'photo' is not a JPEG or PNG"):
        scorer.score_table(pa.table({"photo": cells}))
    rows, rejects = scorer.score_table(pa.table({"photo": cells, "id": [0, 1, 2]}), with_rejects=True)
    check(rows, saved["rgb"].truth(PHOTOS[:2]), ids=[0, 2])
    assert rejects["id"].to_pylist() == [1]


@pytest.mark.parametrize("kind", PREPARED)
def test_golden_rows_contain_the_bytes(saved: dict[str, Saved], kind: str) -> None:
    """The files of the sample no longer exist and the bundle was moved (by the fixture): the golden rows are still
    reproduced."""
    scorer = Scorer.load(saved[kind].bundle, device="cpu")
    assert scorer.golden is not None
    assert scorer.golden.rows == 12
    golden = pq.read_table(saved[kind].bundle / "golden.parquet")
    assert golden.column(0).to_pylist() == PHOTOS[:12]
    with torch.no_grad():
        wanted = saved[kind].truth(PHOTOS[:12]).argmax(dim=1).tolist()
    assert scorer.score_table(pa.table({"photo": golden.column(0)}))["prediction"].to_pylist() == [
        LABELS[index] for index in wanted
    ]


def test_relative_paths_of_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative to the folder of the training script; at most 32 golden rows, spread over the sample."""
    names = write_files(tmp_path / "files", PHOTOS)
    monkeypatch.chdir(tmp_path / "files")
    save_bundle(
        "b",
        Cnn(),
        inputs=ImageSpec("photo", **SIZE),
        task=Multiclass(LABELS),
        sample=pd.DataFrame({"photo": names * 3}),
    )
    monkeypatch.chdir(tmp_path)
    shutil.move(tmp_path / "files" / "b", tmp_path / "moved")
    shutil.rmtree(tmp_path / "files")
    golden = Scorer.load(tmp_path / "moved", device="cpu").golden
    assert golden is not None
    assert golden.rows == 32
    kept = pq.read_table(tmp_path / "moved" / "golden.parquet").column(0).to_pylist()
    assert (kept[0], kept[-1]) == (PHOTOS[0], PHOTOS[-1])
    assert set(kept) <= set(PHOTOS)


def test_check_reads_images_by_their_paths(scoreline: Any, tmp_path: Path) -> None:
    """Shows the first rows and an estimate of the whole run, with paths relative to their table."""
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for at in range(20):
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "in" / f"{at}.png")
    paths = [str(tmp_path / "in" / f"{at}.png") for at in range(20)]
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2)).eval()
    save_bundle(
        tmp_path / "b",
        model,
        inputs=ImageSpec("photo", size=(8, 8)),
        task=Multiclass(["a", "b"]),
        sample=pa.table({"photo": paths}),
    )
    pq.write_table(pa.table({"photo": [f"{at}.png" for at in range(20)]}), tmp_path / "in" / "a.parquet")
    done = scoreline("check", "--bundle", tmp_path / "b", "--input", tmp_path / "in" / "a.parquet")
    assert done.code == 0, done.err
    assert "first 20 rows of a.parquet: 0 rejected" in done.out
    assert "estimate" in done.out
