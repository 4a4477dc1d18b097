"""Like the tests of SQLite: record the filesystem calls of a run, then fail or die at each of them, start again, and
require the bytes of an undisturbed run. With one flow, and with several."""

from itertools import product

import pytest
from bench import OpenBench

KINDS = ["fresh", "other split size", "other model", "other option", "touched input"]
MODES = ["fail before", "fail after", "kill before", "kill after", "full from"]
#: Outputs with all modes; for those that differ only in why their parts are replaced, one mode.
SHORT = [*product(KINDS[:2], MODES), *zip(KINDS[2:], ("kill after", "fail after", "kill before"), strict=True)]

several_flows = pytest.mark.parametrize("flows", [1, 4], ids=["one flow", "four flows"])


@several_flows
@pytest.mark.parametrize(("kind", "mode"), SHORT)
def test_some_calls(open_bench: OpenBench, kind: str, mode: str, flows: int) -> None:
    """P1, P2, P4, P5, P6, P7, P14, P25, P26, in short: two calls of the run, different ones for every mode and
    output."""
    bench = open_bench(kind, flows)
    bench.disturb_at(mode, bench.sample(f"{kind} {mode} {flows}", 2))


@several_flows
@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_every_call(open_bench: OpenBench, kind: str, mode: str, flows: int) -> None:
    """P1, P2, P4, P5, P6, P7, P14, P25, P26: every call of the run."""
    bench = open_bench(kind, flows)
    assert len(bench.points) > 150
    bench.disturb_at(mode, bench.points)
