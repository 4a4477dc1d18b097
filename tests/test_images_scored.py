"""Images through the whole pipe, against Pillow and bare torch, image by image, and the user's own model."""

import io
import json
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageOps
from scoreline.pipeline.errors import BundleError, ScorelineError, UntrustedBundleError
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from conftest import Result
from scoreline import Scorer, save_bundle

LABELS = ["cat", "dog", "fox"]
#: How each bundle prepares its images.
PREPARED: dict[str, dict[str, Any]] = {
    "rgb": {"size": (12, 16), "resize": 18, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    "grey": {"size": (16, 12), "channels": 1, "mean": [0.4], "std": [0.3], "interpolation": "bicubic"},
}
BROKEN = ["truncated", "text", "empty", "deep", "null", "gone"]


pytestmark = pytest.mark.usefixtures("one_core")


class Cnn(nn.Module):
    """What a first course on images trains. BatchNorm2d has seen some data, so that its statistics count."""

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


class WithFacts(Cnn):
    """The same beside columns of a table."""

    def __init__(self) -> None:
        super().__init__(facts=2, seed=4)

    def forward(self, photo: Tensor, facts: Tensor) -> Tensor:  # type: ignore[override]
        seen = self.mean(self.pool(self.act(self.norm(self.conv(photo))))).flatten(1)
        return self.out(torch.cat([seen, facts], dim=1))


def make_cnn() -> Cnn:
    """What an import path names."""
    return Cnn()


def encoded(image: Image.Image, kind: str, **words: Any) -> bytes:
    """The bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **words)
    return file.getvalue()


def pictures(number: int, seed: int = 0) -> list[bytes]:
    """JPEG and PNG, colours, greys, palettes, alpha and EXIF, upright and wide."""
    rng = np.random.default_rng(seed)
    made = []
    for place in range(number):
        height, width = (int(side) for side in rng.integers(18, 48, 2))
        flat = rng.integers(0, 256, (3, 4, 3)).astype(np.uint8)
        image = Image.fromarray(flat).resize((width, height), Image.Resampling.BICUBIC)
        match place % 5:
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


def broken() -> dict[str, bytes | None]:
    """One of each kind; `gone` is a file that is not written."""
    deep = Image.fromarray(np.full((20, 20), 40_000, dtype=np.uint16))
    return {
        "truncated": PHOTOS[0][: len(PHOTOS[0]) * 2 // 3],
        "text": b"<html>404</html>",
        "empty": b"",
        "deep": encoded(deep, "PNG"),
        "null": None,
        "gone": None,
    }


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
    """`[channels, height, width]` of one image by Pillow and torch, as torchvision's transforms do it."""
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
    """One image at a time, by the user's own model."""
    with torch.no_grad():
        rows = [model(pixels(data, **prepared)[None], *(f[n : n + 1] for f in facts)) for n, data in enumerate(photos)]
    return torch.cat(rows)


def write_files(folder: Path, photos: Sequence[bytes]) -> list[str]:
    """The images as files, and their names."""
    folder.mkdir(parents=True, exist_ok=True)
    suffixes = {0xFF: "jpg", 0x89: "png"}
    names = [f"photo {n} é.{suffixes[data[0]]}" for n, data in enumerate(photos)]
    for name, data in zip(names, photos, strict=True):
        (folder / name).write_bytes(data)
    return names


def write(path: Path, column: pa.Array, **columns: Any) -> None:
    """Parquet or CSV with a column `photo` and a number for every row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"id": np.arange(len(column)), "photo": column, **columns})
    (pc.write_csv if path.suffix == ".csv" else pq.write_table)(table, path)


def check(rows: pa.Table, wanted: Tensor, ids: Sequence[int] | None = None) -> None:
    """Rows in order, with the labels and probabilities of these logits."""
    probabilities = wanted.double().softmax(dim=1).numpy()
    assert rows["id"].to_pylist() == list(range(len(wanted)) if ids is None else ids)
    got = np.stack([rows[f"probability_{label}"].to_numpy() for label in LABELS], axis=1)
    np.testing.assert_allclose(got, probabilities, rtol=0, atol=2e-6)
    assert rows["prediction"].to_pylist() == [LABELS[place] for place in probabilities.argmax(axis=1)]


@dataclass(frozen=True)
class Saved:
    """A bundle and the model that it came from."""

    bundle: Path
    model: nn.Module
    prepared: dict[str, Any]

    def truth(self, photos: Sequence[bytes]) -> Tensor:
        """By hand."""
        return logits(self.model, photos, **self.prepared)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Saved]:
    """A bundle for colours and one for greys. The sample of the first is bytes, of the other files that are gone."""
    folder, found = tmp_path_factory.mktemp("saved"), {}
    names = [str(folder / "sample" / name) for name in write_files(folder / "sample", PHOTOS[:12])]
    for kind, prepared in PREPARED.items():
        model = Cnn(prepared.get("channels", 3))
        column = pa.array(PHOTOS[:12], pa.binary()) if kind == "rgb" else pa.array(names)
        save_bundle(
            folder / "made" / kind, model, features=["photo"], sample=pa.table({"photo": column}), task="multiclass",
            labels=LABELS, images={"photo": prepared},
        )  # fmt: skip
        found[kind] = Saved(folder / kind, model, prepared)
    shutil.rmtree(folder / "sample")
    for kind in PREPARED:
        (folder / "made" / kind).rename(folder / kind)
    return found


Score = Callable[..., Result]


@pytest.fixture
def score(scoreline: Any, tmp_path: Path) -> Score:
    """`scoreline score` of `in` into `out`."""

    def call(bundle: Path, *words: object, source: Path | None = None, output: str = "out") -> Result:
        return scoreline(
            "score", "--bundle", bundle, "--input", source or tmp_path / "in", "--output", tmp_path / output, *words
        )

    return call


# --- 1. equal to Pillow and torch by hand ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PREPARED)
@pytest.mark.parametrize("column", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_bytes_equal_by_hand(saved: dict[str, Saved], score: Score, tmp_path: Path, kind: str, column: Any) -> None:
    """Of every type that Arrow has for them."""
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
    """Relative ones lie beside the table they stand in, wherever the command runs; names hold blanks and accents."""
    folder = tmp_path / "in" / "day=1"
    names = write_files(folder / "pictures", PHOTOS)
    paths = [str(folder / "pictures" / n) if absolute else f"pictures/../pictures/{n}" for n in names]
    write(folder / f"a.{suffix}", pa.array(paths))
    done = score(saved[kind].bundle)
    assert done.code == 0, done.message
    (part,) = (tmp_path / "out" / "day=1").glob("*.parquet")
    rows = pq.read_table(part, partitioning=None)
    numbers = rows["id"].cast(pa.int64())  # a CSV's columns are carried through as the text they are
    check(rows.set_column(0, "id", numbers), saved[kind].truth(PHOTOS))


@pytest.mark.parametrize("column", [pa.dictionary(pa.int32(), pa.string()), pa.large_string(), pa.string_view()])
def test_paths_of_every_type(saved: dict[str, Saved], score: Score, tmp_path: Path, column: Any) -> None:
    """Dictionaries repeat; a file that stands twice is scored twice."""
    names = write_files(tmp_path / "in", PHOTOS[:5]) * 3
    write(tmp_path / "in" / "a.parquet", pa.array(names).cast(column))
    assert score(saved["rgb"].bundle).code == 0
    check(pq.read_table(tmp_path / "out" / "a.parquet"), saved["rgb"].truth(PHOTOS[:5] * 3))


# --- 2. what cannot be decoded --------------------------------------------------------------------------------------


def mixed(folder: Path, as_paths: bool) -> tuple[pa.Array, list[bytes], list[int], dict[int, str]]:
    """A column with broken images between good ones, the good ones, their places, and the broken ones' kinds."""
    cells: list[Any] = []
    good: list[bytes] = []
    kinds: dict[int, str] = {}
    bad = {name: data for name, data in broken().items() if as_paths or name != "gone"}
    for place, data in enumerate(PHOTOS[:18]):
        if place % 3 == 1 and bad:
            kind = next(iter(bad))
            kinds[len(cells)] = kind
            cells.append((kind, bad.pop(kind)))
        cells.append(("good", data))
        good.append(data)
    places = [place for place in range(len(cells)) if place not in kinds]
    if not as_paths:
        return pa.array([data for _, data in cells], pa.binary()), good, places, kinds
    names: list[str | None] = []
    for place, (kind, data) in enumerate(cells):
        names.append(None if kind == "null" else f"{place}-{kind}.jpg")
        if data is not None:
            (folder / f"{place}-{kind}.jpg").write_bytes(data)
    return pa.array(names), good, places, kinds


REASONS = {
    "truncated": "is broken",
    "text": "is no JPEG or PNG",
    "empty": "is empty",
    "deep": "more than 8 bits",
    "null": "is null",
    "gone": "no such file",
}


@pytest.mark.parametrize("as_paths", [False, True])
@pytest.mark.parametrize("rows_at_once", ["1", "3", "1000"])
def test_broken_images_are_rejects(
    saved: dict[str, Saved], score: Score, scoreline: Any, tmp_path: Path, as_paths: bool, rows_at_once: str
) -> None:
    """With the stage and a reason; the others are scored, in order, however many go through at once."""
    (tmp_path / "in").mkdir()
    column, good, places, kinds = mixed(tmp_path / "in", as_paths)
    write(tmp_path / "in" / "a.parquet", column)
    done = score(saved["rgb"].bundle, "--max-rejects", len(kinds), "--batch-size", rows_at_once)
    assert done.code == 0, done.message
    check(pq.read_table(tmp_path / "out" / "a.parquet"), saved["rgb"].truth(good), ids=places)
    with pyarrow.ipc.open_file(tmp_path / "out" / "_rejects" / "a.arrow") as file:
        rejects = file.read_all()
    assert rejects["id"].to_pylist() == list(kinds)
    assert rejects["photo"].to_pylist() == [column[place].as_py() for place in kinds]
    for said, (place, kind) in zip(rejects["reject"].to_pylist(), kinds.items(), strict=True):
        assert said["row_number"] == place
        assert (said["source"], said["column"]) == ("a.parquet", "photo")
        assert said["stage"] == ("check" if kind == "null" else "images")
        assert REASONS[kind] in said["reason"]
    run = json.loads((tmp_path / "out" / "_scoreline" / "run.json").read_text())
    assert run["rows_rejected"] == len(kinds)
    assert run["rows_scored"] == len(good)
    assert run["stages"]["images"]["rows"] == len(good) + len(kinds) - 1  # null never gets there
    assert run["stages"]["images"]["busy_s"] > 0
    assert list(run["stages"]).index("check") < list(run["stages"]).index("images") < list(run["stages"]).index("scale")
    assert scoreline("verify", tmp_path / "out").code == 0


def test_the_budget_of_rejects_holds(saved: dict[str, Saved], score: Score, tmp_path: Path) -> None:
    """One too many ends the run and names the first of them."""
    column, _, _, kinds = mixed(tmp_path, as_paths=False)
    write(tmp_path / "in" / "a.parquet", column)
    for words in ((), ("--max-rejects", str(len(kinds) - 1)), ("--max-rejects", "1%")):
        done = score(saved["rgb"].bundle, *words)
        assert done.code == 65
        assert "'photo'" in done.message
        assert "row 1" in done.message
        assert not (tmp_path / "out" / "_SUCCESS").exists()
    assert score(saved["rgb"].bundle, "--max-rejects", "50%").code == 0


def test_nothing_but_rejects_and_no_rows(saved: dict[str, Saved], score: Score, scoreline: Any, tmp_path: Path) -> None:
    """Files of which nothing can be scored, and of which there is nothing to score."""
    write(tmp_path / "in" / "all.parquet", pa.array([b"no", b"", None, PHOTOS[0][:40]] * 5, pa.binary()))
    write(tmp_path / "in" / "none.parquet", pa.array([], pa.binary()))
    write(tmp_path / "in" / "null.parquet", pa.nulls(3))
    done = score(saved["grey"].bundle, "--max-rejects", "100%")
    assert done.code == 0, done.message
    for name in ("all", "none", "null"):
        rows = pq.read_table(tmp_path / "out" / f"{name}.parquet")
        assert rows.num_rows == 0
        assert rows.column_names[:2] == ["id", "prediction"]
    assert scoreline("verify", tmp_path / "out").code == 0


def test_a_resume_gives_the_same_bytes(saved: dict[str, Saved], score: Score, scoreline: Any, tmp_path: Path) -> None:
    """A part that was taken away is made again alone, rejects and all."""
    (tmp_path / "in").mkdir()
    column, _, _, kinds = mixed(tmp_path / "in", as_paths=True)
    write(tmp_path / "in" / "a.parquet", column)
    write(tmp_path / "in" / "b.parquet", pa.array(PHOTOS, pa.binary()))
    words = ("--max-rejects", len(kinds), "--split-rows", "8")
    assert score(saved["rgb"].bundle, *words).code == 0
    files = sorted(path for path in (tmp_path / "out").rglob("*") if path.suffix in (".parquet", ".arrow"))
    first = {path: path.read_bytes() for path in files}
    assert len([path for path in files if path.suffix == ".parquet"]) == 7
    for name in ("a-00001.parquet", "b-00003.parquet", "_rejects/a-00000.arrow"):
        (tmp_path / "out" / name).unlink()
    again = score(saved["rgb"].bundle, *words)
    assert again.code == 0
    assert again.event("run_started")["kept"] == 4
    assert {path: path.read_bytes() for path in files} == first
    assert scoreline("verify", tmp_path / "out").code == 0


# --- 3. beside everything else --------------------------------------------------------------------------------------


def test_images_beside_a_table(score: Score, tmp_path: Path) -> None:
    """Each as its own argument, rejects of both kinds, and columns in another order in the file."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"age": rng.normal(50, 20, 30), "height": rng.normal(170, 10, 30)})
    scaler, model = StandardScaler().fit(frame), WithFacts()
    sample = pa.table({"age": frame["age"], "photo": pa.array(PHOTOS, pa.binary()), "height": frame["height"]})
    save_bundle(
        tmp_path / "b", model, features=["photo", "age", "height"], scaler=[(scaler, ["age", "height"])],
        inputs={"photo": ["photo"], "facts": ["age", "height"]}, images={"photo": PREPARED["rgb"]}, sample=sample,
        task="multiclass", labels=LABELS,
    )  # fmt: skip
    cells = [b"broken" if place in (3, 4) else data for place, data in enumerate(PHOTOS)]
    ages = [None if place in (4, 20) else age for place, age in enumerate(frame["age"])]
    write(tmp_path / "in" / "a.parquet", pa.array(cells, pa.binary()), height=frame["height"], age=pa.array(ages))
    done = score(tmp_path / "b", "--max-rejects", "3", "--batch-size", "7")
    assert done.code == 0, done.message
    facts = torch.tensor(scaler.transform(frame), dtype=torch.float32)
    kept = [place for place in range(30) if place not in (3, 4, 20)]
    wanted = logits(model, [PHOTOS[place] for place in kept], facts[kept], **PREPARED["rgb"])
    check(pq.read_table(tmp_path / "out" / "a.parquet"), wanted, ids=kept)


def test_two_images_of_a_row(score: Score, tmp_path: Path) -> None:
    """Each prepared in its own way; where both are broken, the first says why."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.front, self.back = Cnn(3, seed=1), Cnn(1, seed=2)

        def forward(self, front: Tensor, back: Tensor) -> Tensor:
            return self.front(front) - self.back(back)

    model = Both().eval()
    front, back = pa.array(PHOTOS, pa.binary()), pa.array(PHOTOS[::-1], pa.binary())
    save_bundle(
        tmp_path / "b", model, features=["front", "back"], sample=pa.table({"back": back, "front": front}),
        task="multiclass", labels=LABELS, images={"back": PREPARED["grey"], "front": PREPARED["rgb"]},
    )  # fmt: skip
    cells = [b"x" if place in (2, 9) else data for place, data in enumerate(PHOTOS)]
    others = [b"" if place in (9, 15) else data for place, data in enumerate(PHOTOS[::-1])]
    table = pa.table({"back": pa.array(others, pa.binary()), "id": np.arange(30), "front": pa.array(cells)})
    (tmp_path / "in").mkdir()
    pq.write_table(table, tmp_path / "in" / "a.parquet")
    assert score(tmp_path / "b", "--max-rejects", "3").code == 0
    kept = [place for place in range(30) if place not in (2, 9, 15)]
    wanted = logits(model.front, [PHOTOS[place] for place in kept], **PREPARED["rgb"]) - logits(
        model.back, [PHOTOS[::-1][place] for place in kept], **PREPARED["grey"]
    )
    check(pq.read_table(tmp_path / "out" / "a.parquet"), wanted, ids=kept)
    with pyarrow.ipc.open_file(tmp_path / "out" / "_rejects" / "a.arrow") as file:
        said = file.read_all()["reject"].to_pylist()
    assert [(one["row_number"], one["column"]) for one in said] == [(2, "front"), (9, "front"), (15, "back")]


def test_hidden_layers_of_an_image_model(saved: dict[str, Saved], score: Score, scoreline: Any, tmp_path: Path) -> None:
    """What the user's own layers give, flattened; the rows that are rejected have none."""
    cells = [None if place == 7 else data for place, data in enumerate(PHOTOS)]
    write(tmp_path / "in" / "a.parquet", pa.array(cells, pa.binary()))
    listed = scoreline("layers", saved["rgb"].bundle, "--json")
    assert {"conv", "norm", "pool", "mean", "out"} <= {one["calls"] for one in json.loads(listed.out)[0]}
    words = ("--hidden", "mean", "--hidden", "norm", "--max-rejects", "1")
    done = score(saved["rgb"].bundle, *words)
    assert done.code == 0, done.message
    rows, model = pq.read_table(tmp_path / "out" / "a.parquet"), saved["rgb"].model
    assert isinstance(model, Cnn)
    good = [data for data in cells if data is not None]
    with torch.no_grad():
        batch = torch.stack([pixels(data, **PREPARED["rgb"]) for data in good])
        norm = model.norm(model.conv(batch))
        mean = model.mean(model.pool(model.act(norm)))
    for name, wanted in (("norm", norm), ("mean", mean)):
        got = np.stack(rows[f"hidden_{name}"].to_numpy())
        np.testing.assert_allclose(got, wanted.flatten(1).numpy(), rtol=1e-5, atol=1e-5)


def test_an_ensemble_of_two(score: Score, tmp_path: Path) -> None:
    """The mean of their probabilities, and how far apart they are."""
    models = [Cnn(seed=1), Cnn(seed=2)]
    sample = pa.table({"photo": pa.array(PHOTOS, pa.binary())})
    save_bundle(
        tmp_path / "b", models, features=["photo"], sample=sample, task="multiclass", labels=LABELS,
        images={"photo": PREPARED["rgb"]},
    )  # fmt: skip
    write(tmp_path / "in" / "a.parquet", pa.array(PHOTOS, pa.binary()))
    assert score(tmp_path / "b").code == 0
    each = [logits(model, PHOTOS, **PREPARED["rgb"]).softmax(dim=1) for model in models]
    check(pq.read_table(tmp_path / "out" / "a.parquet"), ((each[0] + each[1]) / 2).log())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["onnx", "torchscript", "import", "pt2"])
def test_models_of_other_formats(score: Score, tmp_path: Path, kind: str) -> None:
    """As their users saved them; what holds code is scored where it is trusted."""
    model: Any = Cnn()
    example = torch.zeros(5, 3, 12, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporters
        batch = torch.export.Dim("batch", min=2)
        match kind:
            case "onnx":
                given: Any = tmp_path / "m.onnx"
                shapes = ({0: batch},)
                torch.onnx.export(
                    model, (example,), input_names=["photo"], dynamo=True, verbose=False, dynamic_shapes=shapes
                ).save(str(given))
            case "torchscript":
                given = tmp_path / "m.pt"
                torch.jit.trace(model, example).save(str(given))
            case "pt2":
                given = tmp_path / "m.pt2"
                torch.export.save(torch.export.export(model, (example,), dynamic_shapes=({0: batch},)), given)
            case _:
                sys.modules["scoreline_image_factory"] = sys.modules[__name__]
                given = ("scoreline_image_factory:make_cnn", model.state_dict())
    save_bundle(
        tmp_path / "b", given, features=["photo"], sample=pa.table({"photo": pa.array(PHOTOS, pa.binary())}),
        task="multiclass", labels=LABELS, images={"photo": PREPARED["rgb"]},
    )  # fmt: skip
    write(tmp_path / "in" / "a.parquet", pa.array(PHOTOS, pa.binary()))
    words: list[object] = []
    if kind != "onnx":
        with pytest.raises(UntrustedBundleError) as caught:
            Scorer.load(tmp_path / "b", device="cpu")
        words = ["--trust", str(caught.value).split("--trust ")[1][:71]]
        assert score(tmp_path / "b").code == 78
    done = score(tmp_path / "b", *words)
    assert done.code == 0, done.message
    check(pq.read_table(tmp_path / "out" / "a.parquet"), logits(model, PHOTOS, **PREPARED["rgb"]))


def test_a_regression_on_images(score: Score, tmp_path: Path) -> None:
    """Two targets, in their own units; a dict of the inputs."""

    class ByName(Cnn):
        def forward(self, given: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
            return super().forward(given["photo"])

    model, target = ByName(outputs=2).eval(), StandardScaler().fit([[100.0, 3.0], [300.0, 4.0]])
    save_bundle(
        tmp_path / "b", model, features=["photo"], sample=pa.table({"photo": pa.array(PHOTOS, pa.binary())}),
        task="regression", labels=["weight", "age"], images={"photo": {"size": [12, 16]}}, target_scaler=target,
        call="dict",
    )  # fmt: skip
    write(tmp_path / "in" / "a.parquet", pa.array(PHOTOS, pa.binary()))
    assert score(tmp_path / "b", "--batch-size", "4").code == 0
    rows = pq.read_table(tmp_path / "out" / "a.parquet")
    with torch.no_grad():
        raw = torch.cat([model({"photo": pixels(data, size=(12, 16))[None]}) for data in PHOTOS])
    wanted = target.inverse_transform(raw.double().numpy())
    got = np.stack([rows[f"prediction_{name}"].to_numpy() for name in ("weight", "age")], axis=1)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_by_way_of_python(saved: dict[str, Saved]) -> None:
    """`score_frame` and `score_table`, bytes or paths; a reason where one cannot be decoded."""
    scorer = Scorer.load(saved["rgb"].bundle, device="cpu")
    frame = pd.DataFrame({"photo": PHOTOS, "id": range(30)}, index=range(100, 130))
    scored = scorer.score_frame(frame)
    assert scored.index.tolist() == frame.index.tolist()
    check(pa.Table.from_pandas(scored, preserve_index=False), saved["rgb"].truth(PHOTOS))
    cells = pa.array([PHOTOS[0], b"GIF89a", PHOTOS[1]], pa.binary())
    with pytest.raises(ScorelineError, match="row 1: column 'photo' is no JPEG or PNG"):
        scorer.score_table(pa.table({"photo": cells}))
    rows, rejects = scorer.score_table(pa.table({"photo": cells, "id": [0, 1, 2]}), with_rejects=True)
    check(rows, saved["rgb"].truth(PHOTOS[:2]), ids=[0, 2])
    assert rejects["id"].to_pylist() == [1]


# --- 4. refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ({"photo": [1, 2]}, "'photo' is int64, and the bundle takes images"),
        ({"photo": [[b"a"], [b"b"]]}, "and the bundle takes images"),
        ({"photo": [0.5, None]}, "'photo' is double"),
        ({"Photo": [b"a", b"b"]}, "'Photo' is there, and names are matched exactly"),
        ({"picture": [b"a", b"b"]}, "feature column 'photo' is missing"),
    ],
)
def test_columns_that_are_no_images(
    saved: dict[str, Saved], score: Score, tmp_path: Path, column: dict[str, Any], said: str
) -> None:
    """Before the first row, with the file and the column."""
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table(column), tmp_path / "in" / "a.parquet")
    done = score(saved["rgb"].bundle)
    assert done.code == 65
    assert said in done.message
    assert "a.parquet" in done.message
    assert not list((tmp_path / "out").rglob("*.parquet"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dedupe"], "--dedupe is for tables"),
        (["--explain", "occlusion"], "images"),
        (["--explain", "integrated-gradients"], "images"),
        (["--hidden", "nope"], "is no layer"),
    ],
)
def test_options_that_do_not_go_with_images(
    saved: dict[str, Saved], score: Score, tmp_path: Path, words: list[str], said: str
) -> None:
    """One line, exit 2, and no output."""
    write(tmp_path / "in" / "a.parquet", pa.array(PHOTOS, pa.binary()))
    done = score(saved["rgb"].bundle, *words)
    assert done.code == 2
    assert said in done.message
    assert "\n" not in done.message
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_without_pillow_the_line_that_installs_it(process: Any, saved: dict[str, Saved], tmp_path: Path) -> None:
    """A user without the extra is told before the first row."""
    write(tmp_path / "in" / "a.parquet", pa.array(PHOTOS, pa.binary()))
    hidden = tmp_path / "hidden" / "PIL"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('no Pillow here')\n")
    done: Result = process(
        "score", "--bundle", saved["rgb"].bundle, "--input", tmp_path / "in", "--output", tmp_path / "out",
        PYTHONPATH=str(hidden.parent),
    )  # fmt: skip
    assert done.code == 78
    assert "pip install 'scoreline[images]'" in done.message
    assert not list((tmp_path / "out").rglob("*.parquet"))


PLAIN = pa.table({"photo": pa.array(PHOTOS[:4], pa.binary()), "age": [1.0, 2.0, 3.0, 4.0]})
SIZE = {"size": (12, 16)}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({}, "holds bytes; where they are images, say images="),
        ({"images": {"photo": {}}}, "size"),
        ({"images": {"photo": {"resize": 20}}}, "size"),
        ({"images": {"photo": {"size": 12}}}, "size"),
        ({"images": {"photo": {"size": (0, 12)}}}, "size"),
        ({"images": {"photo": {"size": (12, 16, 3)}}}, "size"),
        ({"images": {"photo": (12, 16)}}, "it is a mapping of size, resize, channels"),
        ({"images": {"photo": {**SIZE, "crop": 3, "colour": 1}}}, r"says \['colour', 'crop'\]"),
        ({"images": {"photo": {**SIZE, "mean": [0.5]}}}, "mean has 1 numbers for 3 channels"),
        ({"images": {"photo": {**SIZE, "channels": 1, "std": [1.0, 1.0, 1.0]}}}, "std has 3 numbers for 1 channels"),
        ({"images": {"photo": {**SIZE, "std": [1.0, 0.0, 1.0]}}}, "is not above 0"),
        ({"images": {"photo": {**SIZE, "channels": 4}}}, "channels"),
        ({"images": {"photo": {**SIZE, "interpolation": "cubic"}}}, "interpolation"),
        ({"images": {"photo": {**SIZE, "resize": 15}}}, "resize 15 leaves less than the size"),
        ({"images": {"picture": SIZE}}, "names 'picture'; features are photo"),
        ({"images": {"photo": SIZE}, "scaler": StandardScaler().fit([[1.0], [2.0]])}, "there are none"),
        ({"images": {"photo": SIZE}, "inputs": {"x": ["photo"]}}, "names 'photo'; inputs are x"),
        ({"images": {"photo": SIZE}, "inputs": {"photo": []}}, "is of 0 features"),
        ({"images": {"photo": SIZE, "age": SIZE}, "features": ["photo", "age"]}, "an image is its bytes or its path"),
        ({"images": {"photo": SIZE}, "sequences": {"photo": {"longest": 4}}}, "either an image or a sequence"),
    ],
)  # fmt: skip
def test_what_is_said_of_images_is_checked(tmp_path: Path, words: dict[str, Any], said: str) -> None:
    """In one line that names what is wrong, and nothing is written."""
    given = {"features": ["photo"], "task": "multiclass", "labels": LABELS, "sample": PLAIN, **words}
    with pytest.raises(BundleError, match=said) as caught:
        save_bundle(tmp_path / "b", Cnn(), **given)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "b").exists()


def test_samples_that_hold_broken_images(tmp_path: Path) -> None:
    """Some are left out; where all are broken, the first says why."""
    words: dict[str, Any] = {"features": ["photo"], "task": "multiclass", "labels": LABELS, "images": {"photo": SIZE}}
    bad = [None, b"", b"<html>", PHOTOS[0][:30]]
    with pytest.raises(BundleError, match=r"none of the sample's rows can be scored; row .*'photo'") as caught:
        save_bundle(tmp_path / "b", Cnn(), sample=pa.table({"photo": pa.array(bad, pa.binary())}), **words)
    assert "\n" not in str(caught.value)
    with pytest.raises(BundleError, match="no such file"):
        save_bundle(tmp_path / "b", Cnn(), sample=pa.table({"photo": [str(tmp_path / "gone.jpg")]}), **words)
    save_bundle(tmp_path / "b", Cnn(), sample=pa.table({"photo": pa.array([*bad, PHOTOS[3]], pa.binary())}), **words)
    golden = pq.read_table(tmp_path / "b" / "golden.parquet")
    assert [value.as_py() for value in golden.column(0)] == [PHOTOS[3]]
    with pytest.raises(BundleError):  # a model of other sizes
        save_bundle(tmp_path / "b", Cnn(channels=1), sample=PLAIN, **words)


# --- 5. the bundle stands alone -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PREPARED)
def test_golden_rows_hold_the_bytes(saved: dict[str, Saved], kind: str) -> None:
    """The sample's files are gone and the bundle has moved (as the fixture did): it replays what the model gave."""
    scorer = Scorer.load(saved[kind].bundle, device="cpu")
    assert scorer.golden is not None
    assert scorer.golden.rows == 12
    golden = pq.read_table(saved[kind].bundle / "golden.parquet")
    assert golden.column(0).to_pylist() == PHOTOS[:12]
    with torch.no_grad():
        wanted = saved[kind].truth(PHOTOS[:12]).argmax(dim=1).tolist()
    assert scorer.score_table(pa.table({"photo": golden.column(0)}))["prediction"].to_pylist() == [
        LABELS[place] for place in wanted
    ]


def test_relative_paths_of_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Are those of the training script; at most 32 golden rows, spread over the sample."""
    names = write_files(tmp_path / "files", PHOTOS)
    monkeypatch.chdir(tmp_path / "files")
    save_bundle(
        "b", Cnn(), features=["photo"], sample=pd.DataFrame({"photo": names * 3}), task="multiclass", labels=LABELS,
        images={"photo": SIZE},
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    shutil.move(tmp_path / "files" / "b", tmp_path / "moved")
    shutil.rmtree(tmp_path / "files")
    golden = Scorer.load(tmp_path / "moved", device="cpu").golden
    assert golden is not None
    assert golden.rows == 32
    kept = pq.read_table(tmp_path / "moved" / "golden.parquet").column(0).to_pylist()
    assert (kept[0], kept[-1]) == (PHOTOS[0], PHOTOS[-1])
    assert set(kept) <= set(PHOTOS)


def test_check_tries_images_by_their_paths(scoreline: Any, tmp_path: Path) -> None:
    """The first rows, and an estimate of the whole, with paths that begin beside their table."""
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for at in range(20):
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "in" / f"{at}.png")
    paths = [str(tmp_path / "in" / f"{at}.png") for at in range(20)]
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2)).eval()
    save_bundle(
        tmp_path / "b", model, features=["photo"], images={"photo": {"size": (8, 8)}},
        sample=pa.table({"photo": paths}), task="multiclass", labels=["a", "b"],
    )  # fmt: skip
    pq.write_table(pa.table({"photo": [f"{at}.png" for at in range(20)]}), tmp_path / "in" / "a.parquet")
    done = scoreline("check", "--bundle", tmp_path / "b", "--input", tmp_path / "in" / "a.parquet")
    assert done.code == 0, done.err
    assert "first 20 rows of a.parquet: 0 rejected" in done.out
    assert "estimate" in done.out
