"""Checks that the output and the input of a run are apart."""

import os
from pathlib import Path, PurePath, PurePosixPath

from ..errors import OutputError, UsageError
from ..inputs.discover import Discovery, refuse_path
from ..options import ScoreJob
from ..outputs.naming import part_name
from ..storage.uris import is_remote, parse_uri


def refuse_overlap(found: Discovery, job: ScoreJob) -> None:
    """Check that neither this run nor the next can read its output as input, and that the output does not contain it.

    Raises:
        OutputError: the output is within the input, or vice versa.
        UsageError: the output is not a local path.
    """
    refuse_path(job.output, "output")
    if not job.output.strip():
        raise UsageError("the output is an empty path; pass a folder with --output")
    if is_remote(job.output) or is_remote(found.real_root):
        _refuse_remote_overlap(found, job)
        return
    output, input_root = Path(os.path.realpath(job.output)), Path(found.real_root)
    searched = [Path(folder) for folder in found.searched] + ([input_root] if "**" in job.input else [])
    within = any(output == folder or folder in output.parents for folder in searched)
    contains_input = bool(searched) and output in input_root.parents
    if within or contains_input or _is_matched(found, output, input_root):
        raise OutputError(
            f"output {job.output!r} and input {job.input!r} overlap; choose an --output outside the input"
        )
    folders: dict[str, bool] = {}
    for partition in found.partitions:
        path = os.path.realpath(partition.path) if os.path.islink(partition.path) else partition.path  # noqa: PTH114
        folder = os.path.dirname(path)  # noqa: PTH120 - one check per folder, not per file
        if folder not in folders:
            real = Path(os.path.realpath(folder))
            folders[folder] = output == real or output in real.parents
        if folders[folder]:
            raise OutputError(f"input {partition.path!r} is within the output {job.output!r}; choose another --output")


def _refuse_remote_overlap(found: Discovery, job: ScoreJob) -> None:
    """As `refuse_overlap`, where the input or the output is in an object store."""
    if not (is_remote(job.output) and is_remote(found.real_root)):
        return
    output, root = f"{parse_uri(job.output)}".rstrip("/") + "/", found.real_root.rstrip("/") + "/"
    searched = found.pattern is None and not _is_single(found, job)
    within = output.startswith(root) and (searched or _is_matched(found, PurePosixPath(output), PurePosixPath(root)))
    inside = [one.path for one in found.partitions if one.path.startswith(output)]
    if within or inside:
        raise OutputError(
            f"output {job.output!r} and input {job.input!r} overlap; choose an --output outside the input"
        )


def _is_single(found: Discovery, job: ScoreJob) -> bool:
    """Whether the input is one object, and not a prefix or a table that has one."""
    if found.table_version is not None or len(found.partitions) > 1:
        return False
    return found.partitions[0].path == str(parse_uri(job.input))


def _is_matched(found: Discovery, output: PurePath, root: PurePath) -> bool:
    """Whether the glob of the input would match a part of this run."""
    if found.pattern is None or root not in output.parents:
        return False
    below = output.relative_to(root).parts
    names = [part_name(p.name, 0, several=several) for p in found.partitions for several in (False, True)]
    return any(found.pattern.matches_or_enters([*below, *name.split("/")]) for name in names)
