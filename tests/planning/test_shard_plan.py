"""The division of files among shards."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.errors import DataError, UsageError
from scoreline.pipeline.inputs.discover import Discovery, discover
from scoreline.pipeline.options import RejectBudget, ScoreJob
from scoreline.pipeline.planning.shard_plan import (
    ShardedJob,
    ShardPlan,
    decode_plan,
    divide,
    divide_splits,
    encode_plan,
    refuse_same_outputs,
)
from scoreline.pipeline.records import Partition

JOB = ScoreJob(bundle="/b", input="/in", output="", run_id="", max_rejects=RejectBudget(count=3))


def found(sizes: list[int]) -> Discovery:
    """CSV files of some sizes, which are not divided."""
    partitions = [
        Partition(path=f"/in/{at:04d}.csv", name=f"{at:04d}.csv", format="csv", size=size, mtime_ns=1)
        for at, size in enumerate(sizes)
    ]
    return Discovery(real_root="/in", partitions=tuple(partitions), table_version="7")


def loads(plan: ShardPlan) -> list[float]:
    """The bytes of each shard; a file that is divided counts by its splits."""
    num_splits = {piece.partition: piece.splits.stop for piece in plan.pieces if piece.splits is not None}
    sums = [0.0] * plan.sharded.count
    for piece in plan.pieces:
        share = 1.0 if piece.splits is None else len(piece.splits) / num_splits[piece.partition]
        sums[piece.shard - 1] += piece.partition.size * share
    return sums


def planned(inputs: Discovery, count: int, *, split_rows: int = 1000) -> ShardPlan:
    """The plan of a job over these inputs."""
    sharded = ShardedJob(
        job=JOB, root=inputs.real_root, bundle="sha256:" + "0" * 64, split_rows=split_rows, count=count,
        table_version=inputs.table_version,
    )  # fmt: skip
    return ShardPlan(sharded=sharded, pieces=divide(inputs, JOB, split_rows, count))


@settings(max_examples=60)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60), st.integers(1, 12))
def test_every_file_has_one_shard(sizes: list[int], count: int) -> None:
    """The heaviest shard has at most 4/3 of what the best division could give it."""
    plan = planned(found(sizes), count)
    assert [piece.partition.size for piece in plan.pieces] == sizes
    assert [piece.splits for piece in plan.pieces] == [None] * len(sizes)
    lower_bound = max(sum(sizes) / count, max(sizes), sum(sorted(sizes)[-count - 1 :][:2]) if len(sizes) > count else 0)
    assert max(loads(plan)) <= 4 / 3 * lower_bound + 1e-6
    assert decode_plan(encode_plan(plan)) == plan
    assert sum(len(plan.of_shard(number)) for number in range(1, count + 1)) == len(sizes)


def test_many_files_are_spread_evenly() -> None:
    """Better than by a hash of their names, which gives the heaviest of 16 shards a third more than the mean."""
    plan = planned(found([1000 + 37 * (at % 91) for at in range(2000)]), 16)
    assert max(loads(plan)) < 1.005 * sum(loads(plan)) / 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A large file of 40 row groups, one of a single row group, and a small one."""
    folder = tmp_path_factory.mktemp("inputs")
    table = pa.table({"a": pa.array(range(40_000), pa.float64())})
    pq.write_table(table, folder / "groups.parquet", row_group_size=1000)
    pq.write_table(table, folder / "one.parquet", row_group_size=1 << 20)
    pq.write_table(table.slice(0, 10), folder / "small.parquet")
    return folder


@pytest.mark.parametrize("count", [2, 3, 7, 16])
def test_large_files_are_divided(folder: Path, count: int) -> None:
    """Into ranges of splits that follow each other; a shard has at most one range of a file."""
    plan = planned(discover(str(folder)), count)
    for partition in plan.partitions():
        pieces = [piece for piece in plan.pieces if piece.partition == partition]
        if partition.name == "small.parquet":
            assert [piece.splits for piece in pieces] == [None]
            continue
        splits = [split for piece in pieces for split in piece.splits or ()]
        assert splits == list(range(40))
        owned = [plan.of_shard(number).get(partition) for number in range(1, count + 1)]
        assert sorted(split for own in owned for split in own or ()) == splits
    assert max(loads(plan)) < 1.15 * sum(loads(plan)) / count


def test_a_file_that_cannot_be_read_is_one_piece(tmp_path: Path) -> None:
    """Its shard reports it."""
    (tmp_path / "a.parquet").write_bytes(b"PAR1" * 1000)
    assert [piece.splits for piece in planned(discover(str(tmp_path)), 4).pieces] == [None]


def test_two_inputs_with_one_output(tmp_path: Path) -> None:
    """Would be scored by different shards, which do not know of each other."""
    table = pa.table({"a": [1.0] * 30})
    for name in ("big.parquet", "big-00001.parquet"):
        pq.write_table(table, tmp_path / name)
    refuse_same_outputs(discover(str(tmp_path)), JOB, 30)
    with pytest.raises(UsageError, match=r"'big\.parquet' and 'big-00001\.parquet' would both be written to"):
        refuse_same_outputs(discover(str(tmp_path)), JOB, 20)


def test_a_file_that_is_not_a_plan() -> None:
    """Damaged, or of another version."""
    with pytest.raises(DataError, match="Parquet"):
        decode_plan(b"nothing")
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"source": ["a"]}), sink)
    with pytest.raises(DataError, match="not a plan of this version"):
        decode_plan(bytes(sink.getvalue()))


@pytest.mark.parametrize(
    ("num_splits", "starts", "wanted", "begins"),
    [
        (10, [0, 3, 6, 9], 2, [0, 6]),  # of 5, 6 is nearer than 3
        (10, [0, 4, 7, 9], 2, [0, 4]),
        (10, [0, 9], 4, [0, 2, 5, 8]),  # too few
        (3, [], 8, [0, 1, 2]),
    ],
)
def test_where_a_file_is_divided(num_splits: int, starts: list[int], wanted: int, begins: list[int]) -> None:
    """At the split nearest to equal parts at which a reader can begin."""
    found = divide_splits(num_splits, starts, wanted)
    assert [one.start for one in found] == begins
    assert [split for one in found for split in one] == list(range(num_splits))
