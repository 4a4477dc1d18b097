"""Digests, as they are written in manifests and receipts. Imports nothing else of the pipeline."""

import hashlib


def sha256(data: bytes) -> str:
    """The digest of some bytes: `sha256:` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
