"""Writes and reads `_scoreline/profile.json`. Its checksum is of the same bytes with `null` in its place."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pydantic import ValidationError

from ...schemas.profile import ColumnCounts, RunIdentity, RunProfile
from ..digests import sha256
from ..outputs.store import PROFILE, Store
from .layout import Layout

#: The end of the content that the checksum is of.
_NONE = b'"checksum":null}'
#: The file that this process wrote last: the report of the run reads it, and with a thousand columns, validating it
#: takes as long as the rest of the report.
_written: dict[bytes, RunProfile] = {}


def write_run_profile(store: Store, profile: RunProfile) -> None:
    """Publish profile.json. Raises StorageError."""
    content = profile.model_copy(update={"checksum": None}).model_dump_json().encode()
    covered, mark, _ = content.rpartition(_NONE)
    assert mark, "the checksum is the last field"
    checksum = sha256(content)
    data = covered + f'"checksum":"{checksum}"}}'.encode()
    store.write(PROFILE, data)
    _written.clear()
    _written[data] = profile.model_copy(update={"checksum": checksum})


def read_run_profile(store: Store) -> RunProfile | None:
    """The profile of the last run; None where there is none, or where it was changed or is of another version."""
    try:
        data = store.read(PROFILE)
        if data in _written:
            return _written[data]
        profile = RunProfile.model_validate_json(data)
    except (OSError, ValidationError):
        return None
    return profile if profile.checksum == _checksum_of(data) else None


def is_intact(store: Store) -> bool:
    """Whether profile.json is as it was written, which `read_run_profile` may not understand if another version has
    written it."""
    try:
        data = store.read(PROFILE)
    except OSError:
        return False
    return data.endswith(f'"checksum":"{_checksum_of(data)}"}}'.encode())


def _checksum_of(data: bytes) -> str:
    """That of the content of a file, whatever the file says."""
    covered, _, _ = data.rpartition(b'"checksum":"')
    return sha256(covered + _NONE)


def run_before(last: RunProfile | None, content: str, layout: Layout) -> tuple[RunIdentity, list[ColumnCounts]] | None:
    """The run that a run with this content is compared with, and its totals by column: the last one, or, if that had
    the same parts, the one that it was compared with. None where it was counted in other bins.

    Args:
        content: the digest of the run's receipts.
    """
    if last is None or last.reference_digest != layout.digest or len(last.columns) != len(layout.columns):
        return None
    if last.run.content != content:
        return last.run, [column.now for column in last.columns]
    totals = [column.previous for column in last.columns if column.previous is not None]
    return (last.previous, totals) if last.previous is not None and len(totals) == len(last.columns) else None


def content_of(receipts: Sequence[tuple[str, str]]) -> str:
    """The digest of the parts of a run, from the name and the receipt's checksum of each."""
    digest = hashlib.sha256()
    for name, checksum in sorted(receipts):
        digest.update(f"{name}\0{checksum}\n".encode())
    return "sha256:" + digest.hexdigest()
