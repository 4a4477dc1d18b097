"""Checks that a model's outputs on the sample match the declared task."""

from torch import Tensor

from ...schemas.graph import Graph
from ...schemas.heads import AnyHead
from ..errors import BundleError
from ..graph.facts import last_activation
from ..tasks.tasks import task_of

#: For an opaque model, at least this many distinct outputs, all between 0 and 1, are taken for probabilities.
MIN_DISTINCT = 20


def refuse_double_activation(graph: Graph | None, head: AnyHead) -> None:
    """Refuse logits from a model that ends in a sigmoid or softmax: applied twice, scores look plausible but are wrong.

    Raises:
        BundleError: the model ends in a sigmoid or softmax, and outputs is logits.
    """
    if graph is None or task_of(head).outputs != "logits" or isinstance(head.output, list):
        return
    last = last_activation(graph, head.output) or ""
    gives = {"Sigmoid": "probabilities", "Softmax": "probabilities", "LogSigmoid": "log_probabilities"}.get(last)
    if gives is not None:
        raise BundleError(
            f"the model ends in {last}: its outputs are {gives}, and outputs 'logits' would apply it again;"
            f" set outputs to {gives!r}"
        )


def looks_like_probabilities(head: AnyHead, values: Tensor) -> bool:
    """Whether all values are between 0 and 1, and those of a row sum to 1 if exactly one label is predicted."""
    return _in_range(values) and (_separate(head, values) or _sums_to_one(values))


def _in_range(values: Tensor) -> bool:
    return bool(((values >= -1e-4) & (values <= 1 + 1e-4)).all())


def _separate(head: AnyHead, values: Tensor) -> bool:
    """Whether each number is a label's own."""
    return task_of(head).independent_labels or values.shape[1] == 1


def _sums_to_one(values: Tensor) -> bool:
    return bool(((values.sum(dim=1) - 1).abs() < 1e-3).all())


def check_values(head: AnyHead, values: Tensor, *, opaque: bool) -> None:
    """Check that the sample's outputs match `outputs`.

    Args:
        values: `[rows, width]`.
        opaque: the model has no graph.

    Raises:
        BundleError: probabilities if outputs is logits, or vice versa.
    """
    task = task_of(head)
    if task.outputs is None or task.generates:
        return
    apart = _separate(head, values)
    in_range = _in_range(values)
    sums_to_one = not apart and _sums_to_one(values)
    if (
        task.outputs == "logits"
        and opaque
        and in_range
        and apart
        and len(set(values.flatten().tolist())) >= MIN_DISTINCT
    ):
        raise BundleError(
            "every output of the sample is between 0 and 1, so the model's outputs are probabilities, and"
            " outputs 'logits' would apply the sigmoid again; set outputs to 'probabilities'"
        )
    if task.outputs == "logits" and in_range and sums_to_one:
        raise BundleError(
            "the model's outputs are probabilities (every row sums to 1), and outputs 'logits' would apply"
            " the softmax again; set outputs to 'probabilities'"
        )
    if task.outputs == "probabilities" and not (in_range and (sums_to_one or apart)):
        raise BundleError(
            f"outputs is 'probabilities', but the sample's outputs are between {values.min():.4g} and"
            f" {values.max():.4g}{'' if apart else ' or do not sum to 1'}; did you mean 'logits'?"
        )
    if task.outputs == "log_probabilities" and bool((values > 1e-4).any()):
        raise BundleError(
            f"outputs is 'log_probabilities', but an output is {values.max():.4g}, above 0; did you mean 'logits'?"
        )
