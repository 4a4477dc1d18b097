"""Keeps compiled templates beside their source in `__pycache__`, as Python keeps its modules: compiling the page takes
longer than writing it."""

from __future__ import annotations

import sys
from contextlib import suppress
from hashlib import sha256
from importlib.util import cache_from_source
from io import BytesIO
from pathlib import Path

from jinja2 import BytecodeCache
from jinja2.bccache import Bucket

from ..errors import ScorelineError
from ..storage.replaced_file import replaced_file


class TemplateCache(BytecodeCache):
    """A cache for the templates of one folder. Where the folder cannot be written, or Python does not write bytecode,
    templates are compiled every time. Follows `PYTHONPYCACHEPREFIX`.

    Args:
        folder: of the templates.
        made_with: what the compiled code depends on besides the source.
    """

    def __init__(self, folder: Path, made_with: str) -> None:
        self._folder, self._made_with = folder, made_with

    def get_cache_key(self, name: str, filename: str | None = None) -> str:  # noqa: ARG002 - all are in one folder
        """The file of a compiled template."""
        return str(Path(cache_from_source(str(self._folder / name))).with_suffix(".jinja"))

    def get_source_checksum(self, source: str) -> str:
        """The digest of what the compiled code depends on."""
        return sha256(f"{self._made_with}\0{source}".encode()).hexdigest()

    def load_bytecode(self, bucket: Bucket) -> None:
        """Load the compiled template, if there is one for this source and these versions of Python and Jinja2."""
        with suppress(Exception):  # whatever is wrong with the file: the template is compiled then
            bucket.load_bytecode(BytesIO(Path(bucket.key).read_bytes()))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep a template that was just compiled."""
        if sys.dont_write_bytecode:
            return
        path = Path(bucket.key)
        with suppress(OSError, ScorelineError):
            path.parent.mkdir(exist_ok=True, parents=True)
            with replaced_file(path, "the compiled template") as file:
                bucket.write_bytecode(file)
