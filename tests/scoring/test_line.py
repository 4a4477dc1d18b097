"""The line of stages: composed from bundle and options, and extensible by another stage."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.bundle import stages
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.bundle.stages import OptionalStage
from scoreline.pipeline.events import Event
from scoreline.pipeline.monitoring.layout import open_layout
from scoreline.pipeline.options import ColumnOptions
from scoreline.pipeline.outputs.receipt import read_receipt
from scoreline.pipeline.scoring import line
from scoreline.pipeline.scoring.block import Block
from scoreline.pipeline.scoring.line import Entry, LineOptions, compose
from scoreline.pipeline.scoring.stages.stage import Stage
from scoreline.pipeline.timing import StageTimes

from conftest import Example, Result
from scoreline import Scorer


def test_the_order_of_a_plain_line(iris: Example) -> None:
    """Optional stages are absent unless requested."""
    scorer = Scorer.load(iris.bundle, device="cpu")
    composed = compose(scorer.loaded)
    assert [stage.name for stage in composed.load_stages] == ["check", "scale"]
    assert [stage.name for stage in composed.score_stages] == ["transfer", "forward", "decode"]
    profiled = compose(replace(scorer.loaded, layout=open_layout(open_bundle(iris.bundle))), LineOptions(profile=True))
    assert [stage.name for stage in profiled.load_stages] == ["check", "profile", "scale"]
    assert [stage.name for stage in profiled.score_stages] == ["transfer", "forward", "decode", "profile_outputs"]
    deduped = compose(scorer.loaded, LineOptions(dedupe=True))
    assert [stage.name for stage in deduped.load_stages] == ["check", "scale", "dedupe"]
    assert line.stage_names(scorer.manifest, LineOptions(columns=ColumnOptions(hidden=("a",)), dedupe=True)) == (
        "discover", "read", "check", "scale", "dedupe", "transfer", "forward", "hidden", "decode", "write", "publish",
    )  # fmt: skip


def test_planning_and_line_have_the_same_optional_stages() -> None:
    """In the same order."""
    optional = [entry.name for entry in (*line.LOAD, *line.SCORE)]
    described = [stage.name for stage in stages.OPTIONAL]
    assert [name for name in optional if name in described] == described


class Counted(Event):
    """Rows were counted."""

    name: ClassVar[str] = "counted"
    rows: int


class Count(Stage):
    """Adds a column with the number of features above a bound."""

    name = "count"

    def __init__(self, bound: float) -> None:
        self._bound = bound

    def __call__(self, block: Block) -> Block:
        features, scored = block.need_features(), block.need_scored()
        (inputs,) = features.inputs.values()
        column = pa.array((inputs.numpy() > self._bound).sum(axis=1).astype(np.int64))
        rows = pa.RecordBatch.from_arrays([*scored.rows.columns, column], schema=block.origin.schema)
        return replace(block, scored=replace(scored, rows=rows), num_rows=rows.num_rows, num_bytes=column.nbytes)

    def summary(self, times: StageTimes) -> Iterator[Event]:
        yield Counted(rows=times[self.name].rows)


@pytest.fixture
def with_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a stage: an entry of the line and its description for planning, nothing else."""
    entry = Entry(name="count", build=lambda _loaded, _options: Count(0.0))
    monkeypatch.setattr(line, "SCORE", (*line.SCORE, entry))
    described = OptionalStage(
        name="count", fields=lambda _m, _o: [pa.field("above", pa.int64())], option=lambda _job: "above 0"
    )
    monkeypatch.setattr(stages, "OPTIONAL", [*stages.OPTIONAL, described])


@pytest.mark.usefixtures("with_count")
def test_one_more_stage_runs_everywhere(iris: Example, tmp_path: Path, scoreline: Callable[..., Result]) -> None:
    """It is executed, timed, logged and part of the fingerprint."""
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    done = scoreline("score", "--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "o")
    assert done.code == 0, done.err
    assert done.event("counted")["rows"] == len(iris.frame)
    table = pq.read_table(tmp_path / "o" / "in.parquet")
    scaled = iris.scaler.transform(iris.frame[iris.features]).astype(np.float32)
    assert table.column("above").to_pylist() == (scaled > 0).sum(axis=1).tolist()
    stage = json.loads((tmp_path / "o" / "_scoreline" / "run.json").read_text())["stages"]["count"]
    assert stage["rows"] == len(iris.frame)
    assert stage["busy_s"] > 0
    receipt = read_receipt(tmp_path / "o" / "in.parquet")
    assert not isinstance(receipt, str)
    assert receipt.fingerprint.options["count"] == "above 0"
    checked = scoreline("check", "--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--json")
    assert "above" in json.loads(checked.out)["rows"]["scored"][0]
    scored = Scorer.load(iris.bundle, device="cpu").score_table(pa.Table.from_pandas(iris.frame))
    assert scored.column("above").to_pylist() == table.column("above").to_pylist()


def test_a_part_without_the_stage_is_scored_again(
    iris: Example, tmp_path: Path, scoreline: Callable[..., Result], request: pytest.FixtureRequest
) -> None:
    """Because its fingerprint lacks the option."""
    iris.frame.to_parquet(tmp_path / "in.parquet", index=False)
    words = ["score", "--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "o"]
    assert scoreline(*words).code == 0
    request.getfixturevalue("with_count")
    again = scoreline(*words)
    assert again.event("run_started")["to_score"] == {"option count changed": 1}


def test_each_block_has_its_own_clock(iris: Example) -> None:
    """The stages of different blocks are timed separately."""
    scorer = Scorer.load(iris.bundle, device="cpu")
    batch = pa.RecordBatch.from_pandas(iris.frame[iris.features])
    composed = compose(scorer.loaded)
    one, other = (composed.score(composed.load(Block(batch=batch))) for _ in range(2))
    assert one.times is not other.times
    assert {name: spent.rows for name, spent in one.times.stages.items()} == {
        name: len(iris.frame) for name in ("check", "scale", "transfer", "forward", "decode")
    }
