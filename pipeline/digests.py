"""Digests, as they are written in manifests and receipts. Imports nothing else of the pipeline."""

import hashlib
import re


def is_digest(text: str) -> bool:
    """Whether a text has the form of a digest."""
    return re.fullmatch(r"sha256:[0-9a-f]{64}", text) is not None


def sha256(data: bytes) -> str:
    """The digest of some bytes: `sha256:` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
