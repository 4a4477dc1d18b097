"""The plan of a run: splits, columns and names of the outputs, and inputs that are refused before a row is read."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from threading import get_ident
from time import sleep
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.errors import ColumnError, UsageError
from scoreline.pipeline.inputs.discover import discover
from scoreline.pipeline.inputs.formats import FORMATS
from scoreline.pipeline.options import ColumnOptions, CsvDialect, ScoreJob
from scoreline.pipeline.outputs.part_records import PartRecord
from scoreline.pipeline.planning import plan as planning
from scoreline.pipeline.planning.existing import ExistingParts
from scoreline.pipeline.planning.plan import FOOTERS, Plan, default_split_rows, make_plan
from scoreline.pipeline.records import Split
from scoreline.schemas.heads import BinaryHead

from bundle_manifests import DIGEST, manifest_of

MANIFEST = manifest_of(BinaryHead(outputs="logits", labels=["no", "yes"]))
OUTPUTS = {"prediction": pa.string(), "probability": pa.float32()}
Planner = Callable[..., Plan]


def write(path: Path, rows: int = 2, **columns: Any) -> Path:
    """A Parquet file with the columns id, a and b."""
    path.parent.mkdir(parents=True, exist_ok=True)
    given = {"id": pa.array(range(rows)), "a": pa.array([0.5] * rows), "b": pa.array([1.5] * rows), **columns}
    pq.write_table(pa.table({name: column for name, column in given.items() if column is not None}), path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def plan(tmp_path: Path, data: Path) -> Planner:
    """The plan for all files, in splits of two rows."""

    def call(existing: ExistingParts | None = None, **changes: Any) -> Plan:
        job = ScoreJob(**{"bundle": "b", "input": str(data), "output": str(tmp_path / "out"), "run_id": "r", **changes})
        return make_plan(discover(job.input), existing or ExistingParts(), MANIFEST, job, 2)

    return call


@given(st.integers(0, 2**45))
def test_rows_of_a_split(weight_bytes: int) -> None:
    """A power of two within the bounds, of which the work is at most 2^39 multiplications, as near as it can be."""
    rows = default_split_rows(weight_bytes)
    assert rows in {1 << exponent for exponent in range(16, 19)}
    weights = max(1, weight_bytes // 4)
    assert rows == 1 << 16 or rows * weights <= 1 << 39
    assert rows == 1 << 18 or 2 * rows * weights > 1 << 39


@pytest.mark.parametrize(("rows", "splits"), [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_splits(plan: Planner, data: Path, rows: int, splits: int) -> None:
    """An empty file has one, so that it has a part."""
    write(data / "in.parquet", rows)
    found = plan()
    (planned,) = found.partitions
    assert (planned.num_rows, planned.num_splits, planned.splits().start) == (rows, splits, 0)
    assert (found.num_rows, found.reasons, found.failed) == (rows, {"missing": splits}, ())


def test_columns(plan: Planner, data: Path) -> None:
    """Keys in the order of the file, then outputs; only columns that are needed are read."""
    write(data / "in.parquet", note=pa.array(["x", "y"]))
    (planned,) = plan().partitions
    assert {field.name: field.type for field in planned.columns.schema} == {
        "id": pa.int64(),
        "note": pa.string(),
        **OUTPUTS,
    }
    assert (planned.columns.num_keys, planned.columns.read.names, planned.columns.text) == (
        2,
        ["id", "a", "b", "note"],
        frozenset(),
    )
    (planned,) = plan(columns=ColumnOptions(keys=("note",), prefix="p_")).partitions
    assert planned.columns.schema.names == ["note", "p_prediction", "p_probability"]
    assert (planned.columns.num_keys, planned.columns.read.names) == (1, ["a", "b", "note"])
    assert planned.columns.header == ("id", "a", "b", "note")
    (planned,) = plan(columns=ColumnOptions(keys=())).partitions
    assert (planned.columns.num_keys, planned.columns.schema.names) == (0, list(OUTPUTS))


def test_a_csv_file(plan: Planner, data: Path) -> None:
    """Its rows are unknown, its cells text, its keys stay text, and the dialect of the job is its own."""
    data.mkdir()
    (data / "in.csv").write_text("id;a;b\n1;2;3\n")
    dialect = CsvDialect(delimiter=";")
    found = plan(csv=dialect)
    (planned,) = found.partitions
    assert (planned.num_rows, planned.num_splits, planned.splits().start, found.num_rows) == (None, None, 0, None)
    assert (planned.columns.text, planned.columns.dialect) == ({"id", "a", "b"}, dialect)
    assert planned.columns.schema.field("id").type == pa.string()
    assert planned.num_rows_to_score(0) is None
    write(data / "other.parquet")
    assert [entry.columns.dialect for entry in plan(csv=dialect).partitions] == [dialect, CsvDialect()]


def test_a_feature_from_the_path(plan: Planner, data: Path) -> None:
    """A Hive key is text that is read as a number; it is not a column of the file."""
    write(data / "b=7" / "in.parquet", b=None)
    (planned,) = plan().partitions
    assert (planned.hive, planned.columns.text) == ((("b", "7"),), {"b"})
    assert planned.columns.read.names == ["id", "a"]
    assert planned.columns.read_with_hive.names == ["id", "a", "b"]


def test_a_feature_from_a_folder_above_the_input(plan: Planner, data: Path) -> None:
    """Is not read: keys are those below the input. The message says which folder to pass."""
    write(data / "b=7" / "deep" / "in.parquet", b=None)
    with pytest.raises(ColumnError) as raised:
        plan(input=str(data / "b=7" / "deep"))
    assert "'b' is missing, but the folder 'b=7' above the input has it in its name" in str(raised.value)
    assert str(raised.value).endswith(f"pass --input {data}/")


def test_a_column_that_is_also_in_the_path(plan: Planner, data: Path) -> None:
    """The one of the file is read."""
    write(data / "b=7" / "in.parquet")
    (planned,) = plan().partitions
    assert (planned.hive, planned.columns.text, planned.columns.read.names) == ((), frozenset(), ["id", "a", "b"])


def test_names_of_parts(plan: Planner, data: Path) -> None:
    """Numbered, unless the only split is the whole input."""
    write(data / "x.parquet", 3)
    (planned,) = plan().partitions
    assert planned.target(Split(index=1, first_row=2, num_rows=1, last=True)) == "x-00001.parquet"
    assert planned.target(Split(index=0, first_row=0, num_rows=2, last=False)) == "x-00000.parquet"
    assert planned.target(Split(index=0, first_row=0, num_rows=2, last=True)) == "x.parquet"


def kept(rows: int, split: int, *, last: bool = False) -> PartRecord:
    """A part of an earlier run."""
    return PartRecord(
        target=f"in-{split:05d}.parquet", split=split, last=last, sha256=DIGEST, receipt=DIGEST,
        rows_in=rows, rows_scored=rows, rows_rejected=0,
    )  # fmt: skip


class TestExisting:
    """Work that an earlier run has done."""

    def test_complete_inputs_are_not_planned(self, plan: Planner, data: Path) -> None:
        """Nor opened."""
        write(data / "in.parquet")
        (data / "done.parquet").write_bytes(b"broken")
        done = next(one for one in discover(str(data)).partitions if one.name == "done.parquet")
        found = plan(ExistingParts(kept={done: {0: kept(2, 0, last=True)}}, complete_inputs={done}))
        assert [entry.partition.name for entry in found.partitions] == ["in.parquet"]
        assert found.failed == ()

    def test_it_begins_at_the_first_missing_split(self, plan: Planner, data: Path) -> None:
        write(data / "in.parquet", 7)
        (one,) = discover(str(data)).partitions
        found = plan(ExistingParts(kept={one: {0: kept(2, 0), 1: kept(2, 1), 3: kept(1, 3, last=True)}}))
        (planned,) = found.partitions
        assert (planned.splits().start, planned.kept, planned.nothing_scored) == (2, {0, 1, 3}, False)
        assert (found.num_rows, found.reasons) == (2, {"missing": 1})

    def test_whether_a_row_was_scored(self, plan: Planner, data: Path) -> None:
        """All rows of the kept part may have been rejected; then those after it are the first that the model gets."""
        write(data / "in.parquet", 4)
        (one,) = discover(str(data)).partitions
        rejected = dataclasses.replace(kept(2, 0), rows_scored=0, rows_rejected=2)
        for record, nothing in ((kept(2, 0), False), (rejected, True)):
            (planned,) = plan(ExistingParts(kept={one: {0: record}})).partitions
            assert planned.nothing_scored is nothing

    def test_reasons_are_counted_by_split(self, plan: Planner, data: Path) -> None:
        """Splits without a part are missing, or changed like the parts of others."""
        write(data / "in.parquet", 6)
        (one,) = discover(str(data)).partitions
        assert plan(ExistingParts(reasons={one: {1: ["damaged"]}})).reasons == {"damaged": 1, "missing": 2}
        assert plan(ExistingParts(reasons={one: {0: ["model changed"], 9: ["torn"]}})).reasons == {"model changed": 3}
        assert plan(ExistingParts(reasons={one: {0: ["model changed"], 1: []}})).reasons == {"model changed": 3}

    def test_reasons_of_a_csv(self, plan: Planner, data: Path) -> None:
        """Only splits that have a part are known; without any, one is missing."""
        data.mkdir()
        (data / "in.csv").write_text("id,a,b\n1,2,3\n")
        (one,) = discover(str(data)).partitions
        assert plan().reasons == {"missing": 1}
        found = plan(ExistingParts(reasons={one: {0: ["input changed"], 3: ["input changed"]}}))
        assert found.reasons == {"input changed": 2}


class TestRefusals:
    """Inputs that cannot be scored, or whose outputs would collide."""

    def refused(self, plan: Planner, kind: type[Exception] = ColumnError, **changes: Any) -> str:
        with pytest.raises(kind) as error:
            plan(**changes)
        return str(error.value)

    def test_a_broken_file_does_not_stop_the_others(self, plan: Planner, data: Path) -> None:
        write(data / "in.parquet")
        (data / "bad.parquet").write_bytes(b"PAR1 nothing PAR1")
        found = plan()
        assert [error.partition for error in found.failed] == ["bad.parquet"]
        assert [entry.partition.name for entry in found.partitions] == ["in.parquet"]

    def test_a_type_that_differs_between_files(self, plan: Planner, data: Path) -> None:
        """The message names a file in which it is right."""
        write(data / "one.parquet")
        write(data / "two.parquet", a=pa.array(["x", "y"]))
        assert self.refused(plan).endswith("cast it where the file is written (in 'one.parquet' it is double)")

    def test_a_key_that_is_missing_or_repeated(self, plan: Planner, data: Path) -> None:
        write(data / "in.parquet")
        message = self.refused(plan, columns=ColumnOptions(keys=("key",)))
        assert message == "in.parquet: column 'key' is missing; the columns are 'id', 'a', 'b'"
        message = self.refused(plan, columns=ColumnOptions(keys=(" id",)))
        assert message == "in.parquet: column ' id' is missing; 'id' is there, and names are matched exactly"
        write(data / "in.parquet", **{f"k{number}": pa.array([1, 2]) for number in range(7)})
        message = self.refused(plan, columns=ColumnOptions(keys=("key",)))
        assert message.endswith("the columns are 'id', 'a', 'b', 'k0', 'k1', 'k2', 'k3', 'k4' and 2 more")
        twice = pa.table([pa.array([1])] * 4, names=["a", "b", "id", "id"])
        pq.write_table(twice, data / "in.parquet")
        assert self.refused(plan) == (
            "in.parquet: column 'id' appears twice and cannot be carried through; name the keys to keep with --keys"
        )

    def test_a_column_with_the_name_of_an_output(self, plan: Planner, data: Path) -> None:
        write(data / "in.parquet", prediction=pa.array([1, 2]))
        assert "column 'prediction' is also the name of an output" in self.refused(plan)
        assert plan(columns=ColumnOptions(prefix="p_")).partitions

    def test_a_folder_with_the_name_of_an_output(self, plan: Planner, data: Path) -> None:
        write(data / "probability=1" / "in.parquet")
        assert "the folder 'probability'= is also the name of an output" in self.refused(plan)

    def test_two_inputs_with_one_output(self, plan: Planner, data: Path) -> None:
        """By their whole names, or by the number of a split that is possible."""
        write(data / "x.csv.parquet")
        (data / "x.csv").write_text("id,a,b\n1,2,3\n")
        message = "inputs 'x.csv' and 'x.csv.parquet' would both be written to 'x.csv.parquet'; rename one"
        assert self.refused(plan, UsageError) == message

    @pytest.mark.parametrize(("rows", "clash"), [(2, False), (3, True)])
    def test_an_input_named_like_a_split(self, plan: Planner, data: Path, rows: int, clash: bool) -> None:
        write(data / "x.parquet", rows)
        write(data / "x-00001.parquet")
        if clash:
            assert "would both be written to 'x-00001.parquet'" in self.refused(plan, UsageError)
        else:
            assert len(plan().partitions) == 2

    @pytest.mark.parametrize(("name", "clash"), [("x-00002.parquet", False), ("x-00001.parquet", True)])
    def test_the_last_split_of_another_input(self, plan: Planner, data: Path, name: str, clash: bool) -> None:
        """Of two."""
        write(data / "x.parquet", 4)
        write(data / name)
        if clash:
            assert f"'x.parquet' and {name!r} would both be written to {name!r}" in self.refused(plan, UsageError)
        else:
            assert len(plan().partitions) == 2

    def test_an_input_named_like_a_split_of_a_csv(self, plan: Planner, data: Path) -> None:
        """Whose number of splits is unknown."""
        write(data / "x.csv-00007.parquet")
        (data / "x.csv").write_text("id,a,b\n1,2,3\n")
        assert self.refused(plan, UsageError) == (
            "inputs 'x.csv' and 'x.csv-00007.parquet' would both be written to 'x.csv-00007.parquet'; rename one"
        )

    def test_a_csv_whose_parts_may_be_numbered(self, plan: Planner, data: Path) -> None:
        """By its size, since the number of its rows is unknown."""
        data.mkdir()
        (data / ("x" * 243 + ".csv")).write_text("id,a,b\n" + "1,2,3\n" * 9)
        assert "would have a name of 261 bytes" in self.refused(plan, UsageError)

    def test_names_that_are_too_long_for_their_parts(self, plan: Planner, data: Path) -> None:
        """The numbered parts of an input have longer names than itself."""
        name = "x" * 246 + ".parquet"
        write(data / name)
        assert len(plan().partitions) == 1
        write(data / name, 3)
        assert self.refused(plan, UsageError).endswith(
            "would have a name of 260 bytes, above the limit of 255; rename the input"
        )

    def test_options_that_no_head_supports(self, plan: Planner, data: Path) -> None:
        write(data / "in.parquet")
        assert "--top-k is for multiclass" in self.refused(plan, UsageError, columns=ColumnOptions(top_k=1))


def test_equal_columns_are_shared(plan: Planner, data: Path) -> None:
    """A plan of many files has as many schemas as there are different ones: by format, or by the names of folders,
    whose values are their own. Metadata is no difference."""
    for number in range(40):
        write(data / f"plain-{number:02}.parquet")
    noted = pa.table({"id": [0], "a": [0.5], "b": [1.5]}).replace_schema_metadata({"by": "x"})
    pq.write_table(noted, data / "noted-1.parquet")
    pq.write_table(noted, data / "noted-2.parquet")
    for value in ("7", "8"):
        write(data / f"b={value}" / "in.parquet", b=None)
    (data / "in.csv").write_text("id,a,b\n1,2,3\n")
    found = plan().partitions
    shared = {entry.partition.name: id(entry.columns) for entry in found}
    kinds = {name: name.partition("-")[0].partition("=")[0] for name in shared}
    assert len(shared) == 45
    assert len(set(shared.values())) == 3
    assert len(set(zip(shared.values(), kinds.values(), strict=True))) == len(set(kinds.values())) == 4
    assert [entry.hive for entry in found if entry.hive] == [(("b", "7"),), (("b", "8"),)]


@pytest.mark.parametrize("waits", [True, False])
def test_footers_are_read_by_several_threads_where_they_are_waited_for(
    waits: bool, plan: Planner, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the first of them show."""

    def read(*given: Any) -> tuple[pa.Schema, int | None]:
        threads.append(get_ident())
        sleep(0.005 if waits else 0)
        return plain(*given)

    for number in range(3 * FOOTERS):
        write(data / f"{number:03}.parquet")
    threads, plain = list[int](), FORMATS["parquet"].read_schema
    monkeypatch.setattr(FORMATS["parquet"], "read_schema", read)
    if not waits:
        monkeypatch.setattr(planning, "perf_counter", lambda: 0.0)  # a busy machine looks like waiting
    assert [entry.partition.name for entry in plan().partitions] == [f"{n:03}.parquet" for n in range(3 * FOOTERS)]
    assert set(threads[:FOOTERS]) == {get_ident()}
    assert (len(set(threads)) > 1) == waits
