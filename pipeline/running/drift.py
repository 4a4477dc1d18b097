"""The drift of a run, from the profiles in its parts: `_scoreline/profile.json`, findings, and the limit of
`--max-drift`. Kept parts have theirs, so a rerun comes to the same result without scoring.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from ...schemas.profile import RunIdentity, RunProfile
from ...schemas.run import ColumnDrift, DriftSummary, Receipt
from ..bundle.bundle import Bundle
from ..errors import DriftError, UsageError, counted
from ..events import Emitter
from ..monitoring.drift import RunDrift
from ..monitoring.layout import Layout, open_layout
from ..monitoring.profile import Profile, decode_profile
from ..monitoring.reference import MAX_COLUMNS as MAX_PROFILED
from ..monitoring.reference import profiled_features
from ..monitoring.run_profile import content_of, read_run_profile, run_before, write_run_profile
from ..options import ScoreJob
from ..outputs.part_records import PartRecord
from ..outputs.receipt import read_profile, read_receipt
from ..outputs.store import PROFILE, Store
from ..records import Partition
from .findings import (
    MAX_NAMES,
    DriftFound,
    DriftMeasured,
    DriftSuspected,
    FeaturesUnprofiled,
    PartsUnprofiled,
    ProfileImpossible,
)
from .ledger import Ledger
from .profiles import PartProfiles

#: Inputs whose profiles are in memory where several are read at once.
READ_AHEAD = 256
#: Columns of the summary, for each baseline.
MAX_COLUMNS = 50


def refuse_without_reference(bundle: Bundle, job: ScoreJob) -> None:
    """Raise UsageError for `--max-drift` with a bundle that has no reference."""
    if job.max_drift is not None and bundle.manifest.reference is None:
        raise UsageError(
            f"--max-drift needs a bundle with a reference, and {job.bundle!r} was saved without one; save it again"
        )


def profile_run(store: Store, ledger: Ledger, bundle: Bundle, emit: Emitter) -> None:
    """Compare the rows of all parts with the bundle's reference and with the run before, write profile.json, record
    the summary for run.json, and emit findings. Does nothing if rows are not counted.

    Raises:
        BundleError: the reference is invalid.
        StorageError: profile.json cannot be written.
    """
    if not ledger.job.profile:
        return
    layout = ledger.profiles.layout or open_layout(bundle)
    if layout is None:
        emit(ProfileImpossible())
        return
    parts = [record for records in ledger.parts.values() for record in records]
    content = content_of([(record.target, record.receipt) for record in parts])
    before = run_before(read_run_profile(store), content, layout)
    drift = RunDrift(layout, len(ledger.parts), None if before is None else before[1])
    unprofiled = 0
    for partition, profiles in _profiles(store, ledger, layout):
        known = _of_one_distance(profiles)
        unprofiled += len(profiles) - len(known)
        if known:
            drift.add(partition.name, sum(known[1:], start=known[0]))
    columns = drift.columns()
    profile = RunProfile(
        run=RunIdentity(
            run_id=ledger.job.run_id, ended=datetime.now(UTC).isoformat(timespec="seconds"), content=content
        ),
        previous=None if before is None else before[0],
        bundle=ledger.bundle.digest,
        reference_digest=layout.digest,
        reference_source=layout.reference.source,
        reference_rows=layout.reference.rows,
        columns=columns,
        worst=drift.reference.worst,
        worst_partitions=drift.worst_partitions(),
        partitions=drift.partitions,
        sampled=drift.sampled,
        rows=sum(record.rows_in for record in parts),
        unprofiled_parts=unprofiled,
        unprofiled_features=_num_left_out(layout, bundle),
        tests=drift.tests,
    )
    write_run_profile(store, profile)
    ledger.drift = _summary(profile, drift)
    if profile.partitions:
        emit(DriftMeasured.of(ledger.drift))
    _emit_findings(profile, drift, emit)


def _num_left_out(layout: Layout, bundle: Bundle) -> int:
    """The features for which a profile has no room."""
    features, reference = profiled_features(bundle.manifest.features), layout.reference
    is_full = len(reference.features) + len(reference.outputs) >= MAX_PROFILED
    return len(features) - len(reference.features) if is_full else 0


def _profiles(store: Store, ledger: Ledger, layout: Layout) -> Iterator[tuple[Partition, list[Profile | None]]]:
    """The profiles of the parts of each input. Where that takes requests, several threads read ahead."""

    def read(partition: Partition) -> tuple[Partition, list[Profile | None]]:
        records = ledger.parts.get(partition, ())
        return partition, [_profile(store, record, ledger.profiles, layout) for record in records]

    partitions = ledger.plan.discovery.partitions
    if store.num_readers == 1:
        yield from map(read, partitions)
        return
    with ThreadPoolExecutor(store.num_readers) as pool:
        for at in range(0, len(partitions), READ_AHEAD):
            yield from pool.map(read, partitions[at : at + READ_AHEAD])


def _profile(store: Store, record: PartRecord, kept: PartProfiles, layout: Layout) -> Profile | None:
    """The profile of a part; None if it has none, or one that cannot be read."""
    if (data := kept.get(record.receipt)) is None:
        path = store.path(record.target)
        receipt = read_receipt(path)
        if not isinstance(receipt, Receipt) or receipt.profile is None:
            return None
        data = read_profile(path, receipt.profile)
    try:
        return None if data is None else decode_profile(data, layout)
    except ValueError:
        return None


def _of_one_distance(profiles: Iterable[Profile | None]) -> list[Profile]:
    """The profiles of a file that can be added up. Another version of Scoreline may have counted some of its parts at
    another distance: those with the most rows are taken."""
    known = [one for one in profiles if one is not None]
    rows = Counter[int]()
    for one in known:
        rows[one.stride] += one.rows
    return [one for one in known if one.stride == max(rows, key=lambda stride: (rows[stride], -stride))]


def _summary(profile: RunProfile, drift: RunDrift) -> DriftSummary:
    worst = profile.worst
    return DriftSummary(
        worst_psi=None if worst is None else worst.psi,
        worst_column=None if worst is None else worst.column,
        worst_partition=None if worst is None else worst.partition,
        red=drift.num_at("red"),
        yellow=drift.num_at("yellow"),
        tests=profile.tests,
        unprofiled_parts=profile.unprofiled_parts,
        previous_run=None if profile.previous is None else profile.previous.run_id,
        worst_from_previous=None if drift.before is None else drift.before.worst,
        columns=[
            ColumnDrift(column=profile.columns[index].name, role=profile.columns[index].role, against=against, psi=psi)
            for against, baseline in (("reference", drift.reference), ("previous", drift.before))
            if baseline is not None
            for index, psi in baseline.drifted()[:MAX_COLUMNS]
        ],
    )


def _emit_findings(profile: RunProfile, drift: RunDrift, emit: Emitter) -> None:
    if profile.unprofiled_parts:
        emit(PartsUnprofiled(count=profile.unprofiled_parts))
    if profile.unprofiled_features:
        emit(FeaturesUnprofiled(count=profile.unprofiled_features))
    red, yellow = drift.num_at("red"), drift.num_at("yellow")
    if red or yellow:
        kind = DriftFound if red else DriftSuspected
        level = "red" if red else "yellow"
        emit(
            kind(
                columns=sum(1 for one in profile.columns if getattr(one, level) or one.drift.level == level),
                red=red,
                yellow=yellow,
                worst=_worst(profile),
                reference=profile.reference_source,
                details=PROFILE,
            )
        )


def _worst(profile: RunProfile) -> list[str]:
    """The worst files with their worst columns, for a log; or those of all files together, if none has drifted by
    itself."""
    found = {one.partition: one.psi for one in profile.worst_partitions[:MAX_NAMES]}
    if not found:
        drifted = [one for one in profile.columns if one.drift.level != "none"]
        found["all inputs together"] = {
            one.name: one.drift.psi for one in sorted(drifted, key=lambda one: -one.drift.psi)
        }
    return [
        f"{where}: " + ", ".join(f"{name} {size:.2f}" for name, size in list(psi.items())[:MAX_NAMES])
        for where, psi in found.items()
    ]


def is_within_drift(found: DriftSummary | None, limit: float | None) -> bool:
    """Whether a run is within `--max-drift`; not if a part has no profile."""
    if limit is None:
        return True
    return found is not None and not found.unprofiled_parts and (found.worst_psi or 0.0) <= limit


def refuse_drift(found: DriftSummary | None, limit: float | None) -> None:
    """Check the limit of `--max-drift`.

    Raises:
        DriftError: names the column and the file with the largest drift, or says that parts have no profile.
    """
    if limit is None or is_within_drift(found, limit):
        return
    if found is None or found.unprofiled_parts:
        parts = counted(0 if found is None else found.unprofiled_parts, "part")
        raise DriftError(
            f"--max-drift cannot be checked, because {parts} of earlier runs have no profile; pass --force to rescore"
            " them"
        )
    where = "all rows" if found.worst_partition is None else found.worst_partition
    raise DriftError(
        f"{where}: {found.worst_column!r} has drifted from the bundle's reference by a PSI of {found.worst_psi:.2f},"
        f" {limit:g} allowed ({PROFILE} has all that are compared); every part is published; check the input, or allow"
        " more with --max-drift"
    )
