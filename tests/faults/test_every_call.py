"""SQLite's standard: count the filesystem calls of a run, then for every k fail, or die, at call k, start again, and
demand the bytes of a run that nothing disturbed."""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from layer import Ended, Layer, build

from conftest import Example
from described import save_described
from textbook import ClassificationModel, randomized

#: What a run may end with when a call fails under it: not 1, which is a fault of ours.
DOCUMENTED = {0, 65, 73, 74, 75, 78}
SIGKILLED = -9


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layer]:
    """The parent of every run."""
    scratch = tmp_path_factory.mktemp("layer")
    try:
        library = build(scratch)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no C compiler here: {error}")
    opened = Layer(library, scratch)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, iris: Example) -> Path:
    """A file of several splits with rejects, a CSV with a ragged row, and one in a folder of its own."""
    folder = tmp_path_factory.mktemp("data")
    frame = iris.frame.copy()
    frame.loc[[17, 90], iris.features[0]] = np.nan
    frame.to_parquet(folder / "a.parquet", index=False)
    lines = iris.frame.head(60).to_csv(index=False).splitlines()
    (folder / "b.csv").write_text("\n".join([*lines[:20], "ragged,row", *lines[20:]]))
    (folder / "day=1").mkdir()
    iris.frame.head(50).to_parquet(folder / "day=1" / "c.parquet", index=False)
    return folder


def visible(out: Path) -> dict[str, bytes]:
    """What a reader sees, and the rejects; not the accounts of a particular run."""
    files = [file for file in out.rglob("*") if file.is_file() and "_scoreline" not in file.parts]
    return {file.relative_to(out).as_posix(): file.read_bytes() for file in files}


class Bench:
    """One output that is disturbed again and again. Whatever the disturbance, the next run ends in the bytes that are
    wanted, `verify` finds nothing, and the run after it has nothing to do."""

    def __init__(
        self, layer: Layer, words: list[str], out: Path, earlier: Path | None, wanted: dict[str, bytes]
    ) -> None:
        self._layer, self._words, self._out, self._earlier, self._wanted = layer, words, out, earlier, wanted
        self._old = {} if earlier is None else visible(earlier)
        self.calls = self.run("count", 0).calls

    def run(self, mode: str, at: int, error: int = errno.EIO) -> Ended:
        """A run over the output as it was at first, disturbed."""
        shutil.rmtree(self._out, ignore_errors=True)
        if self._earlier is not None:
            shutil.copytree(self._earlier, self._out)
        return self._layer.run(self._words, below=self._out, mode=mode, at=at, error=error)

    def disturb(self, mode: str, at: int, error: int = errno.EIO) -> None:
        """Disturb a run at a call, look at what it leaves, run again, and compare."""
        ended = self.run(mode, at, error)
        where = f"{mode} call {at}: {self.calls[at - 1]}: {ended.said[-1000:]}"
        assert "Traceback" not in ended.said, where
        assert ended.code in ({SIGKILLED} if mode.startswith("kill") else DOCUMENTED), where
        left = visible(self._out)
        for name, found in left.items():
            if name.endswith(".parquet"):  # whole: as it was before, or as it is to be
                assert found in (self._old.get(name), self._wanted.get(name)), f"{name} after {where}"
        if ended.code == 0 or ("_SUCCESS" in left and left != self._old):
            assert left == self._wanted, where
        after = self._layer.run(self._words, ["verify", str(self._out), "--json"], self._words, below=self._out)
        assert after.code == 0, f"{where}\nthen: {after.said[-1000:]}"
        assert '"problems": []' in after.said, f"{where}\nthen: {after.said[-1000:]}"
        assert '"event": "nothing_to_do"' in after.said, f"{where}\nthen: {after.said[-1000:]}"
        assert visible(self._out) == self._wanted, where


@pytest.fixture(scope="module")
def other_bundle(iris: Example, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same features and labels, other weights."""
    torch.manual_seed(8)
    model = randomized(ClassificationModel(len(iris.features), [8], len(iris.labels)))
    folder = tmp_path_factory.mktemp("other") / "bundle"
    save_described(
        folder, model, features=iris.features, task=iris.task, scaler=iris.scaler, labels=iris.labels,
        sample=iris.frame,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def open_bench(
    layer: Layer, data: Path, iris: Example, other_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Bench]:
    """Benches over a fresh output, and over complete ones that another model, another option, another split size has
    made, or the same before an input was touched."""
    folder = tmp_path_factory.mktemp("outputs")
    base = ["score", "--input", str(data), "--max-rejects", "9"]
    words = [*base, "--bundle", str(iris.bundle), "--split-rows", "40", "--prefix", "p_"]

    def complete(name: str, words: list[str]) -> Path:
        ended = layer.run([*words, "--output", str(folder / name)], below=folder / name)
        assert ended.code == 0, ended.said
        return folder / name

    earlier: dict[str, Path | None] = {"fresh": None, "touched input": complete("touched", words)}
    times = (data / "a.parquet").stat()
    os.utime(data / "a.parquet", ns=(times.st_atime_ns, times.st_mtime_ns + 1_000_000_000))
    earlier["other split size"] = complete("size", [*base, "--bundle", str(iris.bundle), "--split-rows", "100"])
    earlier["other option"] = complete("option", [*words[:-2], "--top-k", "2"])
    earlier["other model"] = complete("model", [*words, "--bundle", str(other_bundle)])
    wanted = visible(complete("wanted", words))
    assert pq.read_table(folder / "wanted" / "a-00001.parquet").num_rows == 40

    def open_one(kind: str, name: str) -> Bench:
        return Bench(layer, [*words, "--output", str(folder / name)], folder / name, earlier[kind], wanted)

    return open_one


KINDS = ["fresh", "other split size", "other model", "other option", "touched input"]
MODES = ["fail before", "fail after", "kill before", "kill after", "full from"]


def disturb_at(bench: Bench, mode: str, calls: range) -> None:
    """Disturb at every one of some calls, and tell of all that went wrong."""
    wrong = []
    for at in calls:
        try:
            bench.disturb(mode, at, errno.ENOSPC if mode == "full from" else errno.EIO)
        except AssertionError as error:
            wrong.append(str(error))
    assert not wrong, f"{len(wrong)} of {len(calls)} calls:\n" + "\n\n".join(wrong)


#: The kinds of outputs with all modes, or one mode of those that differ in nothing but why their parts are replaced.
SHORT = [*product(KINDS[:2], MODES), *zip(KINDS[2:], ("kill after", "fail after", "kill before"), strict=True)]


@pytest.mark.parametrize(("kind", "mode"), SHORT)
def test_some_calls(open_bench: Callable[..., Bench], kind: str, mode: str) -> None:
    """P1, P2, P4, P5, P6, P7, P14, P25, P26, in short: two calls of the run, other ones for every mode and kind."""
    bench = open_bench(kind, f"some {kind} {mode}")
    step = len(bench.calls) // 2
    first = 1 + (17 * MODES.index(mode) + 29 * KINDS.index(kind)) % step
    disturb_at(bench, mode, range(first, len(bench.calls) + 1, step))


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_every_call(open_bench: Callable[..., Bench], kind: str, mode: str) -> None:
    """P1, P2, P4, P5, P6, P7, P14, P25, P26: every call of the run."""
    bench = open_bench(kind, f"every {kind} {mode}")
    assert len(bench.calls) > 150
    disturb_at(bench, mode, range(1, len(bench.calls) + 1))
