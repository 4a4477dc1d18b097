"""Outputs of successful runs, for commands that read predictions."""

from ...schemas.run import HeadRecord, RunManifest
from ..errors import DataError, UsageError
from .manifest import read_manifest
from .store import SUCCESS, Store


def read_finished(store: Store) -> RunManifest:
    """The manifest of a successful run.

    Raises:
        NoInputError: the folder is not an output of Scoreline.
        DataError: the run is not complete, its run.json was changed, or it does not describe its predictions.
    """
    manifest = read_manifest(store)
    if (reason := why_incomplete(store, manifest)) is not None:
        raise DataError(f"{str(store.root)!r} is not complete: {reason}")
    if not manifest.heads:
        raise DataError(f"{str(store.root)!r} does not describe its predictions; score it again with --force")
    return manifest


def why_incomplete(store: Store, manifest: RunManifest) -> str | None:
    """Why an output is not complete, and what to do; None if it is."""
    if manifest.error is not None:
        return manifest.error  # it has its own advice: a run with too many rejects would only fail again
    again = "run the same scoreline score again"
    if manifest.status == "running":
        return f"the run was killed, or is still running; {again}"
    return None if store.kind(SUCCESS) == "file" else f"it has no {SUCCESS}; {again}"


def chosen_head(manifest: RunManifest, name: str | None) -> HeadRecord:
    """The head of this name, or the only one. Raises UsageError if there is no such head, or if there are several and
    none is named."""
    heads = [head for head in manifest.heads if name is None or head.name == name]
    if len(heads) != 1:
        names = [head.name for head in manifest.heads]
        only = " (the only one; --head may be left out)" if len(names) == 1 else ""
        raise UsageError(f"--head must be one of {', '.join(names)}{only}")
    return heads[0]
