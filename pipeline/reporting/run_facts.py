"""Everything that the report is made from, read from the files of an output. Does not import torch."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from ...schemas.history import HistoryEntry
from ...schemas.profile import RunProfile
from ...schemas.run import RunManifest
from ..errors import DataError, NoInputError, one_line
from ..monitoring.history import read_history
from ..monitoring.parts import OutputPart, output_parts
from ..monitoring.rejects import RejectGroup, group_rejects
from ..monitoring.run_profile import read_run_profile
from ..outputs.manifest import read_manifest, read_record
from ..outputs.part_records import OutputRecord
from ..outputs.store import MANIFEST, PLAN, Store
from ..outputs.stores import open_store
from ..storage.folders import listing_error

#: The files of rejects that are read for their reasons, those with the most rows, and about how many rows.
MAX_FILES, MAX_ROWS = 200, 200_000


@dataclass(frozen=True, kw_only=True, slots=True)
class InputCount:
    """An input with some of its rows."""

    source: str
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedInput:
    """An input that could not be read to its end."""

    source: str
    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFacts:
    """An output and its last run.

    `output`: its path, as the user has written it. `manifest`: of the last run that began to score; None if there is
    none, or it is damaged. `profile`: of the same run. `earlier`, `later`: the history before that run, and after it.
    `groups`: the rejects by reason, of `grouped` rows. `most_rejects`: the inputs with the most
    rejects. `problems`: files that could not be read. `has_shards`: whether it has shards, and no run of all.
    """

    output: str
    manifest: RunManifest | None
    profile: RunProfile | None
    earlier: tuple[HistoryEntry, ...]
    later: tuple[HistoryEntry, ...]
    failed: tuple[FailedInput, ...]
    most_rejects: tuple[InputCount, ...]
    groups: tuple[RejectGroup, ...]
    grouped: int
    problems: tuple[str, ...]
    has_shards: bool = False

    @property
    def last_success(self) -> HistoryEntry | None:
        """The last of the earlier runs that succeeded, with rows. One that failed has only read some of them."""
        return next((one for one in reversed(self.earlier) if one.rows_in and not one.exit_code), None)


def read_facts(output: str) -> RunFacts:
    """Read the files of an output.

    Raises:
        NoInputError: the folder is not an output of Scoreline.
    """
    store, problems = open_store(output, failed=listing_error), list[str]()
    history = read_history(output)
    manifest, record = _recorded(store, history.entries, problems)
    profile = read_run_profile(store)
    if manifest is None or manifest.drift is None or profile is None or profile.run.run_id != manifest.run_id:
        profile = None  # of an earlier run, which may have the same id
    groups, grouped = _groups(store, record, problems)
    earlier, later = _divided(history.entries, manifest)
    return RunFacts(
        output=output,
        manifest=manifest,
        profile=profile,
        earlier=earlier,
        later=later,
        failed=tuple(
            FailedInput(source=one.source, error=one.error) for one in record.partitions if one.error is not None
        ),
        most_rejects=_most_rejects(record),
        groups=groups,
        grouped=grouped,
        problems=tuple(problems),
        has_shards=manifest is None and store.kind(PLAN) == "file",
    )


def _recorded(
    store: Store, entries: tuple[HistoryEntry, ...], problems: list[str]
) -> tuple[RunManifest | None, OutputRecord]:
    """The manifest, and the outcome of every input; a damaged file is a problem, and so is a missing one, unless no run
    has come as far as writing it."""
    try:
        manifest = read_manifest(store)
    except (DataError, NoInputError) as error:
        none_yet = bool(entries) and all(one.rows_in is None for one in entries)
        if store.kind(MANIFEST) != "missing" or not (none_yet or store.kind(PLAN) == "file"):
            problems.append(str(error))
        return None, OutputRecord()
    try:
        return manifest, read_record(store, manifest)
    except DataError as error:
        problems.append(str(error))
        return manifest, OutputRecord()


def _divided(
    entries: tuple[HistoryEntry, ...], manifest: RunManifest | None
) -> tuple[tuple[HistoryEntry, ...], tuple[HistoryEntry, ...]]:
    """The runs before that of the manifest, and those after it. Its own line is written last."""
    if manifest is None:
        return (), entries
    same = [(one.run_id, one.started) == (manifest.run_id, manifest.started) for one in entries]
    at = same.index(True) if True in same else len(entries)
    return entries[:at], entries[at + 1 :]


def _groups(store: Store, record: OutputRecord, problems: list[str]) -> tuple[tuple[RejectGroup, ...], int]:
    """The rejects by reason, and how many rows these are: those of the files with the most rejects."""
    chosen, rows = list[OutputPart](), 0
    parts = [part for part in output_parts(record) if part.rejects is not None]
    for part in heapq.nlargest(MAX_FILES, parts, key=lambda one: one.rows_rejected):
        if chosen and rows + part.rows_rejected > MAX_ROWS:
            break
        chosen.append(part)
        rows += part.rows_rejected
    try:
        return group_rejects(store, sorted(chosen, key=lambda part: (part.source, part.split))), rows
    except DataError as error:
        problems.append(one_line(error))
        return (), 0


def _most_rejects(record: OutputRecord) -> tuple[InputCount, ...]:
    found = [
        InputCount(source=one.source, rows=rows)
        for one in record.partitions
        if (rows := sum(part.rows_rejected for part in one.parts))
    ]
    return tuple(heapq.nlargest(3, found, key=lambda one: one.rows))
