"""A path, directory or glob → partitions, in a frozen order."""

import os
from pathlib import Path

import pytest
from scoreline.pipeline.errors import NoInputError, UsageError
from scoreline.pipeline.inputs.discover import discover


def fill(root: Path, *names: str) -> None:
    """Files with a byte in them."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def names(where: Path | str, **options: str) -> list[str]:
    """The names that discover finds."""
    return [partition.name for partition in discover(str(where), **options).partitions]


def test_directory_is_searched_to_the_bottom_in_sorted_order(tmp_path: Path) -> None:
    """Suffixes in any case, hidden names skipped, strangers listed as ignored."""
    fill(tmp_path, "b.csv", "a/z.parquet", "a/b/c.CSV.GZ", "_tmp/x.parquet", ".x.csv", "a/_y.csv", "notes.txt")
    found = discover(str(tmp_path))
    assert [p.name for p in found.partitions] == ["a/b/c.CSV.GZ", "a/z.parquet", "b.csv"]
    assert [p.format for p in found.partitions] == ["csv", "parquet", "csv"]
    assert found.ignored == ("notes.txt",)
    assert found.root == tmp_path


def test_hive_folders_are_decoded_for_their_value_only(tmp_path: Path) -> None:
    """Percent signs never become a path; Hive's null is None."""
    fill(tmp_path, "d=1%2F..%2F2/e=__HIVE_DEFAULT_PARTITION__/a.parquet")
    (found,) = discover(str(tmp_path)).partitions
    assert found.hive == (("d", "1/../2"), ("e", None))
    assert found.name == "d=1%2F..%2F2/e=__HIVE_DEFAULT_PARTITION__/a.parquet"


def test_glob_is_rooted_where_its_magic_begins(tmp_path: Path) -> None:
    """Names are relative to the last plain folder; matching folders are walked."""
    fill(tmp_path, "d=1/a.csv", "d=2/b.csv", "d=2/_c.csv", "other/c.csv")
    assert names(tmp_path / "d=*/*.csv") == ["d=1/a.csv", "d=2/b.csv"]
    assert names(tmp_path / "d=*") == ["d=1/a.csv", "d=2/b.csv"]
    assert names(tmp_path / "**/*.csv") == ["d=1/a.csv", "d=2/b.csv", "other/c.csv"]


def test_single_file_stands_under_its_own_name(tmp_path: Path) -> None:
    """Magic characters in a name that exists are no glob."""
    fill(tmp_path, "a[1].csv", "data.bin")
    assert names(tmp_path / "a[1].csv") == ["a[1].csv"]
    with pytest.raises(UsageError, match="--format"):
        discover(str(tmp_path / "data.bin"))
    assert names(tmp_path / "data.bin", format="parquet") == ["data.bin"]


def test_identity_is_the_files_own(tmp_path: Path) -> None:
    """Size and mtime_ns, as stat says."""
    fill(tmp_path, "a.csv")
    os.utime(tmp_path / "a.csv", ns=(1, 1_700_000_000_123_456_789))
    (found,) = discover(str(tmp_path)).partitions
    assert (found.size, found.mtime_ns) == (1, 1_700_000_000_123_456_789)


@pytest.mark.parametrize(
    ("files", "where", "says"),
    [
        ((), "", "no .parquet"),
        ((), "nowhere", "does not exist"),
        ((), "*.csv", "no file matches"),
        (("a.txt",), "", "a.txt"),
        (("_a.csv",), "", "no .parquet"),
    ],
)
def test_nothing_to_score(tmp_path: Path, files: tuple[str, ...], where: str, says: str) -> None:
    """66, and what was looked for."""
    fill(tmp_path, *files)
    with pytest.raises(NoInputError, match=says) as caught:
        discover(str(tmp_path / where))
    assert caught.value.exit_code == 66


def test_only_empty_files_are_nothing_to_score(tmp_path: Path) -> None:
    """One with a byte in it is a broken file, and another matter."""
    (tmp_path / "a.csv").touch()
    with pytest.raises(NoInputError, match="0 bytes"):
        discover(str(tmp_path))
