"""The limits of a run that `finish` checks, over the parts of all shards; test_shards.py has everything else."""

from collections.abc import Callable
from pathlib import Path

import pytest
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.engines.finish import finish
from scoreline.pipeline.engines.shards import score_shard
from scoreline.pipeline.errors import DriftError, UsageError
from scoreline.pipeline.options import ScoreJob, Shard
from scoreline.pipeline.outputs.store import SUCCESS

from conftest import Example

OLD = Path(__file__).parent.parent / "bundles"


@pytest.fixture
def scored(iris: Example, tmp_path: Path) -> Callable[..., str]:
    """Score two shards of two files, of which the second has drifted; returns the output."""
    (tmp_path / "in").mkdir()
    shifted = iris.frame.assign(**{iris.features[0]: iris.frame[iris.features[0]] + 5})
    for name, frame in (("a", iris.frame), ("b", shifted)):
        frame.to_parquet(tmp_path / "in" / f"{name}.parquet", index=False)

    def call(**options: object) -> str:
        output = str(tmp_path / "out")
        for number in (1, 2):
            shard = Shard(number=number, count=2)
            given = {"bundle": str(iris.bundle), "input": str(tmp_path / "in"), "output": output, "device": "cpu"}
            score_shard(ScoreJob(**{**given, "run_id": f"shard{number}", "shard": shard, **options}))
        return output

    return call


def test_drift(scored: Callable[..., str]) -> None:
    """Is compared with the limit of the shards, or with another one, over all rows."""
    output = scored(max_drift=0.3)
    with pytest.raises(DriftError, match=r"^b\.parquet: 'sepal length \(cm\)' has drifted .* allow more with --max-d"):
        finish(output, run_id="first")
    assert not (Path(output) / SUCCESS).exists()
    found = finish(output, run_id="second", max_drift=1000.0)
    assert found.drift is not None
    assert (found.drift.worst_partition, found.status) == ("b.parquet", "success")
    assert (Path(output) / SUCCESS).exists()


def test_drift_without_counted_rows(scored: Callable[..., str]) -> None:
    """Cannot be limited afterwards."""
    output = scored(profile=False)
    with pytest.raises(UsageError, match="--max-drift needs the profile that --no-profile leaves out"):
        finish(output, run_id="first", max_drift=1.0)
    assert finish(output, run_id="second").drift is None


def test_a_bundle_without_a_reference(scored: Callable[..., str]) -> None:
    """Is refused before a shard scores, as it is by a run."""
    bundle = next(one for one in sorted(OLD.rglob("bundle.json")) if open_bundle(one.parent).manifest.reference is None)
    with pytest.raises(UsageError, match="--max-drift needs a bundle with a reference"):
        scored(bundle=str(bundle.parent), max_drift=0.3)
