"""`verify` over outputs whose files are whole, but say something wrong of each other: built record by record."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.errors import PartitionError
from scoreline.pipeline.evaluation.verify import Verdict, verify
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.outputs.manifest import write_manifest
from scoreline.pipeline.outputs.naming import rejects_name
from scoreline.pipeline.outputs.part_records import PartRecord
from scoreline.pipeline.outputs.receipt import expected_name, file_digest, footer_metadata, with_checksum
from scoreline.pipeline.outputs.store import SUCCESS
from scoreline.pipeline.records import Partition

from planned_runs import ledger, plan
from planned_runs import rejects as rejects_of
from receipts import fingerprint_of, receipt_of

OTHER = "sha256:" + "1" * 64
AGAIN = "run the same scoreline score again"


class Output:
    """An output of one input with the key `id`, whose rows are numbered, in parts of ten rows. `rejected`: the rows
    that were rejected."""

    def __init__(self, folder: Path, *, rows: int = 25, rejected: Sequence[int] = ()) -> None:
        self.store, self.rows, self.rejected = FolderStore(folder / "out"), rows, rejected
        self.input = folder / "a.parquet"
        pq.write_table(pa.table({"id": pa.array(range(rows), pa.int64())}), self.input)
        stat = self.input.stat()
        self.partition = Partition(
            path=str(self.input), name="a.parquet", format="parquet", size=stat.st_size, mtime_ns=stat.st_mtime_ns
        )
        self.ledger = ledger(plan([self.partition]))

    def write(self, *, receipts: Mapping[int, Any] | None = None, records: Mapping[int, Any] | None = None) -> None:
        """Write every part, with other fields in the receipts and records of some splits."""
        for split in range(-(-self.rows // 10)):
            numbers = range(10 * split, min(10 * (split + 1), self.rows))
            lost = [row for row in numbers if row in self.rejected]
            self.part(
                split,
                [row for row in numbers if row not in lost],
                lost,
                dict((receipts or {}).get(split, {})),
                dict((records or {}).get(split, {})),
            )

    def part(
        self, split: int, kept: Sequence[int], lost: Sequence[int], changes: dict[str, Any], record: dict[str, Any]
    ) -> None:
        """Write one part, and add its record."""
        identity = {"size": self.partition.size, "mtime_ns": self.partition.mtime_ns, "options": {}}
        mark = fingerprint_of(**{**identity, "first_row": 10 * split, **changes.pop("mark", {})})
        fields = {
            "split": split, "last": 10 * (split + 1) >= self.rows, "rows_in": len(kept) + len(lost),
            "rows_scored": len(kept), "rows_rejected": len(lost),
        }  # fmt: skip
        receipt = receipt_of(mark, **{**fields, **changes})
        target = expected_name(receipt) if mark.source == "a.parquet" else "a.parquet"
        if lost:
            path = self.store.path(rejects_name(target))
            path.parent.mkdir(parents=True, exist_ok=True)
            with pa.ipc.new_file(str(path), rejects_of().schema) as writer:
                writer.write(rejects_of(*lost))
            receipt = receipt.model_copy(update={"rejects": file_digest(path)})
        receipt = with_checksum(receipt)
        path = self.store.path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pa.table({"id": pa.array(kept, pa.int64())}).replace_schema_metadata(footer_metadata(receipt))
        pq.write_table(table, path, write_page_checksum=True)
        recorded = {name: getattr(receipt, name) for name in ("split", "last", "rows_in", "rows_scored")}
        recorded |= {"rows_rejected": receipt.rows_rejected, "out_of_bounds": receipt.out_of_bounds}
        recorded |= {"receipt": receipt.checksum}
        found = PartRecord(**{"target": target, "sha256": file_digest(path), **recorded, **record})
        self.ledger.publish(self.partition, found)

    def verdict(self, *, success: bool = True, orphaned: Sequence[str] = (), **changes: Any) -> Verdict:
        """Write run.json, with other fields, and parts.pq, and verify."""
        manifest = self.ledger.manifest(None).model_copy(update=changes)
        write_manifest(self.store, manifest, replace(self.ledger.record(), orphaned_parts=list(orphaned)))
        if success:
            self.store.write(SUCCESS, b"")
        return verify(str(self.store.root))


@pytest.fixture
def output(tmp_path: Path) -> Output:
    """25 rows, in three parts, of which two rows were rejected."""
    return Output(tmp_path, rejected=[2, 13])


def test_an_output_without_problems(output: Output) -> None:
    """Its keys are those of the input without the rejected rows."""
    output.write()
    found = output.verdict()
    counts = {"parts": 3, "rows_in": 25, "rows_scored": 23, "rows_rejected": 2}
    assert found == Verdict(**counts, recorded=counts, keys_compared=1)


class TestParts:
    """Each agrees with its record, and with the others."""

    @pytest.mark.parametrize(
        ("receipts", "problem"),
        [
            (
                {1: {"rows_in": 11}},
                "a-00001.parquet: the number of rows in, 11, is not the sum of rows",
            ),
            (
                {1: {"mark": {"bundle": OTHER}}},
                "a-00001.parquet: was scored by a bundle other than the one in",
            ),
            ({1: {"mark": {"first_row": 9}}}, "a-00001.parquet: its rows do not follow those of the part before it"),
            ({2: {"last": False}}, "a-00002.parquet: its rows do not follow those of the part before it"),
            ({0: {"last": True}}, "a.parquet: its rows do not follow those of the part before it"),
        ],
    )
    def test_receipts(self, output: Output, receipts: Mapping[int, Any], problem: str) -> None:
        """That are inconsistent, or belong to something else."""
        output.write(receipts=receipts)
        found = output.verdict()
        assert any(one.startswith(problem) for one in found.problems), found.problems
        assert found.keys_compared == 0

    @pytest.mark.parametrize("record", [{"out_of_bounds": 1}, {"receipt": OTHER}, {"rows_rejected": 1}, {"last": True}])
    def test_records(self, tmp_path: Path, record: dict[str, Any]) -> None:
        """That differ from the receipt."""
        output = Output(tmp_path)
        output.write(records={1: record})
        assert output.verdict().problems == [
            "a-00001.parquet: its record in _scoreline/parts.pq does not match its receipt"
        ]

    def test_a_part_of_another_input(self, tmp_path: Path) -> None:
        """Under the name of this one's."""
        output = Output(tmp_path, rows=5)
        output.write(receipts={0: {"mark": {"source": "b.parquet"}}})
        assert output.verdict().problems == [
            "a.parquet: its record in _scoreline/parts.pq does not match its receipt",
            "a.parquet: contains rows of b.parquet, not of a.parquet",
        ]

    def test_another_file(self, output: Output) -> None:
        """With the same receipt, such as a copy that was written again."""
        output.write(records={1: {"sha256": OTHER}})
        assert output.verdict().problems == [
            "a-00001.parquet: its sha256 is not the one in _scoreline/parts.pq; delete it and run again to rescore it"
        ]

    def test_an_input_without_parts(self, output: Output) -> None:
        """Though it has no error."""
        output.ledger.parts[output.partition] = []
        assert output.verdict().problems == ["a.parquet: has no part"]

    def test_an_input_that_failed(self, output: Output) -> None:
        """With its error; what it has is not compared."""
        output.write()
        output.ledger.fail(PartitionError("a.parquet: broken", partition="a.parquet"))
        found = output.verdict()
        assert found.problems == ["a.parquet: was not scored completely: a.parquet: broken"]
        assert found.keys_compared == 0


class TestRejects:
    """They belong to a part, which counts them."""

    def test_another_number(self, output: Output) -> None:
        """Than the receipt says; one row in the singular."""
        output.write(receipts={0: {"rows_rejected": 2, "rows_scored": 9, "rows_in": 11}})
        assert "_rejects/a-00000.arrow: contains 1 row, but the receipt of a-00000.parquet says 2" in (
            output.verdict().problems
        )

    def test_changed(self, output: Output) -> None:
        """Since the part was written."""
        output.write()
        with pa.ipc.new_file(str(output.store.path("_rejects/a-00001.arrow")), rejects_of().schema) as writer:
            writer.write(rejects_of(14))
        assert output.verdict().problems == ["_rejects/a-00001.arrow: does not match the receipt of a-00001.parquet"]

    def test_of_a_part_without_rejects(self, output: Output) -> None:
        """Left by an earlier run."""
        output.write()
        output.store.write("_rejects/a-00002.arrow", b"")
        assert output.verdict().problems == ["_rejects/a-00002.arrow: rejects that do not belong to any part"]

    def test_without_a_part(self, output: Output) -> None:
        """Those of an orphaned part belong to it."""
        output.write()
        for name in ("_rejects/b.arrow", "_rejects/c.arrow"):
            output.store.write(name, b"")
        assert output.verdict(orphaned=["b.parquet"]).problems == [
            "_rejects/c.arrow: rejects that do not belong to any part; the next run removes them"
        ]


class TestKeys:
    """They are compared with the input, row by row."""

    @pytest.mark.parametrize("ids", [[1, 0], [0, 2]], ids=["swapped", "another value"])
    def test_others(self, tmp_path: Path, ids: list[int]) -> None:
        """All parts are named."""
        output = Output(tmp_path, rows=12)
        output.part(0, [*ids, *range(2, 10)], [], {}, {})
        output.part(1, [10, 11], [], {}, {})
        found = output.verdict()
        assert found.problems == [
            "'a-00000.parquet', 'a-00001.parquet': the keys are not those of a.parquet in the same order"
        ]
        assert found.keys_compared == 1

    @pytest.mark.parametrize(("rows", "scored"), [(6, 5), (5, 6)])
    def test_more_rows_on_one_side(self, tmp_path: Path, rows: int, scored: int) -> None:
        """Of the input, or of its part."""
        output = Output(tmp_path, rows=rows)
        output.part(0, range(scored), [], {}, {})
        assert output.verdict().problems == ["'a.parquet': the keys are not those of a.parquet in the same order"]

    def test_inputs_of_several_blocks(self, tmp_path: Path) -> None:
        """Rows that were rejected are left out of each."""
        output = Output(tmp_path, rows=140_000)
        lost = [2, 70_000, 100_000, 139_999]
        output.part(0, sorted({*range(140_000)} - {*lost}), lost, {"last": True}, {})
        found = output.verdict()
        assert (found.problems, found.keys_compared, found.rows_rejected) == ([], 1, 4)

    def test_many_parts(self, tmp_path: Path) -> None:
        """The first six are named."""
        output = Output(tmp_path, rows=75)
        output.write()
        output.ledger.parts[output.partition].pop()
        output.part(7, [70, 71, 72, 73, 47], [], {}, {})
        (problem,) = output.verdict().problems
        assert problem.startswith("'a-00000.parquet', ")
        assert "'a-00005.parquet' and 2 more: the keys are not those of a.parquet" in problem

    def test_an_input_that_has_changed(self, output: Output) -> None:
        """Is counted, which is no problem of the output."""
        output.write()
        output.input.write_bytes(b"PAR1")
        found = output.verdict()
        assert (found.changed_inputs, found.keys_compared, found.problems) == (["a.parquet"], 0, [])


class TestTheWhole:
    """run.json, `_SUCCESS`, and files that are no parts."""

    def test_totals(self, output: Output) -> None:
        """That are not those of the parts; if a part is broken, that is the problem."""
        output.write()
        wrong = {"rows_in": 26, "rows_scored": 24}
        assert output.verdict(**wrong).problems == [
            "_scoreline/run.json: its numbers of parts and rows (3, 26, 24, 2) are not those of the parts"
        ]
        output.store.remove("a-00001.parquet")
        assert output.verdict(**wrong).problems == ["a-00001.parquet: is missing; run again to rescore it"]

    @pytest.mark.parametrize(
        ("changes", "success", "why"),
        [
            ({"status": "failed", "error": "no room"}, True, "no room"),
            ({"status": "running"}, False, f"the run was killed, or is still running; {AGAIN}"),
            ({}, False, f"it has no _SUCCESS; {AGAIN}"),
        ],
    )
    def test_a_run_that_is_not_complete(self, output: Output, changes: dict[str, Any], success: bool, why: str) -> None:
        """With the reason."""
        output.write()
        assert output.verdict(success=success, **changes).problems == [f"the run is not complete: {why}"]

    def test_other_files(self, output: Output) -> None:
        """Parquet files of nobody, and temporaries; orphaned parts that are recorded are none."""
        output.write()
        for name in ("b.parquet", "c.parquet"):
            output.store.write(name, b"")
        temporary = output.store.temporary("d.parquet")
        temporary.write_bytes(b"")
        found = output.verdict(orphaned=["b.parquet"])
        assert found.orphaned_parts == ["b.parquet"]
        assert found.problems == [
            "c.parquet: is not a part of the run; move it out of the output",
            f"{temporary.name}: is a temporary file of an earlier run; the next run removes it",
        ]

    def test_parts_that_are_not_recorded(self, output: Output) -> None:
        """Are one problem of a run that has not ended as it should, and each is one of a complete run."""
        output.write()
        for name in ("b.parquet", "c.parquet"):
            output.store.write(name, output.store.read("a-00001.parquet"))
        output.store.write(rejects_name("c.parquet"), b"")
        incomplete, unrecorded = output.verdict(status="failed", error="no room").problems
        assert incomplete == "the run is not complete: no room"
        assert unrecorded.startswith("the run ended before it had recorded 2 parts, such as b.parquet; the next run")
        assert "b.parquet: is not a part of the run; move it out of the output" in output.verdict().problems
