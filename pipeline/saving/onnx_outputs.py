"""The output of an ONNX model that a task means, if the task does not name one: classifiers of trees return their
label first. It is found by type, name and values on the sample. Independent of files.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...schemas.heads import AnyHead, BinaryHead, MulticlassHead
from ..errors import BundleError, listed
from ..model.forward import Call, call_model
from ..model.loading import OnnxModel, label_text
from ..records import Inputs
from ..tasks.tasks import task_of
from .draft import Draft
from .notes import say
from .output_checks import looks_like_probabilities

#: Part of the names that converters give to probabilities: `probabilities`, `output_probability`.
_PROBABILITY = "prob"


def find_outputs(
    drafts: Sequence[Draft], sample: Callable[[], Inputs], heads: Sequence[AnyHead], call: Call
) -> list[AnyHead]:
    """The heads with the outputs that they mean, and the columns of ZipMaps in the order of their labels.

    Args:
        sample: returns the model's inputs for the sample.

    Raises:
        BundleError: the model has other labels than a head, or has them in another order.
    """
    modules = [each.reference for each in drafts if isinstance(each.reference, OnnxModel)]
    raws = [_outputs(module, sample, call) for module in modules]
    found = list(heads)
    if len(modules) == len(drafts) and all(raws):
        found = [_found(head, raws[0]) if head.output == 0 else head for head in heads]
    for module, raw in zip(modules, raws, strict=True):
        module.arrange(found)
        for head in found:
            if isinstance(head.output, str) and not module.is_zip_map(head.output):
                _refuse_other_order(head, head.output, raw)
    return found


def _outputs(module: OnnxModel, sample: Callable[[], Inputs], call: Call) -> Mapping[str, Any]:
    """The outputs by name for the sample; empty if there is only one, or if the model fails, which is reported when
    all models run on the sample."""
    if not module.several:
        return {}
    inputs = sample()
    tensors = {name: given for name, given in inputs.items() if isinstance(given, Tensor)}
    if len(tensors) < len(inputs):
        return {}  # lists are passed one by one
    try:
        with torch.inference_mode():
            found: Mapping[str, Any] = call_model(module, tensors, call)
    except RuntimeError:
        return {}
    return found


def _found(head: AnyHead, raw: Mapping[str, Any]) -> AnyHead:
    """The head with the output that it means, if the first is none of scores, and only one other has scores."""
    task = task_of(head)
    first = next(iter(raw.values()))
    if task.per_step or task.generates or _is_float(first):
        return head
    fitting = {name: value for name, value in raw.items() if _is_float(value) and _fits(head, value)}
    named = [name for name in fitting if _PROBABILITY in name.lower()] if task.outputs is not None else []
    chosen = named if len(named) == 1 else list(fitting)
    if len(chosen) != 1:
        return head
    values = fitting[chosen[0]].reshape(fitting[chosen[0]].shape[0], -1)
    updates: dict[str, Any] = {"output": chosen[0]}
    if task.outputs == "logits" and looks_like_probabilities(head, values):
        updates["outputs"] = "probabilities"
    meaning = f", as {updates['outputs']}" if "outputs" in updates else ""
    where = "" if head.name == "output" else f"task {head.name!r}: "
    say(
        f"{where}the model's output {chosen[0]!r} is used{meaning}; its first output, {next(iter(raw))!r}, holds labels"
    )
    return head.model_copy(update=updates)


def _refuse_other_order(head: AnyHead, output: str, raw: Mapping[str, Any]) -> None:
    """Raise BundleError if the labels that the model returns are those of the head, but in another order: if they
    contradict the largest probability of most rows."""
    scores = raw.get(output)
    if not isinstance(head, BinaryHead | MulticlassHead) or not isinstance(scores, Tensor):
        return
    texts = [label_text(label) for label in head.labels]
    labelled = {name: value for name, value in raw.items() if not _is_float(value) and not isinstance(value, list)}
    for name, value in labelled.items():
        predicted = [str(label) for label in value.tolist()] if value.shape == scores.shape[:1] else []
        if scores.shape[1:] != (len(texts),) or not set(predicted) <= set(texts):
            continue
        largest = scores.argmax(dim=1).tolist()
        others = [row for row, label in enumerate(predicted) if label != texts[largest[row]]]
        if 2 * len(others) > len(predicted):
            row = others[0]
            raise BundleError(
                f"labels are {listed(head.labels)}, but the model has them in another order: for sample row {row},"
                f" {name!r} is {predicted[row]}, and of {output!r} column {largest[row]} is the largest; list labels in"
                " the order of the model's classes"
            )


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _fits(head: AnyHead, value: Tensor) -> bool:
    try:
        task_of(head).check_shape(value, value.shape[0] if value.ndim else 0)
    except BundleError:
        return False
    return True
