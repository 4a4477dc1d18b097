"""Scoring on a real Ray: the same bytes as a plain run, whatever happens to workers. Skipped where Ray is missing."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from scoreline.pipeline.engines import worker_engine
from scoreline.pipeline.engines.ray_cluster import connected
from scoreline.pipeline.engines.ray_engine import RayEngine
from scoreline.pipeline.engines.workers import WorkerLost, WorkersStarted
from scoreline.pipeline.errors import ClusterError
from scoreline.pipeline.events import Event
from scoreline.pipeline.options import RejectBudget, ScoreJob
from scoreline.pipeline.running.run import run

from conftest import Example, Result
from object_storage import Storage
from outcomes import closed, equal_records, parts, visible

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'scoreline[ray]'")
Command = Callable[..., Result]


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """One local Ray with two cores for all tests, which runs find connected."""
    with connected(ScoreJob(bundle="b", input="i", output="o", run_id="r", engine="ray", workers=2)):
        yield


@pytest.fixture
def words(iris: Example, data: Path) -> list[object]:
    """The job, without an output."""
    return ["score", "--bundle", iris.bundle, "--input", data, "--max-rejects", "2", "--split-rows", "100"]


@pytest.fixture
def on_ray(scoreline: Command, words: list[object], tmp_path: Path) -> Command:
    """Score on two workers."""
    return lambda *more: scoreline(*words, "--output", tmp_path / "out", "--engine", "ray", "--workers", "2", *more)


@pytest.fixture
def whole(scoreline: Command, words: list[object], tmp_path: Path) -> dict[str, bytes]:
    """The output of a plain run."""
    assert scoreline(*words, "--output", tmp_path / "whole").code == 0
    return parts(tmp_path / "whole")


def job(iris: Example, data: Path, out: Path, **options: Any) -> ScoreJob:
    """The same job in Python."""
    return ScoreJob(
        bundle=str(iris.bundle), input=str(data), output=str(out), run_id="one", split_rows=100,
        max_rejects=RejectBudget(count=2), engine="ray", **{"workers": 2, **options},
    )  # fmt: skip


def workers() -> list[psutil.Process]:
    """The processes of the workers of this test's own Ray."""
    return [one for one in psutil.Process().children(recursive=True) if one.name().startswith("ray::Worker")]


@pytest.mark.long  # before the tests that share a local Ray, since a process has one connection
def test_a_killed_machine(iris: Example, data: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    """Of two on loopback: the other one scores the rest."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 << 20})
    try:
        node = cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
        lost: list[Event] = []

        def kill_node(event: Event) -> None:
            if isinstance(event, WorkersStarted):
                before = workers()
                cluster.remove_node(node, allow_graceful=False)
                gone, _ = psutil.wait_procs(before, timeout=5)  # before they end, they would score these few rows
                assert len(gone) == 1
            if isinstance(event, WorkerLost):
                lost.append(event)

        run(job(iris, data, tmp_path / "out", address=cluster.address), [kill_node], RayEngine())
        assert lost
        assert parts(tmp_path / "out") == whole
    finally:
        cluster.shutdown()


def test_object_storage(
    process: Command, words: list[object], data: Path, whole: dict[str, bytes], storage: Storage
) -> None:
    """Input and output in a bucket; a second run has nothing to do."""
    source = storage.upload(data, "in/")
    given = [source if word == data else word for word in words]
    given += ["--output", f"{storage.uri}/out", "--engine", "ray", "--workers", "2"]
    result = process(*given)
    assert result.code == 0, result.err
    found = {one.key.removeprefix("out/"): one.key for one in storage.bucket.list("out")}
    assert {name for name in found if not name.startswith("_scoreline/")} == whole.keys()
    assert [name for name in whole if name.endswith(".arrow") and storage.bucket.read(found[name]) != whole[name]] == []
    assert "nothing_to_do" in process(*given).err


@pytest.mark.usefixtures("local_ray")
def test_the_same_bytes_as_a_plain_run(
    on_ray: Command, whole: dict[str, bytes], words: list[object], scoreline: Command, tmp_path: Path
) -> None:
    """With the same records; stage times are those of all workers. Then there is nothing left to do on either engine,
    and a part that is lost is scored again."""
    result = on_ray()
    assert result.code == 0, result.err
    out = tmp_path / "out"
    assert parts(out) == whole
    run_json = equal_records(out, tmp_path / "whole")
    assert run_json["stages"]["forward"]["rows"] == 1798
    assert result.event("workers_started")["workers"] == 2
    assert len([event for event in result.events if event["event"] == "split_published"]) == len(plain_parts(whole))
    assert scoreline("verify", out).code == 0
    assert "nothing_to_do" in scoreline(*words, "--output", out).err
    (out / "big-00003.parquet").unlink()
    assert on_ray().event("run_started")["to_score"] == {"missing": 1}
    assert parts(out) == whole


def plain_parts(whole: dict[str, bytes]) -> list[str]:
    """The names of the parts with predictions."""
    return [name for name in whole if name.endswith(".parquet")]


@pytest.mark.usefixtures("local_ray")
def test_a_killed_worker(iris: Example, data: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    """Costs what it was scoring: another worker scores it again."""
    events: list[Event] = []

    def kill_one(event: Event) -> None:
        events.append(event)
        if isinstance(event, WorkersStarted):
            workers()[0].kill()

    run(job(iris, data, tmp_path / "out"), [kill_one], RayEngine())
    (lost,) = [event for event in events if isinstance(event, WorkerLost)]
    assert "worker process has died" in lost.reason
    assert parts(tmp_path / "out") == whole
    assert not [name for name in visible(tmp_path / "out") if ".tmp" in name]


@pytest.mark.usefixtures("local_ray")
def test_workers_that_always_die(iris: Example, data: Path, tmp_path: Path) -> None:
    """End the run, with the reason."""
    ended = threading.Event()

    def kill_all() -> None:
        while not ended.wait(0.05):
            for worker in workers():
                worker.kill()

    killer = threading.Thread(target=kill_all)
    killer.start()
    try:
        with pytest.raises(ClusterError, match=r"^3 workers in a row could not start, the last one because The actor"):
            run(job(iris, data, tmp_path / "out"), [], RayEngine())
    finally:
        ended.set()
        killer.join()
    assert visible(tmp_path / "out") == []


@pytest.mark.usefixtures("local_ray")
def test_an_input_that_cannot_be_read(
    scoreline: Command, on_ray: Command, words: list[object], data: Path, tmp_path: Path
) -> None:
    """Fails alone, as in a plain run."""
    big = (data / "big.parquet").read_bytes()
    middle = len(big) // 2
    (data / "big.parquet").write_bytes(big[:middle] + bytes(400) + big[middle + 400 :])
    plain = scoreline(*words, "--output", tmp_path / "whole")
    result = on_ray()
    assert (result.code, plain.code) == (65, 65)
    assert result.event("partition_failed")["partition"] == "big.parquet"
    assert result.message.startswith("big.parquet: ")
    assert "(1 of 5 inputs could not be read; the others are published)" in result.message
    for name, content in parts(tmp_path / "whole").items():
        if not name.startswith(("big", "_rejects")):
            assert parts(tmp_path / "out")[name] == content


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(("budget", "allowed"), [("1", "1 allowed"), ("0.05%", "0.05% of ")])
def test_too_many_rejects(on_ray: Command, budget: str, allowed: str) -> None:
    """Of all workers together."""
    closed(on_ray("--max-rejects", budget), 65, "big.parquet: row ", f"2 rows rejected, {allowed}")


@pytest.mark.usefixtures("local_ray")
def test_a_worker_with_other_versions(on_ray: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends the run before a row is scored: here it is the process of the run that differs."""
    monkeypatch.setattr(worker_engine, "versions", lambda _: {"numpy": "1.0"})
    closed(on_ray(), 69, "worker on host ", "numpy is version ", "and 1.0 where the run was started")
    assert visible(tmp_path / "out") == []


@pytest.mark.usefixtures("local_ray")
def test_an_address_beside_a_connection(on_ray: Command) -> None:
    """Is refused: it would be ignored."""
    closed(on_ray("--address", "auto"), 2, "connected to Ray already, so the address 'auto' cannot be used")


def test_a_cluster_that_does_not_exist(process: Command, words: list[object], tmp_path: Path) -> None:
    """Is named."""
    result = process(*words, "--output", tmp_path / "out", "--engine", "ray", "--address", "127.0.0.1:1")
    closed(result, 69, "Ray at '127.0.0.1:1' cannot be used: [Errno 111] Connection refused; check --address")


@pytest.mark.long
def test_a_signal_ends_a_local_ray(words: list[object], tmp_path: Path) -> None:
    """Without temporaries or processes left; the same command completes the output."""
    command = [
        sys.executable,
        "-m",
        "scoreline",
        *map(str, words),
        "--output",
        str(tmp_path / "out"),
        "--engine",
        "ray",
    ]
    children: list[psutil.Process] = []
    with subprocess.Popen([*command, "--split-rows", "10"], stderr=subprocess.PIPE, text=True) as started:
        assert started.stderr is not None
        for line in started.stderr:
            if '"workers_started"' in line:
                children = psutil.Process(started.pid).children(recursive=True)
                started.terminate()
    assert (started.returncode, bool(children)) == (143, True)
    assert psutil.wait_procs(children, timeout=30)[1] == []
    assert not [name for name in visible(tmp_path / "out") if ".tmp" in name or name == "_SUCCESS"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
