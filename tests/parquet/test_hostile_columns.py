"""Columns that cannot be decoded in bounded memory, or at all, are refused; they are identified by index, not by
name."""

import base64
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from conftest import Example, Result
from footers import TOTAL_BYTE_SIZE, UNPACKED, Struct, chunk, edit_footer, groups

Command = Callable[..., Result]
HUGE = 1 << 40


@pytest.fixture
def score(scoreline: Command, iris: Example, tmp_path: Path) -> Command:
    """Score `in.parquet`."""

    def call(*words: object) -> Result:
        where = ["--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
        return scoreline("score", "--bundle", iris.bundle, *where, *words)

    return call


def refused(result: Result, *says: str) -> None:
    """Check for exit code 65, a message with these texts, and no traceback."""
    assert result.code == 65, result.err
    assert "Traceback" not in result.err
    for words in says:
        assert words in result.message


@pytest.fixture
def dotted(tmp_path: Path, iris: Example) -> pa.Table:
    """Columns and struct fields whose paths look the same."""
    table = pa.Table.from_pandas(iris.frame, preserve_index=False)
    for name, column in {
        "note": ["n"] * 150,
        "note.x": ["flat"] * 150,
        "a": [{"b": "in a struct", "c.d": "e"}] * 150,
        "a.b": ["flat, too"] * 150,
    }.items():
        table = table.append_column(name, pa.array(column))
    pq.write_table(table, tmp_path / "in.parquet")
    return table


def explode(path: Path, leaf: str, occurrence: int = 0) -> None:
    """Make a column chunk declare that it unpacks to a terabyte."""
    schema = pq.ParquetFile(path).schema
    indices = [n for n in range(len(schema)) if schema.column(n).path == leaf]

    def change(footer: Struct) -> None:
        chunk(footer, 0, indices[occurrence])[UNPACKED] = HUGE
        groups(footer)[0][TOTAL_BYTE_SIZE] = HUGE

    edit_footer(path, change)


@pytest.mark.parametrize(
    ("leaf", "occurrence", "column", "others"),
    [
        ("note.x", 0, "note.x", ["note", "a", "a.b"]),
        ("note", 0, "note", ["note.x", "a"]),
        ("a.b", 0, "a", ["a.b", "note"]),
        ("a.b", 1, "a.b", ["a", "note.x"]),
        ("a.c.d", 0, "a", ["a.b"]),
    ],
)
def test_names_with_dots(
    score: Command, tmp_path: Path, dotted: pa.Table, leaf: str, occurrence: int, column: str, others: list[str]
) -> None:
    """A decompression bomb is refused only if it is read."""
    explode(tmp_path / "in.parquet", leaf, occurrence)
    refused(score("--keys", column), f"in.parquet: column {leaf!r} of row group 0 declares that", "unpack to")
    assert score("--keys", ",".join(["row_id", *others])).code == 0
    found = pq.read_table(tmp_path / "out" / "in.parquet")
    for name in others:
        assert found[name].to_pylist() == dotted[name].to_pylist()


class _Kms(pe.KmsClient):  # type: ignore[misc]
    """Keys are not encrypted."""

    def wrap_key(self, key: bytes, _name: str) -> bytes:
        return base64.b64encode(key)

    def unwrap_key(self, wrapped: bytes, _name: str) -> bytes:
        return base64.b64decode(wrapped)


def encrypt(table: pa.Table, path: Path, columns: list[str]) -> None:
    """Write a file with some encrypted columns and a plaintext footer."""
    secret = pe.EncryptionConfiguration(footer_key="f", column_keys={"c": columns}, plaintext_footer=True)
    keys = {"f": "0123456789112345", "c": "1234567890123450"}
    connection = pe.KmsConnectionConfig(custom_kms_conf=keys)
    properties = pe.CryptoFactory(lambda _: _Kms()).file_encryption_properties(connection, secret)
    with pq.ParquetWriter(path, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)


def test_an_encrypted_file_fails_alone(process: Command, scoreline: Command, tmp_path: Path, iris: Example) -> None:
    """Also with a row group of more than 256 MiB, whose column metadata Arrow cannot read without aborting the
    process."""
    table = pa.Table.from_pandas(iris.frame, preserve_index=False)
    (tmp_path / "data").mkdir()
    pq.write_table(table, tmp_path / "data" / "b.parquet")
    encrypt(table, tmp_path / "data" / "a.parquet", iris.features[:2])

    def grow(footer: Struct) -> None:
        groups(footer)[0][TOTAL_BYTE_SIZE] = HUGE

    edit_footer(tmp_path / "data" / "a.parquet", grow)
    where = ["--bundle", iris.bundle, "--input", tmp_path / "data"]
    result = process("score", *where, "--output", tmp_path / "out")
    refused(result, "a.parquet: cannot be read as Parquet: column 'sepal length (cm)' is encrypted", "1 of 2")
    assert pq.read_table(tmp_path / "out" / "b.parquet").num_rows == 150
    for command in (["check", *where], ["calibrate", *where, "--label", "truth", tmp_path / "calibrated"]):
        result = scoreline(*command)  # in this process: the one above did not abort
        assert result.code == 65, result.err
        assert "Traceback" not in result.err


def test_columns_that_are_not_encrypted_can_be_read(score: Command, tmp_path: Path, iris: Example) -> None:
    """An encrypted column that is not read does not matter."""
    table = pa.Table.from_pandas(iris.frame, preserve_index=False)
    encrypt(table, tmp_path / "in.parquet", ["truth"])
    refused(score(), "column 'truth' is encrypted")
    assert score("--keys", "row_id").code == 0
    assert pq.read_table(tmp_path / "out" / "in.parquet")["row_id"].to_pylist() == iris.frame["row_id"].tolist()


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 20))])
def test_damaged_footers_never_abort_the_process(process: Command, tmp_path: Path, iris: Example, seed: int) -> None:
    """Twenty files with changed bytes in their footers: each is scored or fails alone."""
    table = pa.Table.from_pandas(iris.frame, preserve_index=False).append_column("l", pa.array([["x"]] * 150))
    (tmp_path / "data").mkdir()
    pq.write_table(table, tmp_path / "whole.parquet", row_group_size=60)
    whole = (tmp_path / "whole.parquet").read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    draw = np.random.default_rng(seed)
    for number in range(20):
        damaged = bytearray(whole)
        for offset in draw.integers(footer, len(whole) - 8, size=1 + number % 3):
            damaged[offset] = draw.integers(256)
        (tmp_path / "data" / f"{number:02}.parquet").write_bytes(damaged)
    (tmp_path / "data" / "zz.parquet").write_bytes(whole)
    words = ["score", "--bundle", iris.bundle, "--input", tmp_path / "data", "--output", tmp_path / "out"]
    result = process(*words, "--keys", "row_id")
    assert result.code in (0, 65), result.err
    assert "Traceback" not in result.err
