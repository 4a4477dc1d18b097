"""`verify` reports no problem, or names the file that has one."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from conftest import Result

Command = Callable[..., Result]


class TestVerify:
    """`verify` reports no problem, or names the file that has one."""

    @pytest.mark.parametrize("harm", ["rejects", "run.json", "rows", "link"])
    def test_damage_beside_the_parts_is_named(
        self, score_four_files: Command, scoreline: Command, tmp_path: Path, harm: str
    ) -> None:
        """Damage that no digest of a part shows."""
        assert score_four_files().code == 0
        out = tmp_path / "out"
        manifest = out / "_scoreline" / "run.json"
        if harm == "rejects":
            shutil.copy(out / "_rejects" / "1.arrow", out / "_rejects" / "nobody.arrow")
            says = "_rejects/nobody.arrow: rejects that do not belong to any part"
        elif harm == "run.json":
            manifest.write_text(manifest.read_text().replace('"rows_scored": 598', '"rows_scored": 597', 1))
            says = "run.json"
        elif harm == "rows":
            metadata = pq.ParquetFile(out / "0.parquet").metadata.metadata
            pq.write_table(
                pq.read_table(out / "0.parquet").slice(0, 10).replace_schema_metadata(metadata), out / "0.parquet"
            )
            says = "0.parquet: is torn"
        else:
            (tmp_path / "elsewhere").mkdir()
            shutil.copy(out / "0.parquet", tmp_path / "elsewhere" / "copy.parquet")
            (out / "linked").symlink_to(tmp_path / "elsewhere")
            says = "linked/copy.parquet: is not a part of the run; move it out of the output"
        result = scoreline("verify", out)
        assert result.code == 65, result.out
        assert says in result.message
        if harm in ("rejects", "rows"):  # and the same command rewrites them
            assert score_four_files().code == 0
            assert scoreline("verify", out).code == 0

    def test_every_bad_part_is_named(self, score_four_files: Command, scoreline: Command, tmp_path: Path) -> None:
        """Also if an input has several; and nothing else is reported."""
        assert score_four_files("--split-rows", "40").code == 0
        for name in ("0-00001.parquet", "0-00003.parquet", "2-00002.parquet"):
            part = tmp_path / "out" / name
            part.write_bytes(part.read_bytes()[:-9])
        found = json.loads(scoreline("verify", tmp_path / "out", "--json").out)
        assert [problem.partition(":")[0] for problem in found["problems"]] == [
            "0-00001.parquet", "0-00003.parquet", "2-00002.parquet",
        ]  # fmt: skip

    def test_an_unfinished_run(self, score_four_files: Command, scoreline: Command, tmp_path: Path) -> None:
        """A run that was killed before it wrote its final manifest."""
        assert score_four_files().code == 0
        (tmp_path / "out" / "_scoreline" / "run.json").unlink()
        result = scoreline("verify", tmp_path / "out")
        assert result.code == 65
        assert "is an unfinished run" in result.message

    def test_a_whole_output(self, score_four_files: Command, scoreline: Command, tmp_path: Path) -> None:
        assert score_four_files().code == 0
        result = scoreline("verify", tmp_path / "out", "--json")
        assert result.code == 0, result.err
        found = json.loads(result.out)
        assert found["problems"] == []
        assert (found["parts"], found["rows_in"], found["rows_rejected"], found["keys_compared"]) == (4, 600, 2, 4)
        assert "rows scored" in scoreline("verify", tmp_path / "out").out

    @pytest.mark.parametrize(
        "harm", ["deleted", "truncated", "flipped", "swapped", "reject gone", "stranger", "no success"]
    )
    def test_damage_is_named(
        self, score_four_files: Command, scoreline: Command, tmp_path: Path, harm: str, four_files: Path
    ) -> None:
        assert score_four_files().code == 0
        out = tmp_path / "out"
        part = out / "1.parquet"
        whole = part.read_bytes()
        named = "1.parquet"
        if harm == "deleted":
            part.unlink()
        elif harm == "truncated":
            part.write_bytes(whole[:-20])
        elif harm == "flipped":
            part.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
        elif harm == "swapped":
            shutil.copy(out / "0.parquet", part)
        elif harm == "reject gone":
            (out / "_rejects" / "1.arrow").unlink()
            named = "_rejects/1.arrow"
        elif harm == "stranger":
            shutil.copy(four_files / "0.parquet", out / "theirs.parquet")
            named = "theirs.parquet"
        else:
            (out / "_SUCCESS").unlink()
            named = "not complete"
        result = scoreline("verify", out)
        assert result.code == 65
        assert named in result.message

    def test_keys_in_another_order_are_found(
        self, score_four_files: Command, scoreline: Command, four_files: Path, tmp_path: Path
    ) -> None:
        """The input was rewritten with the same size and time, but other rows."""
        assert score_four_files().code == 0
        stat = (four_files / "0.parquet").stat()
        table = pq.read_table(four_files / "0.parquet")
        pq.write_table(table.take(list(range(149, -1, -1))), four_files / "0.parquet")
        if (four_files / "0.parquet").stat().st_size != stat.st_size:
            with (four_files / "0.parquet").open("ab"):
                pass
        os.utime(four_files / "0.parquet", ns=(stat.st_atime_ns, stat.st_mtime_ns))
        if (four_files / "0.parquet").stat().st_size == stat.st_size:
            assert "0.parquet: its keys are not those" in scoreline("verify", tmp_path / "out").message
        else:
            assert json.loads(scoreline("verify", tmp_path / "out", "--json").out)["changed_inputs"] == ["0.parquet"]

    def test_no_output(self, scoreline: Command, tmp_path: Path) -> None:
        assert scoreline("verify", tmp_path).code == 66
