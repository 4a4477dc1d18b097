"""Models: how one is called and pruned, and several whose predictions are combined."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator

from .values import Call, Combine, Share, Spec, YesNo, shown


def member_list(value: Any) -> list[Any]:
    """The models of an ensemble. Raises ValueError if it is not a list, or is empty."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"{shown(value)} is not a list of models")
    if not value:
        raise ValueError("the list of models is empty")
    return list(value)


@dataclass(frozen=True)
class Model(Spec):
    """A model that is called in another way than with one argument for each input, or whose weights are pruned.

        Model(network, call="dict", prune=0.5)

    Args:
        model: a module, or anything else that `save_bundle` takes as a model.
        call: `dict` if forward takes one dict of the inputs instead of arguments.
        prune: set this share of the smallest weights of each Linear and convolution to zero.
    """

    model: Any
    _: KW_ONLY
    call: Call = "arguments"
    prune: Share = None


@dataclass(frozen=True)
class Ensemble(Spec):
    """Several models, each of which takes the same inputs and returns the same outputs.

        Ensemble([model_1, model_2, model_3], combine="probability", std=True)

    Args:
        members: modules, or anything else that `save_bundle` takes as a model.
        combine: the mean `probability` (the default for labels), the mean `logit`, or the share of `vote`s, for the
            likeliest label of each member or, of a multilabel task, those above 0.5; for regression, the `mean`.
        std: also write `prediction_std`, the members' standard deviation.
        call: `dict` if forward takes one dict of the inputs instead of arguments.
        prune: set this share of the smallest weights of each Linear and convolution to zero.
    """

    members: Annotated[Sequence[Any], BeforeValidator(member_list)]
    _: KW_ONLY
    combine: Combine = None
    std: YesNo = False
    call: Call = "arguments"
    prune: Share = None
