"""The file of one split: its rows, its rejects, its receipt, and bytes that depend on the rows alone."""

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.errors import StorageError
from scoreline.pipeline.outputs import part_file as module
from scoreline.pipeline.outputs.assemble import assemble_rejects, reject_schema
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.outputs.part_file import PartFile, Published
from scoreline.pipeline.outputs.receipt import is_whole, read_profile, read_receipt
from scoreline.pipeline.outputs.store import Store
from scoreline.pipeline.records import Reject
from scoreline.schemas.run import Receipt

from receipts import receipt_of

READ = pa.schema([("id", pa.int64()), ("a", pa.string())])
SCHEMA = pa.schema([("id", pa.int64()), ("prediction", pa.string()), ("probability", pa.float32())])


def rows_of(start: int, stop: int) -> pa.RecordBatch:
    """Rows that contain their number, as they are written."""
    ids = range(start, stop)
    columns = [pa.array(ids, pa.int64()), pa.array([f"c{n % 3}" for n in ids], pa.string())]
    return pa.record_batch([*columns, pa.array(np.arange(start, stop, dtype=np.float32))], schema=SCHEMA)


def rejects_of(*ids: int) -> pa.RecordBatch:
    """Rows that were rejected because `a` is null."""
    batch = pa.record_batch([pa.array(ids, pa.int64()), pa.nulls(len(ids), pa.string())], schema=READ)
    reject = Reject(positions=np.arange(len(ids)), stage="check", column="a", reasons=("is null",) * len(ids))
    return assemble_rejects(batch, [reject] if ids else [], source="a.parquet", first_row=0)


def part_in(folder: Path) -> tuple[Store, PartFile]:
    """A new part in an output."""
    store = FolderStore(folder)
    return store, PartFile(store, name="a.parquet", schema=SCHEMA, read=READ)


def published(part: PartFile, receipt: Receipt | None = None, target: str = "a.parquet") -> Published:
    """Finish the part and publish it."""
    part.finish(receipt or receipt_of())
    return part.publish(target)


def test_rows_and_receipt(tmp_path: Path) -> None:
    """They are in one file, whose digest and size are returned; without rejects there is no other file."""
    store, part = part_in(tmp_path)
    part.write(rows_of(0, 2), rejects_of())
    part.write(rows_of(2, 3), rejects_of())
    assert list(store.parquet_files()) == []
    done = published(part)
    data = (tmp_path / "a.parquet").read_bytes()
    assert done.sha256 == "sha256:" + hashlib.sha256(data).hexdigest()
    assert done.num_bytes == len(data)
    assert pq.read_table(tmp_path / "a.parquet").to_pydict() == pa.Table.from_batches([rows_of(0, 3)]).to_pydict()
    receipt = read_receipt(tmp_path / "a.parquet")
    assert isinstance(receipt, Receipt)
    assert receipt.checksum == done.receipt
    assert receipt.rejects is None
    assert (part.num_rows, part.num_rejects) == (3, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_rejects(tmp_path: Path) -> None:
    """They are in an Arrow file whose digest is in the receipt."""
    _, part = part_in(tmp_path)
    part.write(rows_of(0, 3), rejects_of(7))
    part.write(rows_of(0, 0), rejects_of(8, 9))
    done = published(part, target="a-00000.parquet")
    rejects = tmp_path / "_rejects" / "a-00000.arrow"
    data = rejects.read_bytes()
    receipt = read_receipt(tmp_path / "a-00000.parquet")
    assert isinstance(receipt, Receipt)
    assert receipt.rejects == "sha256:" + hashlib.sha256(data).hexdigest()
    assert done.num_bytes == len(data) + (tmp_path / "a-00000.parquet").stat().st_size
    table = pa.ipc.open_file(rejects).read_all()
    assert table.schema == reject_schema(READ)
    assert table["id"].to_pylist() == [7, 8, 9]
    assert part.num_rejects == 3


def test_rejects_of_an_earlier_run_are_removed(tmp_path: Path) -> None:
    """If the part has none now."""
    _, part = part_in(tmp_path)
    part.write(rows_of(0, 2), rejects_of(7))
    published(part, receipt_of(rows_in=3, rows_scored=2, rows_rejected=1))
    _, part = part_in(tmp_path)
    part.write(rows_of(0, 3), rejects_of())
    published(part)
    assert not (tmp_path / "_rejects" / "a.arrow").exists()


def test_a_part_without_rows(tmp_path: Path) -> None:
    """It is a valid file with the columns."""
    _, part = part_in(tmp_path)
    published(part, receipt_of(rows_in=0, rows_scored=0))
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.num_rows == 0
    assert table.schema.names == SCHEMA.names
    assert isinstance(read_receipt(tmp_path / "a.parquet"), Receipt)


@settings(max_examples=20)
@given(sizes=st.lists(st.integers(0, 9), max_size=8))
def test_bytes_depend_on_the_rows_alone(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    """Not on how they were divided into batches; row groups have a fixed number of rows but for the last."""
    total, start = sum(sizes), 0
    folder = tmp_path_factory.mktemp("parts")
    receipt = receipt_of(rows_in=total, rows_scored=total)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROW_GROUP_ROWS", 5)
        _, whole = part_in(folder / "whole")
        whole.write(rows_of(0, total), rejects_of())
        published(whole, receipt)
        _, part = part_in(folder / "pieces")
        for size in sizes:
            part.write(rows_of(start, start + size), rejects_of())
            start += size
        published(part, receipt)
    assert (folder / "whole" / "a.parquet").read_bytes() == (folder / "pieces" / "a.parquet").read_bytes()
    footer = pq.read_metadata(folder / "pieces" / "a.parquet")
    groups = [footer.row_group(index).num_rows for index in range(footer.num_row_groups)]
    assert groups == [5] * (total // 5) + ([total % 5] if total % 5 else [])


def test_large_values_end_a_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes limit what is held in memory."""
    monkeypatch.setattr(module, "ROW_GROUP_BYTES", 100)
    _, part = part_in(tmp_path)
    for start in (0, 50, 100):
        part.write(rows_of(start, start + 50), rejects_of())
    published(part, receipt_of(rows_in=150, rows_scored=150))
    footer = pq.read_metadata(tmp_path / "a.parquet")
    assert [footer.row_group(index).num_rows for index in range(footer.num_row_groups)] == [50, 50, 50]


def test_encodings(tmp_path: Path) -> None:
    """Floats have neither a dictionary nor statistics, texts have both."""
    _, part = part_in(tmp_path)
    part.write(rows_of(0, 3), rejects_of())
    published(part)
    group = pq.read_metadata(tmp_path / "a.parquet").row_group(0)
    columns = {group.column(index).path_in_schema: group.column(index) for index in range(3)}
    assert {name: column.has_dictionary_page for name, column in columns.items()} == {
        "id": False, "prediction": True, "probability": False
    }  # fmt: skip
    assert {name: column.is_stats_set for name, column in columns.items()} == {
        "id": True, "prediction": True, "probability": False
    }  # fmt: skip


def test_pages_have_checksums(tmp_path: Path) -> None:
    """A reader that verifies them notices a changed bit."""
    _, part = part_in(tmp_path)
    part.write(rows_of(0, 2000), rejects_of())
    published(part, receipt_of(rows_in=2000, rows_scored=2000))
    path = tmp_path / "a.parquet"
    assert pq.read_table(path, page_checksum_verification=True).num_rows == 2000
    column = pq.read_metadata(path).row_group(0).column(2)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match="CRC checksum"):
        pq.read_table(path, page_checksum_verification=True)


def test_discard(tmp_path: Path) -> None:
    """Both temporary files are removed; what was published earlier stays."""
    store, part = part_in(tmp_path)
    part.write(rows_of(0, 3), rejects_of())
    published(part)
    before = (tmp_path / "a.parquet").read_bytes()
    store, part = part_in(tmp_path)
    part.write(rows_of(0, 2), rejects_of(7))
    assert len(store.temporaries()) == 2
    part.discard()
    assert store.temporaries() == []
    assert (tmp_path / "a.parquet").read_bytes() == before


def test_discarding_changes_nothing_that_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an error of the last sync, when the part and its rejects are visible."""

    def fail(folder: Path) -> None:
        if folder == tmp_path:
            raise OSError(errno.EIO, "Input/output error")

    _, part = part_in(tmp_path)
    part.write(rows_of(0, 3), rejects_of(7))
    monkeypatch.setattr("scoreline.pipeline.outputs.folder_store._sync_folder", fail)
    with pytest.raises(StorageError, match="Input/output error"):
        published(part)
    part.discard()
    receipt = read_receipt(tmp_path / "a.parquet")
    assert isinstance(receipt, Receipt)
    assert receipt.rejects == "sha256:" + hashlib.sha256((tmp_path / "_rejects" / "a.arrow").read_bytes()).hexdigest()


@pytest.mark.parametrize("rejects", [(), (7,)])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rejects: tuple[int, ...]) -> None:
    """It is a storage error that names the file; a part is never visible without its rejects."""

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store, part = part_in(tmp_path)
    part.write(rows_of(0, 3), rejects_of(*rejects))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="cannot be written: No space left on device; free some space"):
        published(part)
    assert list(store.parquet_files()) == []
    part.discard()
    assert store.temporaries() == []


@pytest.mark.parametrize("call", ["write_table", "close"])
def test_an_error_while_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """It is a storage error as well, and discarding still works."""

    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    store, part = part_in(tmp_path)
    part.write(rows_of(0, 3), rejects_of(7))
    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, call, fail)
        with pytest.raises(StorageError, match=r"\.tmp cannot be written: Input/output error; check the disk"):
            published(part)
    part.discard()
    assert store.temporaries() == list(store.parquet_files()) == []


def test_two_writers_of_one_split(tmp_path: Path) -> None:
    """Each has files of its own: what the slower one writes, or gives up, does not touch what the other published."""
    store, first = part_in(tmp_path)
    first.write(rows_of(0, 9), rejects_of(9))
    second = PartFile(store, name="a.parquet", schema=SCHEMA, read=READ)
    second.write(rows_of(0, 3), rejects_of(9))
    first.write(rows_of(10, 20), rejects_of())
    published(first)
    whole = store.read("a.parquet"), store.read("_rejects/a.arrow")
    second.write(rows_of(3, 9), rejects_of())
    assert (store.read("a.parquet"), store.read("_rejects/a.arrow")) == whole
    second.write(rows_of(10, 20), rejects_of())
    third = PartFile(store, name="a.parquet", schema=SCHEMA, read=READ)
    third.write(rows_of(0, 1), rejects_of(9))
    third.discard()
    published(second)
    assert (store.read("a.parquet"), store.read("_rejects/a.arrow")) == whole  # the same rows are the same bytes
    assert store.temporaries() == []


class TestProfile:
    """Bytes between the last row group and the footer."""

    def test_it_is_found_by_its_receipt(self, tmp_path: Path) -> None:
        """And the rows are those of a part without one, for pyarrow and for DuckDB."""
        _, part = part_in(tmp_path)
        part.write(rows_of(0, 3), rejects_of())
        part.finish(receipt_of(), b"counts" * 1000)
        part.publish("a.parquet")
        path = tmp_path / "a.parquet"
        receipt = read_receipt(path)
        assert isinstance(receipt, Receipt)
        assert receipt.profile is not None
        assert read_profile(path, receipt.profile) == b"counts" * 1000
        assert pq.read_table(path).equals(pa.table(rows_of(0, 3)))
        assert is_whole(path)
        assert duckdb.sql(f"SELECT count(*), max(id) FROM '{path}'").fetchall() == [(3, 2)]
        assert pq.ParquetFile(path).metadata.serialized_size < len(b"counts" * 1000)

    def test_a_profile_that_was_changed(self, tmp_path: Path) -> None:
        """Or cut off, or whose file is gone, is not read."""
        _, part = part_in(tmp_path)
        part.finish(receipt_of(rows_in=0, rows_scored=0), b"counts")
        part.publish("a.parquet")
        path = tmp_path / "a.parquet"
        receipt = read_receipt(path)
        assert isinstance(receipt, Receipt)
        assert receipt.profile is not None
        data = path.read_bytes()
        path.write_bytes(data.replace(b"counts", b"Counts"))
        assert read_profile(path, receipt.profile) is None
        path.write_bytes(data[: receipt.profile.offset + 2])
        assert read_profile(path, receipt.profile) is None
        path.unlink()
        assert read_profile(path, receipt.profile) is None

    def test_receipts_without_a_profile(self, tmp_path: Path) -> None:
        """Have no field for it, as those of earlier versions."""
        _, part = part_in(tmp_path)
        part.finish(receipt_of(rows_in=0, rows_scored=0))
        part.publish("a.parquet")
        metadata = pq.read_metadata(tmp_path / "a.parquet").metadata
        assert b'"profile"' not in metadata[b"scoreline.receipt"]
        assert isinstance(read_receipt(tmp_path / "a.parquet"), Receipt)
