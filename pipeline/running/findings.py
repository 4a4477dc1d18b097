"""What a run finds at its input and output and in its model: events, and the functions that derive them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..events import Event, Level
from ..scoring.retries import Retried, Retries, in_words

if TYPE_CHECKING:
    from ..inputs.discover import Discovery
    from ..planning.existing import ExistingParts

#: How many names an event lists.
MAX_NAMES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkLoopsFound(Event):
    """The input contains links to a folder that they lie in."""

    name: ClassVar[str] = "link_loops_found"
    level: ClassVar[Level] = "warning"
    count: int
    links: list[str]
    reason: str = "links to a folder that they lie in are not followed; every other link is"


@dataclass(frozen=True, kw_only=True, slots=True)
class ParquetFilesIgnored(Event):
    """The input contains Parquet files whose suffix is not one of Parquet or CSV."""

    name: ClassVar[str] = "parquet_files_ignored"
    level: ClassVar[Level] = "warning"
    count: int
    files: list[str]
    reason: str = (
        "these begin as Parquet files do, and are no input by their suffix: rename them to .parquet, or pass"
        " --format parquet, which takes every file"
    )


def input_findings(found: Discovery) -> Iterator[Event]:
    """Links that lead back, and Parquet files under another suffix."""
    if found.loops:
        yield LinkLoopsFound(count=len(found.loops), links=list(found.loops[:MAX_NAMES]))
    if found.ignored_parquet:
        yield ParquetFilesIgnored(count=len(found.ignored_parquet), files=list(found.ignored_parquet[:MAX_NAMES]))


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestUnreadable(Event):
    """The last run's run.json is damaged, so its digests are not used."""

    name: ClassVar[str] = "manifest_unreadable"
    level: ClassVar[Level] = "warning"
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OrphanedPartsFound(Event):
    """The output contains parts of inputs that are not among this run's."""

    name: ClassVar[str] = "orphaned_parts_found"
    level: ClassVar[Level] = "warning"
    count: int
    first: str
    reason: str = (
        "parts of an earlier run whose input is not among this one's stay, and readers will see them; remove them with"
        " --prune"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ForeignFilesFound(Event):
    """The output contains files that Scoreline has not written."""

    name: ClassVar[str] = "foreign_files_found"
    count: int
    first: str
    reason: str = "files in the output that Scoreline has not written are left as they are"


def output_findings(existing: ExistingParts, *, prune: bool) -> Iterator[Event]:
    """A damaged run.json, orphaned parts that stay, foreign files."""
    if existing.manifest_error is not None:
        yield ManifestUnreadable(reason=existing.manifest_error)
    if existing.orphaned_parts and not prune:
        yield OrphanedPartsFound(count=len(existing.orphaned_parts), first=existing.orphaned_parts[0])
    if existing.foreign_files:
        yield ForeignFilesFound(count=len(existing.foreign_files), first=existing.foreign_files[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptPartsDiffer(Event):
    """Kept parts were made on another kind of device, with other versions or with blocks of another size."""

    name: ClassVar[str] = "kept_parts_differ"
    level: ClassVar[Level] = "warning"
    kept_with: dict[str, str | None]
    now_with: dict[str, str | None]
    reason: str = "kept parts may differ from new ones in the last bits; --force rescores them"


def kept_part_differences(kept: Sequence[Mapping[str, str]], now: Mapping[str, str]) -> Iterator[Event]:
    """Each way in which kept parts were made otherwise than new ones are.

    Args:
        kept: what kept parts were made with, each way once.
        now: what new parts are made with.
    """
    for made_with in kept:
        names = sorted(name for name in {*made_with, *now} if made_with.get(name) != now.get(name))
        if names:
            yield KeptPartsDiffer(
                kept_with={name: made_with.get(name) for name in names},
                now_with={name: now.get(name) for name in names},
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockRetried(Event):
    """The model failed on a block as a whole and passed in pieces; for the first block of each kind of failure."""

    name: ClassVar[str] = "block_retried"
    level: ClassVar[Level] = "warning"
    partition: str
    first_row: int
    last_row: int
    reason: str


def block_retried(first: Retried) -> BlockRetried:
    """The event of the first block of a kind of failure."""
    return BlockRetried(
        partition=first.source, first_row=first.first_row, last_row=first.last_row, reason=in_words(first)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class BlocksRetried(Event):
    """The number of retried blocks of one kind of failure, at the end of a run, where there were several."""

    name: ClassVar[str] = "blocks_retried"
    level: ClassVar[Level] = "warning"
    blocks: int
    rows: int
    reason: str


def blocks_retried(retries: Retries) -> Iterator[BlocksRetried]:
    """The totals of each kind of failure that several blocks had."""
    for one in retries.kinds.values():
        if one.blocks > 1:
            yield BlocksRetried(blocks=one.blocks, rows=one.rows, reason=in_words(one))
