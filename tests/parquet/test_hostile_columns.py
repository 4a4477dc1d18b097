"""Columns that cannot be decoded in bounded memory, or at all: by index, whatever they are called."""

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
    """65, one line, no traceback."""
    assert result.code == 65, result.err
    assert "Traceback" not in result.err
    for words in says:
        assert words in result.message


@pytest.fixture
def dotted(tmp_path: Path, iris: Example) -> pa.Table:
    """Columns and struct fields whose paths read alike."""
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
    """A column chunk that says it unpacks to a terabyte."""
    schema = pq.ParquetFile(path).schema
    places = [n for n in range(len(schema)) if schema.column(n).path == leaf]

    def change(footer: Struct) -> None:
        chunk(footer, 0, places[occurrence])[UNPACKED] = HUGE
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
    """A bomb is refused where it is read, and only there."""
    explode(tmp_path / "in.parquet", leaf, occurrence)
    refused(score("--keys", column), f"in.parquet: column {leaf!r} of row group 0 declares that", "unpack to")
    assert score("--keys", ",".join(["row_id", *others])).code == 0
    found = pq.read_table(tmp_path / "out" / "in.parquet")
    for name in others:
        assert found[name].to_pylist() == dotted[name].to_pylist()


class _Kms(pe.KmsClient):  # type: ignore[misc]
    """Wraps nothing."""

    def wrap_key(self, key: bytes, _name: str) -> bytes:
        return base64.b64encode(key)

    def unwrap_key(self, wrapped: bytes, _name: str) -> bytes:
        return base64.b64decode(wrapped)


def encrypt(table: pa.Table, path: Path, columns: list[str]) -> None:
    """Some columns encrypted below a footer that can be read."""
    secret = pe.EncryptionConfiguration(footer_key="f", column_keys={"c": columns}, plaintext_footer=True)
    keys = {"f": "0123456789112345", "c": "1234567890123450"}
    connection = pe.KmsConnectionConfig(custom_kms_conf=keys)
    properties = pe.CryptoFactory(lambda _: _Kms()).file_encryption_properties(connection, secret)
    with pq.ParquetWriter(path, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)


def test_an_encrypted_file_fails_alone(process: Command, scoreline: Command, tmp_path: Path, iris: Example) -> None:
    """Also with a row group of more than 256 MiB, of which Arrow cannot be asked without the end of the process."""
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
        told = scoreline(*command)  # in this process, which has survived them above
        assert told.code == 65, told.err
        assert "Traceback" not in told.err


def test_columns_that_are_not_encrypted_can_be_read(score: Command, tmp_path: Path, iris: Example) -> None:
    """An encrypted one that nobody wants is in nobody's way."""
    table = pa.Table.from_pandas(iris.frame, preserve_index=False)
    encrypt(table, tmp_path / "in.parquet", ["truth"])
    refused(score(), "column 'truth' is encrypted")
    assert score("--keys", "row_id").code == 0
    assert pq.read_table(tmp_path / "out" / "in.parquet")["row_id"].to_pylist() == iris.frame["row_id"].tolist()


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 20))])
def test_damage_anywhere_never_ends_the_process(process: Command, tmp_path: Path, iris: Example, seed: int) -> None:
    """Twenty files whose footers have bytes changed: each is scored or fails alone."""
    table = pa.Table.from_pandas(iris.frame, preserve_index=False).append_column("l", pa.array([["x"]] * 150))
    (tmp_path / "data").mkdir()
    pq.write_table(table, tmp_path / "whole.parquet", row_group_size=60)
    whole = (tmp_path / "whole.parquet").read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    draw = np.random.default_rng(seed)
    for number in range(20):
        damaged = bytearray(whole)
        for place in draw.integers(footer, len(whole) - 8, size=1 + number % 3):
            damaged[place] = draw.integers(256)
        (tmp_path / "data" / f"{number:02}.parquet").write_bytes(damaged)
    (tmp_path / "data" / "zz.parquet").write_bytes(whole)
    words = ["score", "--bundle", iris.bundle, "--input", tmp_path / "data", "--output", tmp_path / "out"]
    result = process(*words, "--keys", "row_id")
    assert result.code in (0, 65), result.err
    assert "Traceback" not in result.err
