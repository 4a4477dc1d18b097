"""The memory of a block in flight, extrapolated from golden rows, on a device with known costs."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.model.devices import Cpu
from scoreline.pipeline.model.passes import num_rows
from scoreline.pipeline.records import Inputs, Sent
from scoreline.pipeline.scoring.footprint import block_bytes
from scoreline.pipeline.scoring.loaded import LoadedBundle
from scoreline.pipeline.scoring.replicas import ReplicaSpec, load_replica

from conftest import Example


class Metered(Cpu):
    """A device that takes a fixed number of bytes for each pass, and others for each row."""

    def __init__(self, fixed: int, each: int) -> None:
        super().__init__()
        self._fixed, self._each, self._rows = fixed, each, 0

    def room(self, _: int) -> int | None:
        return 1

    def send(self, tensors: Inputs) -> Sent:
        self._rows = num_rows(tensors)
        return super().send(tensors)

    def peak_bytes(self, run: Callable[[], object]) -> int:
        run()
        return self._fixed + self._each * self._rows


@pytest.fixture(scope="module")
def spec(iris: Example) -> ReplicaSpec:
    return ReplicaSpec(bundle=open_bundle(iris.bundle))


@pytest.fixture
def loaded(spec: ReplicaSpec) -> LoadedBundle:
    return load_replica(spec, Cpu())[0]


def test_on_the_cpu_nothing_is_measured(loaded: LoadedBundle, spec: ReplicaSpec) -> None:
    """It shares the host's memory."""
    assert block_bytes(loaded, spec.golden) == 0


@pytest.mark.parametrize("pass_rows", [1000, 4000])
@pytest.mark.parametrize(("fixed", "each"), [(0, 500), (70_000, 500), (70_000, 0)])
def test_by_rows(loaded: LoadedBundle, spec: ReplicaSpec, pass_rows: int, fixed: int, each: int) -> None:
    """Iris has 4 inputs and 3 outputs of 4 bytes: 28 bytes for each of 4,000 rows, and what a pass takes beyond
    them."""
    loaded.members.pass_rows = pass_rows
    metered = replace(loaded, device=Metered(fixed, each), block_rows=4000)
    assert block_bytes(metered, spec.golden) == pytest.approx(28 * 4000 + fixed + max(0, each - 28) * pass_rows, abs=2)


def test_passes_that_are_smaller_than_the_golden_rows(loaded: LoadedBundle, spec: ReplicaSpec) -> None:
    """Everything counts as taken by the rows: nothing shows what is fixed."""
    golden = spec.golden.features.num_rows
    loaded.members.pass_rows = golden // 2
    metered = replace(loaded, device=Metered(70_000, 500), block_rows=4000)
    wanted = 28 * 4000 + (500 + 70_000 / golden - 28) * (golden // 2)
    assert block_bytes(metered, spec.golden) == pytest.approx(wanted, abs=2)
