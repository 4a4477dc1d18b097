"""The score to explain: a head's score for one of its classes or outputs, as one differentiable number."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ....schemas.heads import AnyHead
from ...tasks.tasks import task_of


def explained_score(head: AnyHead, raw: Sequence[Tensor], classes: Tensor) -> Tensor:
    """Raw outputs of each member, `[rows, width]` → the score of a class or output, `[rows]`: the mean over members of
    `Task.score`.

    Args:
        classes: index of the class or output, int64 `[rows]`.
    """
    task = task_of(head)
    return torch.stack([task.score(one, classes) for one in raw]).mean(dim=0)
