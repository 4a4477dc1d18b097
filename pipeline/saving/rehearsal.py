"""Loads a new bundle as a run would, and compares it with the original model, before the bundle is published."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...schemas.bundle import BundleManifest, Ensemble, Pruning
from ...schemas.heads import AnyHead
from ...schemas.inputs import TextInput
from ...schemas.steps import OrdinalStep
from ..bundle.golden import ABSOLUTE, RELATIVE, GoldenRows, is_within
from ..bundle.golden import Raw as Stored
from ..errors import BundleError, GoldenMismatchError, ModelFailedError
from ..features.kinds import kind_of
from ..features.text_encoder import TextEncoder
from ..model.devices import Cpu
from ..model.passes import in_row_order, num_rows
from ..options import ColumnOptions
from ..records import Inputs, Lists
from ..records import Sequences as Steps
from ..scoring.block import Block
from ..scoring.line import compose
from ..scoring.loaded import LoadedBundle, on_device
from ..scoring.replay import model_failures, raw_and_columns, settle_layout
from ..tasks.decode import decode_head, raw_arrays
from ..tasks.tasks import task_of
from .draft import Draft
from .pruning import zeros
from .reference import Raw

#: Additional padding steps for lists, to check that a model ignores the steps that its mask excludes.
EXTRA_STEPS = 3
PADDING = (
    "the model's output for a list changes with the padding after it; use the mask wherever steps are combined, or"
    " leave mask out, so that only lists of the same length are batched together"
)
PADS = (
    "padded steps are computed as well, even if a mask excludes them: use a pad that the model accepts, such as a token"
    " that its Embedding has, and total_length=x.size(1) in pad_packed_sequence"
)
MIXED = (
    "the model's output for a list depends on the lengths of the others in its batch; combine the steps that its own"
    " mask or length marks, not the last or the mean of all (h[:, -1], lengths.max()), or leave mask out, so that only"
    " lists of the same length are batched together"
)
#: How many golden rows are run with lists of other lengths beside them, and the shares of their steps that are kept.
MIXED_ROWS, SHARES = 8, (1.0, 0.5, 0.2)


def pruning_changes(
    share: float,
    drafts: Sequence[Draft],
    heads: Sequence[AnyHead],
    ensemble: Ensemble | None,
    raw: Raw,
    whole: Raw,
) -> Pruning:
    """The changes by pruning, measured on the golden rows."""
    counts = [zeros(each.reference) for each in drafts]
    changed = 0
    for head in heads:
        task = task_of(head)
        if task.num_label_columns:
            both = [decode_head(head, each[head.name], ColumnOptions(), ensemble, len(drafts)) for each in (raw, whole)]
            for at in range(task.num_label_columns):
                changed += pc.sum(pc.not_equal(*(decoded.columns[at] for decoded in both))).as_py()
    return Pruning(
        share=share,
        zeros=sum(zero for zero, _ in counts),
        weights=sum(weights for _, weights in counts),
        largest_difference=max(_largest_difference(head, raw[head.name], whole[head.name]) for head in heads),
        labels_changed=changed,
    )


def _largest_difference(head: AnyHead, one: Tensor | Steps, other: Tensor | Steps) -> float:
    """The largest difference between raw outputs as golden rows store them: of generated texts, whose numbers of tokens
    may differ, that of their scores. Infinite outputs, such as the logits of masked labels, are left out."""
    values = [
        np.asarray(stored.values if isinstance(stored, Lists) else stored)
        for stored in (task_of(head).raw_array(raw) for raw in (one, other))
    ]
    finite = np.isfinite(values[0]) & np.isfinite(values[1])
    return float(np.abs(values[0][finite] - values[1][finite]).max(initial=0.0))


def rehearse_bundle(
    manifest: BundleManifest, drafts: Sequence[Draft], golden: GoldenRows, encoders: Sequence[TextEncoder] = ()
) -> BundleManifest:
    """The manifest that reproduces the golden rows, with contiguous tables if the model needs them."""
    if not _rehearse(manifest, drafts, golden, encoders):
        return manifest
    inputs = [kind_of(entry).as_contiguous() for entry in manifest.inputs]
    return manifest.model_copy(update={"inputs": inputs})


def _rehearse(
    manifest: BundleManifest, drafts: Sequence[Draft], golden: GoldenRows, encoders: Sequence[TextEncoder]
) -> bool:
    """Replay the golden rows through the scoring path with the model rebuilt from its data: all in one batch, then one
    row alone and the rest in two unequal parts, since a row's score must not depend on other rows.

    Returns:
        Whether the model needs contiguous rows of tables.
    """
    members = [each.loaded for each in drafts]
    loaded = on_device(manifest, members, Cpu(), encoders=encoders)
    padded = [kind.entry for kind in map(kind_of, manifest.inputs) if kind.masked]
    _refuse_pads(loaded)
    _refuse_vocabularies(loaded)
    try:
        settle_layout(loaded, golden)
        if padded:
            _rehearse_padding(loaded, golden)
            _rehearse_lengths(loaded, golden)
    except GoldenMismatchError as error:
        if manifest.golden.source == "model" and padded:
            raise BundleError(f"{PADDING} ({error})") from error
        raise
    except (BundleError, ModelFailedError) as error:
        failed = error if isinstance(error, ModelFailedError) else error.__cause__
        if padded and isinstance(failed, ModelFailedError):  # it has scored the same lists one by one
            pads = " and ".join(f"pad {entry.pad} (input {entry.name!r})" for entry in padded)
            reason = str(failed).removeprefix("the model fails: ")
            raise BundleError(f"the model fails on lists that are padded with {pads}: {reason}; {PADS}") from error
        raise
    num_rows = golden.features.num_rows
    for start, stop in ((0, 1), (1, 1 + num_rows // 3), (1 + num_rows // 3, num_rows)):
        part = golden.features.slice(start, stop - start)
        if not part.num_rows:
            continue
        try:
            raw, _ = raw_and_columns(loaded, part)
        except ModelFailedError as error:
            raise BundleError(f"the model accepts {num_rows} rows at once, but not {part.num_rows}: {error}") from error
        for name, got in raw.items():
            if not _rows_match(got, golden.raw[name], start, stop):
                raise BundleError(
                    "the model mixes rows: a row's output depends on other rows of its batch (a mean or softmax over"
                    " dim=0, a BatchNorm without running statistics); each row must be independent"
                )
    return loaded.members.passes.contiguous


def _refuse_pads(loaded: LoadedBundle) -> None:
    """Raise BundleError for a tokenizer's pad that the model's Embedding does not have."""
    for entry in loaded.manifest.inputs:
        size = loaded.limits.get(entry.prepared[0])
        if isinstance(entry, TextInput) and size is not None and not 0 <= entry.pad < size:
            raise BundleError(
                f"pad {entry.pad} (input {entry.name!r}) is outside the embedding's range 0–{size - 1}; {PADS}"
            )


def _refuse_vocabularies(loaded: LoadedBundle) -> None:
    """Raise BundleError for a vocabulary with more words than its Embedding has rows: a run would reject every row with
    one of the others, and the sample may contain none of them."""
    for step in loaded.manifest.steps:
        if not isinstance(step, OrdinalStep):
            continue
        for feature, output, encoding in zip(step.features, step.outputs, step.encodings, strict=True):
            size, codes = loaded.limits.get(output), encoding.codes
            if size is not None and codes and max(codes) >= size:
                word = encoding.categories[codes.index(max(codes))]
                raise BundleError(
                    f"column {loaded.sources[feature]!r}: {word!r} of its vocabulary is {max(codes):.0f}, outside the"
                    f" embedding's range 0–{size - 1}; use the vocabulary that the model was trained with"
                )


def _rehearse_padding(loaded: LoadedBundle, golden: GoldenRows) -> None:
    """Replay the golden rows with additional padding, which must not change the outputs."""
    loaded.members.passes.extra = EXTRA_STEPS
    raw, _ = raw_and_columns(loaded, golden.features)
    if not all(_rows_match(got, golden.raw[name], 0, golden.features.num_rows) for name, got in raw.items()):
        raise BundleError(PADDING)
    loaded.members.passes.extra = 0


def _rehearse_lengths(loaded: LoadedBundle, golden: GoldenRows) -> None:
    """Run some golden lists, and shorter copies of them, all together and with additional padding. Each must have the
    output that it has alone; those that the model does not accept alone are left out."""
    if any(task_of(head).generates for head in loaded.manifest.heads):
        return
    passes = loaded.members.passes
    inputs = compose(loaded).load(Block(batch=golden.features.slice(0, MIXED_ROWS))).need_features().inputs
    rows = [_shortened(inputs, row, share) for share in SHARES for row in range(num_rows(inputs))]
    alone: list[dict[str, Stored]] = []
    kept: list[Inputs] = []
    passes.together = True
    for one in rows:
        with suppress(ModelFailedError):
            alone.append(_run(loaded, one))
            kept.append(one)
    found: dict[str, Stored] = {}
    padded: dict[str, Stored] = {}
    if kept:
        both = {name: in_row_order([one[name] for one in kept], []) for name in inputs}
        found = _run(loaded, both)
        passes.together, passes.extra = False, EXTRA_STEPS
        padded = _run(loaded, both)
    passes.together, passes.extra = False, 0
    for raws, problem in ((found, MIXED), (padded, PADDING)):
        for name, raw in raws.items():
            if not all(_rows_match(one[name], raw, row, row + 1) for row, one in enumerate(alone)):
                raise BundleError(problem)


def _shortened(inputs: Inputs, row: int, share: float) -> Inputs:
    """One row, with the first of the steps of its lists, at least one."""
    found: dict[str, Tensor | Steps] = {}
    for name, given in inputs.items():
        one = given[row : row + 1]
        if isinstance(one, Steps):
            steps = max(1, round(share * len(one.values)))
            one = Steps(values=one.values[:steps], offsets=torch.tensor([0, steps]))
        found[name] = one
    return found


def _run(loaded: LoadedBundle, inputs: Inputs) -> dict[str, Stored]:
    """The raw outputs. Raises ModelFailedError if the model fails."""
    with model_failures():
        return raw_arrays(loaded.manifest.heads, loaded.members.run(inputs))


def _rows_match(got: NDArray[np.float32] | Lists, whole: NDArray[np.float32] | Lists, start: int, stop: int) -> bool:
    """Whether rows have the same outputs as in the whole batch."""
    if isinstance(got, Lists) and isinstance(whole, Lists):
        wanted = whole.only(np.arange(start, stop))
        same = got.offsets.tolist() == wanted.offsets.tolist()
        return same and _are_close(got.values, wanted.values, wanted.values)
    assert isinstance(got, np.ndarray), "both are of rows, or both of steps"
    assert isinstance(whole, np.ndarray), "both are of rows, or both of steps"
    return _are_close(got, whole[start:stop], whole)


def _are_close(got: NDArray[Any], wanted: NDArray[Any], outputs: NDArray[Any]) -> bool:
    """Whether outputs differ by no more than rounding, which has the size of the largest of `outputs`: a sum of large
    numbers may be close to zero, and is added in another order where there are more rows."""
    if got.shape != wanted.shape:
        return False
    sizes = np.where(np.isfinite(outputs), np.abs(outputs), 0).max(axis=0, initial=0.0)
    return is_within(got, wanted, ABSOLUTE + RELATIVE * sizes)
