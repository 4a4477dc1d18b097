"""Runs with input and output in object storage beside the same run on local files: whole processes.

    python benchmarks/object_storage.py [--rows 1000000] [--rounds 3]
    python benchmarks/object_storage.py --objects 20000

The service is the one that AWS_ENDPOINT_URL names, or an S3 server of moto on this machine, which shares its cores.
Every round runs each kind once. With `--objects`, so many inputs of ten rows are scored, twice: the second run has
nothing to do.
"""

# ruff: noqa: T201 - this prints a table

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from many_partitions import link
from peers import make

PORT = 5055
#: A small process starts the command: the peak of a child is at least that of its parent.
CODE = (
    "import resource, subprocess, sys;"
    "subprocess.run([sys.executable, '-m', 'scoreline', *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL);"
    "used = resource.getrusage(resource.RUSAGE_CHILDREN);"
    "print(used.ru_utime + used.ru_stime, used.ru_maxrss)"
)
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_REGION": "us-east-1"}


@contextmanager
def service() -> Iterator[None]:
    """Have the variables of a service in the environment."""
    if "AWS_ENDPOINT_URL" in os.environ:
        yield
        return
    os.environ.update(CREDENTIALS, AWS_ENDPOINT_URL=f"http://127.0.0.1:{PORT}")
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(PORT)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL"], timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield
    finally:
        server.kill()
        server.wait()


def create_bucket() -> str:
    """A new bucket; returns its URI."""
    import boto3

    name = f"scoreline-{uuid.uuid4().hex[:12]}"
    boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).create_bucket(Bucket=name)
    return f"s3://{name}"


def upload(folder: Path, uri: str) -> None:
    """Copy the files below a folder."""
    from scoreline.pipeline.storage.remote import bucket_of
    from scoreline.pipeline.storage.uris import parse_uri

    bucket = bucket_of(parse_uri(uri))
    prefix = parse_uri(uri).key
    with ThreadPoolExecutor(8) as pool:
        files = [path for path in folder.rglob("*") if path.is_file()]
        list(pool.map(lambda path: bucket.write(f"{prefix}/{path.relative_to(folder).as_posix()}", path), files))


def score(folder: Path, data: str, out: str) -> tuple[float, float, float]:
    """Run `scoreline score`. Returns its wall time and CPU time in seconds, and its peak memory in MB."""
    words = ["score", "--bundle", str(folder / "bundle"), "--input", data, "--output", out, "--log-level", "error"]
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", CODE, *words], check=True, capture_output=True, text=True)
    wall = time.perf_counter() - start
    cpu, peak_kb = done.stdout.split()
    return wall, float(cpu), int(peak_kb) / 1000


def compare(folder: Path, rows: int, rounds: int) -> None:
    """Score local files and objects, to a folder and to a bucket."""
    make(folder, rows=rows, files=4)
    uri = create_bucket()
    upload(folder / "data", f"{uri}/in")
    local, remote = str(folder / "data"), f"{uri}/in/"
    kinds = {
        "local, local": (local, "local"),
        "local, S3": (local, "S3"),
        "S3, local": (remote, "local"),
        "S3, S3": (remote, "S3"),
    }
    found: dict[str, list[tuple[float, float, float]]] = {kind: [] for kind in kinds}
    for number in range(rounds):
        for kind, (data, out) in kinds.items():
            target = f"{uri}/out{number}-{data.startswith('s3')}" if out == "S3" else str(folder / "out")
            found[kind].append(score(folder, data, target))
            shutil.rmtree(folder / "out", ignore_errors=True)
    print(f"{rows:,} rows x 30 in four files, medians of {rounds}")
    print(f"{'input, output':<15} {'wall':>8} {'CPU':>8} {'peak':>8}")
    for kind, runs in found.items():
        wall, cpu, peak = (median(values) for values in zip(*runs, strict=True))
        print(f"{kind:<15} {wall:6.2f} s {cpu:6.2f} s {peak:5.0f} MB")


def many(folder: Path, objects: int) -> None:
    """Score many small objects to a bucket, and again with nothing to do."""
    link(folder, objects)
    uri = create_bucket()
    start = time.perf_counter()
    upload(folder / "in", f"{uri}/in")
    print(f"{objects:,} objects, uploaded in {time.perf_counter() - start:.0f} s", flush=True)
    for label in ("score", "nothing to do"):
        wall, cpu, peak = score(folder, f"{uri}/in/", f"{uri}/out")
        print(f"{label:<15} {wall:7.1f} s {cpu:7.1f} s CPU {peak:6.0f} MB", flush=True)


def main() -> None:
    """Measure."""
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--objects", type=int)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="scoreline-objects-") as name, service():
        if given.objects is None:
            compare(Path(name), given.rows, given.rounds)
        else:
            many(Path(name), given.objects)


if __name__ == "__main__":
    main()
