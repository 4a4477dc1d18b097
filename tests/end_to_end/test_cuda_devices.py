"""Runs on all GPUs of a machine, emulated: the same bytes as on one, and every device is checked and used."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from scoreline.pipeline.model.devices import Device
from scoreline.pipeline.scoring import replicas
from scoreline.pipeline.scoring.loaded import LoadedBundle

import fakecuda
import fakecuda_devices
from both_devices import assert_close, rows, score, small_bundle
from conftest import Result
from fakecuda_devices import launched
from scoreline import BundleError, Scorer

pytestmark = pytest.mark.usefixtures("cuda")
emulated_only = pytest.mark.skipif(torch.cuda.is_available(), reason="real GPUs are given, and do not fail on purpose")
EXPLAINED = ["--explain", "integrated-gradients", "--explain-rows", "1%"]
Words = list[object]


@pytest.fixture
def words(tmp_path: Path) -> Words:
    """`scoreline score` of repeated rows in two files, in blocks of 250."""
    bundle = small_bundle(tmp_path)
    (tmp_path / "in").mkdir()
    for number in range(2):
        rows(3000, number, repeated=True).to_parquet(tmp_path / "in" / f"{number}.parquet", index=False)
    return ["score", "--bundle", bundle, "--input", tmp_path / "in", "--batch-size", "250", "--device"]


def manifest(out: Path) -> dict[str, Any]:
    """The run.json of an output."""
    found: dict[str, Any] = json.loads((out / "_scoreline" / "run.json").read_text())
    return found


def devices_used() -> set[int]:
    """The devices on which a layer was launched."""
    return {index for index, name in launched if name == "linear"}


@emulated_only
@pytest.mark.parametrize("more", [[], ["--dedupe"], ["--hidden", "0", *EXPLAINED]])
def test_any_number_of_devices_writes_the_same_bytes(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scoreline: Callable[..., Result], more: list[str]
) -> None:
    """All are used and recorded, and what is logged about attributions covers all of them."""
    parts, gaps = [], []
    scored: set[int] = set()

    def note(name: str, num_bytes: int) -> None:
        if name == "linear" and num_bytes > 5000:  # blocks, not the golden rows
            scored.add(fakecuda_devices.launching())

    monkeypatch.setattr(fakecuda.Limits, "fail", note)
    for count in (1, 2, 3):
        monkeypatch.setattr(fakecuda.Limits, "devices", count)
        scored.clear()
        done = scoreline(*words, "cuda", "--output", tmp_path / str(count), *more)
        assert done.code == 0, done.err
        assert scored == set(range(count))
        parts.append([(tmp_path / str(count) / f"{number}.parquet").read_bytes() for number in range(2)])
        recorded = manifest(tmp_path / str(count))
        assert recorded["device"] == done.event("bundle_loaded")["device"] == "cuda"
        assert [(one["device"], one["card"]) for one in recorded["devices"]] == [
            (f"cuda:{n}", "emulated") for n in range(count)
        ]
        assert all(one["busy_s"] > 0 for one in recorded["devices"])
        assert done.event("bundle_loaded")["cards"] == ["emulated"] * count
        if "--explain" in more:
            event = done.event("rows_explained")
            gaps.append((event["rows"], event["largest_gap"], event["largest_difference"]))
    assert parts[0] == parts[1] == parts[2]
    assert len(set(gaps)) <= 1


@emulated_only
def test_one_device_by_its_number(words: Words, tmp_path: Path, scoreline: Callable[..., Result]) -> None:
    """The other does nothing; only pinned memory is no device's."""
    assert scoreline(*words, "cuda:1", "--output", tmp_path / "out", "--hidden", "0", *EXPLAINED).code == 0
    assert {name for index, name in launched if index == 0} <= {"cudaHostAlloc"}
    assert devices_used() == {1}
    recorded = manifest(tmp_path / "out")
    assert (recorded["device"], [one["device"] for one in recorded["devices"]]) == ("cuda:1", ["cuda:1"])


def test_all_devices_write_the_bytes_of_the_first(
    words: Words, tmp_path: Path, scoreline: Callable[..., Result]
) -> None:
    """On a real machine, too."""
    for device in ("cuda:0", "cuda"):
        assert scoreline(*words, device, "--output", tmp_path / device, "--hidden", "0", *EXPLAINED).code == 0
    for number in range(2):
        first, every = ((tmp_path / device / f"{number}.parquet").read_bytes() for device in ("cuda:0", "cuda"))
        assert first == every
    assert len(manifest(tmp_path / "cuda")["devices"]) == torch.cuda.device_count()


def test_a_resumed_run_keeps_what_other_devices_made(
    words: Words, tmp_path: Path, scoreline: Callable[..., Result]
) -> None:
    """The number of devices does not change what is up to date, nor the last bits."""
    assert scoreline(*words, "cuda:0", "--output", tmp_path / "out").code == 0
    again = scoreline(*words, "cuda", "--output", tmp_path / "out")
    assert again.code == 0
    assert again.event("nothing_to_do")


@emulated_only
def test_devices_of_another_card_are_left_out(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scoreline: Callable[..., Result]
) -> None:
    """Their values would differ, block by block."""
    monkeypatch.setattr(fakecuda.Limits, "devices", 3)
    monkeypatch.setattr(fakecuda.Limits, "cards", {1: "small"})
    assert scoreline(*words, "auto", "--output", tmp_path / "out").code == 0
    assert [one["device"] for one in manifest(tmp_path / "out")["devices"]] == ["cuda:0", "cuda:2"]
    assert devices_used() == {0, 2}


@emulated_only
def test_golden_rows_are_replayed_on_every_device(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scoreline: Callable[..., Result]
) -> None:
    """Before the first row; the message names the device."""
    real = replicas.on_device

    def on_device(manifest: Any, members: Any, device: Device, **options: Any) -> LoadedBundle:
        loaded = real(manifest, members, device, **options)
        if device.torch.index == 1:
            for weight in loaded.members.models[0].parameters():
                weight.mul_(1.5)
            torch.cuda.synchronize(1)
        return loaded

    monkeypatch.setattr(replicas, "on_device", on_device)
    done = scoreline(*words, "cuda", "--output", tmp_path / "out")
    assert done.code == 78
    assert "on cuda:1: golden rows were not reproduced" in done.message
    assert not (tmp_path / "out" / "0.parquet").exists()


@emulated_only
@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize("more", [[], EXPLAINED])
def test_one_device_that_fails_ends_the_run(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scoreline: Callable[..., Result], failing: int,
    more: list[str],
) -> None:  # fmt: skip
    """Closed, and named, although the others still work."""

    blocks = 0

    def fail(name: str, num_bytes: int) -> None:
        nonlocal blocks
        if name == "linear" and num_bytes > 5000 and fakecuda_devices.launching() == failing:
            blocks += 1
            if blocks == 12:
                fakecuda_devices.fail_device("device-side assert triggered")

    monkeypatch.setattr(fakecuda.Limits, "fail", fail)
    done = scoreline(*words, "cuda", "--output", tmp_path / "out", *more)
    assert done.code == 65
    assert f"the device cuda:{failing} has failed: CUDA error: device-side assert triggered" in done.message
    assert manifest(tmp_path / "out")["status"] == "failed"
    assert not (tmp_path / "out" / "_SUCCESS").exists()


@emulated_only
def test_memory_that_runs_out_on_one_device(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scoreline: Callable[..., Result]
) -> None:
    """Its blocks are halved; values may differ in the last bits."""
    assert scoreline(*words, "cuda:0", "--output", tmp_path / "whole").code == 0

    def fail(name: str, num_bytes: int) -> None:
        if name == "linear" and num_bytes > 5000 and fakecuda_devices.launching() == 1:
            raise fakecuda.out_of_memory()

    monkeypatch.setattr(fakecuda.Limits, "fail", fail)
    done = scoreline(*words, "cuda", "--output", tmp_path / "out")
    assert done.code == 0
    assert done.event("out_of_memory")["rows_at_once"] < 250
    assert_close(*(pq.read_table(tmp_path / name / "1.parquet") for name in ("out", "whole")))


@emulated_only
def test_a_scorer_uses_the_first_device(tmp_path: Path) -> None:
    """In a notebook, the others are left alone until they are added."""
    scorer = Scorer.load(small_bundle(tmp_path), device="cuda")
    assert (scorer.device, scorer.device_name) == (torch.device("cuda:0"), "cuda:0")
    scorer.add_devices("cuda")
    assert [one.torch.index for one in scorer.devices] == [0, 1]
    assert scorer.device_name == "cuda"
    launched.clear()
    scorer.score_frame(rows(700))
    assert devices_used() == {0}


@emulated_only
def test_check_names_every_device(words: Words, scoreline: Callable[..., Result]) -> None:
    """On which the golden rows were reproduced."""
    done = scoreline("check", "--bundle", words[2], "--device", "cuda")
    assert "reproduced on cuda:0 and cuda:1, compared with" in done.out


@emulated_only
def test_all_devices_run_compiled_models_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled models may differ in the last bits."""
    compiled: list[object] = []

    def fake(model: object, **_: object) -> object:
        compiled.append(model)
        if len(compiled) == 2:
            raise BundleError("no compiler for this one")
        return model

    monkeypatch.setattr(torch, "compile", fake)
    scorer = Scorer.load(small_bundle(tmp_path), device="cuda", compiled=True)
    assert (scorer.not_compiled, scorer.members.compiled) == (None, True)
    scorer.add_devices("cuda", compiled=True)
    assert scorer.not_compiled == "no compiler for this one"
    assert [loaded.members.compiled for loaded in scorer.replicas] == [False, False]


def test_tables_are_scored_as_on_the_cpu(tmp_path: Path) -> None:
    """With both devices."""
    bundle = small_bundle(tmp_path)
    got, wanted = (score(bundle, rows(), device) for device in ("cuda", "cpu"))
    assert abs(got["probability_a"].to_numpy() - wanted["probability_a"].to_numpy()).max() < 2e-5
