"""The union of spans of time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.model import busy
from scoreline.pipeline.model.busy import Busy

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=30)


def union(spans: list[tuple[int, int]]) -> int:
    """The seconds that any span covers."""
    return len({second for start, length in spans for second in range(start, start + length)})


@given(SPANS)
def test_overlapping_spans_count_once(spans: list[tuple[int, int]]) -> None:
    """In any order; asking in between changes nothing."""
    found = Busy()
    for number, (start, length) in enumerate(spans):
        found.add(start, start + length)
        assert found.seconds == union(spans[: number + 1])


@given(SPANS)
def test_old_spans_are_added_up(spans: list[tuple[int, int]]) -> None:
    """Exactly, unless one comes far too late; then the sum is too small, never too large."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(busy, "MOST_SPANS", 4)
        patch.setattr(busy, "OPEN_S", 15.0)
        late, ordered = Busy(), Busy()
        for start, length in spans:
            late.add(start, start + length)
        for start, length in sorted(spans):
            ordered.add(start, start + length)
        assert 0 <= late.seconds <= union(spans)
        near = all(start + length - before <= 15 for before, _ in spans for start, length in spans if before <= start)
        assert ordered.seconds == union(spans) if near else ordered.seconds <= union(spans)
        assert len(late._spans) <= 2 * 15 + 4  # disjoint, and open


def test_a_steady_load_keeps_few_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a run is."""
    monkeypatch.setattr(busy, "MOST_SPANS", 100)
    found = Busy()
    for number in range(10_000):
        found.add(number, number + 0.5)
    assert found.seconds == pytest.approx(5000)
    assert len(found._spans) <= 100
