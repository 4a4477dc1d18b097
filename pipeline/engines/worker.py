"""A worker: a process, on this machine or any of a cluster, that loads the bundle once, scores pieces of a plan, and
publishes their parts in the output that all share. Independent of what starts it and carries its results.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError
from typing import TYPE_CHECKING

from ..allocator import keep_freed_memory
from ..bundle.bundle import Bundle, open_bundle
from ..errors import ClusterError, ScorelineError
from ..events import Emitter, Event
from ..inputs.discover import Discovery, is_unchanged
from ..options import ScoreJob
from ..outputs.stores import open_store
from ..planning.existing import ExistingParts
from ..planning.plan import Plan, PlannedPartition
from ..records import Partition
from ..running.events import BlockWritten, BundleLoaded, OutOfMemory, SplitPublished
from ..running.ledger import Accounts, RunClock, open_ledger
from ..running.manifest import versions
from ..scoring.line import LineOptions, compose

if TYPE_CHECKING:
    from ..scoring.retries import Retried
    from ..scoring.scorer import Scorer
    from ..timing import StageTimes
    from .pieces import Piece


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSetup:
    """What every worker of a run gets. `job`: with absolute paths; `bundle`: its digest; `versions`: of the process
    that keeps the accounts; `lock`: the content of its lock on the output; `sample`: an input that it sees, if any;
    `root`: the real path that the names of inputs are relative to; `cores`: of each worker; `variables`: where object
    storage is, but no secrets: a worker has those of its own machine."""

    job: ScoreJob
    bundle: str
    versions: Mapping[str, str]
    lock: bytes
    sample: Partition | None
    root: str
    split_rows: int
    engines: Mapping[str, str]
    cores: int
    variables: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """A worker has loaded the bundle. `made_with`: what may change the last bits of its parts."""

    host: str
    loaded: BundleLoaded
    made_with: Mapping[str, str]
    not_compiled: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PieceResult:
    """What a worker has done. `num_rows`: written; `events`: to be emitted by the run; `error`: ends it."""

    accounts: Accounts
    num_rows: int
    events: list[Event]
    retried: Mapping[str, Retried] = field(default_factory=dict)
    error: ScorelineError | None = None


class Worker:
    """Loads a bundle, then scores pieces, one at a time. All methods are called in the same thread.

    Errors that end the run are returned, since exceptions lose their type on the way to another process.
    """

    def __init__(self, setup: WorkerSetup) -> None:
        self._setup, self._host = setup, socket.gethostname()
        self._loaded: tuple[Bundle, Scorer, BundleLoaded] | None = None

    def load(self) -> Ready | ScorelineError:
        """Check that this machine sees the same files with the same versions, and load the bundle."""
        keep_freed_memory()
        for name, value in self._setup.variables.items():
            os.environ.setdefault(name, value)
        try:
            self._check_versions()
            self._check_output()
            self._check_input()
            return self._load()
        except ScorelineError as error:
            error.args = (f"worker on host {self._host!r}: {error}",)
            return error

    def score(self, piece: Piece) -> PieceResult:
        """Score a piece and publish its parts."""
        from ..model.modes import pinned
        from ..model.reproducible import reproducible
        from ..running.score import score_splits

        assert self._loaded is not None, "the bundle is loaded first"
        (bundle, scorer, loaded), setup, job = self._loaded, self._setup, self._setup.job
        ledger = open_ledger(job, self._plan(piece.planned), bundle, loaded, RunClock())
        rows, events = 0, list[Event]()

        def collect(event: Event) -> None:
            nonlocal rows
            if isinstance(event, BlockWritten):
                rows += event.rows
            elif isinstance(event, SplitPublished | OutOfMemory):
                events.append(event)

        error: ScorelineError | None = None
        retried: Mapping[str, Retried] = {}
        try:
            with pinned(), reproducible(seed=job.seed, deterministic=job.deterministic):
                summary = score_splits(open_store(job.output), scorer, ledger, Emitter([collect]), setup.cores)
            retried = summary.retries.kinds
        except ScorelineError as raised:
            error = raised
        return PieceResult(accounts=ledger.accounts(), num_rows=rows, events=events, retried=retried, error=error)

    def summary(self, times: StageTimes) -> list[Event]:
        """What the stages report at the end.

        Args:
            times: of the whole run.
        """
        assert self._loaded is not None, "the bundle is loaded first"
        _, scorer, _ = self._loaded
        return list(compose(scorer.loaded, LineOptions.of(self._setup.job)).summary(times))

    def _load(self) -> Ready:
        from ..model.modes import pinned
        from ..model.reproducible import reproducible
        from ..scoring.scorer import Scorer

        job = self._setup.job
        bundle = open_bundle(job.bundle)
        if bundle.digest != self._setup.bundle:
            raise ClusterError(
                f"bundle {job.bundle!r} has the digest {bundle.digest} there, not {self._setup.bundle}; copy the same"
                " bundle to every host"
            )
        with pinned(), reproducible(seed=job.seed, deterministic=job.deterministic):
            scorer = Scorer.for_job(bundle, job)
        loaded = BundleLoaded.of(job, bundle, scorer)
        self._loaded = bundle, scorer, loaded
        ledger = open_ledger(job, self._plan(()), bundle, loaded, RunClock())
        return Ready(host=self._host, loaded=loaded, made_with=ledger.made_with(), not_compiled=scorer.not_compiled)

    def _plan(self, planned: tuple[PlannedPartition, ...]) -> Plan:
        setup, partitions = self._setup, tuple(one.partition for one in planned)
        return Plan(
            discovery=Discovery(real_root=setup.root, partitions=partitions),
            existing=ExistingParts(),
            split_rows=setup.split_rows,
            partitions=planned,
            reasons={},
            failed=(),
            num_rows=None,
            engines=setup.engines,
        )

    def _check_versions(self) -> None:
        try:
            found = versions(self._setup.versions)
        except PackageNotFoundError as error:
            raise ClusterError(
                f"{error.name} is not installed there; install the same packages on every host"
            ) from error
        for name, version in self._setup.versions.items():
            if found[name] != version:
                raise ClusterError(
                    f"{name} is version {found[name]} there, and {version} where the run was started; install the same"
                    " versions on every host"
                )

    def _check_output(self) -> None:
        store = open_store(self._setup.job.output)
        try:
            same = store.lock_record() == self._setup.lock
        except OSError:
            same = False
        if not same:
            raise ClusterError(
                f"output {self._setup.job.output!r} is another folder there; choose an --output that all hosts share"
            )
        store.prepare()

    def _check_input(self) -> None:
        sample = self._setup.sample
        if sample is not None and not is_unchanged(sample):
            raise ClusterError(
                f"input {sample.path!r} is missing there, or has another size or time; choose an --input that all hosts"
                " share"
            )
