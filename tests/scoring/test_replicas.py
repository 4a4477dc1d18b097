"""Replicas of a bundle's models: with what is asked for, and compiled all or none."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.model.devices import Cpu
from scoreline.pipeline.options import Explain
from scoreline.pipeline.scoring.loaded import LoadedBundle
from scoreline.pipeline.scoring.replicas import ReplicaSpec, compile_replicas, load_others, load_replica
from torch import nn

from conftest import Example
from described import save_described
from scoreline import BundleError


@pytest.fixture(scope="module")
def spec(iris: Example) -> ReplicaSpec:
    return ReplicaSpec(bundle=open_bundle(iris.bundle))


@pytest.fixture
def replicas(spec: ReplicaSpec) -> list[LoadedBundle]:
    return [load_replica(spec, Cpu())[0] for _ in range(2)]


def test_golden_rows_are_read_once(spec: ReplicaSpec, iris: Example) -> None:
    """With the features in the model's order."""
    assert spec.golden is spec.golden
    assert spec.golden.features.schema.names == iris.features


def test_the_replay_is_reported(spec: ReplicaSpec) -> None:
    """All golden rows, reproduced."""
    loaded, report = load_replica(spec, Cpu())
    assert report.rows == spec.golden.features.num_rows == 150
    assert report.largest_difference <= 1e-5
    assert (loaded.hidden, loaded.attribution) == (None, None)


def test_hidden_layers_only_where_requested(iris: Example) -> None:
    """They are run with the models as saved, which are loaded a second time."""
    bundle = open_bundle(iris.bundle)
    layer = next(layer.name for member in bundle.manifest.members for layer in getattr(member, "layers", []))
    loaded, _ = load_replica(ReplicaSpec(bundle=bundle, hidden=[layer]), Cpu())
    assert loaded.hidden is not None
    assert [column.name for column in loaded.hidden.columns] == [f"hidden_{layer}"]
    assert loaded.attribution is None


def test_attributions_only_where_requested(iris: Example) -> None:
    """Without hidden layers."""
    explain = Explain(method="integrated-gradients", share=Fraction(1, 2))
    loaded, _ = load_replica(ReplicaSpec(bundle=open_bundle(iris.bundle), explain=explain), Cpu())
    assert loaded.attribution is not None
    assert loaded.attribution.explain == explain
    assert loaded.hidden is None


def test_the_cpu_has_no_others(spec: ReplicaSpec, replicas: list[LoadedBundle]) -> None:
    """It is one device."""
    assert list(load_others(spec, replicas[0], "cpu")) == []


def test_a_lower_precision_that_does_not_reproduce_the_golden_rows(tmp_path: Path) -> None:
    """The message names the precision, and that float32 reproduces them."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).eval()
    with torch.no_grad():  # differences of large numbers, which bfloat16 rounds
        model[0].weight.copy_(torch.tensor([[1000.0, 1], [1000, -1]]))
        model[1].weight.copy_(torch.tensor([[1.0, -1], [-1, 1]]))
    sample = {"a": [1.0, 1.1, 1.2, 1.3], "b": [0.1, -0.2, 0.3, -0.4]}
    save_described(tmp_path / "b", model, features=["a", "b"], task="binary", labels=[0, 1], sample=pa.table(sample))
    bundle = open_bundle(tmp_path / "b")
    assert load_replica(ReplicaSpec(bundle=bundle), Cpu())
    with pytest.raises(BundleError, match="bf16") as found:
        load_replica(ReplicaSpec(bundle=bundle, precision="bf16"), Cpu())
    assert isinstance(found.value.__cause__, BundleError)


def compiler(fails_at: int | None) -> Callable[..., nn.Module]:
    """What is in place of torch.compile: wraps a model, or raises at a call of this number."""
    calls: list[nn.Module] = []

    def compiled(model: nn.Module, **_: Any) -> nn.Module:
        calls.append(model)
        if len(calls) == fails_at:
            raise RuntimeError("no compiler")
        return nn.Sequential(model)

    return compiled


def test_all_are_compiled(spec: ReplicaSpec, replicas: list[LoadedBundle], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once."""
    monkeypatch.setattr(torch, "compile", compiler(None))
    assert compile_replicas(replicas, spec.golden) is None
    first = [loaded.members.models for loaded in replicas]
    assert [loaded.members.compiled for loaded in replicas] == [True, True]
    assert compile_replicas(replicas, spec.golden) is None
    assert [loaded.members.models for loaded in replicas] == first


@pytest.mark.parametrize("fails_at", [1, 2])
def test_or_none(
    spec: ReplicaSpec, replicas: list[LoadedBundle], monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    """Their bytes would differ otherwise; the reason is returned."""
    monkeypatch.setattr(torch, "compile", compiler(fails_at))
    assert compile_replicas(replicas, spec.golden) == "no compiler"
    assert [loaded.members.compiled for loaded in replicas] == [False, False]
