"""The shard that a process scores, by hand and from the variables of schedulers."""

import pytest
from scoreline.pipeline.options import Shard
from scoreline.pipeline.planning.shard import parse_shard

SLURM = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "9"}


@pytest.mark.parametrize(
    ("text", "environment", "number", "count"),
    [
        ("3/16", {}, 3, 16),
        (" 1/1 ", {}, 1, 1),
        ("auto", {"AWS_BATCH_JOB_ARRAY_INDEX": "0", "AWS_BATCH_JOB_ARRAY_SIZE": "2"}, 1, 2),
        ("auto", {"CLOUD_RUN_TASK_INDEX": "9", "CLOUD_RUN_TASK_COUNT": "10"}, 10, 10),
        ("auto/16", {"CLOUD_RUN_TASK_INDEX": "9", "CLOUD_RUN_TASK_COUNT": "16"}, 10, 16),
        ("auto/16", {"JOB_COMPLETION_INDEX": "15"}, 16, 16),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_COUNT": "7"}, 5, 7),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_COUNT": "4"}, 3, 4),  # --array=3-9:2
        (
            "auto",
            dict(zip(SLURM, ("8", "0", "8"), strict=True)) | {"SLURM_ARRAY_TASK_COUNT": "2"},
            2,
            2,
        ),  # --array=0,8
        ("auto", dict.fromkeys(SLURM, "5") | {"SLURM_ARRAY_TASK_COUNT": "1"}, 1, 1),  # --array=5
        ("3/16", {"JOB_COMPLETION_INDEX": "15"}, 3, 16),
    ],
)
def test_shards(text: str, environment: dict[str, str], number: int, count: int) -> None:
    """Schedulers count from 0, or from where an array begins; shards are numbered from 1."""
    assert parse_shard(text, environment) == Shard(number=number, count=count)


@pytest.mark.parametrize(
    ("text", "environment", "message"),
    [
        ("0/16", {}, "shard 0 of 16 does not exist; shards are numbered 1/16 to 16/16"),
        ("17/16", {}, "shard 17 of 16 does not exist"),
        ("1/99999", {}, "there are 1 to"),
        ("1/0", {}, "there are 1 to"),
        ("3", {}, "'3' is not a shard; use 3/16"),
        ("-1/4", {}, "is not a shard"),
        ("auto", {}, "no scheduler has set an index; pass --shard 3/16, or set one of AWS_BATCH_JOB_ARRAY_INDEX"),
        ("auto", {"JOB_COMPLETION_INDEX": "3"}, "does not say how many shards there are; pass --shard auto/16"),
        ("auto", {**SLURM, "JOB_COMPLETION_INDEX": "3"}, "both JOB_COMPLETION_INDEX and SLURM_ARRAY_TASK_ID are set"),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_COUNT": "5"}, r"the tasks of the array, 5 from 3 to 9, have gaps"),
        ("auto", SLURM, "SLURM_ARRAY_TASK_COUNT is not set"),
        ("auto/4", {"JOB_COMPLETION_INDEX": "x"}, "JOB_COMPLETION_INDEX is 'x', not a number"),
        ("auto/4", {"CLOUD_RUN_TASK_INDEX": "1", "CLOUD_RUN_TASK_COUNT": "5"}, "says 4 shards, but the scheduler 5"),
    ],
)
def test_what_is_refused(text: str, environment: dict[str, str], message: str) -> None:
    """With what to pass instead."""
    with pytest.raises(ValueError, match=message):
        parse_shard(text, environment)
