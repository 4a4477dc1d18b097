"""The profiles of published parts: kept within a bound, and what is compared does not depend on it."""

import json
from pathlib import Path
from typing import Any

import pytest
from scoreline.pipeline.options import ScoreJob
from scoreline.pipeline.outputs import receipt
from scoreline.pipeline.running import drift
from scoreline.pipeline.running.profiles import PartProfiles
from scoreline.pipeline.running.run import run

from conftest import Example


def test_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those for which there is room are kept."""
    monkeypatch.setattr("scoreline.pipeline.running.profiles.MAX_BYTES", 10)
    profiles = PartProfiles()
    for name, data in (("a", b"1234567"), ("b", b"1234"), ("c", None), ("d", b"123")):
        profiles.add(name, data)
    assert [profiles.get(name) for name in "abcde"] == [b"1234567", None, None, b"123", None]


def test_equal_drift_with_and_without_room(iris: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only those of parts that are not kept are read from the files."""
    (tmp_path / "in").mkdir()
    for number in range(3):
        iris.frame.sample(90, random_state=number).to_parquet(tmp_path / "in" / f"{number}.parquet", index=False)
    read: list[str] = []

    def count(path: Path, location: Any) -> bytes | None:
        read.append(path.name)
        return receipt.read_profile(path, location)

    monkeypatch.setattr(drift, "read_profile", count)
    found = []
    for room in (0, 1 << 20):
        monkeypatch.setattr("scoreline.pipeline.running.profiles.MAX_BYTES", room)
        out = tmp_path / f"out{room}"
        run(ScoreJob(bundle=str(iris.bundle), input=str(tmp_path / "in"), output=str(out), run_id="one", device="cpu"))
        profile = json.loads((out / "_scoreline" / "profile.json").read_text())
        found.append({name: profile[name] for name in ("columns", "worst", "partitions", "sampled")})
    assert sorted(read) == ["0.parquet", "1.parquet", "2.parquet"]
    assert found[0] == found[1]
    assert found[0]["partitions"] == 3
