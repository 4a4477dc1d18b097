"""Ids beyond 2^53 as categories of an embedding: recommenders whose users and items are hashes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import torch
from scoreline.schemas.steps import OrdinalStep
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from torch import Tensor, nn

from conftest import Result
from scoreline import Binary, BundleError, Multiclass, Regression, Scorer, Table, TokenSequence, save_bundle

DRAW = np.random.default_rng(0)
HASHES = np.unique(DRAW.integers(-(2**62), 2**62, 60))
USERS = np.concatenate([HASHES, HASHES[:10] + 1])  # pairs that share a float64
ITEMS = np.arange(10**17, 10**17 + 40)
FRAME = pd.DataFrame({"user": DRAW.choice(USERS, 300), "item": DRAW.choice(ITEMS, 300), "price": DRAW.normal(size=300)})


class TwoTowers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.users, self.items = nn.Embedding(len(USERS) + 1, 8), nn.Embedding(len(ITEMS) + 1, 8)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        return (self.users(user[:, 0]) * self.items(item[:, 0])).sum(1)


def probabilities(model: nn.Module, *codes: Any) -> np.ndarray:
    with torch.no_grad():
        logits = model(*(torch.tensor(np.asarray(one).reshape(-1, 1)) for one in codes))
    return np.asarray(torch.sigmoid(logits).numpy())


def test_ids_by_an_encoder(tmp_path: Path) -> None:
    """Each id has its own row of the embedding; unknown ones and nulls have the last."""
    model = TwoTowers().eval()
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=len(ITEMS)).fit(
        FRAME[["user", "item"]].head(25)
    )
    save_bundle(
        tmp_path / "b",
        model,
        inputs={"user": Table(["user"]), "item": Table(["item"])},
        scaler=encoder,
        task=Binary(["no", "yes"]),
        sample=FRAME.head(25),
    )
    scorer = Scorer.load(tmp_path / "b", device="cpu")
    got = scorer.score_table(pa.Table.from_pandas(FRAME))["probability"]
    codes = encoder.transform(FRAME[["user", "item"]]).astype(np.int64)
    assert (codes == len(ITEMS)).any()
    np.testing.assert_allclose(got, probabilities(model, codes[:, 0], codes[:, 1]), rtol=1e-6)
    nulls = pa.table({"user": pa.array([None], pa.int64()), "item": pa.array([None], pa.int64()), "price": [1.0]})
    unknown = probabilities(model, [len(ITEMS)], [len(ITEMS)])
    np.testing.assert_allclose(scorer.score_table(nulls)["probability"], unknown, rtol=1e-6)


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_ids_by_a_vocabulary(tmp_path: Path, scoreline: Callable[..., Result], form: str) -> None:
    """From files; an id that is not in the vocabulary is a reject, as is one that is no integer."""
    model = TwoTowers().eval()
    words = {"user": USERS, "item": ITEMS.tolist()}
    save_bundle(
        tmp_path / "b",
        model,
        inputs={name: Table([name], vocabularies={name: known}) for name, known in words.items()},
        task=Binary(["no", "yes"]),
        sample=FRAME.head(100),
    )
    table = pa.Table.from_pandas(FRAME)
    strange = pa.table({"user": [int(USERS[0]) + 2, int(USERS[0])], "item": [int(ITEMS[0])] * 2, "price": [0.0, 1.0]})
    table = pa.concat_tables([table.replace_schema_metadata(None), strange])
    if form == "csv":
        pa_csv.write_csv(table, tmp_path / "in.csv")
    else:
        pq.write_table(table, tmp_path / "in.parquet")
    result = scoreline(
        "score", "--bundle", tmp_path / "b", "--input", tmp_path / f"in.{form}", "--output", tmp_path / "out",
        "--max-rejects", "1",
    )  # fmt: skip
    assert result.code == 0, result.err
    got = pq.read_table(next((tmp_path / "out").glob("*.parquet")))["probability"]
    codes = [[words[name].index(value) if isinstance(words[name], list) else words[name].tolist().index(value)
              for value in FRAME[name].tolist()] for name in ("user", "item")]  # fmt: skip
    np.testing.assert_allclose(got[:300], probabilities(model, *codes), rtol=1e-6)
    with pa.ipc.open_file(next((tmp_path / "out" / "_rejects").glob("*.arrow"))) as file:
        [reject] = file.read_all()["reject"].to_pylist()
    assert (reject["row_number"], reject["column"]) == (300, "user")
    assert "was not seen in training" in reject["reason"]


class Session(nn.Module):
    """Scores of a list of items."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.items, self.head = nn.Embedding(len(ITEMS), 6), nn.Linear(6, 3)

    def forward(self, items: Tensor, mask: Tensor) -> Tensor:
        kept = mask.unsqueeze(-1).float()
        return self.head((self.items(items) * kept).sum(1) / kept.sum(1))


def test_lists_of_ids(tmp_path: Path) -> None:
    """A session is a list of items; those that are unknown are replaced."""
    model = Session().eval()
    lists = [DRAW.choice(ITEMS, size).tolist() for size in DRAW.integers(1, 6, 80)]
    save_bundle(
        tmp_path / "b",
        model,
        inputs=TokenSequence("items", vocabulary=ITEMS, unknown=int(ITEMS[0]), longest=8, mask="real"),
        task=Multiclass(["a", "b", "c"]),
        sample=pa.table({"items": lists}),
    )
    lists = [*lists, [int(ITEMS[1]), 2**62]]
    got = Scorer.load(tmp_path / "b", device="cpu").score_table(pa.table({"items": lists}))
    for at, items in enumerate(lists):
        codes = torch.tensor([[int(item - ITEMS[0]) if item in ITEMS else 0 for item in items]])
        with torch.no_grad():
            wanted = torch.softmax(model(codes, torch.ones_like(codes, dtype=torch.bool)), dim=1)[0].numpy()
        row = [got[f"probability_{label}"][at].as_py() for label in "abc"]
        np.testing.assert_allclose(row, wanted, rtol=1e-5)


@pytest.mark.parametrize("ids", [[2**60, 2**60 + 1, 5, None], [1, 2, 3, None]])
def test_missing_ids_in_a_column_of_objects(tmp_path: Path, ids: list[Any]) -> None:
    """None is the category that the encoder was fitted with."""
    frame = pd.DataFrame({"user": pd.Series(ids * 10, dtype=object)})
    encoder = OrdinalEncoder().fit(frame)
    save_bundle(tmp_path / "b", nn.Linear(1, 1), features=["user"], scaler=encoder, task=Regression(), sample=frame)
    got = Scorer.load(tmp_path / "b", device="cpu").manifest.steps[0].model_dump()["encodings"][0]
    assert got["categories"] == sorted(one for one in ids if one is not None)
    assert got["missing"] == 3.0


def test_ids_after_an_imputer(tmp_path: Path) -> None:
    """Missing ids become an integer, and the others stay exact."""
    frame = pd.DataFrame({"user": pd.Series([*USERS.tolist(), None], dtype=object)})
    imputer = SimpleImputer(strategy="constant", fill_value=int(USERS[3]), missing_values=None, add_indicator=True)
    union = make_pipeline(imputer, ColumnTransformer([("id", OrdinalEncoder(), [0]), ("flag", "passthrough", [1])]))
    union.fit(frame)
    save_bundle(tmp_path / "b", nn.Linear(2, 1), features=["user"], scaler=union, task=Regression(), sample=frame)
    scorer = Scorer.load(tmp_path / "b", device="cpu")
    step = next(step for step in scorer.manifest.steps if isinstance(step, OrdinalStep))
    assert len(set(step.encodings[0].categories)) == len(USERS)
    table = pa.table({"user": pa.array([*USERS.tolist(), None], pa.int64())})
    got = scorer.score_table(table)["prediction"].to_numpy()
    assert len(set(got.tolist())) == len(USERS) + 1


@pytest.mark.parametrize("step", [SimpleImputer(strategy="most_frequent"), FunctionTransformer(np.abs)])
def test_ids_that_a_step_rounds(tmp_path: Path, step: Any) -> None:
    """Refused, although the ids of the sample are small."""
    encoder = make_pipeline(step, OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1))
    encoder.fit(FRAME[["user"]])
    sample = pd.DataFrame({"user": range(20)})
    with pytest.raises(BundleError, match=r"an integer beyond ±2\^53, and a step before or beside it converts"):
        save_bundle(
            tmp_path / "b", nn.Linear(1, 1), features=["user"], scaler=encoder, task=Regression(), sample=sample
        )


def test_ids_that_scikit_learn_has_rounded(tmp_path: Path) -> None:
    """It converts a nullable column to floats, so that two ids become one category."""
    frame = pd.DataFrame({"user": pd.array([2**60 + 1, 2**60, 5, None], dtype="Int64")})
    with pytest.raises(BundleError, match=r"category 1\.15\d+e\+18, a float beyond ±2\^53, .* fit it on int64"):
        save_bundle(
            tmp_path / "b", nn.Linear(1, 1), features=["user"], scaler=OrdinalEncoder().fit(frame),
            task=Regression(), sample=frame,
        )  # fmt: skip


def test_an_id_that_is_also_a_number(tmp_path: Path) -> None:
    """A column that a scaler takes as well is float64, so its large values are rejects, as they were."""
    frame = pd.DataFrame({"user": np.append(np.arange(50), 2**53 + 1)})
    both = ColumnTransformer(
        [("scaled", StandardScaler(), ["user"]), ("coded", OneHotEncoder(handle_unknown="ignore"), ["user"])]
    ).fit(frame.head(50))
    save_bundle(
        tmp_path / "b", nn.Linear(51, 1), features=["user"], scaler=both, task=Regression(), sample=frame.head(50)
    )
    scorer = Scorer.load(tmp_path / "b", device="cpu")
    rows, rejects = scorer.score_table(pa.Table.from_pandas(frame), with_rejects=True)
    assert rows.num_rows == 50
    assert "outside ±2^53" in rejects["reject"][0].as_py()["reason"]


def test_ids_beyond_int64_are_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"user": np.array([2**63 + 5, 1], dtype=np.uint64)})
    with pytest.raises(BundleError, match=r"9223372036854775813 .* is above 2\^63"):
        save_bundle(
            tmp_path / "b", nn.Linear(1, 1), features=["user"], scaler=OrdinalEncoder().fit(frame),
            task=Regression(), sample=frame,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        (Table(["word"], vocabularies={"word": [1, 2]}), None),  # text in a file: the words are text
        (Table(["user"], vocabularies={"user": ["a", "b"]}), "'user' has a vocabulary, so it must be text in the"),
        (TokenSequence("items", vocabulary=["a"], longest=3), "lists of numbers, so its vocabulary must be integers"),
        (TokenSequence("items", unknown=1, longest=3), "unknown has no effect without a vocabulary"),
    ],
)
def test_vocabularies_match_their_columns(tmp_path: Path, inputs: Any, says: str | None) -> None:
    sample = pa.table({"word": ["1", "2"], "user": [1, 2], "items": [[1], [1]]})
    model = Session().eval() if isinstance(inputs, TokenSequence) else nn.Linear(1, 3)
    if says is None:
        save_bundle(tmp_path / "b", model, inputs=inputs, task=Multiclass(["a", "b", "c"]), sample=sample)
        return
    with pytest.raises(BundleError, match=says):
        save_bundle(tmp_path / "b", model, inputs=inputs, task=Multiclass(["a", "b", "c"]), sample=sample)


class Lookup(nn.Module):
    """Scores of ids, or of lists of them, by an embedding of three rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Embedding(3, 1)

    def forward(self, ids: Tensor) -> Tensor:
        return self.rows(ids).sum(1)


WORDS = ["a", "b", "c", "d"]
LOOKUPS = {
    "table": {"inputs": Table(["word"], vocabularies={"word": WORDS})},
    "list": {"inputs": TokenSequence("words", vocabulary=WORDS, longest=2)},
    "encoder": {"inputs": Table(["word"]), "scaler": OrdinalEncoder(categories=[WORDS])},
}


@pytest.mark.parametrize("given", LOOKUPS.values(), ids=list(LOOKUPS))
def test_vocabularies_fit_their_embedding(tmp_path: Path, given: dict[str, Any]) -> None:
    """The sample has none of the words that the embedding lacks, which would all be rejected."""
    sample = pa.table({"word": ["a", "b", "c"], "words": [["a"], ["b", "c"], ["c"]]})
    if "scaler" in given:
        given["scaler"].fit(sample.select(["word"]).to_pandas())
    with pytest.raises(
        BundleError, match=r"column 'words?': 'd' of its vocabulary is 3, outside the embedding's range 0–2"
    ):
        save_bundle(tmp_path / "b", Lookup(), **given, task=Regression(), sample=sample)
    assert not (tmp_path / "b").exists()
