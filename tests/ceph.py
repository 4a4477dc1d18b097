"""Ceph's S3 service with a cluster of one monitor and one disk in memory, on the loopback interface: Debian's packages,
unpacked into a folder. Nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from object_storage import (
    REGION,
    SECRET,
    Service,
    UnavailableError,
    forwarding,
    free_ports,
    preparing,
    s3_environment,
    serving,
    wait_for,
)

PACKAGES = ("radosgw", "ceph-mon", "ceph-osd")
KEY = "ceph-key"
DISK_BYTES = 4 << 30
#: How long a step of the start may take.
START_S = 120
CONFIG = """
[global]
fsid = {fsid}
mon initial members = a
mon host = [v2:127.0.0.1:{ports[0]},v1:127.0.0.1:{ports[1]}]
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
osd pool default size = 1
osd pool default min size = 1
osd crush chooseleaf type = 0
osd pool default pg num = 4
osd pool default pg autoscale mode = off
mon allow pool size one = true
log file = {folder}/$name.log
admin socket = {folder}/$name.asok
run dir = {folder}
plugin dir = {libraries}/ceph
erasure code dir = {libraries}/ceph/erasure-code
osd class dir = {libraries}/rados-classes
compressor dir = {libraries}/ceph/compressor
[mon.a]
mon data = {folder}/mon
[osd.0]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = {disk}
[client.admin]
rgw frontends = beast endpoint=127.0.0.1:{ports[2]}
rgw enable ops log = false
rgw thread pool size = 32
"""


@contextmanager
def ceph(cache: Path, folder: Path) -> Iterator[Service]:
    """Start the service.

    Args:
        cache: where packages are kept.
        folder: for the files of the cluster.

    Raises:
        UnavailableError: the packages cannot be had, or do not run here.
    """
    import boto3  # of moto

    with ExitStack() as held:
        try:
            cluster = _Cluster.prepared(_unpacked(cache), folder)
            held.callback(cluster.stop)
            cluster.start()
        except (OSError, subprocess.SubprocessError) as error:
            raise UnavailableError(f"Ceph does not start: {error}") from error
        client = boto3.client(
            "s3", endpoint_url=cluster.endpoint, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name=REGION
        )
        server = held.enter_context(serving(forwarding(cluster.ports[2])))
        yield Service(
            server=server, scheme="s3", environment=s3_environment(server.endpoint, KEY, SECRET),
            create=lambda name: client.create_bucket(Bucket=name),
            remove=lambda name: client.delete_bucket(Bucket=name),
        )  # fmt: skip


def _unpacked(cache: Path) -> Path:
    """The root of the unpacked packages, which are downloaded unless the cache has them. apt checks their
    signatures."""
    root = cache / "root"
    with preparing(cache) as missing:
        if missing:
            _unpack(cache / "packages", root)
    return root


def _unpack(packages: Path, root: Path) -> None:
    if shutil.which("apt-get") is None:
        raise UnavailableError("Ceph is taken from Debian's packages, and there is no apt-get")
    shutil.rmtree(root, ignore_errors=True)
    packages.mkdir(parents=True, exist_ok=True)
    needed = subprocess.run(
        ["apt-get", "install", "--simulate", "-qq", "--no-install-recommends", *PACKAGES],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    names = [line.split()[1] for line in needed.stdout.splitlines() if line.startswith("Inst ")]
    if needed.returncode:
        raise UnavailableError(f"Ceph cannot be downloaded: {needed.stderr.strip().splitlines()[-1:]}")
    got = subprocess.run(
        ["apt-get", "download", "-qq", *names], cwd=packages, capture_output=True, text=True, check=False
    )
    if got.returncode:
        raise UnavailableError(f"Ceph cannot be downloaded: {got.stderr.strip().splitlines()[-1:]}")
    for package in packages.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, root], check=True)


@dataclass(frozen=True, kw_only=True)
class _Cluster:
    """The processes, and the environment in which they and the commands on them run."""

    root: Path
    folder: Path
    ports: list[int]
    environment: dict[str, str]
    processes: list[subprocess.Popen[bytes]]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports[2]}"

    @classmethod
    def prepared(cls, root: Path, folder: Path) -> _Cluster:
        """A cluster whose configuration is written."""
        libraries, ports = next((root / "usr/lib").glob("*-linux-gnu")), free_ports(3)
        config = CONFIG.format(fsid=uuid.uuid4(), ports=ports, folder=folder, libraries=libraries, disk=DISK_BYTES)
        (folder / "ceph.conf").write_text(config)
        environment = {
            **os.environ,
            "CEPH_CONF": str(folder / "ceph.conf"),
            "LD_LIBRARY_PATH": f"{libraries}:{libraries}/ceph:{root}/lib/{libraries.name}",
            "PATH": f"{root}/usr/bin:{os.environ['PATH']}",
            "PYTHONPATH": f"{root}/usr/lib/python3/dist-packages",
        }
        return cls(root=root, folder=folder, ports=ports, environment=environment, processes=[])

    def start(self) -> None:
        fsid = (self.folder / "ceph.conf").read_text().partition("fsid = ")[2].splitlines()[0]
        mon, keys = f"[v2:127.0.0.1:{self.ports[0]},v1:127.0.0.1:{self.ports[1]}]", ("--keyring", "keyring")
        for name in ("mon", "osd"):
            (self.folder / name).mkdir()
        self._run("ceph-authtool", "--create-keyring", "keyring", "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        self._run("monmaptool", "--create", "--addv", "a", mon, "--fsid", fsid, "monmap")
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap", *keys)
        self._begin("ceph-mon", "-f", "-i", "a")
        disk = str(uuid.uuid4())
        self._run("ceph", "osd", "new", disk, "0")
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
        self._begin("ceph-osd", "-f", "-i", "0")
        user = ("user", "create", "--uid=test", "--display-name=Test", f"--access-key={KEY}", f"--secret={SECRET}")
        self._run("radosgw-admin", *user)
        self._begin("radosgw", "-f", "-n", "client.admin")
        wait_for(lambda: urlopen(self.endpoint, timeout=1).close())

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _run(self, *words: str) -> None:
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment, check=False, timeout=START_S, capture_output=True, text=True
        )
        if done.returncode:
            raise OSError(f"{words[0]}: {done.stderr.strip().splitlines()[-1:]}")

    def _begin(self, *words: str) -> None:
        started = subprocess.Popen(
            words, cwd=self.folder, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.processes.append(started)
