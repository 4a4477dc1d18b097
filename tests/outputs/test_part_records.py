"""What `_scoreline/parts.pq` records, as it is read back and as other tools see it."""

from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.errors import DataError
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.outputs.manifest import read_record, write_manifest
from scoreline.pipeline.outputs.part_records import (
    OutputRecord,
    PartitionRecord,
    PartVersion,
    decode_record,
    encode_record,
)  # fmt: skip
from scoreline.pipeline.outputs.store import PARTS, Store

from planned_runs import ledger, part, partition, plan

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=9)
digests = st.binary(min_size=32, max_size=32).map(lambda digest: "sha256:" + digest.hex())
parts = st.builds(
    part, names, split=st.integers(0, 9**8), scored=st.integers(0, 2**60), rejected=st.integers(0, 9),
    last=st.booleans(), kept=st.booleans(), sha256=digests, receipt=digests, out_of_bounds=st.integers(0, 2**60),
)  # fmt: skip
inputs = st.builds(
    PartitionRecord, source=names, path=names, format=st.sampled_from(["parquet", "csv"]),
    parts=st.lists(parts, max_size=3).map(tuple), error=st.none() | names,
)  # fmt: skip
records = st.builds(
    OutputRecord,
    partitions=st.lists(inputs, max_size=4, unique_by=lambda one: one.source),
    orphaned_parts=st.lists(names, max_size=3),
)


@settings(max_examples=60)
@given(records)
def test_what_is_written_is_read(record: OutputRecord) -> None:
    """Every field, in order; the same content gives the same bytes."""
    data = encode_record(record)
    assert decode_record(data) == record
    assert encode_record(decode_record(data)) == data


def test_other_tools(tmp_path: Path) -> None:
    """Read one row for each part, for each input without one, and for each orphaned part."""
    one = PartitionRecord(source="a.csv", path="/in/a.csv", format="csv", parts=[part("a.csv.parquet", rejected=2)])
    none = PartitionRecord(source="b.csv", path="/in/b.csv", format="csv", error="b.csv: broken")
    path = tmp_path / "parts.pq"
    path.write_bytes(encode_record(OutputRecord(partitions=[one, none], orphaned_parts=["old.parquet"])))
    found = duckdb.sql(f"SELECT source, error, target, rows_in, rows_rejected FROM read_parquet('{path}')").fetchall()
    assert found == [
        ("a.csv", None, "a.csv.parquet", 12, 2),
        ("b.csv", "b.csv: broken", None, None, None),
        (None, None, "old.parquet", None, None),
    ]


def test_many_parts_are_small() -> None:
    """Names that begin alike take a few bytes; the digests of a part take 64."""
    several = [
        PartitionRecord(
            source=(name := f"date=2026-11-{number // 500:02d}/part-{number % 500:05d}.parquet"),
            path=f"/data/in/{name}",
            format="parquet",
            parts=[part(name, sha256=f"sha256:{number:064x}", receipt=f"sha256:{7 * number:064x}")],
        )
        for number in range(5000)
    ]
    assert len(encode_record(OutputRecord(partitions=several))) < 5000 * 90


def test_versions_of_parts() -> None:
    """Are four more columns, which a file without versions does not have."""
    stored = PartVersion(
        etag="5d41402abc4b2a76", rejects_etag=None, identity=f"sha256:{3:064x}", made_with='{"a": "1"}'
    )
    first, second = part("a.parquet", split=0), part("a.parquet", split=1)
    one = PartitionRecord(source="a", path="/a", format="csv", parts=(replace(first, version=stored), second))
    none = PartitionRecord(source="b", path="/b", format="csv", error="broken")
    record = OutputRecord(partitions=[one, none], orphaned_parts=["c.parquet"])
    assert decode_record(encode_record(record)) == record
    local = OutputRecord(partitions=[replace(one, parts=(first, second))])
    assert "etag" not in pq.read_schema(pa.BufferReader(encode_record(local))).names


class TestDamage:
    """Of the file beside run.json."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        """A written record of one part."""
        found, store = ledger(plan([source := partition("a.parquet")])), FolderStore(tmp_path)
        found.publish(source, part("a.parquet"))
        self.manifest = write_manifest(store, found.manifest(None), found.record())
        return store

    def test_a_changed_byte(self, store: Store) -> None:
        assert [one.target for one in read_record(store, self.manifest).parts()] == ["a.parquet"]
        data = bytearray(store.path(PARTS).read_bytes())
        data[len(data) // 2] ^= 1
        store.path(PARTS).write_bytes(data)
        with pytest.raises(DataError, match=r"parts\.pq is damaged, or of another run: .* run the same scoreline"):
            read_record(store, self.manifest)

    def test_a_missing_file(self, store: Store) -> None:
        store.path(PARTS).unlink()
        with pytest.raises(DataError, match=r"parts\.pq cannot be read: No such file"):
            read_record(store, self.manifest)

    def test_other_columns(self, tmp_path: Path) -> None:
        """Of a later version, or of a table that someone put there."""
        pq.write_table(pa.table({"source": ["a"]}), tmp_path / "x")
        with pytest.raises(DataError, match="its columns are not those of this version"):
            decode_record((tmp_path / "x").read_bytes())
        with pytest.raises(DataError, match="Parquet magic bytes"):
            decode_record(b"no table at all")
