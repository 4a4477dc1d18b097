"""The files of a Delta log, by their names."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.errors import NoInputError
from scoreline.pipeline.inputs.tables.delta_log import copy_log, files_of_version, version_range
from scoreline.pipeline.storage.uris import parse_uri

from object_storage import Storage

UUID = "80a083e8-7026-4e79-81be-64bd76c43a11"


def commit(version: int) -> str:
    """The name of a commit."""
    return f"{version:020d}.json"


def checkpoint(version: int, middle: str = "", suffix: str = "parquet") -> str:
    """The name of a checkpoint, or of a part of one."""
    return f"{version:020d}.checkpoint.{middle}{suffix}"


PARTS = [checkpoint(4, f"{part:010d}.0000000002.") for part in (1, 2)]
OTHERS = [
    "_last_checkpoint",
    f"{3:020d}.crc",
    f"{1:020d}.{3:020d}.compacted.json",
    ".s3-optimization-0",
    "_commits/x.json",
]


@pytest.mark.parametrize(
    ("names", "version", "expected"),
    [
        ([commit(0), commit(1), commit(2)], None, [commit(0), commit(1), commit(2)]),
        ([commit(0), commit(1), commit(2)], 1, [commit(0), commit(1)]),
        ([commit(1), checkpoint(1), commit(2)], None, [checkpoint(1), commit(1), commit(2)]),
        ([commit(0), commit(1), checkpoint(1), commit(2)], 0, [commit(0)]),
        ([checkpoint(1), commit(2), checkpoint(2)], 1, [checkpoint(1)]),
        ([commit(4), *PARTS, commit(5)], 5, [*PARTS, commit(4), commit(5)]),
        ([checkpoint(3), commit(4), PARTS[0], commit(5)], 5, [checkpoint(3), commit(4), commit(5)]),
        (
            [commit(4), checkpoint(4, f"{UUID}.", "json"), "_sidecars/a.parquet", commit(5)],
            None,
            [checkpoint(4, f"{UUID}.", "json"), "_sidecars/a.parquet", commit(4), commit(5)],
        ),
    ],
)
def test_files_of_a_version(names: list[str], version: int | None, expected: list[str]) -> None:
    """The last whole checkpoint, and the commits since."""
    assert files_of_version([*OTHERS, *reversed(names)], version) == expected


@given(st.integers(1, 30).flatmap(lambda last: st.tuples(
    st.just(last), st.sets(st.integers(0, last)), st.integers(0, last), st.integers(0, last),
)))  # fmt: skip
def test_any_log(drawn: tuple[int, set[int], int, int]) -> None:
    """Gives every commit after the checkpoint, or all; commits before the first checkpoint may be gone."""
    last, checkpoints, wanted, kept_from = drawn
    kept_from = max([0, *(one for one in checkpoints if one <= kept_from)])
    names = [*map(commit, range(kept_from, last + 1)), *map(checkpoint, checkpoints)]
    assert version_range(names) == range(min([kept_from, *checkpoints]), last + 1)
    found = files_of_version(names, wanted)
    start = max((one for one in checkpoints if one <= wanted), default=None)
    assert (checkpoint(start) in found) if start is not None else not any("checkpoint" in name for name in found)
    replayed = {int(name[:20]) for name in found}
    assert {one for one in range(kept_from, wanted + 1) if start is None or one >= start} <= replayed
    assert max(replayed, default=wanted) <= wanted


def test_a_copy(storage: Storage, tmp_path: Path) -> None:
    """Of what a version needs."""
    for name in (commit(0), commit(1), checkpoint(1), commit(2), commit(3), "_last_checkpoint"):
        storage.put(f"t/_delta_log/{name}", name.encode())
    table = parse_uri(f"{storage.uri}/t")
    copy_log(table, tmp_path, 2)
    copied = {path.name: path.read_text() for path in (tmp_path / "_delta_log").iterdir()}
    assert copied == {name: name for name in (checkpoint(1), commit(1), commit(2))}
    with pytest.raises(NoInputError, match="has no version 9: its log has versions 0 to 3"):
        copy_log(table, tmp_path, 9)
    with pytest.raises(NoInputError, match="there is no Delta table at"):
        copy_log(parse_uri(f"{storage.uri}/other"), tmp_path, None)
    with pytest.raises(NoInputError, match="cannot be read: there is no such bucket"):
        copy_log(parse_uri(f"{storage.uri}-missing/t"), tmp_path, None)
