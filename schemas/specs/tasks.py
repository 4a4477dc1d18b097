"""Tasks: the meaning of the numbers that a model returns, and how they become predictions."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from .values import (
    Bounds,
    Flag,
    Labels,
    OneLabel,
    OneOutput,
    OutOfBounds,
    Output,
    Outputs,
    Quantiles,
    Score,
    Spec,
    Spread,
    Targets,
    Threshold,
    Thresholds,
    Vocabulary,
    between,
    whole,
)


@dataclass(frozen=True)
class Binary(Spec):
    """One of two labels for a row. The model returns `[rows]`, `[rows, 1]` (of the second label) or `[rows, 2]`.

        Binary(labels=["no", "yes"], threshold=0.3)

    Args:
        labels: two; `probability` is that of the second.
        outputs: what the model returns: `logits`, `probabilities` or `log_probabilities`.
        output: which output, if the model returns a tuple (an index) or a dict (a key).
        threshold: the second label is predicted if its probability is above this.
        bounds: True checks that probabilities lie in [0, 1] and sum to 1.
        out_of_bounds: `count` rows that are out of bounds (the default), or `reject` them.
    """

    labels: Labels
    _: KW_ONLY
    outputs: Outputs = "logits"
    output: Output = 0
    threshold: Threshold = 0.5
    bounds: Flag = False
    out_of_bounds: OutOfBounds = None
    kind: Literal["binary"] = "binary"


@dataclass(frozen=True)
class Multiclass(Spec):
    """One of several labels for a row. The model returns `[rows, labels]`.

        Multiclass(labels=["barolo", "grignolino", "barbera"])

    Args:
        labels: in the order of the model's outputs.
        outputs: what the model returns: `logits`, `probabilities` or `log_probabilities`.
        output: which output, if the model returns a tuple (an index) or a dict (a key); several in a list are
            concatenated.
        bounds: True checks that probabilities lie in [0, 1] and sum to 1.
        out_of_bounds: `count` rows that are out of bounds (the default), or `reject` them.
    """

    labels: Labels
    _: KW_ONLY
    outputs: Outputs = "logits"
    output: Output = 0
    bounds: Flag = False
    out_of_bounds: OutOfBounds = None
    kind: Literal["multiclass"] = "multiclass"


@dataclass(frozen=True)
class Multilabel(Spec):
    """Any number of labels for a row. The model returns `[rows, labels]`.

        Multilabel(labels=["sport", "politics", "science"], threshold={"science": 0.3})

    Args:
        labels: in the order of the model's outputs.
        outputs: what the model returns: `logits`, `probabilities` or `log_probabilities`.
        output: which output, if the model returns a tuple (an index) or a dict (a key); several in a list are
            concatenated.
        threshold: a label is predicted if its probability is above this: one number for all labels, a list with one
            for each, or a mapping by label (0.5 for the others).
        bounds: True checks that probabilities lie in [0, 1].
        out_of_bounds: `count` rows that are out of bounds (the default), or `reject` them.
    """

    labels: Labels
    _: KW_ONLY
    outputs: Outputs = "logits"
    output: Output = 0
    threshold: Thresholds = 0.5
    bounds: Flag = False
    out_of_bounds: OutOfBounds = None
    kind: Literal["multilabel"] = "multilabel"


@dataclass(frozen=True)
class Regression(Spec):
    """Numbers for a row. The model returns `[rows]` or `[rows, targets]`; with `quantiles`
    `[rows, quantiles × targets]` (the targets of the first quantile, then those of the second), with `horizons`
    `[rows, horizons, quantiles × targets]` or `[rows, horizons × quantiles × targets]`, with `spread`
    `[rows, 2 × targets]`.

        Regression(scaler=y_scaler, bounds=(0, None))
        Regression(horizons=["1h", "2h", "3h"], scaler=y_scaler)
        Regression(threshold=3.2)

    Args:
        targets: their names, if there are several.
        horizons: the names of the time steps of a forecast; the scaler is that of the targets, for every step.
        output: which output, if the model returns a tuple (an index) or a dict (a key); several in a list are
            concatenated.
        scaler: the fitted scaler of the targets, or the number that they were divided by; predictions are written in
            the targets' original unit.
        quantiles: the quantiles that the model predicts, such as `[0.1, 0.5, 0.9]`.
        spread: the second half of the outputs is the `variance`, `log_variance` or `std` of the first half.
        threshold: flag the rows whose prediction is above it, such as those of an anomaly score; in the target's
            original unit.
        bounds: `(low, high)` in the target's original unit, or a list of such pairs for several targets; None means no
            limit.
        out_of_bounds: `count` rows that are out of bounds (the default), or `reject` them.
    """

    targets: Targets = ()
    _: KW_ONLY
    horizons: Targets = ()
    output: Output = 0
    scaler: Any = None
    quantiles: Quantiles = ()
    spread: Spread = None
    threshold: Score = None
    bounds: Bounds = None
    out_of_bounds: OutOfBounds = None
    kind: Literal["regression"] = "regression"


@dataclass(frozen=True)
class Tagging(Spec):
    """A label for each step of the first sequence. The model returns `[rows, steps, labels]`.

        Tagging(labels=["other", "person", "place"])

    Args:
        labels: in the order of the model's outputs.
        outputs: what the model returns: `logits`, `probabilities` or `log_probabilities`.
        output: which output, if the model returns a tuple (an index) or a dict (a key).
        bounds: True checks that probabilities lie in [0, 1] and sum to 1.
        out_of_bounds: `count` rows that are out of bounds (the default), or `reject` them.
    """

    labels: Labels
    _: KW_ONLY
    outputs: Outputs = "logits"
    output: OneOutput = 0
    bounds: Flag = False
    out_of_bounds: OutOfBounds = None
    kind: Literal["tagging"] = "tagging"


@dataclass(frozen=True)
class Generation(Spec):
    """Text generated word by word. The model returns scores `[rows, vocabulary]` of the next word, or
    `[rows, steps, vocabulary]` of the word after each given one.

        Generation(vocabulary=["<s>", "</s>", "yes", "no"], start="<s>", end="</s>", steps=20, beams=4)

    Args:
        vocabulary: the words; a word's token is its index.
        start: forward's last argument is the tokens generated so far, int64 `[rows, steps]`, beginning with this word.
            Without it, generated words are appended to the model's only sequence of tokens.
        end: the word that ends a text; it is not written.
        steps: the largest number of generated words, including the end.
        beams: the number of beams of the search; 1 is greedy.
        length_penalty: texts are compared by their log-probability divided by their number of words to this power.
        outputs: what the model returns: `logits`, `probabilities` or `log_probabilities`.
        output: which output, if the model returns a tuple (an index) or a dict (a key).
    """

    vocabulary: Vocabulary
    _: KW_ONLY
    end: OneLabel
    steps: Annotated[int, Field(ge=1, le=1 << 16), whole(1, 1 << 16)]
    start: OneLabel | None = None
    beams: Annotated[int, Field(ge=1, le=1024), whole(1, 1024)] = 1
    length_penalty: Annotated[float, Field(ge=0, le=10), between(0, 10)] = 0.0
    outputs: Outputs = "logits"
    output: OneOutput = 0
    kind: Literal["generation"] = "generation"


AnyTask = Binary | Multiclass | Multilabel | Regression | Tagging | Generation
TASKS = (Binary, Multiclass, Multilabel, Regression, Tagging, Generation)
