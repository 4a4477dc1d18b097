"""Keys of every Arrow type through every command that carries them, against pyarrow's own values."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from arrow_types import EXTENSIONS, LEAVES, Maker, arrays, makers, rejected_type, said, words, written_type
from conftest import Example, Result
from scoreline import Scorer

Command = Callable[..., Result]
ROWS, BAD = 12, [2, 3, 9]
GOOD = [row for row in range(ROWS) if row not in BAD]
KEYS = st.lists(arrays(ROWS), min_size=8, max_size=8)
#: Runs are not shrunk: the type is in the message.
in_process = settings(
    max_examples=10,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="session")
def scorer(iris: Example) -> Scorer:
    return Scorer.load(iris.bundle, device="cpu")


def table_of(iris: Example, keys: dict[str, pa.Array]) -> pa.Table:
    """Rows to score, of which three are rejects, with keys."""
    features = iris.frame.head(ROWS)[iris.features].astype(float)
    features.iloc[BAD, 1] = np.nan
    table = pa.Table.from_pandas(features, preserve_index=False)
    for name, array in keys.items():
        table = table.append_column(name, array)
    return table.append_column("truth", pa.array([n % 3 for n in range(ROWS)]))


def write(table: pa.Table, file: Path) -> None:
    """Row groups of five rows, each from arrays of its own: of slices pyarrow writes no views within structs."""
    with pq.ParquetWriter(file, table.schema) as writer:
        for start in range(0, table.num_rows, 5):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table.slice(start, 5).combine_chunks())
            writer.write_table(pa.ipc.open_stream(sink.getvalue()).read_all())


def as_read(file: Path) -> pa.Table:
    """A file's rows; a row group at a time, since Arrow joins no dictionaries within lists."""
    with pq.ParquetFile(file) as source:
        return pa.concat_tables([source.read_row_group(group) for group in range(source.num_row_groups)])


def rejects_of(file: Path) -> pa.Table:
    with pa.ipc.open_file(file) as reader:
        return reader.read_all()


def rows(table: pa.Table, name: str, places: list[int]) -> list[str]:
    words = said(table[name])
    return [words[place] for place in places]


def goes_through(scoreline: Command, iris: Example, scorer: Scorer, keys: dict[str, pa.Array]) -> None:
    """Same values in the part and in the rejects, in types that are promised; verify, evaluate and check agree, and
    `score_table` gives what the command gives."""
    with tempfile.TemporaryDirectory() as name:
        file, out = Path(name, "in.parquet"), Path(name, "out")
        write(table_of(iris, keys), file)
        before = as_read(file)
        given = ["--bundle", iris.bundle, "--input", file]
        result = scoreline("score", *given, "--output", out, "--max-rejects", 3, "--batch-size", 8)
        assert result.code == 0, result.err
        part, rejects = pq.read_table(out / "in.parquet"), rejects_of(out / "_rejects" / "in.arrow")
        assert rejects.column_names == [*before.column_names, "reject"]
        for key in keys:
            kind = before.schema.field(key).type
            assert words(part.schema.field(key).type) == written_type(kind)
            assert said(part[key]) == rows(before, key, GOOD), kind
            assert words(rejects.schema.field(key).type) == rejected_type(kind)
            assert said(rejects[key]) == rows(before, key, BAD), kind
        assert scoreline("verify", out).code == 0
        assert json.loads(scoreline("evaluate", out, "--label", "truth", "--json").out)["rows"] == len(GOOD)
        checked = scoreline("check", *given, "--json")
        assert json.loads(checked.out)["rows"]["rejected"] == len(BAD), checked.err
        scored, left = scorer.score_table(before, with_rejects=True)
        for key in keys:
            assert scored.schema.field(key).type == before.schema.field(key).type
            assert said(scored[key]) == rows(before, key, GOOD)
            assert said(left[key]) == rows(before, key, BAD)
        assert scored["prediction"].equals(part["prediction"])


@in_process
@given(keys=KEYS)
def test_keys_of_any_type(scoreline: Command, iris: Example, scorer: Scorer, keys: list[pa.Array]) -> None:
    """Every type that a Parquet file can hold, at up to three levels of nesting."""
    goes_through(scoreline, iris, scorer, {f"k{n}": array for n, array in enumerate(keys)})


@pytest.mark.long
@settings(in_process, max_examples=400)
@given(keys=KEYS)
def test_keys_of_any_type_at_length(scoreline: Command, iris: Example, scorer: Scorer, keys: list[pa.Array]) -> None:
    """The same, thousands of types."""
    goes_through(scoreline, iris, scorer, {f"k{n}": array for n, array in enumerate(keys)})
