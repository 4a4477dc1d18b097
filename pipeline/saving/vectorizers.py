"""Fitted CountVectorizer, TfidfVectorizer and TfidfTransformer → steps. Reads attributes of fitted objects without
importing scikit-learn.
"""

from typing import Any, get_args

import numpy as np

from ...schemas.steps import NormalizeStep, TextCountsStep
from ..errors import BundleError, dtype_text
from .step_list import StepList, as_floats

VECTORIZERS = ("CountVectorizer", "TfidfVectorizer")
#: The most words or characters of a term.
MOST_GRAMS = 32
_TERMS = {"word": "words", "char": "characters", "char_wb": "characters_of_words"}
_PATTERNS = get_args(TextCountsStep.model_fields["pattern"].annotation)


def takes_text(transformer: Any) -> bool:
    """Whether a transformer takes texts rather than a table of columns: a vectorizer, or what begins with one."""
    kind = type(transformer).__name__
    if kind == "Pipeline":
        return bool(transformer.steps) and takes_text(transformer.steps[0][1])
    if kind == "FeatureUnion":
        return any(takes_text(inner) for _, inner in transformer.transformer_list)
    return kind in VECTORIZERS


def read_vectorizer(to: StepList, fitted: Any, inputs: list[str]) -> list[str]:
    """Append a vectorizer: counts, and for TfidfVectorizer their weights and norm.

    Raises:
        BundleError: it is not fitted, calls Python code or a regular expression that is not on the list, or its column
            is not text.
    """
    kind = type(fitted).__name__
    if not hasattr(fitted, "vocabulary_"):
        raise BundleError(f"{kind} is not fitted; call fit before saving")
    if len(inputs) != 1 or not to.is_text(inputs[0]):
        raise BundleError(f"{kind} takes one column of text, not {', '.join(map(repr, inputs))}")
    weighs = kind == "TfidfVectorizer"
    _refuse_code(fitted)
    if weighs and fitted.dtype not in (None, np.float64):
        dtype = dtype_text(np.dtype(fitted.dtype))
        raise BundleError(f"{kind} with dtype {dtype} cannot be saved; fit it with dtype float64")
    terms = sorted(fitted.vocabulary_, key=fitted.vocabulary_.__getitem__)
    stop_words = fitted.get_stop_words() if fitted.analyzer == "word" else None
    outputs = to.step(
        TextCountsStep,
        inputs,
        len(terms),
        vocabulary=terms,
        terms=_TERMS[fitted.analyzer],
        ngrams=tuple(map(int, fitted.ngram_range)),
        pattern=fitted.token_pattern if fitted.analyzer == "word" else _PATTERNS[0],
        lower=bool(fitted.lowercase),
        accents=fitted.strip_accents or "keep",
        stop_words=sorted(stop_words or ()),
        weight="one" if fitted.binary else "log" if weighs and fitted.sublinear_tf else "count",
    )
    return _weighted(to, fitted, outputs) if weighs else outputs


def read_tfidf(to: StepList, fitted: Any, inputs: list[str]) -> list[str]:
    """Append a TfidfTransformer of counts.

    Raises:
        BundleError: it takes logarithms of the counts.
    """
    if fitted.sublinear_tf:
        raise BundleError("TfidfTransformer with sublinear_tf=True cannot be saved; use a TfidfVectorizer")
    return _weighted(to, fitted, inputs)


def _weighted(to: StepList, fitted: Any, outputs: list[str]) -> list[str]:
    if fitted.use_idf:
        outputs = to.weighted(outputs, as_floats(fitted.idf_))
    return to.step(NormalizeStep, outputs, len(outputs), norm=fitted.norm) if fitted.norm is not None else outputs


def _refuse_code(fitted: Any) -> None:
    kind = type(fitted).__name__
    for name in ("preprocessor", "tokenizer", "analyzer", "strip_accents"):
        if callable(getattr(fitted, name)):
            raise BundleError(
                f"{kind} with its own {name} cannot be saved, since that is Python code; leave it out, or use a"
                " TokenSequence with a vocabulary and an Embedding"
            )
    if max(fitted.ngram_range) > MOST_GRAMS:
        raise BundleError(
            f"{kind} with ngram_range {tuple(fitted.ngram_range)} cannot be saved; use at most {MOST_GRAMS}"
        )
    if fitted.input != "content":
        raise BundleError(f"{kind} with input={fitted.input!r} cannot be saved; fit it on the texts themselves")
    if fitted.analyzer == "word" and fitted.token_pattern not in _PATTERNS:
        raise BundleError(
            f"{kind} with token_pattern {fitted.token_pattern!r} cannot be saved; use one of"
            f" {', '.join(map(repr, _PATTERNS))}"
        )
