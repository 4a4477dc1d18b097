"""CountVectorizer, TfidfVectorizer and selectors of features as steps, compared with their own `transform`."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.features.program import kept_when_missing, run_steps
from scoreline.pipeline.saving.fitted import transform
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.feature_selection import RFE, SelectFromModel, SelectKBest, VarianceThreshold
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler
from torch import nn

from saving_steps import compiled
from scoreline import Multiclass, Regression, Scorer, save_bundle

REVIEWS = [
    "The CAFÉ was nice, the waiter was nicer",
    "naïve  spaces\tand\nlines",
    "a I x",
    "ﬁne ligatures & ＦＵＬＬ width, İstanbul",
    "the the the cat's pyjamas",
    "",
    "日本 日本語 の テスト",
    "e\u0301 combining, zero\x00byte",
]
VECTORIZERS: dict[str, Any] = {
    "counts": CountVectorizer(),
    "every word": CountVectorizer(token_pattern=r"(?u)\b\w+\b", lowercase=False),
    "between spaces": CountVectorizer(token_pattern=r"\S+", ngram_range=(2, 3)),
    "without accents": CountVectorizer(strip_accents="unicode", ngram_range=(1, 2)),
    "as ASCII": CountVectorizer(strip_accents="ascii", binary=True),
    "stop words": CountVectorizer(stop_words=["the", "was"], ngram_range=(1, 3)),
    "English": TfidfVectorizer(stop_words="english"),
    "characters": CountVectorizer(analyzer="char", ngram_range=(1, 3)),
    "characters of words": TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 7), strip_accents="unicode"),
    "few": CountVectorizer(max_features=5),
    "given": CountVectorizer(vocabulary=["nice", "cat", "none"]),
    "tf-idf": TfidfVectorizer(),
    "logarithms": TfidfVectorizer(sublinear_tf=True, norm="l1", smooth_idf=False),
    "no idf": TfidfVectorizer(use_idf=False, norm=None, sublinear_tf=True),
    "in a pipeline": make_pipeline(CountVectorizer(), TfidfTransformer(norm="l1")),
    "with a projection": make_pipeline(TfidfVectorizer(), TruncatedSVD(3, random_state=0), StandardScaler()),
    "side by side": make_union(CountVectorizer(), TfidfVectorizer(analyzer="char")),
}


def applied(fitted: Any, texts: list[str]) -> np.ndarray:
    steps, outputs = compiled(fitted, ["text"], text=("text",))
    columns = run_steps(steps, {"text": pa.array(texts, pa.large_string())}).columns
    return np.stack([columns[name] for name in outputs], axis=1)


@pytest.mark.filterwarnings("ignore")  # of scikit-learn, about stop words
@pytest.mark.parametrize("name", VECTORIZERS)
@settings(max_examples=25)
@given(
    words=st.lists(
        st.sampled_from([*" \t\n".join(REVIEWS).split(), *"ab ,é\u0301İß"]) | st.text(max_size=3), max_size=40
    )
)
def test_equal_to_transform(name: str, words: list[str]) -> None:
    """Texts of known and unknown words, accents, spaces and control characters; the empty text."""
    fitted = VECTORIZERS[name].fit(REVIEWS)
    texts = [*REVIEWS, " ".join(words), "  ".join(words), "".join(words)]
    own = transform(fitted, pd.DataFrame({"text": texts}))
    np.testing.assert_allclose(applied(fitted, texts), own, rtol=1e-12, atol=1e-12)


def test_thousands_of_terms() -> None:
    """What a missing text means for its terms is determined once for all of them, not for each pair."""
    texts = [" ".join(f"w{word}" for word in range(at, 8000, 20)) for at in range(20)]
    steps, outputs = compiled(TfidfVectorizer().fit(texts), ["text"], text=("text",))
    start = time.perf_counter()
    assert kept_when_missing(["text", "age"], steps, outputs) == {"age"}
    assert time.perf_counter() - start < 1


def test_a_bundle_of_texts(tmp_path: Path) -> None:
    """Beside numbers, in a ColumnTransformer; a missing text is a reject."""
    frame = pd.DataFrame({"review": REVIEWS * 3, "age": np.arange(24.0)})
    columns = ColumnTransformer([("words", TfidfVectorizer(), "review"), ("age", StandardScaler(), ["age"])]).fit(frame)
    torch.manual_seed(0)
    model = nn.Linear(len(columns.get_feature_names_out()), 3)
    save_bundle(
        tmp_path / "b",
        model,
        features=["review", "age"],
        scaler=columns,
        task=Multiclass(["a", "b", "c"]),
        sample=frame,
    )
    scorer = Scorer.load(tmp_path / "b", device="cpu")
    got = scorer.score_frame(frame)
    with torch.no_grad():
        own = torch.softmax(model(torch.tensor(columns.transform(frame).toarray(), dtype=torch.float32)), 1).numpy()
    np.testing.assert_allclose(got[[f"probability_{label}" for label in "abc"]], own, rtol=1e-5)
    table = pa.table({"review": pa.array(["nice", None]), "age": [1.0, 2.0]})
    rows, rejects = scorer.score_table(table, with_rejects=True)
    assert (rows.num_rows, rejects["reject"][0].as_py()["reason"]) == (1, "is null")


def test_blocks_have_room_for_every_word(tmp_path: Path) -> None:
    """One column of text becomes thousands of columns before a projection makes them few: 39 MiB of float64."""
    words = [f"word{number}" for number in range(20_000)]
    texts = [" ".join(words[at::50]) for at in range(50)]
    fitted = make_pipeline(CountVectorizer(), TruncatedSVD(2, random_state=0)).fit(texts)
    sample = pa.table({"text": texts})
    save_bundle(tmp_path / "b", nn.Linear(2, 1), features=["text"], scaler=fitted, task=Regression(), sample=sample)
    assert Scorer.load(tmp_path / "b", device="cpu").block_rows == 256


@pytest.mark.parametrize(
    ("fitted", "says"),
    [
        (CountVectorizer(), "CountVectorizer is not fitted"),
        (CountVectorizer(token_pattern=r"[a-z]+").fit(["x"]), r"token_pattern '\[a-z\]\+' cannot be saved; use one of"),
        (CountVectorizer(tokenizer=str.split, token_pattern=None).fit(["x"]), "with its own tokenizer cannot be"),
        (TfidfVectorizer(preprocessor=str.upper).fit(["word"]), "with its own preprocessor cannot be saved"),
        (CountVectorizer(analyzer=str.split).fit(["x"]), "with its own analyzer cannot be saved"),
        (TfidfVectorizer(dtype=np.float32).fit(["word"]), "dtype float32 cannot be saved; fit it with dtype float64"),
        (
            make_pipeline(CountVectorizer(), TfidfTransformer(sublinear_tf=True)).fit(["word"]),
            "sublinear_tf=True cannot be saved; use a TfidfVectorizer",
        ),
        (HashingVectorizer(), "HashingVectorizer cannot be saved: it hashes words"),
        (CountVectorizer(analyzer="char", ngram_range=(1, 40)).fit(["word"]), r"ngram_range \(1, 40\) cannot"),
    ],
)
def test_what_cannot_be_saved(tmp_path: Path, fitted: Any, says: str) -> None:
    """Python code, regular expressions off the list, and what is not exact."""
    with pytest.raises(BundleError, match=says):
        save_bundle(
            tmp_path / "b", nn.Linear(1, 1), features=["text"], scaler=fitted, task=Regression(),
            sample=pa.table({"text": ["word", "x"]}),
        )  # fmt: skip


def test_a_column_that_is_not_text() -> None:
    with pytest.raises(BundleError, match="CountVectorizer takes one column of text, not 'a'"):
        compiled(CountVectorizer().fit(["word"]), ["a"])


SELECTORS: dict[str, Any] = {
    "variance": VarianceThreshold(0.5),
    "k best": SelectKBest(k=2),
    "by a model": SelectFromModel(LinearRegression(), max_features=3),
    "eliminated": make_pipeline(StandardScaler(), RFE(LinearRegression(), n_features_to_select=1), StandardScaler()),
}


@pytest.mark.parametrize("name", SELECTORS)
@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_selectors(name: str, seed: int) -> None:
    """They leave columns out."""
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(40, 5)) * [1, 0.1, 2, 3, 1]
    fitted = SELECTORS[name].fit(values, draw.integers(0, 2, 40))
    own = fitted.transform(values)
    assume(own.shape[1])
    steps, outputs = compiled(fitted, list("abcde"))
    columns = run_steps(steps, dict(zip("abcde", values.T, strict=True))).columns
    np.testing.assert_allclose(np.stack([columns[name] for name in outputs], axis=1), own, rtol=1e-12)


def test_a_bundle_with_a_selector(tmp_path: Path) -> None:
    """A column that is left out is still a column of the files, as it is for the selector."""
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 3)) * [1, 0.01, 2], columns=list("abc"))
    fitted = make_pipeline(VarianceThreshold(0.1), StandardScaler()).fit(frame)
    model = nn.Linear(2, 1)
    save_bundle(tmp_path / "b", model, features=list("abc"), scaler=fitted, task=Regression(), sample=frame)
    with torch.no_grad():
        own = model(torch.tensor(fitted.transform(frame), dtype=torch.float32))[:, 0].numpy()
    got = Scorer.load(tmp_path / "b", device="cpu").score_frame(frame)
    np.testing.assert_allclose(got["prediction"], own, rtol=1e-5)
