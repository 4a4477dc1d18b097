"""How long a device was busy: the union of what it did on several streams at once. Independent of torch."""

from threading import Lock

#: Spans to collect before they are merged, and the seconds for which merged ones stay open to late ones.
MOST_SPANS, OPEN_S = 4096, 10.0


class Busy:
    """Adds up spans of time that may overlap and come in any order.

    Spans of which a part is more than `OPEN_S` older than the latest one are cut off there once that has been added up,
    so the sum is never too large.
    """

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []
        self._closed_s = 0.0
        self._closed_until = float("-inf")
        self._most = MOST_SPANS
        self._lock = Lock()

    def add(self, start_s: float, end_s: float) -> None:
        """Add a span, in seconds of any clock."""
        with self._lock:
            self._spans.append((start_s, end_s))
            if len(self._spans) >= self._most:
                self._merge()
                self._close()
                self._most = max(MOST_SPANS, 2 * len(self._spans))

    @property
    def seconds(self) -> float:
        """The length of the union so far."""
        with self._lock:
            self._merge()
            return self._closed_s + sum(end - start for start, end in self._spans)

    def _merge(self) -> None:
        """Replace the spans by disjoint ones, in order."""
        merged: list[tuple[float, float]] = []
        for start, end in sorted(self._spans):
            begin = max(start, self._closed_until)
            if begin >= end:
                continue
            if merged and begin <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            else:
                merged.append((begin, end))
        self._spans = merged

    def _close(self) -> None:
        """Add up what is old."""
        if not self._spans:
            return
        until = max(self._closed_until, self._spans[-1][1] - OPEN_S)
        self._closed_s += sum(min(end, until) - start for start, end in self._spans if start < until)
        self._spans = [(max(start, until), end) for start, end in self._spans if end > until]
        self._closed_until = until
