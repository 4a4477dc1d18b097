"""What flows claim: whole partitions in order, then the later halves of what others have left."""

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.inputs.discover import discover
from scoreline.pipeline.options import ScoreJob
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.planning.existing import scan_output
from scoreline.pipeline.planning.plan import Plan, PlannedPartition, make_plan
from scoreline.pipeline.running.work import (
    MOST_CELLS,
    MOST_FILES,
    SMALL_BYTES,
    SMALL_OBJECT_BYTES,
    SMALL_ROWS,
    Work,
    WorkQueue,
    are_small_objects,
    num_readers,
    split_starts,
)

from conftest import Example

SPLIT_ROWS = 10


def plan_of(folder: Path, iris: Example) -> Plan:
    """The plan of a folder, in splits of ten rows."""
    job = ScoreJob(bundle=str(iris.bundle), input=str(folder), output=str(folder.parent / "out"), run_id="one")
    bundle, found = open_bundle(iris.bundle), discover(str(folder))
    existing = scan_output(
        FolderStore(job.output), found.partitions, bundle.digest, job, SPLIT_ROWS, root=found.real_root
    )
    return make_plan(found, existing, bundle.manifest, job, SPLIT_ROWS)


@pytest.fixture
def folder(tmp_path: Path, iris: Example) -> Path:
    """100 rows in row groups of 25, 100 rows in one, and a CSV."""
    folder = tmp_path / "data"
    folder.mkdir()
    table = pa.Table.from_pandas(iris.frame.head(100), preserve_index=False)
    pq.write_table(table, folder / "a.parquet", row_group_size=25)
    pq.write_table(table, folder / "b.parquet")
    iris.frame.head(100).to_csv(folder / "c.csv", index=False)
    return folder


def claimed(queue: WorkQueue) -> Work:
    """The next work; fails if there is none."""
    work = queue.claim()
    assert work is not None
    return work


def named(work: Work) -> tuple[str, int]:
    """The partition, and the first split."""
    return work.planned.partition.name, work.splits.start


def pass_first_rows(work: Work) -> None:
    """As if the first rows of the file had reached the model."""
    assert work.first_rows is not None
    work.first_rows.announce(8)


def test_reading_can_begin_at_row_groups(folder: Path, iris: Example) -> None:
    """At the first split that begins in each: rows 0, 25, 50 and 75 are in splits 0, 3, 5 and 8."""
    starts = {planned.partition.name: list(split_starts(planned)) for planned in plan_of(folder, iris).partitions}
    assert starts == {"a.parquet": [0, 3, 5, 8], "b.parquet": [0], "c.csv": [0]}


def test_partitions_come_first_then_halves(folder: Path, iris: Example) -> None:
    """A half begins at a row group, and only once the first rows of the file have reached the model. A giant row group
    and a CSV are not divided."""
    queue = WorkQueue(plan_of(folder, iris).partitions)
    works = [claimed(queue) for _ in range(3)]
    assert [named(work) for work in works] == [("a.parquet", 0), ("b.parquet", 0), ("c.csv", 0)]
    for work in works:
        work.splits.take(0)
    assert queue.claim() is None
    for work in works:
        pass_first_rows(work)
    half = claimed(queue)
    assert (named(half), half.first_rows) == (("a.parquet", 5), None)
    assert (works[0].splits.num_left(), half.splits.num_left()) == (4, 5)
    half.splits.take(5)
    assert {named(claimed(queue)), named(claimed(queue))} == {("a.parquet", 3), ("a.parquet", 8)}
    assert queue.claim() is None


def test_a_resumed_file_is_divided_at_once(folder: Path, iris: Example) -> None:
    """If rows before were scored, none of those that are left is among the first of the file."""
    planned = dataclasses.replace(plan_of(folder, iris).partitions[0], kept=frozenset([0, 1]), nothing_scored=False)
    queue = WorkQueue([planned])
    assert (claimed(queue).first_rows, named(claimed(queue))) == (None, ("a.parquet", 5))


def test_a_finished_work_is_not_divided(folder: Path, iris: Example) -> None:
    """Nor one whose partition has failed before."""
    for fails in [False, True]:
        queue = WorkQueue(plan_of(folder, iris).partitions[:1])
        work = claimed(queue)
        work.splits.take(0)
        pass_first_rows(work)
        if fails:
            queue.fail(work.planned, 2)
        else:
            queue.finish(work)
        assert queue.claim() is None


def test_a_file_that_has_gone_has_no_starts(folder: Path, iris: Example) -> None:
    """The flow that reads it reports the error."""
    planned = plan_of(folder, iris).partitions[0]
    gone = dataclasses.replace(planned.partition, path=str(folder / "gone.parquet"))
    assert split_starts(dataclasses.replace(planned, partition=gone)) == ()


@pytest.mark.parametrize(("most", "count"), [(1, 1), (4, 4), (6, 6), (7, 6), (64, 6)])
def test_the_number_of_readers(folder: Path, iris: Example, most: int, count: int) -> None:
    """Row groups of the first file, the second file, and the CSV."""
    assert num_readers(plan_of(folder, iris).partitions, most) == count
    assert num_readers((), most) == 1


@pytest.mark.parametrize(("columns", "size", "memory", "count"), [
    (30, 1 << 30, None, 7),  # 67.5 MiB each of 512 MiB
    (1000, 1 << 30, None, 1),
    (1000, 1 << 20, None, 8),  # small files have small columns
    (30, 1 << 30, 200 << 20, 2),
    (30, 1 << 30, 1, 1),
])  # fmt: skip
def test_readers_share_a_limit_of_memory(
    folder: Path, iris: Example, columns: int, size: int, memory: int | None, count: int
) -> None:
    planned = plan_of(folder, iris).partitions[1]
    partition = dataclasses.replace(planned.partition, size=size)
    schema = pa.schema([(f"c{n}", pa.float64()) for n in range(columns)])
    read = dataclasses.replace(planned.columns, read=schema)
    wide = dataclasses.replace(planned, partition=partition, columns=read)
    assert num_readers([wide] * 20, 8, memory) == min(count, 8)


def sized(planned: PlannedPartition, size: int) -> PlannedPartition:
    """The same with another number of bytes."""
    return dataclasses.replace(planned, partition=dataclasses.replace(planned.partition, size=size))


def test_small_files_are_claimed_together(folder: Path, iris: Example) -> None:
    """Whole ones with the same columns, as many as leave work for other flows."""
    planned = plan_of(folder, iris).partitions[0]
    small = dataclasses.replace(planned, num_rows=SMALL_ROWS, num_splits=1)
    others = dataclasses.replace(small, columns=dataclasses.replace(planned.columns))

    def claims(inputs: list[PlannedPartition], num_flows: int = 1, *, together: bool = True) -> list[int]:
        queue, found = WorkQueue(inputs), list[int]()
        while len(works := queue.claim_files(num_flows, together=together)) and sum(found) < len(inputs):
            found.append(len(works))
            for work in works:
                queue.finish(work)
        return found

    rows = dataclasses.replace(small, num_rows=10)
    assert claims([rows] * 100) == [32, 32, 32, 3, 1]
    assert claims([rows] * 9, 2) == [4, 2, 1, 1, 1]
    assert claims([rows] * 5, together=False) == [1] * 5
    assert claims([rows] * 4 + [others] * 8) == [4, 7, 1]
    unknown = dataclasses.replace(small, num_rows=None, num_splits=None)
    assert claims([sized(unknown, SMALL_BYTES // 4)] * 40) == [32, 7, 1]
    assert claims([sized(unknown, SMALL_BYTES)] * 40) == [16, 16, 7, 1]
    for alone in (
        dataclasses.replace(small, num_rows=SMALL_ROWS + 1),
        dataclasses.replace(small, kept=frozenset([0])),
        sized(unknown, SMALL_BYTES + 1),
        dataclasses.replace(small, num_splits=2),
        dataclasses.replace(small, num_rows=0),
    ):
        assert claims([alone] * 3) == [1] * 3
    assert max(claims([small] * 400)) == min(MOST_FILES, MOST_CELLS // (SMALL_ROWS * len(planned.columns.read)))


def test_small_objects(folder: Path, iris: Example) -> None:
    """By their average; local files and no files are none."""
    planned = plan_of(folder, iris).partitions[0]

    def objects(*sizes: int) -> list[PlannedPartition]:
        kept = [dataclasses.replace(planned.partition, path="s3://bucket/a.parquet", size=size) for size in sizes]
        return [dataclasses.replace(planned, partition=partition) for partition in kept]

    assert are_small_objects(objects(SMALL_OBJECT_BYTES))
    assert are_small_objects(objects(2 * SMALL_OBJECT_BYTES, 0))
    assert not are_small_objects(objects(2 * SMALL_OBJECT_BYTES, 1))
    assert not are_small_objects([planned])
    assert not are_small_objects([])
