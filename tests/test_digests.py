"""Digests, compared with those of coreutils."""

import subprocess

import pytest
from scoreline.pipeline.digests import sha256


@pytest.mark.parametrize("data", [b"", b"scoreline", bytes(range(256)) * 99])
def test_digests(data: bytes) -> None:
    """Are those that `sha256sum` prints."""
    found = subprocess.run(["sha256sum"], input=data, capture_output=True, check=True).stdout
    assert sha256(data) == f"sha256:{found.split()[0].decode()}"
