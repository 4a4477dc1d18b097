"""The tasks by name. To add a task, write its class and list it here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .binary import BinaryTask
from .generation import GenerationTask
from .multiclass import MulticlassTask
from .multilabel import MultilabelTask
from .regression import RegressionTask
from .tagging import TaggingTask
from .task import Task

if TYPE_CHECKING:
    from ...schemas.heads import AnyHead

TASKS: dict[str, type[Task[Any]]] = {
    task.name: task
    for task in (BinaryTask, MulticlassTask, MultilabelTask, RegressionTask, TaggingTask, GenerationTask)
}


def task_of(head: AnyHead) -> Task[Any]:
    """The task of a head."""
    return TASKS[head.task](head)
