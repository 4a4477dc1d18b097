"""The heads of a bundle: a task, its labels or targets, thresholds, calibration."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from .base import Schema
from .inputs import Input
from .steps import AnyStep, Name, OrdinalStep

#: The argument for the tokens generated so far, if a model takes one dict.
GENERATED = "generated"
#: What models of Hugging Face's transformers call their scores, among other outputs: the default of a dict.
LOGITS = "logits"

Label = bool | int | float | str
_LABEL_TYPES = {bool: "booleans", int: "integers", float: "floats", str: "text"}
#: A label is predicted if its probability is above this.
Threshold = Annotated[float, Field(ge=0, le=1)]


class Rescale(Schema):
    """The inverse of a scaler of the targets: predictions are written in the unit of the target.

    `standard` and `robust`: x × scale + shift; `minmax`: (x − shift) / scale; `maxabs`: x × scale; otherwise the
    numpy function of this name.
    """

    kind: Literal["standard", "robust", "minmax", "maxabs", "exp", "expm1", "exp2", "square", "sqrt", "log", "log1p"]
    scale: list[float] | None = None
    shift: list[float] | None = None


class Bounds(Schema):
    """The bounds of an output. Rows out of bounds are counted, and rejected if `reject` is true.

    For a regression, `low` and `high` of each target, in its own unit. For labels they are None: probabilities must lie
    in [0, 1] and, if exactly one label is predicted, sum to 1, within 1e-3.
    """

    low: list[float] | None = None
    high: list[float] | None = None
    reject: bool = False


class Temperature(Schema):
    """Probabilities are the softmax of `logits / temperature` (Guo et al. 2017)."""

    kind: Literal["temperature"] = "temperature"
    temperature: float = Field(gt=0)


class Platt(Schema):
    """The probability of a label is `1 / (1 + exp(−(slope · logit + intercept)))` (Platt 1999): one pair of numbers for
    a binary head, one per label of a multilabel one."""

    kind: Literal["platt"] = "platt"
    slope: list[float] = Field(min_length=1)
    intercept: list[float] = Field(min_length=1)


class Head(Schema):
    """One output of the model, and what it predicts. If there are several heads, the columns of each begin with its
    name."""

    name: Name = "output"
    #: The output: an index in the model's tuple, or a key of its dict; several are concatenated.
    output: int | str | list[int | str] = 0
    bounds: Bounds | None = None

    #: Whether it predicts labels.
    labelled: ClassVar[bool] = False

    @property
    def arguments(self) -> list[str]:
        """The arguments of the model besides its inputs."""
        return []

    def check_model(self, inputs: Sequence[Input], steps: Sequence[AnyStep], *, alone: bool) -> None:
        """Raise ValueError if the head does not match the inputs.

        Args:
            alone: whether it is the only head of a single model.
        """


class LabelledHead(Head):
    """An output with a number for each label: the meaning of the numbers, and the labels in their order."""

    outputs: Literal["logits", "probabilities", "log_probabilities"]
    labels: list[Label] = Field(min_length=2)

    labelled = True

    @model_validator(mode="after")
    def _labels_are_distinct(self) -> Self:
        kinds = sorted({_LABEL_TYPES[type(label)] for label in self.labels})
        if len(kinds) > 1:
            raise ValueError(f"labels must be of one type, not {' and '.join(kinds)}")
        for label in self.labels:
            if isinstance(label, str):
                label.encode("utf-8")  # raises for lone surrogates, which no file can store
            elif isinstance(label, int) and not -(2**63) <= label < 2**63:
                raise ValueError(f"label {label} does not fit into int64")
        alike = [text for text, times in Counter(str(label) for label in self.labels).items() if times > 1]
        if alike:
            raise ValueError(f"label {alike[0]!r} appears twice")
        if self.bounds is not None and (self.bounds.low is not None or self.bounds.high is not None):
            raise ValueError("the bounds of probabilities are always 0 and 1")
        return self


class ClassHead(LabelledHead):
    """Predicts labels for each row. `calibration`: fitted on labelled rows after training, and applied to the
    logits."""

    calibration: Annotated[Temperature | Platt, Field(discriminator="kind")] | None = None


def _pairs(head: ClassHead, number: int) -> None:
    """Raise ValueError if Platt scaling does not have this number of slopes and intercepts."""
    found = head.calibration
    if found is None or found.kind != "platt":
        return
    if not len(found.slope) == len(found.intercept) == number:
        raise ValueError(f"platt has {len(found.slope)} slopes and {len(found.intercept)} intercepts, not {number}")


class BinaryHead(ClassHead):
    """`[rows]`, `[rows, 1]` (of the second label) or `[rows, 2]`. The second label is predicted if its probability is
    above `threshold`."""

    task: Literal["binary"] = "binary"
    labels: list[Label] = Field(min_length=2, max_length=2)
    threshold: Threshold = 0.5

    @model_validator(mode="after")
    def _one_pair(self) -> Self:
        _pairs(self, 1)
        return self


class MulticlassHead(ClassHead):
    """`[rows, labels]`; exactly one label is true."""

    task: Literal["multiclass"] = "multiclass"

    @model_validator(mode="after")
    def _temperature_alone(self) -> Self:
        if self.calibration is not None and self.calibration.kind == "platt":
            raise ValueError("platt is for binary and multilabel heads; a multiclass head takes a temperature")
        return self


class MultilabelHead(ClassHead):
    """`[rows, labels]`; any number of labels is true. A label is predicted if its probability is above its
    threshold."""

    task: Literal["multilabel"] = "multilabel"
    labels: list[Label] = Field(min_length=1)
    thresholds: list[Threshold]

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        _pairs(self, len(self.labels))
        if len(self.thresholds) != len(self.labels):
            raise ValueError(f"{len(self.thresholds)} thresholds for {len(self.labels)} labels")
        return self


def quantile_name(quantile: float) -> str:
    """0.1 → `p10`, 0.025 → `p2_5`."""
    return f"p{quantile * 100:.6g}".replace(".", "_")


class RegressionHead(Head):
    """`[rows]` or `[rows, targets]`; `targets` are their names if there are several.

    With `quantiles`, `[rows, quantiles × targets]`: the targets of the first quantile, then those of the second. With
    `horizons`, the names of the time steps of a forecast, `[rows, horizons, quantiles × targets]`, or the same numbers
    as `[rows, horizons × quantiles × targets]`. With `spread`, `[rows, 2 × targets]`: the means, then their `spread`.

    With a `threshold`, rows whose prediction is above it are flagged: the scores of anomalies, for example.
    """

    task: Literal["regression"] = "regression"
    targets: list[Name] = []
    horizons: list[Name] = []
    rescale: list[Rescale] = []
    quantiles: list[Annotated[float, Field(gt=0, lt=1)]] = []
    spread: Literal["variance", "log_variance", "std"] | None = None
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _targets_are_distinct(self) -> Self:
        for what, given in (("target", self.targets), ("horizon", self.horizons)):
            twice = [name for name, times in Counter(given).items() if times > 1]
            if twice:
                raise ValueError(f"{what} {twice[0]!r} appears twice")
        width = max(1, len(self.targets))
        if sorted(set(self.quantiles)) != self.quantiles:
            raise ValueError(f"quantiles {self.quantiles} are not increasing; list each once, in ascending order")
        if self.quantiles and self.spread is not None:
            raise ValueError("a head predicts quantiles or a spread, not both")
        if self.horizons and self.spread is not None:
            raise ValueError("a head predicts horizons or a spread, not both")
        if self.threshold is not None and len(self.names()) > 1:
            raise ValueError(f"a threshold is for one prediction per row, not {len(self.names())}")
        bent = [step.kind for step in self.rescale if step.kind not in ("standard", "robust", "minmax", "maxabs")]
        if bent and self.spread is not None:
            raise ValueError(f"a spread cannot be rescaled by {bent[0]!r}, which is not linear")
        for numbers in (self.bounds.low, self.bounds.high) if self.bounds is not None else ():
            if numbers is not None and len(numbers) != width:
                raise ValueError(f"bounds for {len(numbers)} of {width} targets")
        for step in self.rescale:
            if any(len(numbers) != width for numbers in (step.scale, step.shift) if numbers is not None):
                raise ValueError(f"rescale is not for {width} targets")
            if step.kind == "minmax" and 0.0 in (step.scale or [0.0]):
                raise ValueError("rescale divides by 0")
        return self

    def names(self) -> list[str]:
        """The name of each predicted number, in the order of the output: its target, horizon and quantile, as far as
        there are several."""
        quantiles = [quantile_name(quantile) for quantile in self.quantiles] or [""]
        return [
            "_".join(part for part in (target, horizon, quantile) if part)
            for horizon in self.horizons or [""]
            for quantile in quantiles
            for target in self.targets or [""]
        ]


class TaggingHead(LabelledHead):
    """`[rows, steps, labels]`: one label for each step of the bundle's first sequence."""

    task: Literal["tagging"] = "tagging"
    output: int | str = 0

    def check_model(self, inputs: Sequence[Input], steps: Sequence[AnyStep], *, alone: bool) -> None:  # noqa: ARG002
        """Raise ValueError if there is no sequence."""
        if all(entry.max_steps is None for entry in inputs):
            raise ValueError(
                "tagging predicts a label for each step of a sequence, and there is no sequence among the inputs"
            )


class GenerationHead(LabelledHead):
    """Generates tokens one by one: the model returns scores `[rows, vocabulary]` of the next token, or
    `[rows, steps, vocabulary]` of the token after each given one. `labels` is the vocabulary; a token is its index.

    With `start`, the model's last argument is the tokens generated so far, int64 `[rows, steps]`, beginning with
    `start`. Without it, generated tokens are appended to the bundle's sequence.
    """

    task: Literal["generation"] = "generation"
    output: int | str = 0
    start: int | None = None
    #: The token that ends a text; it is not written.
    end: int = Field(ge=0)
    #: The largest number of generated tokens, including the end.
    steps: int = Field(ge=1, le=1 << 16)
    #: The number of beams of the search; 1 is greedy.
    beams: int = Field(default=1, ge=1, le=1024)
    #: Texts are compared by their log-probability divided by their number of tokens to this power.
    length_penalty: float = Field(default=0.0, ge=0, le=10)

    @model_validator(mode="after")
    def _tokens_exist(self) -> Self:
        for name, token in (("start", self.start), ("end", self.end)):
            if token is not None and not 0 <= token < len(self.labels):
                raise ValueError(f"{name} {token} is outside the vocabulary, which has {len(self.labels)} tokens")
        if self.bounds is not None:
            raise ValueError("generation does not support bounds")
        return self

    @property
    def arguments(self) -> list[str]:
        """The tokens generated so far, unless they are appended to the sequence."""
        return [GENERATED] if self.start is not None else []

    def check_model(self, inputs: Sequence[Input], steps: Sequence[AnyStep], *, alone: bool) -> None:
        """Raise ValueError if it is not the only head, or if, without a start, its tokens cannot be appended to the
        only sequence of tokens."""
        if not alone:
            raise ValueError("generation must be the only task of a single model")
        if self.start is not None:
            return
        if len(inputs) != 1 or inputs[0].max_steps is None or not inputs[0].takes_integers:
            raise ValueError(
                "without a start, generation continues the model's input, which must be one sequence of tokens"
            )
        if getattr(inputs[0], "types", False):
            raise ValueError(f"generation cannot continue the types of the tokens of input {inputs[0].name!r}")
        words = [str(label) for label in self.labels]
        for step in steps:
            if step.outputs == inputs[0].columns and isinstance(step, OrdinalStep):
                known = [str(word) for word in step.encodings[0].categories]
                if known != words[: len(known)]:
                    raise ValueError(
                        "without a start, generated words are appended to the input sequence, so both need the same"
                        " vocabulary, in the same order"
                    )


AnyHead = Annotated[
    BinaryHead | MulticlassHead | MultilabelHead | RegressionHead | TaggingHead | GenerationHead,
    Field(discriminator="task"),
]
