"""Properties of the kinds of input."""

import pytest
import torch
from scoreline.pipeline.features.kinds import KINDS, kind_of
from scoreline.schemas.inputs import AnyInput, ImageInput, SequenceInput, TableInput, TextInput

TABLE = TableInput(name="t", columns=["a", "b"], dtype="int64")
IMAGE = ImageInput(name="i", columns=["p"], size=(4, 6), resize=8)
WORDS = SequenceInput(name="w", columns=["w"], longest=9, mask="lengths")
TEXT = TextInput(name="input_ids", columns=["a", "b"], tokenizer="t.json", longest=9, mask="attention", types=True)
LISTS = SequenceInput(name="l", columns=["x", "y"], longest=3, dtype="float32")


def test_kinds_are_listed_by_name() -> None:
    assert all(name == kind.name for name, kind in KINDS.items())


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (TABLE, "int64 [rows, 2]"),
        (IMAGE, "float32 [rows, 3, 4, 6], resized to 8 pixels and cropped"),
        (WORDS, "int64 [rows, up to 9 steps], padded, with a mask (lengths)"),
        (LISTS, "float32 [rows, up to 3 steps, 2], batched by length"),
        (
            TEXT,
            "int64 [rows, up to 9 steps], padded, with a mask (attention), and the types of its tokens; longer texts"
            " are cut",
        ),
    ],
)
def test_description(entry: AnyInput, says: str) -> None:
    assert kind_of(entry).describe() == says


@pytest.mark.parametrize(
    ("entry", "shapes"),
    [
        (TABLE, {"t": ((2, 2), torch.int64)}),
        (IMAGE, {"i": ((2, 3, 4, 6), torch.float32)}),
        (WORDS, {"w": ((2, 5), torch.int64), "w_mask": ((2,), torch.int64)}),
        (LISTS, {"l": ((2, 3, 2), torch.float32)}),
        (TEXT, dict.fromkeys(["input_ids", "attention_mask", "token_type_ids"], ((2, 5), torch.int64))),
    ],
)
def test_example(entry: AnyInput, shapes: dict[str, tuple[tuple[int, ...], torch.dtype]]) -> None:
    """Zeros in the shapes that the model takes, with at most the allowed number of steps."""
    made = kind_of(entry).example(2, 5, "cpu")
    assert {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in made.items()} == shapes
    assert list(made) == entry.arguments


def test_properties() -> None:
    entries = [TABLE, IMAGE, WORDS, LISTS, TEXT]
    assert [kind_of(entry).tabular for entry in entries] == [True, False, False, False, False]
    assert [kind_of(entry).opens_files for entry in entries] == [False, True, False, False, False]
    assert [kind_of(entry).has_steps for entry in entries] == [False, False, True, True, True]
    assert [kind_of(entry).masked for entry in entries] == [False, False, True, False, True]
    assert [entry.max_steps for entry in entries] == [None, None, 9, 3, 9]
    assert [kind_of(entry).values_per_row for entry in entries] == [2, 72, 36, 24, 72]


def test_only_tables_are_made_contiguous() -> None:
    assert kind_of(kind_of(TABLE).as_contiguous()).contiguous
    assert not kind_of(TABLE).contiguous
    assert kind_of(IMAGE).as_contiguous() is IMAGE
