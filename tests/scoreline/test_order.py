"""Where order has a meaning a set is refused; names are taken as they are written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.errors import UsageError
from scoreline.pipeline.options import ColumnOptions
from torch import nn

from conftest import Result
from described import save_described
from scoreline import Scorer

FRAME = pd.DataFrame(np.random.default_rng(1).normal(size=(30, 3)), columns=["a", "b", "c"])
BINARY = {"task": "binary", "labels": ["no", "yes"]}
UNORDERED: list[dict[str, Any]] = [
    {"features": {"a", "b", "c"}},
    {"features": frozenset("abc")},
    {"labels": {"no", "yes"}},
    {"output": {0, 1}},
    {"output": [{0, 1}]},
    {"task": "regression", "labels": None, "quantiles": {0.1, 0.9}},
    {"task": "regression", "labels": None, "bounds": {0.0, 1.0}},
    {"task": "multilabel", "threshold": {0.1, 0.9}},
    {"inputs": {"x": {"a", "b", "c"}}},
    {"vocabularies": {"a": {"u", "v"}}},
    {"scaler": [(None, {"a", "b"})]},
    {"images": {"a": {"size": {224, 225}}}},
    {"sequences": {"a": {"longest": {5}}}},
    {"task": None, "labels": None, "heads": {"h": {"task": "binary", "labels": {"no", "yes"}}}},
]


def saved(folder: Path, **changes: Any) -> Path:
    save_described(folder / "b", nn.Linear(3, 1), **{"features": list("abc"), "sample": FRAME, **BINARY, **changes})
    return folder / "b"


@pytest.mark.parametrize("changes", UNORDERED, ids=lambda changes: ",".join(changes))
def test_a_set_is_refused_where_order_has_a_meaning(changes: dict[str, Any], tmp_path: Path) -> None:
    """Named, in every argument and at any depth: in the next process its order would be another."""
    with pytest.raises(UsageError, match=r"is a (frozen)?set, which has no order; pass a list"):
        saved(tmp_path, **changes)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    "features", [("a", "b", "c"), dict.fromkeys("abc"), dict.fromkeys("abc").keys(), FRAME.columns]
)
def test_what_has_an_order_is_taken_in_it(features: Any, tmp_path: Path) -> None:
    """Tuples, dictionaries, their keys, an index of pandas."""
    assert Scorer.load(saved(tmp_path, features=features), device="cpu").features == ["a", "b", "c"]


def test_keys_and_hidden_layers_as_sets(tmp_path: Path) -> None:
    """The columns of an output are in an order, too."""
    bundle = saved(tmp_path)
    batches = list(pq.ParquetFile(_parquet(tmp_path)).iter_batches())
    scorer = Scorer.load(bundle, device="cpu")
    with pytest.raises(UsageError, match="keys is a set"):
        list(scorer.score_batches(batches, options=ColumnOptions(keys={"k", " id"})))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="hidden is a set"):
        Scorer.load(bundle, device="cpu", hidden={"layer"})  # type: ignore[arg-type]


def _parquet(folder: Path) -> Path:
    frame = FRAME.assign(**{" id": range(30), "id": "wrong", "k": 1, "x,y": 2, "all": 3})
    frame.to_parquet(folder / "in.parquet")
    return folder / "in.parquet"


@pytest.mark.parametrize(
    ("line", "columns"),
    [
        ('keys = [" id"]', [" id"]),
        ('keys = [" id", "x,y"]', [" id", "x,y"]),
        ('keys = " id,k"', [" id", "k"]),
        ('keys = ["all"]', ["all"]),
        ("keys = []", []),
    ],
)
def test_names_in_a_job_file_are_as_they_stand(
    line: str, columns: list[str], tmp_path: Path, scoreline: Callable[..., Result]
) -> None:
    """With spaces and commas; nothing is stripped."""
    (tmp_path / "job.toml").write_text(f'bundle = "b"\ninput = "in.parquet"\noutput = "out"\n{line}\n')
    saved(tmp_path)
    _parquet(tmp_path)
    result = scoreline("score", "--job", tmp_path / "job.toml")
    assert result.code == 0, result.err
    (part,) = (tmp_path / "out").glob("*.parquet")
    assert pq.read_schema(part).names == [*columns, "prediction", "probability"]


def test_names_of_a_flag_are_not_stripped_either(tmp_path: Path, scoreline: Callable[..., Result]) -> None:
    """A column with a space in front is reached, and one that is not there is said with it."""
    bundle, given = saved(tmp_path), _parquet(tmp_path)
    command = ("score", "--bundle", bundle, "--input", given, "--output")
    assert scoreline(*command, tmp_path / "out", "--keys", "k, id").code == 0
    (part,) = (tmp_path / "out").glob("*.parquet")
    assert pq.read_schema(part).names[:2] == ["k", " id"]
    refused = scoreline(*command, tmp_path / "out2", "--keys", "id, k")
    assert refused.code == 65
    assert "' k' is missing" in refused.message
