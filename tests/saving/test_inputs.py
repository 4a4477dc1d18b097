"""Input specs bound to the columns of a sample: features, steps, inputs, and specs that do not match."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.records import Sequences
from scoreline.pipeline.saving.inputs import (
    MAX_SEQUENCES,
    BoundInputs,
    bind_inputs,
    described,
    refuse_columns,
    vocabularies_of,
)
from scoreline.schemas.inputs import Feature, ImageInput, SequenceInput, TableInput
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from pictures import picture
from scoreline import FloatSequence, Image, Table, TokenSequence

ROWS = pa.table(
    {
        "a": [1.0, 2.0, 4.0],
        "b": pa.array([1, 0, 1], pa.int64()),
        "city": ["Rome", "Oslo", "Rome"],
        "words": [["no", "yes"], ["yes"], ["no", "no", "no"]],
        "tokens": pa.array([[1, 2], [0], [3]], pa.list_(pa.int64())),
        "x": [[1.0, 2.0], [3.0], [4.0, 5.0, 6.0]],
        "y": [[0.5, 0.5], [0.25], [1.0, 2.0, 3.0]],
    }
)


def bound(scaler: Any = None, **specs: Any) -> BoundInputs:
    return bind_inputs(specs, ROWS, scaler)


def test_a_table() -> None:
    """Features have the types of the sample; all rows become golden rows."""
    found = bound(t=Table(["b", "a"]))
    assert found.features == [Feature(name="b", dtype="int64"), Feature(name="a", dtype="float64")]
    assert found.inputs == [TableInput(name="t", columns=["b", "a"])]
    assert (found.steps, found.rows.batch.num_rows) == ([], 3)
    tensor = found.reference(found.inputs)["t"]
    assert isinstance(tensor, torch.Tensor)
    assert (tensor.dtype, tensor.tolist()) == (torch.float32, [[1.0, 1.0], [0.0, 2.0], [1.0, 4.0]])


def test_a_table_with_a_vocabulary_and_a_scaler() -> None:
    """Each column at the position of its feature, computed by scikit-learn."""
    frame = ROWS.select(["a", "b"]).to_pandas()
    scaler = StandardScaler().fit(frame)
    found = bound(scaler, t=Table(["a", "city", "b"], vocabularies={"city": ["Oslo", "Rome"]}))
    tensor = found.reference(found.inputs)["t"]
    scaled = scaler.transform(frame)
    wanted = np.column_stack([scaled[:, 0], [1, 0, 1], scaled[:, 1]]).astype(np.float32)
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(tensor, wanted)
    assert {step.kind for step in found.steps} == {"standard", "ordinal"}


def test_several_tables() -> None:
    """Each has the columns of its own features, whatever the order of the transformers."""
    encoder = OneHotEncoder(sparse_output=False).fit(ROWS.select(["city"]).to_pandas())
    found = bound([(encoder, ["city"])], one=Table(["a"]), two=Table(["city", "b"]))
    one, two = (entry.columns for entry in found.inputs)
    assert (one, len(two), two[-1]) == (["a"], 3, "b")
    tensor = found.reference(found.inputs)["two"]
    assert isinstance(tensor, torch.Tensor)
    assert tensor.tolist() == [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]


def test_words_and_their_tokens() -> None:
    """Unknown words have the token of `unknown`; lists of all rows are concatenated."""
    spec = TokenSequence("words", vocabulary=["?", "yes"], unknown="?", longest=5, mask="real")
    found = bound(w=spec)
    (step,) = found.steps
    assert (step.features, step.outputs) == (["words"], ["words#1"])
    assert found.inputs == [SequenceInput(name="w", columns=["words#1"], dtype="int64", longest=5, mask="real")]
    given = found.reference(found.inputs)["w"]
    assert isinstance(given, Sequences)
    assert (given.values.tolist(), given.offsets.tolist()) == ([0, 1, 1, 0, 0, 0], [0, 2, 3, 6])
    assert given.values.dtype == torch.int64


def test_numbers_side_by_side() -> None:
    """Columns of floats, and tokens that are numbers already; a longer list is not a golden row."""
    found = bound(f=FloatSequence(["x", "y"], longest=2), t=TokenSequence("tokens", longest=9))
    assert found.rows.indices.tolist() == [0, 1]
    inputs = found.reference(found.inputs)
    floats, tokens = inputs["f"], inputs["t"]
    assert isinstance(floats, Sequences)
    assert isinstance(tokens, Sequences)
    assert floats.values.tolist() == [[1.0, 0.5], [2.0, 0.5], [3.0, 0.25]]
    assert (tokens.values.tolist(), tokens.offsets.tolist()) == ([1, 2, 0], [0, 2, 3])


def test_the_number_of_golden_rows_with_lists() -> None:
    """Is limited, evenly spaced over the sample, because they are replayed before every run."""
    rows = pa.table({"x": [[float(n)] for n in range(1000)]})
    found = bind_inputs({"x": FloatSequence(["x"], longest=1)}, rows, None)
    assert found.rows.batch.num_rows == MAX_SEQUENCES
    assert (found.rows.indices[0], found.rows.indices[-1]) == (0, 999)


def test_an_image() -> None:
    """Every field of its spec, and the column beside a table."""
    sample = pa.table({"photo": [picture("png"), picture("png", seed=1)], "a": [1.0, 2.0]})
    spec = Image("photo", size=(4, 6), mean=[0.5, 0.5, 0.5], std=[0.25, 0.25, 0.25], exif=False)
    found = bind_inputs({"p": spec, "t": Table(["a"])}, sample, None)
    image = found.inputs[0]
    assert isinstance(image, ImageInput)
    assert (image.size, image.mean, image.std, image.exif, image.channels) == ((4, 6), [0.5] * 3, [0.25] * 3, False, 3)
    tensor = found.reference(found.inputs)["p"]
    assert isinstance(tensor, torch.Tensor)
    assert tensor.shape == (2, 3, 4, 6)


TOKENS = TokenSequence("tokens", longest=9)


@pytest.mark.parametrize(
    ("specs", "says"),
    [
        ({"t": Table(["tokens"]), "s": TOKENS}, "column 'tokens' is used by Table and by TokenSequence; it can only"),
        (
            {"t": Table(["tokens"])},
            "column 'tokens' contains lists; describe it in inputs by a TokenSequence (kind 'tokens') for",
        ),
        ({"s": FloatSequence(["a"], longest=2)}, "column 'a' is float64, but FloatSequence takes lists"),
        ({"s": TokenSequence("city", longest=2)}, "column 'city' is text, but TokenSequence takes lists"),
        ({"p": Image("a", size=(2, 2))}, "column 'a' is float64, but Image takes bytes or paths"),
        ({"s": FloatSequence(["words"], longest=2)}, "column 'words' contains lists of words; use a TokenSequence"),
        (
            {"s": TokenSequence("words", longest=2)},
            "column 'words' contains lists of words; use a TokenSequence",
        ),
        (
            {"s": TokenSequence("words", longest=2, vocabulary=["no"], unknown="?")},
            "unknown: '?' of column 'words' is not in its vocabulary",
        ),
        (
            {"s": TokenSequence("tokens", longest=2, vocabulary=["no"])},
            "column 'tokens' contains lists of numbers, so its vocabulary must be integers",
        ),
        (
            {"s": TokenSequence("tokens", longest=2, pad=9)},
            "input 's': pad: 9 has no effect without mask",
        ),
        (
            {"s": FloatSequence(["tokens"], longest=2, pad=-1)},
            "input 's': pad: -1 has no effect without mask",
        ),
    ],
)
def test_specs_that_do_not_match(specs: dict[str, Any], says: str) -> None:
    """Each with the input, the column and what to pass."""
    with pytest.raises(BundleError) as raised:
        bound(**specs)
    assert str(raised.value).startswith(says)


def test_a_scaler_without_a_table() -> None:
    """Has nothing to scale."""
    with pytest.raises(BundleError, match=r"^scaler needs columns of a Table, and the model takes none$"):
        bound(StandardScaler(), s=TOKENS)


def test_bytes_are_images() -> None:
    """Not numbers of a table."""
    sample = pa.table({"photo": [b"\xff\xd8"]})
    with pytest.raises(
        BundleError, match=r"^column 'photo' contains bytes; if they are images, describe it in inputs by an Image"
    ):
        bind_inputs({"t": Table(["photo"])}, sample, None)


def test_columns_may_be_shared_by_inputs_of_one_kind() -> None:
    """In different inputs."""
    refuse_columns({"one": Table(["a", "b"]), "two": Table(["b"])}, ["a", "b"])
    assert [feature.name for feature in bound(one=Table(["a", "b"]), two=Table(["b"])).features] == ["a", "b"]


def test_the_vocabularies_of_all_inputs() -> None:
    """By column, separately for tables and lists."""
    found = vocabularies_of(
        {
            "t": Table(["city"], vocabularies={"city": ["Rome"]}),
            "s": TokenSequence("words", vocabulary=["?", "no"], unknown="?", longest=3),
            "n": TOKENS,
        },
        text={"city", "words"},
    )
    assert {name: list(words) for name, words in found.tables.items()} == {"city": ["Rome"]}
    assert {name: list(words) for name, words in found.lists.items()} == {"words": ["?", "no"]}
    assert found.unknown == {"words": "?"}


def test_errors_of_the_schema() -> None:
    """Become errors of the bundle; others are not changed."""

    def too_large() -> None:
        raise OverflowError("int too\nlarge")

    with pytest.raises(BundleError, match=r"^the bundle cannot be described: int too large$"):
        described(too_large)
    with pytest.raises(BundleError, match="the bundle cannot be described: name: '' is empty") as raised:
        described(lambda: Feature(name=""))
    assert isinstance(raised.value.__cause__, ValidationError)
    with pytest.raises(KeyError):
        described(lambda: {}["absent"])
    assert described(lambda: pd.NA) is pd.NA
