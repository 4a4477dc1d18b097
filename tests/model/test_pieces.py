"""The outputs of passes, joined in the order of the rows."""

import torch
from scoreline.pipeline.model.passes import Pass
from scoreline.pipeline.model.pieces import Outputs, Pieces
from scoreline.pipeline.records import Sequences
from torch import Tensor

VALUES = torch.arange(20.0).reshape(10, 2)


def pieces_of(*bounds: tuple[int, int], rows: int = 10) -> tuple[Pieces, list[Outputs]]:
    """The rows of each pass, as outputs of two heads."""
    found, given = Pieces(rows), []
    for start, stop in bounds:
        made: Outputs = {"a": VALUES[start:stop].clone(), "b": -VALUES[start:stop, :1]}
        found.add(Pass(positions=slice(start, start + 4), arguments={"x": VALUES[start:stop]}), made)
        given.append(made)
    return found, given


def test_consecutive_rows() -> None:
    """Also where the last pass has fewer rows than its slice."""
    joined = pieces_of((0, 4), (4, 8), (8, 10))[0].joined()
    assert torch.equal(joined["a"], VALUES)
    assert torch.equal(joined["b"], -VALUES[:, :1])
    assert list(joined) == ["a", "b"]


def test_the_outputs_of_passes_are_not_kept() -> None:
    """Only one tensor of all rows is, so that activations find the memory that was free before."""
    found, given = pieces_of((0, 4), (4, 8), (8, 10))
    for made in given:
        for values in made.values():
            assert isinstance(values, Tensor)
            values.fill_(9)
    joined = found.joined()["a"]
    assert torch.equal(joined, VALUES)
    assert joined.untyped_storage().nbytes() == 10 * 2 * 4


def test_a_single_pass_is_not_copied() -> None:
    """Its outputs are those of the block."""
    found, (made,) = pieces_of((0, 4), rows=4)
    assert found.joined()["a"] is made["a"]


def test_rows_in_another_order() -> None:
    """As sequences are passed: sorted by length."""
    found = Pieces(10)
    for rows in (torch.tensor([7, 1, 4, 9]), torch.tensor([0, 2, 3, 5, 6, 8])):
        found.add(Pass(positions=rows, host_positions=rows, arguments={"x": VALUES[rows]}), {"a": VALUES[rows]})
    assert torch.equal(found.joined()["a"], VALUES)


def test_texts_of_consecutive_rows() -> None:
    """As they are generated from numbers: lists of their own lengths."""
    found = Pieces(3)
    for start, lengths in ((0, [0, 2, 3]), (2, [0, 1])):
        offsets = torch.tensor(lengths)
        text = Sequences(values=torch.arange(float(lengths[-1])) + 10 * start, offsets=offsets)
        rows = VALUES[start : start + len(lengths) - 1]
        found.add(Pass(positions=slice(start, start + 2), arguments={"x": rows}), {"a": text})
    joined = found.joined()["a"]
    assert isinstance(joined, Sequences)
    assert joined.offsets.tolist() == [0, 2, 3, 4]
    assert joined.values.tolist() == [0, 1, 2, 20]


def test_outputs_of_inference_mode() -> None:
    """The result can be changed outside of it, as before."""
    found = Pieces(10)
    for start, stop in ((0, 6), (6, 10)):
        with torch.inference_mode():
            made: Outputs = {"a": VALUES[start:stop] * 1}
        found.add(Pass(positions=slice(start, stop), arguments={"x": VALUES[start:stop]}), made)
    joined = found.joined()["a"]
    assert isinstance(joined, Tensor)
    assert torch.equal(joined.mul_(2), 2 * VALUES)
