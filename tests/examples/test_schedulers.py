"""The files in examples/ run the command that they show, against a real bundle.

What is not run here: cron, systemd, Kubernetes, Airflow, Slurm and Docker themselves. Their files are read as they read
them, as far as that is possible: units by systemd-analyze, manifests by the schema of the API.
"""

import configparser
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import kubernetes_validate
import pytest
import yaml
from scoreline.jobs import cli
from scoreline.pipeline.monitoring.history import find_outputs, read_history
from scoreline.pipeline.planning.run_dates import date_now
from scoreline.schemas.history import HistoryEntry

from conftest import Example, Result

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PAGE = ROOT / "docs" / "how-to" / "schedules.md"
#: Exit codes after which another try cannot help.
PERSON = {1, 2, 65, 66, 69, 73, 78}
Command = Callable[..., Result]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, iris: Example) -> Path:
    """What the examples find in /srv/scoring, all of it scored once, so that a test has nothing to do but the right
    thing."""
    folder = tmp_path_factory.mktemp("srv")
    (folder / "bundles").mkdir()
    (folder / "bundles" / "wine").symlink_to(iris.bundle)
    today = date_now("Europe/Berlin")
    for name in (*((today - timedelta(days=days)).isoformat() for days in (0, 1)), "shard=3"):
        (folder / "incoming" / name).mkdir(parents=True)
        iris.frame.to_parquet(folder / "incoming" / name / "a.parquet", index=False)
    shutil.copy(EXAMPLES / "nightly.toml", folder)
    (folder / "scoreline").write_text(f'#!/bin/sh\nexec {sys.executable} -m scoreline "$@"\n')
    (folder / "scoreline").chmod(0o755)
    assert cli.run(["score", "--job", str(folder / "nightly.toml")]) == 0
    shard = ["--input", str(folder / "incoming/shard=3/*.parquet"), "--output", str(folder / "scored/shard=3")]
    assert cli.run(["score", "--bundle", str(folder / "bundles" / "wine"), *shard]) == 0
    return folder


def localised(name: str, root: Path) -> str:
    """The text of an example, with its paths replaced."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    return text.replace("/opt/scoreline/bin/scoreline", str(root / "scoreline")).replace("/srv/scoring", str(root))


def entries(root: Path, output: str) -> list[HistoryEntry]:
    """The runs of some outputs."""
    return [entry for out in find_outputs([f"{root}/scored/{output}"]) for entry in read_history(out).entries]


@pytest.fixture
def one_more_run(root: Path) -> Iterator[None]:
    """One more run of a day's output has succeeded at the end of the test."""
    before = len(entries(root, "20*"))
    yield
    after = entries(root, "20*")
    assert len(after) == before + 1
    assert all(entry.exit_code == 0 for entry in after)


def cron_commands(text: str) -> list[str]:
    """The commands of a crontab, as cron runs them: up to a % that is not escaped."""
    lines = [line for line in text.splitlines() if line and not re.match(r"#|\w+=", line)]
    commands = []
    for line in lines:
        *when, command = line.split(maxsplit=5)
        assert all(re.fullmatch(r"[0-9*,/-]+", field) for field in when)
        found = re.match(r"(?:\\%|[^%])*", command)
        assert found is not None
        assert found[0] == command, "the command ends at an unescaped %"
        commands.append(found[0].replace(r"\%", "%"))
    return commands


@pytest.mark.usefixtures("one_more_run")
def test_crontab(root: Path) -> None:
    """The job runs and prints nothing; both lines are the same."""
    first, second = cron_commands(localised("crontab", root))
    assert first == second
    done = subprocess.run(["/bin/sh", "-c", first], capture_output=True, text=True, check=False, cwd="/")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "nothing_to_do" in (root / "nightly.log").read_text()


def test_crontab_of_a_failure(root: Path) -> None:
    """The last line of the log is printed, so that it is mailed."""
    first, _ = cron_commands(localised("crontab", root))
    done = subprocess.run(
        ["/bin/sh", "-c", first], capture_output=True, text=True, check=False, cwd="/",
        env={**os.environ, "SCORELINE_INPUT": "/nowhere"},
    )  # fmt: skip
    assert '"event": "command_failed"' in done.stdout
    assert "'/nowhere'" in done.stdout


@pytest.mark.usefixtures("one_more_run")
def test_systemd(root: Path, tmp_path: Path, scoreline: Command) -> None:
    """ExecStart runs; units are valid; restarts depend on the exit code."""
    service = configparser.ConfigParser(interpolation=None)
    service.optionxform = str  # type: ignore[assignment,method-assign]
    service.read_string(localised("systemd/scoreline-nightly.service", root))
    _, *words = shlex.split(service["Service"]["ExecStart"])
    assert scoreline(*words).code == 0
    assert {int(code) for code in service["Service"]["RestartPreventExitStatus"].split()} == PERSON
    if shutil.which("systemd-analyze") is None:
        pytest.skip("the command was run, but there is no systemd-analyze to verify the units")
    units = []
    for name in ("scoreline-nightly.service", "scoreline-nightly.timer"):
        (tmp_path / name).write_text(localised(f"systemd/{name}", root))
        units.append(str(tmp_path / name))
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "scoreline-nightly" not in done.stderr


def manifest(name: str, root: Path) -> dict[str, Any]:
    """A manifest that the API accepts."""
    found: dict[str, Any] = yaml.safe_load(localised(f"kubernetes/{name}", root))
    kubernetes_validate.validate(found, "1.34", strict=True)
    return found


def container_of(job: dict[str, Any]) -> dict[str, Any]:
    """The container of a job whose pods are not restarted in place."""
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    (container,) = pod["containers"]
    return dict(container)


@pytest.mark.usefixtures("one_more_run")
def test_kubernetes_cron_job(root: Path, scoreline: Command) -> None:
    """Its container runs; a disruption is not a failure, and some exit codes end the job."""
    job = manifest("cronjob.yaml", root)["spec"]["jobTemplate"]["spec"]
    container = container_of(job)
    assert scoreline(*container["command"][1:], *container["args"]).code == 0
    disruption, codes = job["podFailurePolicy"]["rules"]
    assert (disruption["action"], disruption["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert (codes["action"], set(codes["onExitCodes"]["values"])) == ("FailJob", PERSON)


def test_kubernetes_indexed_job(root: Path, scoreline: Command) -> None:
    """The container of one index runs."""
    job = manifest("indexed-job.yaml", root)["spec"]
    container = container_of(job)
    (variable,) = container["env"]
    words = [word.replace(f"$({variable['name']})", "3") for word in container["args"]]
    before = len(entries(root, "shard=3"))
    assert scoreline(*container["command"][1:], *words).code == 0
    assert len(entries(root, "shard=3")) == before + 1
    codes = job["podFailurePolicy"]["rules"][1]
    assert (codes["action"], set(codes["onExitCodes"]["values"])) == ("FailIndex", PERSON)
    assert not any("$(" in word for word in words)


class FailError(Exception):
    """Airflow's error for a task that is not retried."""


class SkipError(Exception):
    """Airflow's error for a task that is skipped."""


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> list[Callable[..., None]]:
    """The names that the DAG imports. Tasks are collected instead of being scheduled."""
    tasks: list[Callable[..., None]] = []

    def dag(*, schedule: object, **_: object) -> Callable[..., Any]:
        assert schedule == ("interval", "15 2 * * *", "Europe/Berlin"), "otherwise ds is not yesterday"
        return lambda function: function

    def task(**_: object) -> Callable[..., Any]:
        return lambda function: lambda: tasks.append(function)

    sdk, exceptions = ModuleType("airflow.sdk"), ModuleType("airflow.exceptions")
    interval = ModuleType("airflow.timetables.interval")
    vars(sdk).update(dag=dag, task=task)
    vars(interval).update(CronDataIntervalTimetable=lambda cron, timezone: ("interval", cron, timezone))
    vars(exceptions).update(AirflowFailException=FailError, AirflowSkipException=SkipError)
    for module in (ModuleType("airflow"), ModuleType("airflow.timetables"), sdk, exceptions, interval):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return tasks


@pytest.mark.usefixtures("one_more_run")
def test_airflow(root: Path, tmp_path: Path, airflow: list[Callable[..., None]]) -> None:
    """The task runs for a day, skips a day without input, fails for good where a person is needed, and else is
    retried."""
    (tmp_path / "dag.py").write_text(localised("airflow/nightly_scoring.py", root))
    found = runpy.run_path(str(tmp_path / "dag.py"))
    assert found["PERSON"] | {found["NO_INPUT"]} == PERSON
    (score,) = airflow
    day = Path(entries_folder(root)).name
    score(ds=day)
    with pytest.raises(SkipError, match="no input for 2020-01-01"):
        score(ds="2020-01-01")
    with pytest.raises(FailError, match="scoreline ended with 2"):
        score(ds="nonsense")
    (tmp_path / "locked").write_text("#!/bin/sh\nexit 75\n")
    (tmp_path / "locked").chmod(0o755)
    text = (tmp_path / "dag.py").read_text().replace(str(root / "scoreline"), str(tmp_path / "locked"))
    (tmp_path / "dag.py").write_text(text)
    runpy.run_path(str(tmp_path / "dag.py"))
    with pytest.raises(RuntimeError, match="scoreline ended with 75"):
        airflow[-1](ds=day)


def entries_folder(root: Path) -> str:
    """The output of a day."""
    return next(find_outputs([f"{root}/scored/20*"]))


def test_slurm(root: Path, tmp_path: Path) -> None:
    """One task of the array runs, with srun and scontrol replaced; after a signal it is queued again."""
    (tmp_path / "srun").write_text('#!/bin/sh\n"$@"\nexit ${CODE:-$?}\n')
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/requeued\n')
    for name in ("srun", "scontrol"):
        (tmp_path / name).chmod(0o755)
    (tmp_path / "array.sh").write_text(localised("slurm/array.sh", root))
    before = len(entries(root, "shard=3"))
    array = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_JOB_ID": "77", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for code, wanted in ((None, 0), ("65", 65), ("143", 143)):
        changes = array if code is None else {**array, "CODE": code}
        words = ["bash", str(tmp_path / "array.sh")]
        done = subprocess.run(words, env={**os.environ, **changes}, capture_output=True, check=False, cwd="/")
        assert done.returncode == wanted, done.stderr
    assert len(entries(root, "shard=3")) == before + 3
    assert (tmp_path / "requeued").read_text() == "requeue 77_3\n"


@pytest.mark.usefixtures("one_more_run")
def test_docker(root: Path, scoreline: Command) -> None:
    """The command of the image runs; the image itself is not built, since that needs a daemon and the network."""
    text = re.sub(r"\\\n", "", localised("docker/Dockerfile", root))
    found = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    known = {"FROM", "WORKDIR", "COPY", "RUN", "ARG", "ENV", "USER", "ENTRYPOINT", "CMD"}
    assert {instruction for instruction, _ in found} == known
    last = dict(found)
    assert last["USER"] != "root"
    assert yaml.safe_load(last["ENTRYPOINT"]) == ["scoreline"]
    assert scoreline(*yaml.safe_load(last["CMD"])).code == 0
    assert "torch==" in (ROOT / "requirements.lock").read_text()


def test_every_example_is_tested() -> None:
    """A new file needs a test, and is shown in the docs."""
    files = {file.relative_to(EXAMPLES).as_posix() for file in EXAMPLES.rglob("*") if file.is_file()}
    text = Path(__file__).read_text(encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    for name in files - {"docker/Dockerfile.dockerignore"}:
        assert Path(name).name in text, name
        assert f"<!-- generated: example {name} -->" in page, name


def test_the_table_of_exit_codes() -> None:
    """The page lists every code of an error, and says person for those that the examples do not retry."""
    page = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([0-9, ]+) \| .* \| (\w+)", page, re.MULTILINE)
    advice = {int(code): word for codes, word in rows for code in codes.split(",")}
    assert {code for code, word in advice.items() if word == "person"} == PERSON
    from scoreline.pipeline import errors

    kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.ScorelineError)]
    assert {kind.exit_code for kind in kinds} <= set(advice)
