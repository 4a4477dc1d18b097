"""Like the tests of SQLite: record the filesystem calls of a run, then fail or die at each of them, start again, and
require the bytes of an undisturbed run. With one flow, and with several."""

from itertools import cycle, product

import pytest
from bench import OpenBench

KINDS = ["fresh", "other split size", "other model", "other option", "touched input"]
MODES = ["fail before", "fail after", "kill before", "kill after", "full from"]
FLOWS = {"one flow": 1, "four flows": 4}
#: Outputs with all modes; for those that differ only in why their parts are replaced, one mode. One flow and four flows
#: take turns, so that every mode is tried with both.
PAIRS = [*product(KINDS[:2], MODES), *zip(KINDS[2:], ("kill after", "fail after", "kill before"), strict=True)]
SHORT = [pytest.param(*pair, FLOWS[name], id=f"{'-'.join(pair)}-{name}") for pair, name in zip(PAIRS, cycle(FLOWS))]


@pytest.mark.parametrize(("kind", "mode", "flows"), SHORT)
def test_some_calls(open_bench: OpenBench, kind: str, mode: str, flows: int) -> None:
    """P1, P2, P4, P5, P6, P7, P14, P25, P26, in short: two calls of the run, different ones for every mode and
    output."""
    bench = open_bench(kind, flows)
    bench.disturb_at(mode, bench.sample(f"{kind} {mode} {flows}", 2))


@pytest.mark.parametrize("flows", FLOWS.values(), ids=list(FLOWS))
@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_every_call(open_bench: OpenBench, kind: str, mode: str, flows: int) -> None:
    """P1, P2, P4, P5, P6, P7, P14, P25, P26: every call of the run."""
    bench = open_bench(kind, flows)
    assert len(bench.points) > 150
    bench.disturb_at(mode, bench.points)
