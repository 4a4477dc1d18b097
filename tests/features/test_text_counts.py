"""Counts of terms and TF-IDF through all steps, compared bit for bit with scikit-learn's vectorizers."""

import tracemalloc
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.features.kinds import kind_of
from scoreline.pipeline.features.program import run_steps
from scoreline.schemas.inputs import TableInput
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, chi2
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import Normalizer, StandardScaler

from saving_steps import compiled

WORDS = st.text("abcé ", min_size=1, max_size=4) | st.sampled_from(["the", "café", "CAFE", "x1", "日本"])
TEXTS = st.lists(st.lists(WORDS, max_size=30).map(" ".join), max_size=12)
SETTINGS = st.fixed_dictionaries(
    {
        "analyzer": st.sampled_from(["word", "char", "char_wb"]),
        "ngram_range": st.tuples(st.integers(1, 2), st.integers(2, 4)),
        "binary": st.booleans(),
        "lowercase": st.booleans(),
        "strip_accents": st.sampled_from([None, "ascii", "unicode"]),
        "max_features": st.none() | st.integers(1, 50),
    }
)
WEIGHTS = st.fixed_dictionaries(
    {
        "norm": st.sampled_from([None, "l1", "l2"]),
        "use_idf": st.booleans(),
        "smooth_idf": st.booleans(),
        "sublinear_tf": st.booleans(),
    }
)


def prepared(fitted: Any, columns: dict[str, Any], text: tuple[str, ...], rows: int) -> np.ndarray:
    """`[rows, columns]` as the model takes them, in float32."""
    steps, outputs = compiled(fitted, list(columns), text=text)
    entry = TableInput(name="table", columns=outputs)
    filled, unfit = kind_of(entry).fill(run_steps(steps, columns).columns, rows, pin=False)
    assert not unfit
    assert isinstance(filled, np.ndarray)
    return filled.T


@settings(max_examples=40)
@given(training=TEXTS, texts=TEXTS, options=SETTINGS, weights=st.none() | WEIGHTS)
def test_equal_bit_for_bit(
    training: list[str], texts: list[str], options: dict[str, Any], weights: dict[str, Any] | None
) -> None:
    """In float64 and in the table of the model; each text alone has the same numbers."""
    made = CountVectorizer(**options) if weights is None else TfidfVectorizer(**options, **weights)
    fitted = made.fit([*training, "the café"])
    texts = [*texts, "the the café", ""]
    own = fitted.transform(texts).toarray()
    steps, outputs = compiled(fitted, ["text"], text=("text",))
    columns = run_steps(steps, {"text": pa.array(texts, pa.large_string())}).columns
    assert columns.terms(outputs) is not None, "no dense column was made"
    np.testing.assert_array_equal(np.column_stack(columns.dense(outputs)), own)
    for row, text in enumerate(texts):
        alone = run_steps(steps, {"text": pa.array([text], pa.large_string())}).columns
        np.testing.assert_array_equal(np.column_stack(alone.dense(outputs))[0], own[row])
    texts_only = {"text": pa.array(texts, pa.large_string())}
    table = prepared(fitted, texts_only, ("text",), len(texts))
    np.testing.assert_array_equal(table, own.astype(np.float32))


def test_a_missing_text_has_no_terms() -> None:
    fitted = TfidfVectorizer().fit(["a word", "another one"])
    columns = {"text": pa.array([None, "word", None], pa.large_string())}
    assert prepared(fitted, columns, ("text",), 3)[[0, 2]].tolist() == [[0.0] * 3] * 2


TITLES = ["red car", "blue car", "red red house", "", "a house by the sea"]
BODIES = ["fast and red", "slow", "with a garden and a view", "nothing", "view of the sea, the sea"]
COMPOSED: dict[str, Any] = {
    "beside numbers": ColumnTransformer(
        [
            ("title", TfidfVectorizer(), "title"),
            ("age", StandardScaler(), ["age"]),
            ("body", CountVectorizer(analyzer="char"), "body"),
        ]
    ),
    "a selection": ColumnTransformer(
        [
            ("title", make_pipeline(CountVectorizer(), SelectKBest(chi2, k=3), Normalizer("max")), "title"),
            ("body", make_pipeline(TfidfVectorizer(), SelectKBest(chi2, k=4), StandardScaler(with_mean=False)), "body"),
        ]
    ),
    "a norm over two vectorizers": ColumnTransformer(
        [("title", make_pipeline(make_union(CountVectorizer(), TfidfVectorizer()), Normalizer("l1")), "title")],
        transformer_weights={"title": -2.0},
    ),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_among_other_transformers(name: str) -> None:
    """Several texts, numbers between them, selections, and steps that take dense columns."""
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"title": TITLES, "age": np.arange(5.0), "body": BODIES})
    fitted = COMPOSED[name].fit(frame, [0, 1, 0, 1, 1])
    own = fitted.transform(frame)
    own = own.toarray() if hasattr(own, "toarray") else own
    columns = {
        "title": pa.array(TITLES, pa.large_string()),
        "age": frame["age"].to_numpy(),
        "body": pa.array(BODIES, pa.large_string()),
    }
    table = prepared(fitted, columns, ("title", "body"), 5)
    np.testing.assert_allclose(table, own, rtol=1e-6, atol=0)


def test_tens_of_thousands_of_terms_take_one_matrix() -> None:
    """The float32 table is the only memory that grows with the number of terms times that of rows."""
    terms, rows = 20_000, 100
    fitted = TfidfVectorizer(vocabulary=[f"w{index}" for index in range(terms)])
    fitted.fit(["w1 w2", "w3"])
    columns = {"text": pa.array([f"w{row} w{row} w5 w19999" for row in range(rows)], pa.large_string())}
    steps, outputs = compiled(fitted, ["text"], text=("text",))
    kind = kind_of(TableInput(name="table", columns=outputs))
    kind.fill(run_steps(steps, columns).columns, rows, pin=False)  # fills the caches
    tracemalloc.start()
    try:
        kind.fill(run_steps(steps, columns).columns, rows, pin=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.6 * 4 * terms * rows  # with one byte more for each number, to find those that are not finite
