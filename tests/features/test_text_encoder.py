"""Columns of text → tokens: equal to the library's own encoding, text by text."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.features import text_encoder
from scoreline.pipeline.features.text_encoder import Encoded, TextEncoder, calls
from scoreline.schemas.inputs import TextInput

from text_tokenizers import KINDS, need_tokenizers, odd_pairs, odd_texts, own_tokenizer, tokenizer_json

need_tokenizers()


def encoder(kind: str, *, columns: int = 1, **fields: Any) -> TextEncoder:
    names = ["text", "other"][:columns]
    entry = TextInput(name="ids", columns=names, tokenizer="tokenizer.json", types=True, **{"longest": 40, **fields})
    return TextEncoder(tokenizer_json(kind).encode(), entry)


def column(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def rows_of(encoded: Encoded) -> list[list[list[int]]]:
    """The tokens and types of each row."""
    tokens = encoded.tokens
    return [[tokens.values[a:b, 0].tolist(), tokens.values[a:b, 1].tolist()] for a, b in
            zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("longest", [3, 40, 4096])
def test_odd_texts(kind: str, longest: int) -> None:
    """Hundreds of texts have the tokens and types that the library gives to each alone, cut at the file's side."""
    texts, own = odd_texts(300), own_tokenizer(kind, longest)
    encoded = encoder(kind, longest=longest).encode({"text": column(texts)})
    expected = [own.encode(text) for text in texts]
    assert rows_of(encoded) == [[one.ids, one.type_ids] for one in expected]
    assert encoded.num_cut == sum(bool(one.overflowing) for one in expected) > 0
    assert not encoded.unfit


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("special", [True, False])
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_any_text(kind: str, special: bool, texts: list[str]) -> None:
    own = own_tokenizer(kind, 12)
    encoded = encoder(kind, longest=12, special_tokens=special).encode({"text": column(texts)})
    expected = [own.encode(text, add_special_tokens=special) for text in texts]
    assert rows_of(encoded) == [[one.ids, one.type_ids] for one in expected]


@pytest.mark.parametrize("kind", KINDS)
def test_pairs(kind: str) -> None:
    """Two columns are encoded as pairs, with the types of the template, and cut together."""
    (texts, others), own = odd_pairs(200), own_tokenizer(kind, 40)
    encoded = encoder(kind, columns=2).encode({"text": column(texts), "other": column(others)})
    expected = [own.encode(*pair) for pair in zip(texts, others, strict=True)]
    assert rows_of(encoded) == [[one.ids, one.type_ids] for one in expected]
    assert {kind for one in expected for kind in one.type_ids} == {0, 1}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("special", [True, False])
def test_pairs_without_a_post_processor(kind: str, special: bool) -> None:
    """The second text has type 1, as from the library's `encode`; its fastest call gives type 0."""
    own = own_tokenizer(kind, 40)
    own.post_processor = None  # type: ignore[assignment]
    entry = TextInput(
        name="ids", columns=["a", "b"], tokenizer="t.json", types=True, longest=40, special_tokens=special
    )
    texts, others = (["fox", *some] for some in odd_pairs(50))
    encoded = TextEncoder(own.to_str().encode(), entry).encode({"a": column(texts), "b": column(others)})
    expected = [own.encode(*pair, add_special_tokens=special) for pair in zip(texts, others, strict=True)]
    assert rows_of(encoded) == [[one.ids, one.type_ids] for one in expected]
    assert {kind for one in expected for kind in one.type_ids} == {0, 1}


def test_long_texts_are_rejected_on_request() -> None:
    encoded = encoder("wordpiece", longest=6, too_long="reject").encode(
        {"text": column(["a b", "a b c d", "a b c d e"])}
    )
    assert encoded.unfit == {2: "has 7 tokens, but the bundle takes at most 6"}
    assert encoded.num_cut == 0
    assert np.diff(encoded.tokens.offsets).tolist() == [4, 6, 0]


def test_texts_without_tokens_are_rejected() -> None:
    """An empty text is text, but without special tokens there is nothing to pass to a model."""
    texts = column(["", "fox", " "])
    assert not encoder("wordpiece").encode({"text": texts}).unfit
    encoded = encoder("wordpiece", special_tokens=False).encode({"text": texts})
    assert encoded.unfit == dict.fromkeys([0, 2], "has no tokens")


def test_huge_texts_are_rejected() -> None:
    """Before they are encoded, since memory grows with the text; the others are encoded as alone."""
    huge = "a" * (text_encoder.MAX_TEXT_BYTES + 1)
    encoded = encoder("wordpiece").encode({"text": column(["a", huge, "b"])})
    assert encoded.unfit == {1: "has 1,048,577 bytes of text, but at most 1,048,576 are encoded"}
    alone = encoder("wordpiece").encode({"text": column(["a", "b"])})
    assert [row for row in rows_of(encoded) if row[0]] == rows_of(alone)


def test_a_text_that_cannot_be_encoded() -> None:
    """It is named with the library's reason; the other texts of the call are encoded."""
    from tokenizers import Tokenizer, models

    data = Tokenizer(models.WordLevel({"a": 0, "b": 1, "": 2}, unk_token="[UNK]")).to_str().encode()  # type: ignore[call-arg]
    entry = TextInput(name="ids", columns=["text"], tokenizer="tokenizer.json", longest=4)
    encoded = TextEncoder(data, entry).encode({"text": column(["a", "c", "b"])})
    assert list(encoded.unfit) == [1]
    assert encoded.unfit[1].startswith("cannot be encoded: WordLevel error: Missing [UNK] token")
    assert encoded.tokens.values.tolist() == [0, 1]
    assert encoded.tokens.offsets.tolist() == [0, 1, 1, 2]


def test_a_panic_is_a_reject() -> None:
    """A pattern that backtracks too often makes the library panic, which is not an `Exception`."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))  # type: ignore[call-arg]
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(a|aa)+$"), "isolated")
    entry = TextInput(name="ids", columns=["text"], tokenizer="tokenizer.json", longest=4)
    encoded = TextEncoder(tokenizer.to_str().encode(), entry).encode({"text": column(["a", "a" * 80 + "!", "a"])})
    assert list(encoded.unfit) == [1]
    assert "retry-limit" in encoded.unfit[1]
    assert encoded.tokens.offsets.tolist() == [0, 1, 1, 2]


@given(sizes=st.lists(st.integers(0, 400 << 10)))
def test_calls(sizes: list[int]) -> None:
    """Every row is in one call, in order; a call is small, unless it is one row."""
    found = list(calls(np.array(sizes, dtype=np.int64)))
    assert [row for rows in found for row in rows] == list(range(len(sizes)))
    for rows in found:
        assert len(rows) == 1 or sum(sizes[row] for row in rows) <= text_encoder.CALL_BYTES
        assert 1 <= len(rows) <= text_encoder.CALL_ROWS
