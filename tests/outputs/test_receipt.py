"""The receipt in a part's footer: what is read is what was written, and any change to it is noticed."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.outputs import receipt as module
from scoreline.pipeline.outputs.receipt import (
    differences,
    expected_name,
    file_digest,
    footer_metadata,
    is_whole,
    read_receipt,
    with_checksum,
)

from receipts import DIGEST, fingerprint_of, receipt_of, write_part

OTHER = "sha256:" + "1" * 64
#: One change to each field of a receipt.
CHANGES: dict[str, Any] = {
    "fingerprint": fingerprint_of(first_row=1), "root": "/elsewhere", "split": 1, "last": False, "num_keys": 0,
    "rows_in": 4, "rows_rejected": 1, "rejects": OTHER, "out_of_bounds": 1, "made_with": {}, "checksum": OTHER,
}  # fmt: skip


def test_a_receipt_is_read_as_it_was_written(tmp_path: Path) -> None:
    """With its checksum, which is that of the JSON without it."""
    written = write_part(tmp_path / "a.parquet", receipt_of(rejects=OTHER, out_of_bounds=2))
    assert read_receipt(tmp_path / "a.parquet") == written
    plain = receipt_of(rejects=OTHER, out_of_bounds=2).model_dump_json().encode()
    assert written.checksum == "sha256:" + hashlib.sha256(plain).hexdigest()


def test_the_checksum_does_not_depend_on_an_earlier_one() -> None:
    """It is of all other fields."""
    once = with_checksum(receipt_of())
    assert with_checksum(once) == once


@pytest.mark.parametrize("field", CHANGES)
def test_a_changed_field_is_torn(tmp_path: Path, field: str) -> None:
    """Each of them is covered by the checksum."""
    changed = with_checksum(receipt_of()).model_copy(update={field: CHANGES[field]})
    table = pa.table({"id": pa.array([1, 2, 3], pa.int64())})
    pq.write_table(table.replace_schema_metadata(footer_metadata(changed)), tmp_path / "a.parquet")
    assert read_receipt(tmp_path / "a.parquet") == "torn"


def test_files_without_a_valid_receipt(tmp_path: Path) -> None:
    """Missing, foreign, or torn: cut, empty, not JSON, another number of rows, a pipe."""
    path = tmp_path / "a.parquet"
    assert read_receipt(path) == "missing"
    pq.write_table(pa.table({"id": [1]}), path)
    assert read_receipt(path) == "foreign"
    pq.write_table(pa.table({"id": [1]}).replace_schema_metadata({"other": "{}"}), path)
    assert read_receipt(path) == "foreign"
    for text in ("", "{", "{}", "[1]", '{"format": 2}'):
        pq.write_table(pa.table({"id": [1]}).replace_schema_metadata({"scoreline.receipt": text}), path)
        assert read_receipt(path) == "torn", text
    write_part(path, receipt_of(), rows=2)
    assert read_receipt(path) == "torn"
    write_part(path, receipt_of())
    data = path.read_bytes()
    for cut in (b"", data[:4], data[:-1], data[: len(data) // 2]):
        path.write_bytes(cut)
        assert read_receipt(path) == "torn", len(cut)
    path.unlink()
    os.mkfifo(path)
    assert read_receipt(path) == "torn"


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({}, []),
        ({"source": "b.parquet"}, ["input changed"]),
        ({"size": 11}, ["input changed"]),
        ({"mtime_ns": 21}, ["input changed"]),
        ({"bundle": OTHER}, ["model changed"]),
        ({"options": {}}, ["option top_k changed"]),
        ({"options": {"top_k": "2", "prefix": "p_"}}, ["option prefix changed"]),
        ({"options": {"top_k": "3", "dedupe": "yes"}}, ["option dedupe changed", "option top_k changed"]),
        ({"size": 1, "bundle": OTHER, "options": {}}, ["input changed", "model changed", "option top_k changed"]),
        ({"first_row": 5}, []),
    ],
)
def test_the_reasons_for_a_difference(changes: dict[str, Any], reasons: list[str]) -> None:
    """The same in both directions; the first row is compared by the caller, who knows the size of splits."""
    assert differences(fingerprint_of(), fingerprint_of(**changes)) == reasons
    assert differences(fingerprint_of(**changes), fingerprint_of()) == reasons


@settings(max_examples=15)
@given(st.binary(max_size=40), st.integers(1, 9))
def test_the_digest_of_a_file(tmp_path_factory: pytest.TempPathFactory, data: bytes, chunk: int) -> None:
    """It is the sha256 of all bytes, for any size of chunks."""
    path = tmp_path_factory.mktemp("digest") / "x"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_BYTES", chunk)
        assert file_digest(path) == "sha256:" + hashlib.sha256(data).hexdigest()


def test_only_regular_files_have_a_digest(tmp_path: Path) -> None:
    """A folder, a pipe and a missing file raise; a pipe is not opened, which would block."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "missing"):
        with pytest.raises(OSError, match=r"pipe|folder|No such file"):
            file_digest(tmp_path / name)


def test_a_damaged_page_is_noticed(tmp_path: Path) -> None:
    """The footer still matches, so the receipt alone does not show it."""
    path = tmp_path / "a.parquet"
    table = pa.table({"x": pa.array([1.5 * n for n in range(1000)])})
    receipt = with_checksum(receipt_of(rows_in=1000, rows_scored=1000))
    table = table.replace_schema_metadata(footer_metadata(receipt))
    pq.write_table(table, path, write_page_checksum=True, compression="none", use_dictionary=False)
    assert is_whole(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert read_receipt(path) == receipt
    assert not is_whole(path)


@pytest.mark.parametrize(
    ("source", "split", "last", "name"),
    [
        ("a.parquet", 0, True, "a.parquet"),
        ("a.parquet", 0, False, "a-00000.parquet"),
        ("d/a.csv", 3, True, "d/a.csv-00003.parquet"),
        ("d/a.csv", 0, True, "d/a.csv.parquet"),
    ],
)
def test_the_name_that_a_part_must_have(source: str, split: int, last: bool, name: str) -> None:
    """The only split of an input has the input's name; others are numbered."""
    receipt = receipt_of(fingerprint_of(source=source, bundle=DIGEST), split=split, last=last)
    assert expected_name(receipt) == name
