"""Damaged, hostile or unusual files: refused by name, or scored correctly."""

import base64
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from conftest import Example, Result

Command = Callable[..., Result]


def refused(result: Result, *says: str) -> None:
    """Exit code 65, one line, no traceback."""
    assert result.code == 65, result.err
    assert "Traceback" not in result.err
    for words in says:
        assert words in result.message


def test_flipped_bits_are_refused_or_change_nothing(score: Command, tmp_path: Path, iris: Example) -> None:
    """B1, B2: in magic bytes, page headers, levels and values, at any position; with page checksums no value
    changes."""
    file = tmp_path / "in.parquet"
    table = pa.Table.from_pandas(iris.frame, preserve_index=False)
    pq.write_table(table, file, write_page_checksum=True, row_group_size=70)
    whole = file.read_bytes()
    assert score(file).code == 0
    wanted = pq.read_table(tmp_path / "out" / "in.parquet")
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    caught = 0
    for offset in np.linspace(0, footer - 1, 70).astype(int):
        file.write_bytes(whole[:offset] + bytes([whole[offset] ^ 8]) + whole[offset + 1 :])
        result = score(file)
        if result.code == 0:
            assert pq.read_table(tmp_path / "out" / "in.parquet") == wanted, offset
        else:
            refused(result, "in.parquet")
            caught += 1
    assert caught > 30


@pytest.mark.parametrize("kind", ["footer length", "footer", "end"])
def test_a_broken_footer(score: Command, tmp_path: Path, iris: Example, kind: str) -> None:
    """B1: the file fails alone, like any unreadable file."""
    file = tmp_path / "in.parquet"
    iris.frame.to_parquet(file)
    whole = bytearray(file.read_bytes())
    at = {"footer length": -8, "footer": -8 - int.from_bytes(whole[-8:-4], "little"), "end": -1}[kind]
    whole[at] ^= 0xFF
    file.write_bytes(whole)
    refused(score(file), "in.parquet: cannot be read as Parquet")


def test_a_small_file_that_unpacks_to_gigabytes(score: Command, tmp_path: Path, iris: Example) -> None:
    """B3: refused by its footer; a column that is not read may contain anything."""
    rows = 40_000_000
    features = dict.fromkeys(iris.features, pa.array(np.zeros(rows)))
    file = tmp_path / "in.parquet"
    pq.write_table(pa.table(features), file, compression="zstd", use_dictionary=False, row_group_size=rows)
    assert file.stat().st_size < 1_000_000
    refused(score(file), "in.parquet: column 'sepal length (cm)' of row group 0", "bytes unpack to")


def test_text_that_is_not_utf8(score: Command, tmp_path: Path, iris: Example) -> None:
    """B9: Arrow reads it silently."""
    offsets = pa.py_buffer(np.arange(4, dtype=np.int32).tobytes())
    bad = pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"a\xffb"))
    table = pa.Table.from_pandas(iris.frame.head(3), preserve_index=False).append_column("note", bad)
    pq.write_table(table, tmp_path / "in.parquet")
    refused(score(tmp_path / "in.parquet"), "in.parquet: cannot be read as Parquet", "UTF8")


class _ToyKms(pe.KmsClient):  # type: ignore[misc]
    """Returns keys unwrapped."""

    def wrap_key(self, key: bytes, _name: str) -> bytes:
        return base64.b64encode(key)

    def unwrap_key(self, wrapped: bytes, _name: str) -> bytes:
        return base64.b64decode(wrapped)


@pytest.mark.parametrize("plaintext_footer", [True, False])
def test_encrypted_files(score: Command, tmp_path: Path, iris: Example, plaintext_footer: bool) -> None:
    """B10: refused, whether or not their footer is readable."""
    table = pa.Table.from_pandas(iris.frame, preserve_index=False)
    secret = pe.EncryptionConfiguration(
        footer_key="f", column_keys={"c": list(iris.features)}, plaintext_footer=plaintext_footer
    )
    keys = {"f": "0123456789112345", "c": "1234567890123450"}
    properties = pe.CryptoFactory(lambda _config: _ToyKms()).file_encryption_properties(
        pe.KmsConnectionConfig(custom_kms_conf=keys), secret
    )
    with pq.ParquetWriter(tmp_path / "in.parquet", table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)
    refused(score(tmp_path / "in.parquet"), "in.parquet: cannot be read as Parquet")


def test_a_type_that_differs_between_files(score: Command, tmp_path: Path, iris: Example) -> None:
    """B8: numeric types are cast exactly; another type is refused beside a file with numbers."""
    (tmp_path / "data").mkdir()
    for name, kind in (("a", pa.float64()), ("b", pa.float32()), ("c", pa.int64()), ("d", pa.decimal128(9, 2))):
        table = pa.Table.from_pandas(iris.frame.round(0), preserve_index=False)
        cast = pa.array(table[iris.features[0]].to_pylist(), pa.float64()).cast(kind, safe=False)
        pq.write_table(table.set_column(1, iris.features[0], cast), tmp_path / "data" / f"{name}.parquet")
    assert score(tmp_path / "data").code == 0
    found = [pq.read_table(tmp_path / "out" / f"{name}.parquet").drop_columns("row_id") for name in "abcd"]
    assert all(one == found[0] for one in found)
    iris.frame.astype({iris.features[0]: str}).to_parquet(tmp_path / "data" / "e.parquet", index=False)
    result = score(tmp_path / "data", "--force")
    refused(result, "e.parquet: feature column 'sepal length (cm)' is ", "string", "in 'a.parquet' it is double")


def test_a_hive_key_that_is_also_a_column(score: Command, tmp_path: Path, iris: Example) -> None:
    """B11: the column of the file is read and carried; the path stays unchanged."""
    folder = tmp_path / "data" / "row_id=7" / "x=__HIVE_DEFAULT_PARTITION__" / "y=%2F.."
    folder.mkdir(parents=True)
    iris.frame.to_parquet(folder / "a.parquet", index=False)
    assert score(tmp_path / "data").code == 0
    part = tmp_path / "out" / "row_id=7" / "x=__HIVE_DEFAULT_PARTITION__" / "y=%2F.." / "a.parquet"
    assert pq.ParquetFile(part).read()["row_id"].to_pylist() == iris.frame["row_id"].tolist()


def test_null_and_duplicate_keys(score: Command, tmp_path: Path, iris: Example) -> None:
    """N8: kept, in order."""
    ids = pa.array([None, 5, 5, None, 7] * 30, pa.int64())
    table = pa.Table.from_pandas(iris.frame, preserve_index=False).set_column(0, "row_id", ids)
    pq.write_table(table, tmp_path / "in.parquet")
    assert score(tmp_path / "in.parquet").code == 0
    assert pq.read_table(tmp_path / "out" / "in.parquet")["row_id"].to_pylist() == ids.to_pylist()


def test_a_hundred_thousand_columns(score: Command, tmp_path: Path, iris: Example) -> None:
    """C7: as CSV, with four features and no keys."""
    names = [*iris.features, *(f"c{n}" for n in range(100_000))]
    row = ",".join(["1.5"] * 4 + ["0"] * 100_000)
    (tmp_path / "in.csv").write_text("\n".join([",".join(names), *[row] * 20]))
    result = score(tmp_path / "in.csv", "--keys", "none")
    assert result.code == 0, result.err
    assert pq.read_table(tmp_path / "out" / "in.csv.parquet").num_rows == 20


def test_paths_with_spaces_and_non_ascii_letters(scoreline: Command, tmp_path: Path, iris: Example) -> None:
    """P8: in input and output, and a dangling link."""
    (tmp_path / "ein gabe é").mkdir()
    iris.frame.to_parquet(tmp_path / "ein gabe é" / "a b ü.parquet", index=False)
    out = tmp_path / "aus gabe 日本"
    words = ["score", "--bundle", iris.bundle, "--input", tmp_path / "ein gabe é", "--output"]
    assert scoreline(*words, out).code == 0
    assert pq.read_table(out / "a b ü.parquet").num_rows == 150
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "deep")
    result = scoreline(*words, tmp_path / "dangling")
    assert result.code == 73, result.err
    assert "bundle_loaded" not in result.err


def test_nothing_is_decided_by_time(score: Command, tmp_path: Path, iris: Example) -> None:
    """P11: outputs from tomorrow and from yesterday, an input from the future."""
    file = tmp_path / "in.parquet"
    iris.frame.to_parquet(file, index=False)
    day = 86_400 * 10**9
    os.utime(file, ns=(2**61, file.stat().st_mtime_ns + 400 * day))
    assert score(file).code == 0
    for shift in (day, -day):
        for path in [*(tmp_path / "out").rglob("*")]:
            os.utime(path, ns=(1, path.stat().st_mtime_ns + shift))
        assert "nothing_to_do" in score(file).err
    (tmp_path / "out" / "_SUCCESS").unlink()
    assert score(file).event("run_started")["kept"] == 1


def test_foreign_files_are_left_and_logged(score: Command, tmp_path: Path, iris: Example) -> None:
    """P13: only Scoreline's own temporaries are removed."""
    file = tmp_path / "in.parquet"
    iris.frame.to_parquet(file, index=False)
    (tmp_path / "out" / "_scoreline").mkdir(parents=True)
    ours, theirs = ".scoreline-0123456789abcdef.tmp", ".in-00000.parquet.tmp"
    for folder in ("", "_scoreline", "_rejects/day=1"):
        (tmp_path / "out" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / folder / ours).write_bytes(b"half")
        (tmp_path / "out" / folder / theirs).write_text("mine")
    (tmp_path / "out" / ".git").mkdir()
    (tmp_path / "out" / ".git" / ours).write_text("mine, in a folder that nobody here writes to")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (tmp_path / "out" / "other.tmp").write_text("mine")
    result = score(file)
    assert result.code == 0, result.err
    removed, foreign = result.event("temporaries_removed"), result.event("foreign_files_found")
    assert (removed["first"], removed["count"], foreign["count"]) == (ours, 3, 2)
    left = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert left == {
        "_SUCCESS", "in.parquet", "notes.txt", "other.tmp", theirs, f"_rejects/day=1/{theirs}", f".git/{ours}",
        "_scoreline/history.jsonl", "_scoreline/lock", "_scoreline/parts.pq", "_scoreline/profile.json",
        "_scoreline/report.html", "_scoreline/run.json", f"_scoreline/{theirs}",
    }  # fmt: skip


def test_one_bad_row_of_many_files(score: Command, tmp_path: Path, iris: Example) -> None:
    """B5: every sort of invalid number, each with its own reason."""
    frame = iris.frame.astype(dict.fromkeys(iris.features, float))
    for row, value in enumerate([np.inf, -np.inf]):
        frame.loc[row, iris.features[row]] = value
    table = pa.Table.from_pandas(frame, preserve_index=False)
    values = table[iris.features[2]].to_pylist()
    values[2:4] = [None, float("nan")]
    table = table.set_column(3, iris.features[2], pa.array(values, pa.float64(), from_pandas=False))
    pq.write_table(table, tmp_path / "in.parquet")
    assert score(tmp_path / "in.parquet", "--max-rejects", "4").code == 0
    with pa.ipc.open_file(tmp_path / "out" / "_rejects" / "in.arrow") as reader:
        reasons = [(row["row_number"], row["reason"]) for row in reader.read_all()["reject"].to_pylist()]
    assert reasons == [(0, "is infinite"), (1, "is minus infinite"), (2, "is null"), (3, "is NaN")]
    assert pd.read_parquet(tmp_path / "out" / "in.parquet")["row_id"].tolist() == frame["row_id"].tolist()[4:]
