"""Terms of a text, counted as scikit-learn's CountVectorizer counts them (1.9, `feature_extraction/text.py`), by the
regular expressions and Unicode tables of Python. Independent of files.
"""

import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import TypeVar

import numpy as np
import pyarrow as pa

from ...schemas.steps import TextCountsStep
from ..same import Same
from .columns import positions
from .terms import Terms

Items = TypeVar("Items", str, list[str])
_SPACES = re.compile(r"\s\s+")


def text_counts(step: TextCountsStep, texts: pa.Array) -> Terms:
    """The counts of each term, or what the step makes of them. A missing text has none."""
    index_of, stop_words = positions(Same(step.vocabulary)).get, frozenset(step.stop_words)
    lengths = np.zeros(len(texts), dtype=np.int64)
    found, counts = array("q"), array("d")
    for row, text in enumerate(texts.to_pylist()):
        if text is None:
            continue
        counted = Counter(map(index_of, _terms(step, _prepared(step, text), stop_words), repeat(-1)))
        counted.pop(-1, None)  # terms that are not in the vocabulary
        lengths[row] = len(counted)
        found.extend(counted)
        counts.extend(counted.values())
    rows, terms, values = np.repeat(np.arange(len(texts)), lengths), np.array(found), np.array(counts)
    order = np.lexsort((terms, rows))
    if step.weight == "one":
        values[:] = 1
    elif step.weight == "log":
        values = np.log(values) + 1
    return Terms(rows=rows, terms=terms[order], values=values[order], num_rows=len(texts), width=len(step.vocabulary))


def _prepared(step: TextCountsStep, text: str) -> str:
    """The text in lower case and without accents, as the step says."""
    text = text.lower() if step.lower else text
    if step.accents == "keep" or (step.accents == "unicode" and text.isascii()):
        return text
    split = unicodedata.normalize("NFKD", text)
    if step.accents == "ascii":
        return split.encode("ascii", "ignore").decode("ascii")
    return "".join(character for character in split if not unicodedata.combining(character))


def _terms(step: TextCountsStep, text: str, stop_words: frozenset[str]) -> Iterable[str]:
    fewest, most = step.ngrams
    if step.terms == "words":
        words = [word for word in re.findall(step.pattern, text) if word not in stop_words]
        return words if most == 1 else map(" ".join, _windows(words, fewest, most))
    text = _SPACES.sub(" ", text)
    if step.terms == "characters":
        return _windows(text, fewest, most)
    return (term for word in text.split() for term in _of_word(f" {word} ", fewest, most))


def _windows(items: Items, fewest: int, most: int) -> Iterator[Items]:
    """Every run of `fewest` to `most` items."""
    for size in range(fewest, min(most, len(items)) + 1):
        for start in range(len(items) - size + 1):
            yield items[start : start + size]


def _of_word(word: str, fewest: int, most: int) -> Iterator[str]:
    """Every run of characters; a word that is no longer than a run counts once, as a whole."""
    for size in range(fewest, most + 1):
        yield from _windows(word, size, size) if size < len(word) else (word,)
        if size >= len(word):
            return
