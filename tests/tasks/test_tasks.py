"""A task is one class and one entry in `TASKS`: counts, registered only here, are planned and decoded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest
import torch
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.bundle.columns import check_options, output_fields
from scoreline.pipeline.errors import BundleError, UsageError
from scoreline.pipeline.inputs.discover import discover
from scoreline.pipeline.options import ColumnOptions, Explain, ScoreJob
from scoreline.pipeline.planning.existing import ExistingParts
from scoreline.pipeline.planning.plan import make_plan
from scoreline.pipeline.running.manifest import head_records
from scoreline.pipeline.tasks.decode import check_shape, decode_head, raw_arrays
from scoreline.pipeline.tasks.task import HeadColumns, Task
from scoreline.pipeline.tasks.tasks import TASKS, task_of
from scoreline.schemas.bundle import BundleManifest, Ensemble
from scoreline.schemas.heads import Head

from conftest import Example


class CountHead(Head):
    """`[rows]`: the logarithm of the rate of a Poisson distribution."""

    task: Literal["count"] = "count"


class CountTask(Task[CountHead]):
    """The rate of an event, and the probability that it does not happen."""

    name = "count"

    @property
    def width(self) -> int:
        """The logarithm of a rate."""
        return 1

    def fields(self, options: ColumnOptions, *, std: bool) -> list[pa.Field]:
        """`prediction`, `probability_of_none`."""
        none = [] if options.probabilities == "none" else [pa.field("probability_of_none", pa.float32())]
        return [pa.field("prediction", pa.float64()), *none]

    def decode(
        self, raw: Any, options: ColumnOptions, ensemble: Ensemble | None = None, num_members: int = 1
    ) -> HeadColumns:
        """The rate."""
        rates = raw[:, 0].double().exp()
        none = [] if options.probabilities == "none" else [pa.array((-rates).exp().float().numpy())]
        return HeadColumns(columns=[pa.array(rates.numpy()), *none], finite=rates.isfinite())

    def expected_columns(self, values: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        """Rates."""
        return {names[0]: values}


@pytest.fixture
def manifest(monkeypatch: pytest.MonkeyPatch, diabetes: Example) -> BundleManifest:
    """A bundle with a head of counts."""
    monkeypatch.setitem(TASKS, "count", CountTask)
    return open_bundle(str(diabetes.bundle)).manifest.model_copy(update={"heads": [CountHead()]})


class TestCounts:
    """A task that is defined only in this test."""

    def test_columns(self, manifest: BundleManifest) -> None:
        assert [f.name for f in output_fields(manifest, ColumnOptions())] == ["prediction", "probability_of_none"]
        assert [f.name for f in output_fields(manifest, ColumnOptions(probabilities="none"))] == ["prediction"]
        several = manifest.model_copy(update={"heads": [CountHead(name="a"), CountHead(name="b")]})
        assert output_fields(several, ColumnOptions())[2].name == "b_prediction"

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (ColumnOptions(top_k=2), "the bundle's task is count"),
            (ColumnOptions(thresholds=(("", 0.3),)), "the bundle's task is count"),
            (ColumnOptions(explain=Explain(method="shapley")), "--explain-target"),
        ],
    )
    def test_unsupported_options_are_refused(self, manifest: BundleManifest, options: ColumnOptions, says: str) -> None:
        with pytest.raises(UsageError, match=says):
            check_options(manifest, options)

    def test_planning(self, manifest: BundleManifest, tmp_path: Path, diabetes: Example) -> None:
        diabetes.frame.to_parquet(tmp_path / "in.parquet")
        job = ScoreJob(bundle="", input="", output=str(tmp_path / "out"), run_id="")
        plan = make_plan(discover(str(tmp_path / "in.parquet")), ExistingParts(), manifest, job, 1 << 20)
        (planned,) = plan.partitions
        assert planned.columns.schema.names[-2:] == ["prediction", "probability_of_none"]

    def test_decoding(self, manifest: BundleManifest) -> None:
        raw = torch.tensor([[0.0], [1.0], [torch.inf]])
        decoded = decode_head(manifest.heads[0], raw, ColumnOptions())
        np.testing.assert_allclose(decoded.columns[0], [1, np.e, np.inf])
        np.testing.assert_allclose(decoded.columns[1], np.exp([-1, -np.e, -np.inf]), rtol=1e-6)
        assert decoded.finite is not None
        assert decoded.finite.tolist() == [True, True, False]
        np.testing.assert_array_equal(raw_arrays(manifest.heads, {"output": raw})["output"], raw.numpy())

    def test_shapes(self, manifest: BundleManifest) -> None:
        head = manifest.heads[0]
        check_shape(head, torch.zeros(5), 5)
        check_shape(head, torch.zeros(5, 1), 5)
        with pytest.raises(BundleError, match=r"\[5, 2\] for 5 rows, but count"):
            check_shape(head, torch.zeros(5, 2), 5)
        none = task_of(head).no_rows(3)
        assert isinstance(none, torch.Tensor)
        assert none.shape == (0, 3)
        assert task_of(head).values_per_row(7) == 1

    def test_its_record(self, manifest: BundleManifest) -> None:
        (record,) = head_records(manifest, ColumnOptions(prefix="p_"))
        assert (record.task, record.labels, record.columns) == ("count", [], ["p_prediction", "p_probability_of_none"])


def test_tasks_are_listed_by_name() -> None:
    assert all(name == task.name for name, task in TASKS.items())


def test_tasks_and_kinds_of_input_do_not_import_torch() -> None:
    """Planning uses them."""
    code = (
        "import sys; import scoreline.pipeline.tasks.tasks, scoreline.pipeline.features.kinds;"
        " assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")
