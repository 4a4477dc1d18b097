"""Raw outputs of heads to and from the arrays of golden rows."""

import numpy as np
import pytest
import torch
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.options import ColumnOptions
from scoreline.pipeline.records import Lists, Sequences
from scoreline.pipeline.tasks.decode import check_shape, decode_head, raw_arrays, raw_tensors
from scoreline.schemas.bundle import Ensemble
from scoreline.schemas.heads import RegressionHead, TaggingHead

NUMBER = RegressionHead(name="number")
TAGS = TaggingHead(name="tags", outputs="logits", labels=["a", "b"])


def test_arrays_and_back() -> None:
    """Rows and lists of steps are the same after a round trip."""
    steps = Sequences(values=torch.arange(6.0).reshape(3, 2), offsets=torch.tensor([0, 1, 1, 3]))
    raw: dict[str, torch.Tensor | Sequences] = {"number": torch.tensor([[1.5], [-2.0]]), "tags": steps}
    stored = raw_arrays([NUMBER, TAGS], raw)
    number, tags = stored["number"], stored["tags"]
    assert isinstance(number, np.ndarray)
    assert isinstance(tags, Lists)
    assert number.tolist() == [[1.5], [-2.0]]
    back = raw_tensors(tags)
    assert isinstance(back, Sequences)
    assert torch.equal(back.values, steps.values)
    assert torch.equal(back.offsets, steps.offsets)
    again = raw_tensors(number)
    assert isinstance(again, torch.Tensor)
    again += 1
    assert number.tolist() == [[1.5], [-2.0]], "a tensor is a copy"


def test_each_head_decodes_its_own_outputs() -> None:
    """An ensemble's members are concatenated."""
    (mean,) = decode_head(NUMBER, torch.tensor([[1.0, 4.0]]), ColumnOptions(), Ensemble(combine="mean"), 2).columns
    assert mean.to_pylist() == [2.5]


def test_a_wrong_shape_is_refused() -> None:
    """By the task of the head."""
    check_shape(NUMBER, torch.zeros(3), 3)
    says = r"^task 'number': .* the shape \[3, 2\] for 3 rows, but regression with 1 target takes \[rows\] or"
    with pytest.raises(BundleError, match=says):
        check_shape(NUMBER, torch.zeros(3, 2), 3)
