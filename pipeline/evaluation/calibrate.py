"""A bundle and labelled rows → the calibrated bundle, with the reliability of its probabilities before and after.

Holds the scores of every row in memory: 4 bytes per label, plus the true label.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch

from ...schemas.bundle import BundleManifest
from ...schemas.heads import AnyHead, Platt, Temperature
from ..bundle.bundle import Bundle, open_bundle
from ..bundle.golden import GoldenRows, read_golden, write_golden
from ..bundle.heads import head_fields
from ..bundle.write import resolve_target, write_bundle
from ..digests import sha256
from ..errors import DataError, UsageError
from ..inputs.discover import discover
from ..model.first_rows import FirstRows
from ..model.modes import pinned
from ..monitoring.layout import encode_reference, read_reference
from ..nested import take
from ..options import ColumnOptions, ScoreJob
from ..plain import plain
from ..planning.existing import ExistingParts
from ..planning.plan import make_plan
from ..planning.splits import read_splits
from ..records import ReadBlock, dense
from ..running.blocks import origin_of
from ..scoring.block import Block
from ..scoring.line import compose, execute
from ..scoring.retries import Retries, warn_retried
from ..scoring.scorer import Scorer
from ..tasks.decode import decode_head, raw_tensors
from ..tasks.task import Task
from ..tasks.tasks import TASKS, task_of
from .calibration import fit_platt, fit_temperature
from .evaluators import EVALUATORS
from .labels import LabelError, located, refuse_repeated
from .reliability import Reliability, reliability

Method = Literal["auto", "temperature", "platt"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationReport:
    """`rows`: with a label and a score; `skipped`: without. `numbers`: the fitted parameters, as text."""

    digest: str
    rows: int
    skipped: int
    numbers: str
    before: Reliability
    after: Reliability


@pinned()
def calibrate(
    job: ScoreJob,
    labels: Sequence[str],
    out: str,
    *,
    head: str | None = None,
    method: Method = "auto",
    advance: Callable[[int], object] = lambda _: None,
) -> CalibrationReport:
    """Fit the calibration of a head to labelled rows, and write the calibrated bundle.

    Args:
        job: its bundle, input, format, csv, device and trust are used.
        labels: the column with the true label; for a multilabel head one column per label, in the bundle's order.
        out: the folder of the new bundle.
        head: the head's name, if the bundle has several.
        method: `auto`: a temperature for multiclass, Platt for binary and multilabel.
        advance: called with the number of rows read since the last call.

    Raises:
        UsageError: a head, label column or method that does not match the bundle, or `out` is the bundle's own folder.
        DataError: a label that the bundle does not have, or labels that cannot be fitted.
        OutputError: `out` exists, or cannot be created.
    """
    bundle = open_bundle(job.bundle)
    if os.path.realpath(out) == os.path.realpath(bundle.path):  # also if one is a link
        raise UsageError(f"{out!r} is the bundle to calibrate itself, which is not changed; pass another folder")
    chosen = choose(bundle.manifest, head)
    task = task_of(chosen)
    fit = _method(task, method)
    wanted = task.num_label_columns
    if len(labels) != wanted:
        raise UsageError(f"{chosen.task} takes {wanted} --label, in the order of its labels; {len(labels)} given")
    refuse_repeated(labels)
    if bundle.manifest.ensemble is not None and bundle.manifest.ensemble.combine == "vote":
        raise UsageError(
            "an ensemble that votes returns shares of votes, not probabilities; save it with combine='probability'"
        )
    resolve_target(out)  # fails before the work is done
    scorer = Scorer.load(bundle, device=job.device, trust=job.trust)
    scores, truth, skipped = _collected(scorer, task, job, labels, advance)
    try:
        fitted, numbers = _fit(fit, scores.double().numpy(), truth, labels)
    except ValueError as error:
        raise DataError(f"{job.input}: {error}") from error
    better = chosen.model_copy(update={"calibration": fitted})
    return CalibrationReport(
        digest=_write(bundle, better, out),
        rows=len(truth),
        skipped=skipped,
        numbers=numbers,
        before=reliability(task.probabilities(scores), truth),
        after=reliability(task_of(better).probabilities(scores), truth),
    )


def choose(manifest: BundleManifest, name: str | None) -> AnyHead:
    """The head of that name, or the only one with probabilities. Raises UsageError with the available names."""
    heads = [head for head in manifest.heads if task_of(head).calibrations]
    there = ", ".join(head.name for head in heads)
    if not heads:
        raise UsageError(
            "the bundle returns no probabilities; only binary, multiclass and multilabel heads can be calibrated"
        )
    named = [head for head in heads if name is None or head.name == name]
    if len(named) != 1:
        others = {head.name for head in manifest.heads} - {head.name for head in heads}
        why = f"{name!r} returns no probabilities to calibrate; " if name in others else ""
        raise UsageError(f"{why}--head must be one of {there}")
    return named[0]


def _method(task: Task[Any], method: str) -> str:
    usual = task.calibrations[0]
    if method == "auto":
        return usual
    if method not in task.calibrations:
        others = " and ".join(name for name, other in TASKS.items() if method in other.calibrations)
        takes = "a temperature" if usual == "temperature" else usual
        raise UsageError(f"--method {method} is for {others}; {task.name} takes {takes}")
    return method


def _fit(method: str, scores: np.ndarray, truth: np.ndarray, names: Sequence[str]) -> tuple[Temperature | Platt, str]:
    """The fitted calibration, and its parameters as text.

    Raises:
        ValueError: the labels cannot be fitted.
    """
    if method == "temperature":
        temperature = fit_temperature(scores, truth.astype(np.int64))
        return temperature, f"temperature {temperature.temperature:.4g}"
    fitted = fit_platt(scores, truth.reshape(len(truth), -1).astype(bool), names)
    pairs = zip(fitted.slope, fitted.intercept, strict=True)
    return fitted, ", ".join(f"slope {slope:.4g} intercept {intercept:.4g}" for slope, intercept in pairs)


def _collected(
    scorer: Scorer, task: Task[Any], job: ScoreJob, labels: Sequence[str], advance: Callable[[int], object]
) -> tuple[torch.Tensor, np.ndarray, int]:
    """Scores `[rows, labels]` and true labels of all rows that have both, and the number of other rows."""
    scores, truths, skipped, retries = [], [], 0, Retries(warn_retried)
    line = compose(scorer.loaded)
    to_raw = line.score_until("forward")
    for read in _blocks(scorer, job, labels):
        block = execute(to_raw, line.load(read))
        raw, kept = block.need_raw(), block.need_raw().kept(block.need_features())
        retries.add(raw.retried, source=block.origin.source, first_row=block.first_row, rows=block.batch.num_rows)
        columns = [plain(block.batch.column(name)) for name in labels]
        if kept is not None:
            columns = [take(column, kept) for column in columns]
        head = task.head.name
        logits = task.logits(dense({head: raw.heads[head]})[head], scorer.manifest.ensemble, len(scorer.members))
        try:
            truth, known = EVALUATORS[task.name].truth(task.labels, columns, labels)
        except LabelError as error:
            raise located(error, block.origin.source, block.first_row, kept) from error
        known = known & ~torch.isnan(logits).any(dim=1).numpy()
        scores.append(logits[torch.from_numpy(known)])
        truths.append(truth[known])
        skipped += block.batch.num_rows - int(known.sum())
        advance(block.batch.num_rows)
    if not sum(len(truth) for truth in truths):
        raise DataError(f"{job.input}: no row has a label and can be scored (rows read: {skipped})")
    return torch.cat(scores), np.concatenate(truths), skipped


def _blocks(scorer: Scorer, job: ScoreJob, labels: Sequence[str]) -> Iterator[Block]:
    found = discover(job.input, format=job.format)
    keyed = ScoreJob(
        bundle=job.bundle, input=job.input, output="", run_id="", csv=job.csv, format=job.format,
        columns=ColumnOptions(keys=tuple(dict.fromkeys(labels)), prefix="scoreline_"),
    )  # fmt: skip
    plan = make_plan(found, ExistingParts(), scorer.manifest, keyed, 1 << 20)
    if plan.failed:
        raise plan.failed[0]
    for planned in plan.partitions:
        origin = origin_of(planned, FirstRows())
        for piece in read_splits(planned, scorer.block_rows):
            if isinstance(piece, ReadBlock):
                yield Block.of(_with_path(piece, labels, dict(planned.partition.hive)), origin)


def _with_path(block: ReadBlock, labels: Sequence[str], path: Mapping[str, str | None]) -> ReadBlock:
    """Add label columns from the file's path, if they are not in the file."""
    batch = block.batch
    for name in labels:
        if name not in batch.schema.names:
            batch = batch.append_column(name, pa.repeat(pa.scalar(path[name], pa.string()), batch.num_rows))
    return replace(block, batch=batch)


def _write(bundle: Bundle, head: AnyHead, out: str) -> str:
    """Write the bundle with a replaced head; the decoded columns of its golden rows are recomputed from their raw
    outputs. Its reference no longer has this head's predictions, which have changed and are known as counts only."""
    manifest = bundle.manifest
    heads: list[AnyHead] = [head if one.name == head.name else one for one in manifest.heads]
    manifest = manifest.model_copy(update={"heads": heads})
    names = [feature.name for feature in manifest.features]
    golden = read_golden(bundle.read(manifest.golden.file), names, [one.name for one in heads])
    columns: dict[str, pa.Array] = {}
    for one in heads:
        raw = raw_tensors(golden.raw[one.name])
        decoded = decode_head(one, raw, ColumnOptions(), manifest.ensemble, len(manifest.members))
        fields = head_fields(manifest, one, ColumnOptions())
        columns |= {field.name: column for field, column in zip(fields, decoded.columns, strict=True)}
    columns = {name: columns[name] for name in golden.columns if name in columns}
    files = {name: bundle.read(name) for name in manifest.files}
    files[manifest.golden.file] = write_golden(
        GoldenRows(features=golden.features, raw=golden.raw, columns=columns or golden.columns)
    )
    if manifest.reference is not None:
        files[manifest.reference.file] = _without_outputs(bundle, manifest.reference.file, head)
    digests = {name: sha256(data) for name, data in files.items()}
    return write_bundle(out, manifest.model_copy(update={"files": digests}), files)


def _without_outputs(bundle: Bundle, file: str, head: AnyHead) -> bytes:
    """The bundle's reference without the predictions of a head."""
    reference = read_reference(bundle.read(file), file)
    changed = {field.name for field in head_fields(bundle.manifest, head, ColumnOptions())}
    outputs = [column for column in reference.outputs if column.name not in changed]
    return encode_reference(reference.model_copy(update={"outputs": outputs}))
