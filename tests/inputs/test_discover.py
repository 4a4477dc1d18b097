"""A file, folder or glob → partitions, in a fixed order."""

import os
import sys
from pathlib import Path

import pytest
from scoreline.pipeline.errors import NoInputError, UsageError
from scoreline.pipeline.inputs.discover import discover


def fill(root: Path, *names: str) -> None:
    """Create files with one byte each."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def names(where: Path | str, **options: str) -> list[str]:
    """The names of the partitions found."""
    return [partition.name for partition in discover(str(where), **options).partitions]


def test_a_folder_is_searched_recursively_in_sorted_order(tmp_path: Path) -> None:
    """Suffixes match in any case, hidden names are skipped, foreign files are listed as ignored."""
    fill(tmp_path, "b.csv", "a/z.parquet", "a/b/c.CSV.GZ", "_tmp/x.parquet", ".x.csv", "a/_y.csv", "notes.txt")
    found = discover(str(tmp_path))
    assert [p.name for p in found.partitions] == ["a/b/c.CSV.GZ", "a/z.parquet", "b.csv"]
    assert [p.format for p in found.partitions] == ["csv", "parquet", "csv"]
    assert found.ignored == ("notes.txt",)
    assert found.real_root == str(tmp_path)


def test_hive_folders_are_decoded_for_their_value_only(tmp_path: Path) -> None:
    """Paths are never decoded; Hive's null is None."""
    fill(tmp_path, "d=1%2F..%2F2/e=__HIVE_DEFAULT_PARTITION__/a.parquet")
    (found,) = discover(str(tmp_path)).partitions
    assert found.hive == (("d", "1/../2"), ("e", None))
    assert found.name == "d=1%2F..%2F2/e=__HIVE_DEFAULT_PARTITION__/a.parquet"


def test_the_root_of_a_glob_is_before_its_first_wildcard(tmp_path: Path) -> None:
    """Names are relative to the root; matching folders are searched recursively."""
    fill(tmp_path, "d=1/a.csv", "d=2/b.csv", "d=2/_c.csv", "other/c.csv")
    assert names(tmp_path / "d=*/*.csv") == ["d=1/a.csv", "d=2/b.csv"]
    assert names(tmp_path / "d=*") == ["d=1/a.csv", "d=2/b.csv"]
    assert names(tmp_path / "**/*.csv") == ["d=1/a.csv", "d=2/b.csv", "other/c.csv"]


def test_a_single_file_has_its_own_name(tmp_path: Path) -> None:
    """Wildcards in the name of an existing file do not make it a glob."""
    fill(tmp_path, "a[1].csv", "data.bin")
    assert names(tmp_path / "a[1].csv") == ["a[1].csv"]
    with pytest.raises(UsageError, match="--format"):
        discover(str(tmp_path / "data.bin"))
    assert names(tmp_path / "data.bin", format="parquet") == ["data.bin"]


def test_partitions_have_the_size_and_mtime_of_the_file(tmp_path: Path) -> None:
    """As reported by `stat`."""
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
    """Exit code 66; the message says what was searched."""
    fill(tmp_path, *files)
    with pytest.raises(NoInputError, match=says) as caught:
        discover(str(tmp_path / where))
    assert caught.value.exit_code == 66


def test_only_empty_files_are_nothing_to_score(tmp_path: Path) -> None:
    """A file with one byte would be a broken file instead."""
    (tmp_path / "a.csv").touch()
    with pytest.raises(NoInputError, match="0 bytes"):
        discover(str(tmp_path))


@pytest.mark.parametrize(
    ("where", "library", "extra"),
    [("delta+data", "deltalake", "delta"), ("iceberg+sales.daily", "pyiceberg", "iceberg")],
)
def test_a_library_that_is_not_installed(where: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is named with its extra; --format is checked before."""
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"scoreline.pipeline.inputs.tables.{extra}", raising=False)
    with pytest.raises(UsageError, match=rf"needs {library}; install it with: pip install 'scoreline\[{extra}\]'"):
        discover(where)
    with pytest.raises(UsageError, match=r"--format csv does not suit the .* table .*, whose data files are Parquet"):
        discover(where, format="csv")
