"""Like the suite of every filesystem call: record the requests of a run whose input, bundle and output are in object
storage, then disturb or kill it at each of them, start again, and require the bytes of an undisturbed run."""

import pytest
from request_bench import MODES, OpenRequestBench

#: Outputs, and the modes for which they differ from a fresh one.
KINDS = {
    "fresh": MODES,
    "other option": ("lose", "refuse from", "kill before", "kill after"),
    "multipart": ("lose", "kill after"),
    "shards": ("lose", "kill after"),
}


@pytest.mark.parametrize("mode", MODES)
def test_some_requests(open_request_bench: OpenRequestBench, mode: str) -> None:
    """P1, P2, P7, P14, P26, in short: a request of the run, another one for every mode."""
    bench = open_request_bench("other option", 2)
    bench.disturb_at(mode, bench.sample(mode, 1))


@pytest.mark.long
@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in KINDS.items() for mode in modes])
def test_every_request(open_request_bench: OpenRequestBench, kind: str, mode: str) -> None:
    """P1, P2, P7, P14, P26: every request of the run."""
    bench = open_request_bench(kind, 2)
    assert len(bench.points) > 50
    bench.disturb_at(mode, bench.points)
