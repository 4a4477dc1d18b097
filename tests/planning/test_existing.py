"""Which parts of an output are kept, why others are not, and which files are refused.

`test_moved_inputs.py`, `test_splits.py` and `tests/end_to_end/resume` resume whole runs.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.errors import OutputError
from scoreline.pipeline.options import ColumnOptions, ScoreJob
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.outputs.manifest import write_manifest
from scoreline.pipeline.outputs.part_records import PartRecord
from scoreline.pipeline.outputs.receipt import file_digest, read_receipt
from scoreline.pipeline.outputs.store import WEAK
from scoreline.pipeline.planning import existing as module
from scoreline.pipeline.planning.existing import ExistingParts, scan_output
from scoreline.pipeline.records import Partition
from scoreline.schemas.run import Receipt

from planned_runs import ledger, plan
from planned_runs import part as planned_part
from receipts import DIGEST, fingerprint_of, receipt_of, write_part

A = Partition(path="/data/a.parquet", name="a.parquet", size=10, mtime_ns=20, format="parquet")
B = Partition(path="/data/b.parquet", name="b.parquet", size=10, mtime_ns=20, format="parquet")
Scan = Callable[..., ExistingParts]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def scan(out: Path) -> Scan:
    """Scan the output for a job that splits at three rows."""

    def call(*partitions: Partition, bundle: str = DIGEST, root: str = "/data", **changes: Any) -> ExistingParts:
        job = ScoreJob(bundle="b", input="i", output=str(out), run_id="r", **changes)
        return scan_output(FolderStore(out), partitions or (A,), bundle, job, 3, root=root)

    return call


def part(out: Path, name: str = "a.parquet", *, mark: dict[str, Any] | None = None, **changes: Any) -> Path:
    """Write a part of an input without options, of three rows unless told otherwise."""
    write_part(out / name, receipt_of(fingerprint_of(**{"options": {}, **(mark or {})}), **changes))
    return out / name


def reasons(existing: ExistingParts) -> dict[int, list[str]]:
    """The reasons of input a, none of whose parts is kept."""
    assert existing.kept == {}
    assert existing.complete_inputs == set()
    return existing.reasons[A]


def test_an_empty_or_missing_output(scan: Scan, out: Path) -> None:
    """Nothing exists, and nothing is wrong."""
    assert scan() == ExistingParts()
    out.mkdir()
    assert scan() == ExistingParts()
    assert scan().num_kept() == 0


def test_a_part_that_is_up_to_date(scan: Scan, out: Path) -> None:
    """Its record has the digest of the file and the counts of the receipt."""
    path = part(out)
    existing = scan()
    assert existing.kept == {A: {0: existing.kept[A][0]}}
    record = existing.kept[A][0]
    assert (record.target, record.split, record.last, record.kept) == ("a.parquet", 0, True, True)
    assert record.sha256 == file_digest(path)
    assert (record.rows_in, record.rows_scored, record.rows_rejected, record.rejects) == (3, 3, 0, None)
    assert existing.complete_inputs == {A}
    assert existing.all_parts == {A: {"a.parquet"}}
    assert (existing.made_with, existing.roots, existing.reasons) == ([{"torch": "2"}], [], {})
    assert existing.num_kept() == 1


@pytest.mark.parametrize(
    ("mark", "changes", "expected"),
    [
        ({"size": 11}, {}, ["input changed"]),
        ({"mtime_ns": 21}, {}, ["input changed"]),
        ({"bundle": "sha256:" + "1" * 64}, {}, ["model changed"]),
        ({"options": {"top_k": "2"}}, {}, ["option top_k changed"]),
        ({"size": 11, "options": {"prefix": "p_"}}, {}, ["input changed", "option prefix changed"]),
        ({}, {"rows_in": 4, "rows_scored": 4}, ["option split_rows changed"]),
        ({}, {"rejects": DIGEST}, ["rejects missing or changed"]),
    ],
)
def test_parts_that_are_out_of_date(
    scan: Scan, out: Path, mark: dict[str, Any], changes: dict[str, Any], expected: list[str]
) -> None:
    part(out, mark=mark, **changes)
    assert reasons(scan()) == {0: expected}


def test_options_of_this_run(scan: Scan, out: Path) -> None:
    """A part is kept only with the same options; --force keeps none."""
    part(out, mark={"options": {"prefix": "p_"}})
    assert reasons(scan()) == {0: ["option prefix changed"]}
    assert scan(columns=ColumnOptions(prefix="p_")).num_kept() == 1
    assert reasons(scan(columns=ColumnOptions(prefix="p_"), force=True)) == {0: ["forced"]}


def test_damaged_parts(scan: Scan, out: Path) -> None:
    """A changed page is noticed, since no manifest has the digest of the file; so is a broken footer."""
    path = part(out)
    data = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    data[start + column.total_compressed_size - 1] ^= 1
    path.write_bytes(data)
    assert reasons(scan()) == {0: ["damaged"]}
    path.write_bytes(path.read_bytes()[:-9])
    assert reasons(scan()) == {0: ["torn"]}


def test_rejects(scan: Scan, out: Path) -> None:
    """A part is kept only together with the rejects that its receipt has the digest of."""
    rejects = out / "_rejects" / "a.arrow"
    rejects.parent.mkdir(parents=True)
    rejects.write_bytes(b"rows")
    part(out, rejects=file_digest(rejects), rows_scored=2, rows_rejected=1)
    record = scan().kept[A][0]
    assert (record.rejects, record.rows_rejected) == ("_rejects/a.arrow", 1)
    rejects.write_bytes(b"other")
    assert reasons(scan()) == {0: ["rejects missing or changed"]}
    part(out)
    assert scan().num_kept() == 1  # it has none; the file is one of an earlier part


def split(out: Path, index: int, rows: int, *, last: bool = False, **mark: Any) -> None:
    """Write a numbered part of input a."""
    part(
        out, f"a-{index:05d}.parquet", mark={"first_row": index * 3, **mark},
        split=index, last=last, rows_in=rows, rows_scored=rows,
    )  # fmt: skip


class TestSplits:
    """Inputs with several parts."""

    def test_complete(self, scan: Scan, out: Path) -> None:
        """From the first to the one that is marked as the last."""
        for index, rows in enumerate((3, 3, 1)):
            split(out, index, rows, last=index == 2)
        existing = scan()
        assert sorted(existing.kept[A]) == [0, 1, 2]
        assert existing.complete_inputs == {A}
        assert existing.made_with == [{"torch": "2"}]

    @pytest.mark.parametrize("there", [(0, 1), (0, 2), (1, 2), (0,), (2,)])
    def test_incomplete(self, scan: Scan, out: Path, there: tuple[int, ...]) -> None:
        """A gap, or no last part; the others are kept."""
        for index in there:
            split(out, index, 1 if index == 2 else 3, last=index == 2)
        existing = scan()
        assert tuple(sorted(existing.kept[A])) == there
        assert existing.complete_inputs == set()

    def test_parts_of_another_size(self, scan: Scan, out: Path) -> None:
        """Too few rows in the middle, or another first row."""
        split(out, 0, 2)
        split(out, 1, 3, first_row=4, last=False)
        split(out, 2, 3, last=True)
        existing = scan()
        assert sorted(existing.kept[A]) == [2]
        assert existing.reasons[A] == {0: ["option split_rows changed"], 1: ["option split_rows changed"]}

    def test_another_name(self, scan: Scan, out: Path) -> None:
        """The only split of an input is not numbered."""
        part(out, "a-00000.parquet")
        assert reasons(scan()) == {0: ["renamed"]}

    def test_surplus(self, scan: Scan, out: Path) -> None:
        """Parts that complete inputs do not consist of; those of a failed input stay."""
        split(out, 0, 3)
        split(out, 7, 3)
        existing = scan()
        assert existing.surplus(["a-00000.parquet"]) == ["a-00007.parquet"]
        assert existing.surplus(["a-00000.parquet"], failed=["a.parquet"]) == []
        assert existing.surplus([]) == ["a-00000.parquet", "a-00007.parquet"]


def test_parts_of_other_inputs(scan: Scan, out: Path) -> None:
    """They are orphaned, in the order of their names; other files are foreign, hidden ones are not looked at."""
    part(out, "sub/c.parquet", mark={"source": "sub/c.parquet"})
    part(out, "b.parquet", mark={"source": "b.parquet"})
    (out / "notes.txt").write_text("mine")
    (out / "_hidden").write_text("")
    existing = scan()
    assert existing.orphaned_parts == ["b.parquet", "sub/c.parquet"]
    assert existing.foreign_files == ["notes.txt"]
    assert scan(A, B).complete_inputs == {B}


@pytest.mark.parametrize("name", ["a.parquet", "a-00001.parquet"])
def test_a_part_that_was_swapped(scan: Scan, out: Path, name: str) -> None:
    """A part of another input under the name of this one's is this one's, and is scored again."""
    part(out, name, mark={"source": "b.parquet"})
    existing = scan(A, B)
    (found,) = existing.reasons[A].values()
    assert found == ["input changed"]
    assert (existing.all_parts, existing.orphaned_parts) == ({A: {name}}, [])


def test_an_input_that_is_named_like_a_part(scan: Scan, out: Path) -> None:
    """The only part of `a-00001.parquet` is not the second part of `a.parquet`, although it has its name."""
    part(out, "a-00001.parquet", mark={"source": "a-00001.parquet"})
    existing = scan(A)
    assert (existing.orphaned_parts, existing.all_parts, existing.reasons) == (["a-00001.parquet"], {}, {})


class TestRefusals:
    """Files that readers would take for predictions, or that would be overwritten."""

    def refused(self, scan: Scan, *partitions: Partition, **changes: Any) -> str:
        with pytest.raises(OutputError) as error:
            scan(*partitions, **changes)
        return str(error.value)

    @pytest.mark.parametrize("name", ["a.parquet", "more/x.parquet"])
    def test_a_file_of_someone_else(self, scan: Scan, out: Path, name: str) -> None:
        (out / "more").mkdir(parents=True)
        pq.write_table(pa.table({"n": [1]}), out / name)
        assert self.refused(scan) == (
            f"{out / name} was not written by scoreline, and readers of the output would take it for predictions; move"
            " it, or choose another --output"
        )

    def test_a_torn_file_without_an_owner(self, scan: Scan, out: Path) -> None:
        """It may be anyone's; one at the name of a part is scored again."""
        out.mkdir()
        (out / "a.parquet").write_bytes(b"PAR1")
        assert reasons(scan()) == {0: ["torn"]}
        (out / "x.parquet").write_bytes(b"PAR1")
        assert "x.parquet was not written by scoreline" in self.refused(scan)

    def test_a_copy_of_a_part(self, scan: Scan, out: Path) -> None:
        part(out)
        part(out, "copy.parquet")
        assert self.refused(scan) == (
            f"{out / 'copy.parquet'} is a copy of 'a.parquet', and readers of the output would see its rows twice; move"
            " it"
        )

    def test_a_part_of_an_input_that_is_gone(self, scan: Scan, out: Path) -> None:
        """`a.csv.parquet` may be a part of a.csv, and the name of another input."""
        name = "a.csv.parquet"
        part(out, name, mark={"source": "a.csv"})
        other = Partition(path=f"/data/{name}", name=name, size=1, mtime_ns=1, format="parquet")
        assert self.refused(scan, other) == (
            f"{out / name} contains rows of 'a.csv', which is not among the inputs, and {name!r} would overwrite it;"
            " choose another --output, or rename the input"
        )

    def test_the_same_names_in_another_folder(self, scan: Scan, out: Path) -> None:
        """Unless the input has been moved; then its earlier location is known."""
        part(out, root="/old")
        message = self.refused(scan)
        assert message.startswith(f"{out / 'a.parquet'} contains rows of 'a.parquet' in '/old', which those of the")
        assert message.endswith("add --moved-input")
        existing = scan(moved_input=True)
        assert (existing.num_kept(), existing.roots) == (1, ["/old"])

    def test_folders_and_pipes(self, scan: Scan, out: Path) -> None:
        (out / "a.parquet").mkdir(parents=True)
        assert self.refused(scan) == f"{out / 'a.parquet'} is a folder where a part would be written; move it"
        (out / "a.parquet").rmdir()
        os.mkfifo(out / "p.parquet")
        assert self.refused(scan) == f"{out / 'p.parquet'} is a pipe, a socket or a device, not a part; move it"


def test_the_manifest_of_the_last_run(scan: Scan, out: Path) -> None:
    """Missing is not an error; damaged is reported. `_SUCCESS` tells how the run ended."""
    part(out)
    (out / "_scoreline").mkdir()
    (out / "_SUCCESS").touch()
    existing = scan()
    assert (existing.succeeded, existing.manifest, existing.manifest_error) == (True, None, None)
    (out / "_scoreline" / "run.json").write_text("{}")
    existing = scan()
    assert (existing.manifest, existing.num_kept()) == (None, 1)
    assert "run.json is damaged" in str(existing.manifest_error)


def recorded(out: Path, name: str, **record: Any) -> None:
    """Write a run.json that records one part."""
    found = ledger(plan([A]))
    found.publish(A, planned_part(name, **record))
    write_manifest(FolderStore(out), found.manifest(None), found.record())


def test_a_torn_file_that_was_a_part(scan: Scan, out: Path) -> None:
    """By the last run's manifest: it is orphaned, not someone else's."""
    recorded(out, "x.parquet")
    (out / "x.parquet").write_bytes(b"PAR1")
    assert scan().orphaned_parts == ["x.parquet"]


class TestRecordedParts:
    """Parts with the ETags that the last manifest recorded are not read."""

    @pytest.fixture
    def read(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The names of the parts whose receipts are read."""
        names = list[str]()

        def noted(path: Path) -> Any:
            names.append(path.name)
            return read_receipt(path)

        monkeypatch.setattr(module, "read_receipt", noted)
        return names

    @pytest.fixture
    def record(self, scan: Scan, out: Path, read: list[str]) -> PartRecord:
        """What a run records of a part with rejects."""
        (out / "_rejects").mkdir(parents=True)
        (out / "_rejects" / "a.arrow").write_bytes(b"12345")
        sleep(0.02)  # the clock of the file system ticks every few milliseconds
        digest = file_digest(out / "_rejects" / "a.arrow")
        part(out, rejects=digest, rows_in=3, rows_scored=2, rows_rejected=1)
        found = ledger(plan([A]))
        found.publish(A, made := scan().kept[A][0])
        write_manifest(FolderStore(out), found.manifest(None), found.record())
        assert read == ["a.parquet"]
        read.clear()
        return made

    def test_neither_file_was_touched(self, scan: Scan, record: PartRecord, read: list[str]) -> None:
        existing = scan()
        assert (existing.kept, existing.made_with) == ({A: {0: record}}, [{"torch": "2"}])
        assert read == []

    def test_other_options_or_another_root(self, scan: Scan, record: PartRecord, read: list[str]) -> None:
        """The reason is in the receipt."""
        assert record.version is not None
        assert reasons(scan(columns=ColumnOptions(prefix="p_"))) == {0: ["option prefix changed"]}
        assert reasons(scan(force=True)) == {0: ["forced"]}
        with pytest.raises(OutputError, match="choose another --output"):
            scan(root="/elsewhere")
        assert read == ["a.parquet"] * 3

    @pytest.mark.usefixtures("record")
    def test_rejects_that_were_changed(self, scan: Scan, out: Path, read: list[str]) -> None:
        (out / "_rejects" / "a.arrow").write_bytes(b"54321")
        assert reasons(scan()) == {0: ["rejects missing or changed"]}
        assert read == ["a.parquet"]

    def test_a_copy(self, scan: Scan, out: Path, record: PartRecord, read: list[str]) -> None:
        """Is known by its receipt, and recorded with its own ETag."""
        shutil.copy2(out / "a.parquet", out / "copy")
        (out / "copy").replace(out / "a.parquet")
        found = scan().kept[A][0]
        assert replace(found, version=record.version) == record
        assert found.version != record.version
        assert read == ["a.parquet"]

    def test_a_part_that_was_written_to(self, scan: Scan, out: Path, record: PartRecord) -> None:
        """Is read whole: a page that was changed in place is noticed, whether or not its checksum was, too."""
        path = out / "a.parquet"
        os.utime(path)
        assert scan().kept[A][0].sha256 == record.sha256
        receipt = read_receipt(path)
        assert isinstance(receipt, Receipt)
        write_part(path, receipt.model_copy(update={"checksum": None}), first=7)
        existing = scan()
        assert (reasons(existing), existing.to_remove) == ({0: ["damaged"]}, ["a.parquet"])

    @pytest.mark.parametrize(
        "etags",
        [{}, {".parquet": f"{WEAK}1-2-3-4"}, {".parquet": "1-2-3-4", ".arrow": f"{WEAK}1-2-3-4"}],
        ids=["none", "of the part", "of the rejects"],
    )
    @pytest.mark.usefixtures("record")
    def test_etags_that_prove_nothing(
        self, scan: Scan, out: Path, read: list[str], monkeypatch: pytest.MonkeyPatch, etags: dict[str, str]
    ) -> None:
        """Missing or weak ones, of a part or its rejects: the receipt is read."""
        monkeypatch.setattr(FolderStore, "etag", lambda _, name: etags.get(Path(name).suffix))
        found = ledger(plan([A]))
        found.publish(A, scan().kept[A][0])
        write_manifest(FolderStore(out), found.manifest(None), found.record())
        assert scan().num_kept() == 1
        assert read == ["a.parquet"] * 2
        (out / "_rejects" / "a.arrow").unlink()
        assert reasons(scan()) == {0: ["rejects missing or changed"]}

    @pytest.mark.usefixtures("record")
    def test_an_input_that_has_moved_away(self, scan: Scan, out: Path) -> None:
        """To a location that was recorded with --moved-input; that it is back is said with the same option."""
        found = ledger(plan([A]))
        found.publish(A, scan().kept[A][0])
        moved = found.manifest(None).model_copy(update={"root": "/moved", "roots": ["/data"]})
        write_manifest(FolderStore(out), moved, found.record())
        with pytest.raises(OutputError, match="add --moved-input"):
            scan()
        assert scan(moved_input=True).num_kept() == 1


def test_a_digest_of_another_receipt(scan: Scan, out: Path) -> None:
    """Is not used: the part is read whole instead, and has a digest of its own."""
    path, other = part(out), "sha256:" + "1" * 64
    recorded(out, "a.parquet", sha256=other, receipt=other)
    assert scan().kept[A][0].sha256 == file_digest(path)
    receipt = read_receipt(path)
    assert isinstance(receipt, Receipt)
    recorded(out, "a.parquet", sha256=other, receipt=receipt.checksum)
    assert scan().kept[A][0].sha256 == other
