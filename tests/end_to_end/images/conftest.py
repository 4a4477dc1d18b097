"""Bundles of image models, saved once, and `scoreline score`."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from conftest import Result
from image_models import LABELS, PHOTOS, PREPARED, Cnn, Saved, Score, write_files
from scoreline import Image, Multiclass, save_bundle


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Saved]:
    """A bundle for colours and one for greys. The sample of the first is bytes, of the other files that are gone."""
    folder, found = tmp_path_factory.mktemp("saved"), {}
    names = [str(folder / "sample" / name) for name in write_files(folder / "sample", PHOTOS[:12])]
    for kind, prepared in PREPARED.items():
        model = Cnn(prepared.get("channels", 3))
        column = pa.array(PHOTOS[:12], pa.binary()) if kind == "rgb" else pa.array(names)
        save_bundle(
            folder / "made" / kind,
            model,
            inputs=Image("photo", **prepared),
            task=Multiclass(LABELS),
            sample=pa.table({"photo": column}),
        )
        found[kind] = Saved(folder / kind, model, prepared)
    shutil.rmtree(folder / "sample")
    for kind in PREPARED:
        (folder / "made" / kind).rename(folder / kind)
    return found


@pytest.fixture
def score(scoreline: Any, tmp_path: Path) -> Score:
    """`scoreline score` of `in` into `out`."""

    def call(bundle: Path, *words: object, source: Path | None = None, output: str = "out") -> Result:
        return scoreline(
            "score", "--bundle", bundle, "--input", source or tmp_path / "in", "--output", tmp_path / output, *words
        )

    return call
