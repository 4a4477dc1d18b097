"""Parquet objects are read like local files, with few requests and bounded disk space."""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scoreline.pipeline.errors import PartitionError, StorageError
from scoreline.pipeline.parquet import staged
from scoreline.pipeline.parquet.file import ParquetSource
from scoreline.pipeline.parquet.footer import Chunk
from scoreline.pipeline.parquet.staged import StagedObject

from object_storage import Request, Storage

ROWS = 4000


def table(rows: int = ROWS) -> pa.Table:
    """Numbers, texts and lists."""
    values = np.random.default_rng(7).random((3, rows))
    return pa.table({
        "a": values[0],
        "text": [f"{value:.12f}" for value in values[1]],
        "list": pa.array([[1.0, value] for value in values[2]], pa.list_(pa.float64())),
        "z": np.arange(rows),
    })  # fmt: skip


def upload(storage: Storage, path: Path, data: pa.Table, **options: object) -> str:
    """Write a table to a local file and to an object of the same bytes. Returns the URI."""
    pq.write_table(data, path, write_page_checksum=True, **options)
    storage.put("in.parquet", path.read_bytes())
    return f"{storage.uri}/in.parquet"


def read(path: str | Path, columns: list[str] | None, first_row: int = 0) -> pa.Table:
    """The rows of a file or an object, as one table."""
    with ParquetSource(path, name="in.parquet") as source:
        schema = source.schema() if columns is None else pa.schema([source.schema().field(name) for name in columns])
        batches = source.read_batches(columns, block_rows=64, first_row=first_row)
        return pa.Table.from_batches(batches, schema).combine_chunks()


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    columns=st.none() | st.lists(st.sampled_from(["a", "text", "list", "z"]), unique=True, min_size=1),
    first_row=st.integers(0, ROWS + 10),
)
def test_any_columns_from_any_row(storage: Storage, tmp_path: Path, columns: list[str] | None, first_row: int) -> None:
    """As from the local file, also of a single row group."""
    for row_group_size in (700, ROWS):
        uri = upload(storage, tmp_path / "in.parquet", table(), row_group_size=row_group_size, compression="none")
        assert read(uri, columns, first_row).equals(read(tmp_path / "in.parquet", columns, first_row))


def test_int96_columns(storage: Storage, tmp_path: Path) -> None:
    """Their values decide on their type, so that they are read twice."""
    days = pa.array((np.arange(ROWS) - 400_000) * 86_400_000_000, pa.timestamp("us"))
    data = table().append_column("day", days)
    uri = upload(storage, tmp_path / "in.parquet", data, row_group_size=900, use_deprecated_int96_timestamps=True)
    assert read(uri, ["z", "day"]).equals(read(tmp_path / "in.parquet", ["z", "day"]))


def test_a_small_file_takes_one_request(storage: Storage, tmp_path: Path) -> None:
    """The end of it is all of it."""
    uri = upload(storage, tmp_path / "in.parquet", table(100))
    with storage.requests() as requests:
        read(uri, None)
    assert [(one.method, one.range) for one in requests] == [("GET", f"bytes=-{staged.END_BYTES}")]


def test_only_the_chunks_of_the_columns_are_requested(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neighbours together, and no request is larger than the limit; what is left out is not transferred."""
    monkeypatch.setattr(staged, "END_BYTES", 10_000)
    monkeypatch.setattr(staged, "GAP_BYTES", 1000)
    uri = upload(storage, tmp_path / "in.parquet", table(), compression="none", use_dictionary=False)
    footer = pq.read_metadata(tmp_path / "in.parquet").row_group(0)
    spans = [(footer.column(n).data_page_offset, footer.column(n).total_compressed_size) for n in range(4)]
    with storage.requests() as requests:
        read(uri, ["a", "list"])
    (_, first, second) = [one.range for one in requests]
    assert first == f"bytes={spans[0][0]}-{sum(spans[0]) + staged.SLACK_BYTES - 1}"
    assert second == f"bytes={spans[2][0]}-{sum(spans[2]) + staged.SLACK_BYTES - 1}"
    monkeypatch.setattr(staged, "REQUEST_BYTES", 20_000)
    with storage.requests() as requests:
        read(uri, ["a"])
    assert [one.range for one in requests[1:]] == [
        "bytes=4-20003",
        f"bytes=20004-{sum(spans[0]) + staged.SLACK_BYTES - 1}",
    ]


def test_a_long_footer_takes_one_more_request(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is longer than the end that was guessed."""
    monkeypatch.setattr(staged, "END_BYTES", 100)
    uri = upload(storage, tmp_path / "in.parquet", table(100))
    with storage.requests() as requests, ParquetSource(uri, name="x") as source:
        assert source.num_rows == 100
    assert len(requests) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="space is given back on Linux only")
def test_the_space_of_earlier_row_groups_is_given_back(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most two row groups take space, and nothing is left in the folder."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    data = pa.table({"a": np.random.default_rng(1).random(400_000)})
    uri = upload(
        storage, tmp_path / "in.parquet", data, row_group_size=50_000, compression="none", use_dictionary=False
    )
    real, descriptors = tempfile.mkstemp, []

    def recorded(**given: str) -> tuple[int, str]:
        made = real(**given)
        descriptors.append(made[0])
        return made

    monkeypatch.setattr(tempfile, "mkstemp", recorded)
    most = 0
    with ParquetSource(uri, name="x") as source:
        for _ in source.read_batches():
            assert list((tmp_path / "temporary").iterdir()) == []
            most = max(most, os.fstat(descriptors[0]).st_blocks * 512)
    assert len(descriptors) == 1
    assert 400_000 <= most <= (tmp_path / "in.parquet").stat().st_size / 2


@pytest.mark.parametrize("when", ["at the end", "in the first row group", "in the background"])
def test_an_object_that_changes_is_not_read_on(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The error is that of a file that changes."""
    monkeypatch.setattr(staged, "END_BYTES", 10_000)
    uri = upload(storage, tmp_path / "in.parquet", table(), row_group_size=1000, compression="none")
    etag, data = storage.bucket.head("in.parquet").etag, (tmp_path / "in.parquet").read_bytes()
    left = [{"at the end": 1, "in the first row group": 2, "in the background": 3}[when]]

    def change(request: Request) -> None:
        left[0] -= 1
        if not left[0]:
            storage.put("in.parquet", data[:-100] + bytes(100))

    with (
        storage.answering(change),
        pytest.raises(PartitionError, match=r"in\.parquet: changed while it was read"),
        ParquetSource(uri, name="in.parquet", etag=etag) as source,
    ):
        list(source.read_batches())


def test_an_object_that_is_removed(storage: Storage, tmp_path: Path) -> None:
    """The error names it."""
    uri = upload(storage, tmp_path / "in.parquet", table(10))
    storage.bucket.delete("in.parquet")
    with pytest.raises(PartitionError, match=rf"in.parquet: .* no such object, or no such bucket: '{uri}'"):
        ParquetSource(uri, name="in.parquet").__enter__()


@pytest.mark.parametrize("data", [b"", b"PAR1", b"no parquet at all", b"PAR1" + b"\xff" * 12 + b"PAR1"])
def test_broken_objects_fail_as_broken_files_do(storage: Storage, tmp_path: Path, data: bytes) -> None:
    """With the same message."""
    storage.put("a", data)
    (tmp_path / "a").write_bytes(data)
    messages = []
    for path in (tmp_path / "a", f"{storage.uri}/a"):
        with pytest.raises(PartitionError) as caught:
            ParquetSource(path, name="a").__enter__()
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_a_full_disk_ends_the_run(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no fault of the object."""
    uri = upload(storage, tmp_path / "in.parquet", table(10))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(StorageError, match="TMPDIR"):
        ParquetSource(uri, name="x").__enter__()


def test_chunks_that_overlap_are_kept_while_one_is_needed(storage: Storage, tmp_path: Path) -> None:
    """A footer may declare anything."""
    data = np.random.default_rng(1).bytes(200_000)
    storage.put("a", data)
    first, second = (Chunk(0, 1, size, size, start, encrypted=False) for start, size in ((0, 60_000), (20_000, 90_000)))
    local = StagedObject(f"{storage.uri}/a")
    try:
        local.stage([first], [second])
        local.stage([second])
        assert local.file.read_at(90_000, 20_000) == data[20_000:110_000]
        local.stage([first])
        assert local.file.read_at(60_000, 0) == data[:60_000]
    finally:
        local.close()
