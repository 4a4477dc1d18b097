"""Writing a bundle: whole or not at all, whoever else writes it."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from scoreline.pipeline.bundle import write
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.bundle.write import write_bundle
from scoreline.pipeline.errors import OutputError
from scoreline.pipeline.storage.temporaries import temporary_name

from conftest import Example

#: Writes copies of a bundle to one path, until killed or done.
WRITER = """
import sys
import time
from pathlib import Path
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.bundle.write import write_bundle

bundle = open_bundle(Path(sys.argv[1]))
files = {name: bundle.read(name) for name in bundle.manifest.files}
print("ready", flush=True)
for _ in range(int(sys.argv[3])):
    write_bundle(sys.argv[2], bundle.manifest, files)
"""


def writer(source: Path, target: Path, times: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(source), str(target), str(times)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_several_writers_of_one_bundle(tmp_path: Path, iris: Example) -> None:
    """Each succeeds; one whole bundle is there at the end, and nothing else."""
    target = tmp_path / "b"
    processes = [writer(iris.bundle, target, 40) for _ in range(3)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert open_bundle(target).digest == open_bundle(iris.bundle).digest
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_bundle_is_there_at_every_moment(tmp_path: Path, iris: Example) -> None:
    """While it is replaced, and whenever its writer is killed."""
    target = tmp_path / "b"
    shutil.copytree(iris.bundle, target)
    for seconds in (0.3, 0.1, 0.2, 0.15):
        process = writer(iris.bundle, target, 100_000)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert (target / "bundle.json").exists()
        process.kill()
        process.communicate()
        assert open_bundle(target).digest == open_bundle(iris.bundle).digest


def test_temporaries_of_killed_writers_are_removed(tmp_path: Path, iris: Example) -> None:
    """But not those of living ones, of other bundles, or of others."""
    target = tmp_path / "b"
    bundle = open_bundle(iris.bundle)
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    for _ in range(5):
        process = writer(iris.bundle, target, 100_000)
        process.kill()
        process.communicate()
    abandoned, other = tmp_path / temporary_name("b"), tmp_path / temporary_name("c")
    for folder in (abandoned, other, tmp_path / ".b.tmp"):
        shutil.copytree(iris.bundle, folder)
    (tmp_path / temporary_name("b")).mkdir()
    assert write_bundle(target, bundle.manifest, files) == bundle.digest
    assert {path.name for path in tmp_path.iterdir()} == {"b", other.name, ".b.tmp"}


def test_a_failed_write_leaves_the_old_bundle(tmp_path: Path, iris: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no temporary, also where the system cannot exchange two names."""
    monkeypatch.setattr(write, "_exchanged", lambda *_: False)
    bundle = open_bundle(iris.bundle)
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    write_bundle(tmp_path / "b", bundle.manifest, files)
    plain, failed = Path.rename, []

    def failing(self: Path, target: Path) -> Path:
        if target == tmp_path / "b" and not failed:
            failed.append(self)
            raise OSError(5, "Input/output error")
        return plain(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", failing)
        with pytest.raises(OutputError, match="cannot be written: Input/output error"):
            write_bundle(tmp_path / "b", bundle.manifest, files)
    assert open_bundle(tmp_path / "b").digest == bundle.digest
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
