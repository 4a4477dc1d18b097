"""Cells with text, bytes and paths, which stay as they are; nulls, and the words that mean null in a CSV file."""

import pyarrow as pa
import pytest
from scoreline.pipeline.inputs.cells.text import image_cells, text_cells, without_null_words
from scoreline.pipeline.options import CsvDialect
from scoreline.schemas.inputs import Feature

TEXTS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
CELLS = ["b", None, "", "NA", " b "]


@pytest.mark.parametrize("arrow_type", TEXTS)
def test_text_in_any_layout(arrow_type: pa.DataType) -> None:
    """Empty text and spaces stay."""
    values, problems = text_cells(pa.array(CELLS).cast(arrow_type), Feature(name="a", dtype="text"))
    assert values == pa.array(CELLS, pa.large_string())
    assert problems == [(1, "is null")]


def test_a_dictionary_of_views() -> None:
    """Which Arrow cannot decode."""
    words = pa.array(["a", "", None], pa.string_view())
    array = pa.DictionaryArray.from_arrays(pa.array([1, 0, None, 2], pa.int8()), words)
    values, problems = text_cells(array, Feature(name="a", dtype="text"))
    assert (values.to_pylist(), problems) == (["", "a", None, None], [(2, "is null"), (3, "is null")])


def test_nulls_that_are_kept() -> None:
    values, problems = text_cells(pa.array(CELLS), Feature(name="a", dtype="text", nulls="keep"))
    assert (values.to_pylist(), problems) == (CELLS, [])


@pytest.mark.parametrize("rows", [0, 2])
def test_a_column_of_arrows_null_type(rows: int) -> None:
    """As a file without any value has it."""
    values, problems = text_cells(pa.nulls(rows), Feature(name="a", dtype="text"))
    assert values == pa.nulls(rows, pa.large_string())
    assert problems == [(row, "is null") for row in range(rows)]
    images, problems = image_cells(pa.nulls(rows))
    assert len(images) == rows
    assert problems == [(row, "is null") for row in range(rows)]


@pytest.mark.parametrize("of_dictionary", [False, True])
@pytest.mark.parametrize("arrow_type", [*TEXTS, pa.binary(), pa.large_binary(), pa.binary_view()])
def test_images(arrow_type: pa.DataType, of_dictionary: bool) -> None:
    """Bytes and paths, in a layout from which rows can be selected."""
    array = pa.array([b"one", None, b"three"]).cast(pa.string()).cast(arrow_type)
    if of_dictionary and not pa.types.is_dictionary(arrow_type):
        array = pa.DictionaryArray.from_arrays(pa.array([0, None, 2], pa.int8()), array)
    values, problems = image_cells(array)
    assert values.take(pa.array([2, 0])).to_pylist() in ([b"three", b"one"], ["three", "one"])
    assert pa.types.is_dictionary(values.type) is False
    assert problems == [(1, "is null")]


def test_a_column_of_nulls_for_images() -> None:
    """Of Arrow's null type, as pandas writes a column without a value."""
    values, problems = image_cells(pa.nulls(2))
    assert (values.type, problems) == (pa.large_binary(), [(0, "is null"), (1, "is null")])


def test_images_of_a_fixed_size() -> None:
    values, problems = image_cells(pa.array([b"abcd", b"\0\0\0\0"], pa.binary(4)))
    assert (values.to_pylist(), problems) == ([b"abcd", b"\0\0\0\0"], [])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ["b", None, None, "NA", " b "]),
        (("NA",), ["b", None, None, None, " b "]),
        (("b", "NA"), [None, None, None, None, " b "]),
        (("na",), ["b", None, None, "NA", " b "]),
    ],
)
@pytest.mark.parametrize("arrow_type", [pa.string(), pa.large_string()])
def test_words_that_mean_null(words: tuple[str, ...], expected: list[str | None], arrow_type: pa.DataType) -> None:
    """The empty cell always does; others only if they are equal."""
    found = without_null_words(pa.array(CELLS, arrow_type), CsvDialect(nulls=words))
    assert found == pa.array(expected, arrow_type)
