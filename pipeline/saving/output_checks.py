"""Whether a model's outputs on the sample fit the task that is declared for them."""

from torch import Tensor

from ...schemas.graph import Graph
from ...schemas.heads import AnyHead
from ..errors import BundleError
from ..graph.facts import last_activation
from ..tasks.tasks import task_of

#: So many different outputs between 0 and 1 are probabilities, in a model that cannot be looked into.
FEWEST_TELLING = 20


def refuse_double_activation(graph: Graph | None, head: AnyHead) -> None:
    """A model that ends in a sigmoid or softmax gives no logits; applied twice, they score plausibly and wrong.

    Raises:
        BundleError: it does, and outputs is logits.
    """
    if graph is None or task_of(head).outputs != "logits" or isinstance(head.output, list):
        return
    last = last_activation(graph, head.output) or ""
    gives = {"Sigmoid": "probabilities", "Softmax": "probabilities", "LogSigmoid": "log_probabilities"}.get(last)
    if gives is not None:
        raise BundleError(
            f"the model ends in {last}: its outputs are {gives}, and outputs='logits' would apply one more;"
            f" pass outputs={gives!r}"
        )


def check_values(head: AnyHead, values: Tensor, *, opaque: bool) -> None:
    """Whether the sample's outputs are what `outputs` says.

    Args:
        values: `[rows, width]`.
        opaque: the model cannot be looked into.

    Raises:
        BundleError: probabilities where outputs is logits, or the other way round.
    """
    task = task_of(head)
    if task.outputs is None or task.generates:
        return
    apart = task.independent_labels or values.shape[1] == 1  # each number speaks for itself
    in_range = bool(((values >= -1e-4) & (values <= 1 + 1e-4)).all())
    sums_to_one = not apart and bool(((values.sum(dim=1) - 1).abs() < 1e-3).all())
    if (
        task.outputs == "logits"
        and opaque
        and in_range
        and apart
        and len(set(values.flatten().tolist())) >= FEWEST_TELLING
    ):
        raise BundleError(
            "every output of the sample lies between 0 and 1, so the model's outputs are probabilities, and"
            " outputs='logits' would apply the sigmoid again; pass outputs='probabilities'"
        )
    if task.outputs == "logits" and in_range and sums_to_one:
        raise BundleError(
            "the model's outputs are probabilities (every row sums to 1), and outputs='logits' would apply"
            " the softmax again; pass outputs='probabilities'"
        )
    if task.outputs == "probabilities" and not (in_range and (sums_to_one or apart)):
        raise BundleError(
            f"outputs='probabilities', and the sample's outputs lie between {values.min():.4g} and"
            f" {values.max():.4g}{'' if apart else ' or do not sum to 1'}; pass outputs='logits'?"
        )
    if task.outputs == "log_probabilities" and bool((values > 1e-4).any()):
        raise BundleError(
            f"outputs='log_probabilities', and an output is {values.max():.4g}, above 0; pass outputs='logits'?"
        )
