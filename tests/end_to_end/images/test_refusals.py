"""What is refused for images: columns, options, specs, samples."""

import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.errors import BundleError
from sklearn.preprocessing import StandardScaler

from conftest import Result
from described import save_described
from image_models import LABELS, PHOTOS, SIZE, Cnn, Saved, Score, write

pytestmark = pytest.mark.usefixtures("one_core")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"photo": [1, 2]}, "'photo' is int64, but the bundle takes images"),
        ({"photo": [[b"a"], [b"b"]]}, "but the bundle takes images"),
        ({"photo": [0.5, None]}, "'photo' is double"),
        ({"Photo": [b"a", b"b"]}, "'Photo' is there, and names are matched exactly"),
        ({"picture": [b"a", b"b"]}, "feature column 'photo' is missing"),
    ],
)
def test_columns_that_are_not_images(
    saved: dict[str, Saved], score: Score, tmp_path: Path, column: dict[str, Any], message: str
) -> None:
    """Refused before the first row, with the file and the column."""
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table(column), tmp_path / "in" / "a.parquet")
    done = score(saved["rgb"].bundle)
    assert done.code == 65
    assert message in done.message
    assert "a.parquet" in done.message
    assert not list((tmp_path / "out").rglob("*.parquet"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dedupe"], "--dedupe is for tables"),
        (["--explain", "occlusion"], "images"),
        (["--explain", "integrated-gradients"], "images"),
        (["--hidden", "nope"], "is not a layer"),
    ],
)
def test_options_that_do_not_apply_to_images(
    saved: dict[str, Saved], score: Score, tmp_path: Path, words: list[str], message: str
) -> None:
    """One line, exit code 2, and no output."""
    write(tmp_path / "in" / "a.parquet", pa.array(PHOTOS, pa.binary()))
    done = score(saved["rgb"].bundle, *words)
    assert done.code == 2
    assert message in done.message
    assert "\n" not in done.message
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_without_pillow_the_line_that_installs_it(
    scoreline: Any, saved: dict[str, Saved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra, the message before the first row says how to install it."""
    write(tmp_path / "in" / "a.parquet", pa.array(PHOTOS, pa.binary()))
    monkeypatch.setitem(sys.modules, "PIL", None)
    done: Result = scoreline(
        "score", "--bundle", saved["rgb"].bundle, "--input", tmp_path / "in", "--output", tmp_path / "out"
    )
    assert done.code == 78
    assert "pip install 'scoreline[images]'" in done.message
    assert not list((tmp_path / "out").rglob("*.parquet"))


PLAIN = pa.table({"photo": pa.array(PHOTOS[:4], pa.binary()), "age": [1.0, 2.0, 3.0, 4.0]})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({}, "contains bytes; if they are images, describe it in inputs by an Image"),
        ({"images": {"photo": {}}}, "size"),
        ({"images": {"photo": {"resize": 20}}}, "size"),
        ({"images": {"photo": {"size": 12}}}, "size"),
        ({"images": {"photo": {"size": (0, 12)}}}, "size"),
        ({"images": {"photo": {"size": (12, 16, 3)}}}, "size"),
        ({"images": {"photo": {"size": {"height": 12}}}}, "is not a pair of height and width in pixels"),
        ({"images": {"photo": {**SIZE, "crop": 3, "colour": 1}}}, "unexpected keyword argument 'crop'"),
        ({"images": {"photo": {**SIZE, "mean": [0.5]}}}, "mean has 1 numbers for 3 channels"),
        ({"images": {"photo": {**SIZE, "channels": 1, "std": [1.0, 1.0, 1.0]}}}, "std has 3 numbers for 1 channels"),
        ({"images": {"photo": {**SIZE, "std": [1.0, 0.0, 1.0]}}}, "is not above 0"),
        ({"images": {"photo": {**SIZE, "channels": 4}}}, "channels"),
        ({"images": {"photo": {**SIZE, "interpolation": "cubic"}}}, "interpolation"),
        ({"images": {"photo": {**SIZE, "resize": 15}}}, "resize 15 is less than the size 12 × 16"),
        ({"images": {"photo": SIZE}, "scaler": StandardScaler().fit([[1.0], [2.0]])}, "the model takes none"),
        ({"images": {"photo": SIZE, "age": SIZE}, "features": ["photo", "age"]}, "but Image takes bytes or paths"),
    ],
)  # fmt: skip
def test_image_specs_are_checked(tmp_path: Path, words: dict[str, Any], message: str) -> None:
    """One line says what is wrong, and nothing is written."""
    given = {"features": ["photo"], "task": "multiclass", "labels": LABELS, "sample": PLAIN, **words}
    with pytest.raises((BundleError, TypeError), match=message) as caught:
        save_described(tmp_path / "b", Cnn(), **given)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "b").exists()


def test_samples_with_broken_images(tmp_path: Path) -> None:
    """Some broken images are skipped; if all are broken, the message gives the first reason."""
    words: dict[str, Any] = {"features": ["photo"], "task": "multiclass", "labels": LABELS, "images": {"photo": SIZE}}
    bad = [None, b"", b"<html>", PHOTOS[0][:30]]
    with pytest.raises(BundleError, match=r"none of the sample's rows can be scored; row .*'photo'") as caught:
        save_described(tmp_path / "b", Cnn(), sample=pa.table({"photo": pa.array(bad, pa.binary())}), **words)
    assert "\n" not in str(caught.value)
    with pytest.raises(BundleError, match="no such file"):
        save_described(tmp_path / "b", Cnn(), sample=pa.table({"photo": [str(tmp_path / "gone.jpg")]}), **words)
    save_described(tmp_path / "b", Cnn(), sample=pa.table({"photo": pa.array([*bad, PHOTOS[3]], pa.binary())}), **words)
    golden = pq.read_table(tmp_path / "b" / "golden.parquet")
    assert [value.as_py() for value in golden.column(0)] == [PHOTOS[3]]
    with pytest.raises(BundleError):  # a model of another image size
        save_described(tmp_path / "b", Cnn(channels=1), sample=PLAIN, **words)
