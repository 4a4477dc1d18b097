"""Measures Scoreline on a GPU, beside a loop written by hand and the limits of the machine.

    make gpu                         on a machine with a GPU
    make gpu DEVICE=cpu SIZE=tiny    the same code on any CPU, for a few minutes: the dry run
    make gpu ONLY=tests,limits       some phases

With several GPUs, each workload is scored on all of them, too, beside the first one, which the loop and the limits use.
Every phase is a process with a time limit. gpu.json and log.txt are written to $OUT, by default scoreline-gpu in the
temporary folder; a table is printed last. Figures of one report may be compared with each other only.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import torch
from by_hand import by_hand
from limits import arithmetic_s, decoding_by_processes_s, limits, reading_s
from settings import CORES, CUDA, DEVICE, FILES, FULL, GPUS, LABELS, OUT, ROWS
from workloads import make

ROOT = Path(__file__).resolve().parents[2]
#: The device of one GPU.
ONE = "cuda:0" if GPUS > 1 else DEVICE
#: Seconds that each phase may take.
PHASES = {"env": 60, "tests": 400, "limits": 120} | dict.fromkeys(ROWS, 300)
#: Bytes that are copied to the device for each row.
ROW_BYTES = {"tabular": 120, "deep": 256, "images": 602_112, "tiny": 68 * 8, "base": 68 * 8}


def env() -> dict[str, Any]:
    """The cards and the versions."""
    cards = [torch.cuda.get_device_properties(index).name for index in range(torch.cuda.device_count())] if CUDA else []
    return {"cards": cards, "torch": torch.__version__, "cuda": torch.version.cuda, "cores": CORES}


def tests() -> dict[str, Any]:
    """The CUDA tests; without a GPU, over the emulation."""
    words = ["-m", "pytest", "-q", "--tb=short", *map(str, sorted(ROOT.glob("tests/end_to_end/test_cuda*.py")))]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return {"exit_code": done.returncode, "summary": lines[-1:], "failed": failed, "end": done.stdout[-3000:]}


def scored(folder: Path, name: str, *words: str, device: str = ONE) -> dict[str, Any]:
    """A whole `scoreline score`: rows per second after its start-up, the share of each stage, and that of each GPU."""
    out = folder / name
    shutil.rmtree(out, ignore_errors=True)
    paths = ["--bundle", folder / "b", "--input", folder / "in", "--output", out]
    command = [sys.executable, "-m", "scoreline", "score", *map(str, paths), "--device", device, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"exit_code": done.returncode, "end": done.stderr[-600:]}
    manifest = json.loads((out / "_scoreline" / "run.json").read_text())
    stages = manifest["stages"]
    startup = manifest["startup_s"] + stages["discover"]["waiting_s"]
    steady = max(1e-6, manifest["wall_s"] - startup)
    return {
        "startup_s": round(startup, 3),
        "steady_s": round(steady, 4),
        "rows_per_s": round(manifest["rows_scored"] / steady),
        "busy_of_steady": {stage: round(spent["busy_s"] / steady, 3) for stage, spent in stages.items()},
        "device_busy": {one["device"]: round(one["busy_s"] / steady, 3) for one in manifest["devices"]},
        "golden_largest_difference": manifest["bundle"]["golden_largest_difference"],
    }


def largest_difference(folder: Path) -> float:
    """Between the probabilities of the run and those of the loop. Raises ValueError if their rows differ."""
    names = [f"probability_{label}" for label in LABELS]
    ours, theirs = (
        ds.dataset([str(path) for path in sorted((folder / name).rglob("*.parquet"))])
        .to_table(columns=["row_id", *names])
        .sort_by("row_id")
        for name in ("ours", "hand")
    )
    if ours["row_id"] != theirs["row_id"]:
        raise ValueError("the run and the loop have written different rows")
    return max(float(np.abs(ours[name].to_numpy() - theirs[name].to_numpy()).max()) for name in names)


def same_bytes(left: Path, right: Path) -> bool:
    """Whether two runs have written the same part files."""
    names = sorted(path.relative_to(left) for path in left.rglob("*.parquet"))
    return names == sorted(path.relative_to(right) for path in right.rglob("*.parquet")) and all(
        (left / name).read_bytes() == (right / name).read_bytes() for name in names
    )


def _steady_s(one: dict[str, Any]) -> float:
    return float(one.get("steady_s", float("inf")))


def workload(work: str) -> dict[str, Any]:
    """One workload: Scoreline, the loop by hand, and the limits of reading, copying and arithmetic."""
    with tempfile.TemporaryDirectory(prefix="scoreline-gpu-") as scratch:
        folder = Path(scratch)
        make(work, folder)
        ours = min((scored(folder, "ours") for _ in range(2)), key=_steady_s)
        found: dict[str, Any] = {"scoreline": ours, "by_hand": by_hand(work, folder)}
        bounds = {"reading": reading_s(work, folder), "arithmetic": arithmetic_s(work, folder, "fp32")}
        if work == "images":
            bounds["reading"] = min(bounds["reading"], decoding_by_processes_s(folder))
        measured = OUT / "gpu.json"
        phases = json.loads(measured.read_text()).get("phases", {}) if measured.exists() else {}
        if rate := phases.get("limits", {}).get("h2d_pinned_gb_s"):
            bounds["copy"] = ROW_BYTES[work] * ROWS[work] / (rate * 1e9)
        bound = max(bounds, key=lambda name: bounds[name])
        found |= {"limits_s": {name: round(value, 4) for name, value in bounds.items()}, "bound_by": bound}
        if "steady_s" in ours:
            found["largest_difference"] = largest_difference(folder)
            found["times_by_hand"] = round(ours["steady_s"] / found["by_hand"]["seconds"], 3)
            found["times_limit"] = round(ours["steady_s"] / max(1e-9, bounds[bound]), 3)
        if GPUS > 1:
            every = min((scored(folder, "every", device="cuda") for _ in range(2)), key=_steady_s)
            found |= {"scoreline_on_every_gpu": every, "gpus": GPUS}
            if "steady_s" in every and "steady_s" in ours:
                found["times_one_gpu"] = round(ours["steady_s"] / every["steady_s"], 3)
                found["same_bytes"] = same_bytes(folder / "ours", folder / "every")
        if work != "tabular":
            found["scoreline_bf16"] = scored(folder, "bf16", "--precision", "bf16")
        return found


def run_phase(name: str) -> dict[str, Any]:
    """A phase in a process of its own, so that one that hangs or loses its device does not affect the others."""
    result = OUT / "phase.json"
    result.unlink(missing_ok=True)
    start = perf_counter()
    with (OUT / "log.txt").open("a") as log:
        log.write(f"===== {name}\n")
        log.flush()
        command = [sys.executable, __file__, "--phase", name]
        try:
            ended = subprocess.run(
                command, stdout=log, stderr=subprocess.STDOUT, timeout=PHASES[name], check=False
            ).returncode
        except subprocess.TimeoutExpired:
            ended = -1
    found: dict[str, Any] = json.loads(result.read_text()) if result.exists() else {"ended_with": ended}
    return found | {"seconds": round(perf_counter() - start, 1)}


def table(phases: dict[str, Any]) -> str:
    """The figures that matter."""
    lines = [f"{'':9}{'rows/s':>12}{'× by hand':>11}{'× limit':>9}  {'bound by':12}{'difference':>10}{'busy':>7}"]
    for name in ROWS:
        found = phases.get(name, {})
        if "times_limit" not in found:
            continue
        rate, bound = found["scoreline"]["rows_per_s"], found["bound_by"]
        ratios = f"{found['times_by_hand']:>11.2f}{found['times_limit']:>9.2f}"
        busy = max(found["scoreline"]["device_busy"].values(), default=0.0)
        line = f"{name:9}{rate:>12,}{ratios}  {bound:12}{found['largest_difference']:>10.1e}{busy:>7.0%}"
        if "times_one_gpu" in found:
            same = "" if found["same_bytes"] else ", OTHER BYTES"
            line += f"  {found['times_one_gpu']:.2f} times as fast on {found['gpus']} GPUs{same}"
        lines.append(line)
    return "\n".join([*lines, "Ratios are of seconds: 1 is as fast, 2 is half as fast."])


def main() -> None:
    """Run the phases; gpu.json is written after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phase", choices=PHASES, help="run one phase in this process")
    phase = parser.parse_args().phase
    OUT.mkdir(parents=True, exist_ok=True)
    if phase:
        own = {"env": env, "tests": tests, "limits": limits}.get(phase)
        (OUT / "phase.json").write_text(json.dumps(workload(phase) if own is None else own()))
        return
    only = [name for name in os.environ.get("ONLY", "").split(",") if name] or list(PHASES)
    report: dict[str, Any] = {"device": DEVICE, "full": FULL, "files": FILES, "phases": {}}
    (OUT / "log.txt").write_text("")
    for name in only:
        found = report["phases"][name] = run_phase(name)
        (OUT / "gpu.json").write_text(json.dumps(report, indent=1))
        print(f"{name}: {json.dumps(found)[:400]}", flush=True)  # noqa: T201 - the output of a script
    print(table(report["phases"]))  # noqa: T201


if __name__ == "__main__":
    main()
