"""An output that is disturbed again and again, and what must be true of it afterwards."""

import errno
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from layer import Ended, Layer, Point
from scoreline.pipeline.outputs.naming import rejects_name

#: The exit codes of a run in which a call fails: not 1, which is an internal error.
DOCUMENTED = {0, 65, 73, 74, 75, 78}
SIGKILLED = -9
DISK_FAILED = 74
#: How often a point is tried that depends on the order of threads, as where two of them create the same folder.
TRIES = 5


def visible(out: Path) -> dict[str, bytes]:
    """What readers see, and the rejects; not the records of a particular run."""
    files = [file for file in out.rglob("*") if file.is_file() and "_scoreline" not in file.parts]
    return {file.relative_to(out).as_posix(): file.read_bytes() for file in files}


def disturb_all(points: Sequence[Any], disturb: Callable[[Any], bool], *, what: str, least: float) -> None:
    """Disturb a run at each of some points, and report all failures.

    Args:
        disturb: returns whether the point was hit: it may depend on the order of threads.
        what: the points are, for messages.
        least: the share of them that must be hit.
    """
    wrong, num_hit = list[str](), 0
    for point in points:
        try:
            num_hit += disturb(point)
        except AssertionError as error:
            wrong.append(str(error))
    assert not wrong, f"{len(wrong)} of {len(points)} {what}:\n" + "\n\n".join(wrong)
    assert num_hit >= least * len(points), f"only {num_hit} of {len(points)} {what} were disturbed"


class Bench:
    """One output. After every fault, the next run must give the expected bytes, `verify` must find no problem, and the
    run after it must have nothing to do.

    Attributes:
        recorded: an undisturbed run.
        points: all calls of that run, in the order in which they began.
    """

    def __init__(
        self, layer: Layer, words: list[str], out: Path, *, flows: int, earlier: Path | None, wanted: dict[str, bytes]
    ) -> None:
        self._layer, self._words, self._out, self._flows = layer, words, out, flows
        self._earlier, self._wanted = earlier, wanted
        self._old = {} if earlier is None else visible(earlier)
        self.recorded = self.run("count", Point("", "", 0))
        assert self.recorded.code == 0, self.recorded.output
        assert visible(out) == wanted
        self.points = [call.point for call in self.recorded.calls]

    def run(self, mode: str, point: Point, error: int = errno.EIO) -> Ended:
        """Run over the output in its initial state, with a fault."""
        shutil.rmtree(self._out, ignore_errors=True)
        if self._earlier is not None:
            shutil.copytree(self._earlier, self._out)
        return self._layer.run(self._words, below=self._out, flows=self._flows, mode=mode, point=point, error=error)

    def sample(self, seed: str, count: int) -> list[Point]:
        """Some points, the same for the same seed: a call on a path, and one of its occurrences."""
        draw = random.Random(seed)
        names = draw.sample(sorted({point[:2] for point in self.points}), count)
        return [draw.choice([point for point in self.points if point[:2] == name]) for name in names]

    def disturb_at(self, mode: str, points: Sequence[Point]) -> None:
        """Disturb a run at each of some points, and report all failures. Nearly all points must be hit."""
        disturb_all(points, lambda point: self.disturb(mode, point), what="calls", least=0.98)

    def disturb(self, mode: str, point: Point) -> bool:
        """Disturb a run at a point, check what it leaves, run again, and compare. Returns whether the point was hit: it
        may depend on the order of threads."""
        for _ in range(TRIES):
            ended = self.run(mode, point, errno.ENOSPC if mode == "full from" else errno.EIO)
            if ended.hit:
                break
        where = f"{mode} {point}: {ended.output[-1000:]}"
        self._check_end(ended, mode, point, where)
        self._check_left(visible(self._out), ended, where)
        words = [self._words, ["verify", str(self._out), "--json"], self._words]
        after = self._layer.run(*words, below=self._out, flows=self._flows)
        assert after.code == 0, f"{where}\nthen: {after.output[-1000:]}"
        assert '"problems": []' in after.output, f"{where}\nthen: {after.output[-1000:]}"
        assert '"event": "nothing_to_do"' in after.output, f"{where}\nthen: {after.output[-1000:]}"
        assert visible(self._out) == self._wanted, where
        return ended.hit

    def _check_end(self, ended: Ended, mode: str, point: Point, where: str) -> None:
        """A run that was not disturbed has scored everything; an fsync that failed is not tried again. That a report
        cannot be written is a warning: everything else is there."""
        assert "Traceback" not in ended.output, where
        codes = DOCUMENTED
        if not ended.hit:
            codes = {0}
        elif mode.startswith("kill"):
            codes = {SIGKILLED}
        elif point.call == "fsync":
            failed = '"command_failed"' in ended.output  # a full disk may fail both
            codes = {0} if '"report_not_written"' in ended.output and not failed else {DISK_FAILED}
        assert ended.code in codes, f"code {ended.code}: {where}"

    def _check_left(self, left: dict[str, bytes], ended: Ended, where: str) -> None:
        """Parts are complete: the old ones or the new ones. A new one has its rejects."""
        for name, found in left.items():
            if not name.endswith(".parquet"):
                continue
            assert found in (self._old.get(name), self._wanted.get(name)), f"{name} after {where}"
            rejects = rejects_name(name)
            if found != self._old.get(name) and rejects in self._wanted:
                assert left.get(rejects) == self._wanted[rejects], f"{rejects} after {where}"
        if ended.code == 0 or ("_SUCCESS" in left and left != self._old):
            assert left == self._wanted, where


#: Opens the bench for an output in some initial state, and a number of flows.
OpenBench = Callable[[str, int], Bench]
