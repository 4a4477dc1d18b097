"""Jobs made in Python are checked by the rules of the command line."""

from pathlib import Path
from typing import Any, get_type_hints

import pytest
from scoreline.pipeline.errors import UsageError
from scoreline.pipeline.options import ColumnOptions, Explain, ScoreJob, Shard
from scoreline.pipeline.planning.option_check import checked_job
from scoreline.pipeline.planning.option_table import OPTIONS


def job(**fields: Any) -> ScoreJob:
    """A job with these fields."""
    return ScoreJob(**{"bundle": "b", "input": "i", "output": "o", "run_id": "r", **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"precision": "x"}, "precision: 'x' is not one of fp32, tf32, bf16, fp16, int8"),
        ({"precision": "tf32", "device": "cpu"}, "--precision tf32 needs a CUDA GPU, and --device is cpu"),
        ({"format": "x"}, "format: 'x' is not one of auto, parquet"),
        ({"engine": "x"}, "engine: 'x' is not one of auto, local, processes, ray"),
        ({"workers": 2}, "--workers is only for --engine processes and ray"),
        ({"engine": "ray", "workers": 0}, "workers: '0' is not a valid integer; use 1 or more"),
        ({"engine": "ray", "shard": Shard(number=1, count=2)}, "--shard and --engine ray both divide the work"),
        ({"engine": "ray", "address": "ray://head:10001"}, "--address 'ray://head:10001' is a URL"),
        ({"engine": "ray", "device": "cuda:1"}, "--device cuda:1 is a GPU of one machine"),
        ({"engine": "ray", "device": "cuda"}, "pass --gpus-per-worker 1"),
        ({"engine": "ray", "device": "cpu", "gpus_per_worker": 1}, "--gpus-per-worker has no use with --device cpu"),
        ({"batch_rows": 0}, "batch_rows: '0' is outside the range 1 to 1,000,000,000 rows"),
        ({"split_rows": -1}, "split_rows: -1 is not a number of rows"),
        ({"memory_bytes": 0}, "memory_bytes: '0' is outside the range"),
        ({"input": ""}, "input: '' is not a path"),
        ({"dedupe": "yes"}, "dedupe: 'yes' is neither True nor False"),
        ({"trust": "sha256:"}, "trust: 'sha256:' is not a tuple"),
        ({"columns": ColumnOptions(top_k=0)}, "top_k: '0' is not a valid integer; use 1 or more"),
        ({"columns": ColumnOptions(probabilities="x")}, "probabilities: 'x' is not one of columns, list, none"),  # type: ignore[arg-type]
        ({"columns": ColumnOptions(explain=Explain(method="x"))}, "explain: 'x' is not one of"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_wrong_fields(fields: dict[str, Any], message: str) -> None:
    """Each with the field, the value and the rule."""
    with pytest.raises(UsageError) as caught:
        checked_job(job(**fields))
    assert message in str(caught.value)


def test_paths_become_text() -> None:
    """A `Path` is accepted where the command line takes text."""
    assert checked_job(job(bundle=Path("b"), input=Path("i"), output=Path("o"))) == job()


def test_every_integer_field_is_checked() -> None:
    """Options of these fields are marked in the table."""
    for option in OPTIONS:
        if option.part in ("job", "columns"):
            field = get_type_hints(ScoreJob if option.part == "job" else ColumnOptions)[option.target]
            assert option.number == (field == int | None), option.name
