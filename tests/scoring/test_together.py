"""Small files that are scored together: the same parts, rejects and records as if each were scored alone."""

import gzip
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scoreline.pipeline.graph.interpreter import GraphModel
from scoreline.pipeline.inputs import cut
from scoreline.pipeline.running import blocks, work
from scoreline.pipeline.running.blocks import ScoredFiles
from scoreline.pipeline.running.events import SplitPublished
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, RobustScaler, StandardScaler
from torch import nn

from conftest import Result
from outcomes import equal_records, parts
from scoreline import Binary, Ensemble, Multiclass, Multilabel, Regression, save_bundle

Command = Callable[..., Result]
Saved = Callable[[str], Path]
NAMES = ["a", "b", "c"]


def net(width: int, inputs: int = 3, seed: int = 0) -> nn.Sequential:
    """With batch normalisation, as its layers are folded."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(inputs, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 7), nn.GELU(), nn.Linear(7, width)
    ).eval()


def frame(rows: int, seed: int) -> pd.DataFrame:
    """Keys of several types, and three features."""
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": random.integers(0, 2**62, rows),
            "name": [f"key {number}" if number % 3 else None for number in range(rows)],
            "when": pd.to_datetime(random.integers(0, 10**18, rows)),
            "flag": random.random(rows) < 0.5,
            "a": random.normal(10, 3, rows),
            "b": random.normal(0, 1, rows).astype(np.float32),
            "c": random.integers(0, 9, rows),
        }
    )


def write(folder: Path, *, bad: bool = False) -> Path:
    """Forty files of 1 to 60 rows; a row with a missing value in some of them where `bad`."""
    folder.mkdir()
    for number in range(40):
        rows = 1 + number * 59 // 39
        made = frame(rows, number)
        if bad and number % 7 == 3:
            made.loc[rows // 2, "a"] = None
        made.to_parquet(folder / f"{number:02}.parquet", index=False)
    return folder


def saved(kind: str, folder: Path) -> Path:
    """A bundle of a kind."""
    sample = frame(200, 99)[NAMES]
    scaler: Any = StandardScaler()
    model: nn.Module = net(3)
    task: Any = Multiclass(["x", "y", "z"])
    if kind == "binary":
        model, task, scaler = net(1), Binary(["no", "yes"], threshold=0.4), MinMaxScaler()
    elif kind == "multilabel":
        model, task, scaler = net(4), Multilabel(list("wxyz")), RobustScaler()
    elif kind == "regression":
        model, scaler = net(1), MinMaxScaler(clip=True)
        task = Regression(scaler=StandardScaler().fit(np.array([[3.0], [90.0]])), threshold=46.0, bounds=(44, 49))
    elif kind == "one-hot":
        encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        scaler = ColumnTransformer([("n", StandardScaler(), ["a", "b"]), ("c", encoder, ["c"])])
        model = net(3, inputs=2 + len(sample["c"].unique()))
    save_bundle(folder, model, features=NAMES, scaler=scaler.fit(sample), task=task, sample=sample, reference=sample)
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A bundle of a kind, saved once."""
    return lru_cache(lambda kind: saved(kind, tmp_path_factory.mktemp("bundles") / kind))


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many files were scored together, each time."""
    found: list[int] = []

    def counted(*given: Any) -> ScoredFiles:
        made = plain(*given)
        found.append(sum(isinstance(one, blocks.SplitEnd) for one in made.items))
        return made

    plain = blocks._scored_files
    monkeypatch.setattr(blocks, "_scored_files", counted)
    return found


@pytest.fixture
def both(
    scoreline: Command, together: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Score files together and one by one. Fails if the outputs differ in a byte, or the records."""

    def call(bundle: Path, data: Path, *words: object, code: int = 0) -> Result:
        given = ["score", "--bundle", bundle, "--input", data, "--device", "cpu", *words]
        result = scoreline(*given, "--output", tmp_path / "out")
        assert result.code == code, result.err
        assert sum(together) > 1, "they are scored together"
        with monkeypatch.context() as patch:
            patch.setattr(work, "MOST_FILES", 1)
            count = len(together)
            assert scoreline(*given, "--output", tmp_path / "alone").code == code
            assert len(together) == count
        assert parts(tmp_path / "out") == parts(tmp_path / "alone")
        equal_records(tmp_path / "out", tmp_path / "alone")
        return result

    return call


@pytest.mark.parametrize("kind", ["multiclass", "binary", "multilabel", "regression", "one-hot"])
def test_the_same_bytes(bundle: Saved, kind: str, both: Command, tmp_path: Path) -> None:
    """For every task, and for steps of several kinds; rows above a threshold or out of bounds are counted by file."""
    result = both(bundle(kind), write(tmp_path / "data"))
    if kind == "regression":
        counts = [result.event("run_ended")[name] for name in ("above_threshold", "out_of_bounds")]
        assert min(counts) > 20


def test_the_same_values_as_torch_and_scikit_learn(bundle: Saved, both: Command, tmp_path: Path) -> None:
    """Each row is next to its own keys."""
    data = write(tmp_path / "data")
    both(bundle("multiclass"), data)
    scaler = StandardScaler().fit(frame(200, 99)[NAMES])
    for file in sorted(data.iterdir()):
        given, found = pd.read_parquet(file), pd.read_parquet(tmp_path / "out" / file.name)
        with torch.no_grad():
            raw = net(3).double()(torch.from_numpy(scaler.transform(given[NAMES]).astype(np.float32)).double())
        expected = torch.softmax(raw, 1).numpy()
        assert found["id"].tolist() == given["id"].tolist()
        np.testing.assert_allclose(found[[f"probability_{label}" for label in "xyz"]], expected, atol=1e-5)


def test_options(bundle: Saved, both: Command, tmp_path: Path) -> None:
    """Columns that depend on other options."""
    words = ["--top-k", 2, "--probabilities", "list", "--constant", "version=7", "--prefix", "p_", "--keys", "id,name"]
    both(bundle("multiclass"), write(tmp_path / "data"), *words)


def test_files_with_rejects(bundle: Saved, both: Command, tmp_path: Path) -> None:
    """With the same rejects files."""
    result = both(bundle("binary"), write(tmp_path / "data", bad=True), "--max-rejects", 9)
    assert result.event("run_ended")["rejected"] == 6
    names = [sorted(path.name for path in (tmp_path / one / "_rejects").iterdir()) for one in ("out", "alone")]
    assert names[0] == names[1]
    assert len(names[0]) == 6
    for name in names[0]:
        one, other = (pa.ipc.open_file(tmp_path / out / "_rejects" / name).read_all() for out in ("out", "alone"))
        assert one == other


def test_an_unreadable_file(bundle: Saved, both: Command, tmp_path: Path) -> None:
    """Fails alone, and all others are published."""
    data = write(tmp_path / "data")
    file = data / "07.parquet"
    damaged = bytearray(file.read_bytes())
    damaged[4:40] = bytes(36)
    file.write_bytes(damaged)
    result = both(bundle("multiclass"), data, code=65)
    assert "07.parquet" in result.message
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 39


def test_rows_that_the_model_fails_on(
    bundle: Saved, both: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Are found in each file, as if it were alone."""

    def forward(self: GraphModel, *given: Any, **named: Any) -> Any:
        if bool(([*given, *named.values()][0][:, 0] > 2.2).any()):
            raise ValueError("the first value is too large")
        return plain(self, *given, **named)

    sample = frame(200, 99)[NAMES]
    scaler = StandardScaler().fit(sample)
    calm = sample[scaler.transform(sample)[:, 0] < 2]
    save_bundle(
        tmp_path / "bundle", net(3), features=NAMES, scaler=scaler, task=Multiclass(["x", "y", "z"]), sample=calm
    )
    plain = GraphModel.forward
    monkeypatch.setattr(GraphModel, "forward", forward)
    result = both(tmp_path / "bundle", write(tmp_path / "data"), "--max-rejects", "50%")
    values = pd.concat(pd.read_parquet(file) for file in (tmp_path / "data").iterdir())[NAMES]
    assert result.event("run_ended")["rejected"] == (scaler.transform(values)[:, 0] > 2.2).sum() > 5


def test_small_files_among_others(bundle: Saved, both: Command, together: list[int], tmp_path: Path) -> None:
    """Files of other columns, larger ones and empty ones are scored alone."""
    data = write(tmp_path / "data")
    frame(2_000, 1).to_parquet(data / "10-large.parquet", index=False)
    frame(0, 1).to_parquet(data / "20-empty.parquet", index=False)
    frame(5, 1)[["id", "a", "b", "c"]].to_parquet(data / "30-other.parquet", index=False)
    frame(5, 1).to_csv(data / "35.csv", index=False)
    both(bundle("multiclass"), data)
    assert max(together) > 4


def write_csv(folder: Path, **dialect: str) -> Path:
    """Forty CSV files of 1 to 60 rows; some are larger, empty, or have rows that cannot be read or scored."""
    folder.mkdir()
    for number in range(40):
        made = frame(600 if number == 11 else 0 if number == 12 else 1 + number * 59 // 39, number).astype(
            {"c": object}
        )
        if number == 20:  # numbers in other notations
            made["c"] = [f" {value}{dialect.get('decimal', '.')}0E+0 " for value in made["c"]]
        if number == 21:
            made.loc[0, "c"] = "9007199254740993"
        made.to_csv(file := folder / f"{number:02}.csv", index=False, **dialect)
        if number == 30:
            file.write_text(file.read_text() + "1,2\n")
        if number == 31:
            file.write_text(file.read_text() + '1,"never closed')
        if number == 32:
            file.write_bytes(gzip.compress(file.read_bytes()))
    return folder


@pytest.mark.parametrize("kind", ["multiclass", "one-hot"])
def test_csv_files(bundle: Saved, kind: str, both: Command, together: list[int], tmp_path: Path) -> None:
    """Of any number of splits; rejects, and the reasons why files and rows cannot be read, are the same."""
    data = write_csv(tmp_path / "data")
    result = both(bundle(kind), data, "--max-rejects", 9, "--split-rows", 500, code=65)
    assert "31.csv" in result.message
    assert sum(together) > 20
    made = {path.name for path in (tmp_path / "out").glob("*.parquet")}
    whole = {f"{number:02}.csv.parquet" for number in range(40) if number not in (11, 31)}
    assert made == whole | {"11.csv-00000.parquet", "11.csv-00001.parquet"}
    assert {path.name for path in (tmp_path / "out" / "_rejects").iterdir()} >= {"21.csv.arrow", "30.csv.arrow"}


def test_csv_files_of_another_dialect(bundle: Saved, both: Command, tmp_path: Path) -> None:
    """With a decimal comma."""
    job = tmp_path / "job.toml"
    job.write_text('[csv]\ndelimiter = ";"\ndecimal = ","\n')
    data = write_csv(tmp_path / "data", sep=";", decimal=",")
    both(bundle("binary"), data, "--job", job, "--max-rejects", 9)


def test_files_with_large_rows(
    bundle: Saved, both: Command, together: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Are few at a time, and alone where they have several blocks."""
    monkeypatch.setattr(blocks, "MOST_TOGETHER_BYTES", 20_000)
    monkeypatch.setattr(cut, "MOST_BLOCK_BYTES", 10_000)
    data = tmp_path / "data"
    data.mkdir()
    for number in range(24):
        made = frame(20, number)
        made["name"] = "x" * (300 if number % 8 else 2000)
        made.to_parquet(data / f"{number:02}.parquet", index=False)
    both(bundle("multiclass"), data)
    assert max(together) == 3


@pytest.mark.parametrize("column", ["dictionary", "list", "struct"])
def test_keys_that_are_not_flat(
    bundle: Saved, column: str, scoreline: Command, together: list[int], tmp_path: Path
) -> None:
    """Are written alone, since the dictionary of a part has the values of its file."""
    keys = {
        "dictionary": pa.array(["x", "y", None]).dictionary_encode(),
        "list": pa.array([[1], [], None]),
        "struct": pa.array([{"x": 1}, {"x": 2}, None]),
    }
    data = tmp_path / "data"
    data.mkdir()
    for number in range(9):
        table = pa.table({"key": keys[column], **{name: [0.5, 1.5, 2.0 + number] for name in NAMES}})
        pq.write_table(table, data / f"{number}.parquet")
    made = bundle("multiclass")
    given = ["score", "--bundle", made, "--input", data, "--device", "cpu"]
    assert scoreline(*given, "--output", tmp_path / "out").code == 0
    assert together == []
    assert pq.read_table(tmp_path / "out" / "3.parquet")["key"].to_pylist() == keys[column].to_pylist()


@pytest.mark.parametrize(
    ("words", "model"),
    [
        (["--dedupe"], "multiclass"),
        (["--explain", "occlusion"], "multiclass"),
        ([], "ensemble"),
        ([], "logarithm"),
    ],
)
def test_what_is_scored_alone(
    bundle: Saved, words: list[str], model: str, scoreline: Command, together: list[int], tmp_path: Path
) -> None:
    """Stages that look at several rows, several models, and steps whose last bit may depend on the rows beside."""
    sample = frame(200, 99)[NAMES]
    if model == "ensemble":
        save_bundle(
            tmp_path / "bundle", Ensemble([net(3), net(3, seed=1)]), features=NAMES,
            scaler=StandardScaler().fit(sample), task=Multiclass(["x", "y", "z"]), sample=sample,
        )  # fmt: skip
    elif model == "logarithm":
        save_bundle(
            tmp_path / "bundle", net(3), features=NAMES, scaler=FunctionTransformer(np.log1p).fit(sample.abs()),
            task=Multiclass(["x", "y", "z"]), sample=sample.abs(),
        )  # fmt: skip
    else:
        (tmp_path / "bundle").symlink_to(bundle(model))
    given = ["score", "--bundle", tmp_path / "bundle", "--input", write(tmp_path / "data"), "--device", "cpu"]
    assert scoreline(*given, "--output", tmp_path / "out", "--max-rejects", "90%", *words).code == 0
    assert together == []
    assert len(list((tmp_path / "out").glob("*.parquet"))) >= 38


def test_times_and_rows_add_up(bundle: Saved, both: Command, tmp_path: Path) -> None:
    """Each part is reported with its own rows, and the run has all of them in every stage."""
    result = both(bundle("multiclass"), write(tmp_path / "data"), "--log-level", "debug")
    published = [event for event in result.events if event["event"] == SplitPublished.name]
    total = sum(pq.read_metadata(file).num_rows for file in (tmp_path / "data").iterdir())
    assert sum(event["rows"] for event in published) == total
    stages = result.event("run_ended")["stages"]
    assert {stages[name]["rows"] for name in ("read", "check", "scale", "forward", "decode", "write")} == {total}
