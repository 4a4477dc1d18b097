"""Azurite, the emulator of Azure Blob Storage, on the loopback interface: an npm package in a folder."""

from __future__ import annotations

import hmac
import shutil
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from email.utils import formatdate
from http.client import HTTPConnection
from pathlib import Path

from object_storage import SECRET, Service, UnavailableError, forwarding, free_ports, preparing, serving, wait_for

VERSION = "3.37.0"
ACCOUNT, KEY = "testaccount", b64encode(SECRET.encode()).decode()


@contextmanager
def azurite(cache: Path, folder: Path) -> Iterator[Service]:
    """Start the service.

    Args:
        cache: where the package is kept.
        folder: for its objects.

    Raises:
        UnavailableError: the package cannot be had, or does not run here.
    """
    program = cache / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    (port,) = free_ports(1)
    with ExitStack() as held:
        try:
            _install(cache)
            started = subprocess.Popen(
                ["node", program, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", folder, "--silent",
                 "--skipApiVersionCheck", "--disableTelemetry"],
                env={"PATH": "/usr/local/bin:/usr/bin:/bin", "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"},
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            held.callback(started.wait)
            held.callback(started.terminate)
            wait_for(lambda: _answer(port, "GET", "/", {}))
        except (OSError, subprocess.SubprocessError) as error:
            raise UnavailableError(f"Azurite does not start: {error}") from error
        server = held.enter_context(serving(forwarding(port)))
        environment = {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            "AZURE_STORAGE_ENDPOINT": f"{server.endpoint}/{ACCOUNT}",
        }  # fmt: skip
        yield Service(
            server=server, scheme="az", environment=environment, create=lambda name: _request(port, "PUT", name),
            remove=lambda name: _request(port, "DELETE", name),
        )  # fmt: skip


def _install(cache: Path) -> None:
    with preparing(cache) as missing:
        if not missing:
            return
        if shutil.which("npm") is None:
            raise UnavailableError("Azurite is a package of npm, which is not installed")
        subprocess.run(
            ["npm", "install", "--no-fund", "--no-audit", f"azurite@{VERSION}"],
            cwd=cache, check=True, capture_output=True,
        )  # fmt: skip


def _request(port: int, method: str, container: str) -> None:
    """Create or remove a container, with a signed request."""
    path = f"/{ACCOUNT}/{container}"
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
    lines = [f"{name}:{value}" for name, value in headers.items()]
    text = "\n".join([method, *[""] * 11, *lines, f"/{ACCOUNT}{path}", "restype:container"])
    signature = b64encode(hmac.digest(b64decode(KEY), text.encode(), "sha256")).decode()
    headers |= {"Authorization": f"SharedKey {ACCOUNT}:{signature}", "Content-Length": "0"}
    status = _answer(port, method, f"{path}?restype=container", headers)
    assert status in (201, 202), status


def _answer(port: int, method: str, path: str, headers: dict[str, str]) -> int:
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(method, path, headers=headers)
        return connection.getresponse().status
