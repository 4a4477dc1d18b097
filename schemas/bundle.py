"""bundle.json, format 1: a trained model with all it needs to score.

`format` is read before anything else is validated (`pipeline/bundle/bundle.py`), so that a newer bundle is
distinguished from a broken one. Increase it whenever an older reader would misread a newer file; keep an old bundle
as a fixture, and its reader.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from .base import FileName, Schema, Sha256
from .heads import AnyHead
from .inputs import AnyInput, Expression, Feature, TextInput
from .members import AnyMember, files_of
from .steps import AnyStep

FORMAT = 1


class Ensemble(Schema):
    """How the predictions of several members are combined. `std`: whether their standard deviation is also written."""

    combine: Literal["probability", "logit", "vote", "mean"]
    std: bool = False


class Pruning(Schema):
    """The effect of magnitude pruning: `zeros` of `weights` are zero. On the golden rows, raw outputs changed by up to
    `largest_difference`, and `labels_changed` predicted labels with them."""

    share: float = Field(gt=0, lt=1)
    zeros: int
    weights: int
    largest_difference: float
    labels_changed: int


class Golden(Schema):
    """Rows with the outputs expected for them, replayed before every run."""

    file: FileName
    rows: int = Field(ge=1)
    #: Where the expected outputs come from: the user's own model and scaler (`model`), or predictions that the user
    #: passed (`expected`).
    source: Literal["model", "expected"]
    #: The type that the transformers were fitted in; float32 needs a wider tolerance.
    fitted_in: Literal["float64", "float32"] = "float64"


class ReferenceFile(Schema):
    """What the rows looked like that the model was trained on, as counts (`schemas/profile.py`): of training rows, or
    of the golden rows."""

    file: FileName
    source: Literal["training", "golden"]
    rows: int


class BundleManifest(Schema):
    """bundle.json."""

    format: Literal[1] = 1
    scoreline: str
    #: The columns of a file that are read.
    features: list[Feature] = Field(min_length=1)
    #: The features that are computed from the raw columns before any step.
    expressions: list[Expression] = Field(default=[], max_length=1024)
    steps: list[AnyStep] = []
    inputs: list[AnyInput] = Field(min_length=1)
    #: How the model takes its inputs: as arguments in this order, or as one dict by name.
    call: Literal["arguments", "dict"] = "arguments"
    members: list[AnyMember] = Field(min_length=1)
    ensemble: Ensemble | None = None
    pruning: Pruning | None = None
    heads: list[AnyHead] = Field(min_length=1)
    golden: Golden
    reference: ReferenceFile | None = None
    files: dict[FileName, Sha256]

    @model_validator(mode="after")
    def _names_are_consistent(self) -> Self:
        names = [feature.name for feature in self.features]
        repeated = [name for name, times in Counter(names).items() if times > 1]
        if repeated:
            raise ValueError(f"feature {repeated[0]!r} appears twice")
        if bool(self.expressions) != any(feature.dtype == "raw" for feature in self.features):
            raise ValueError("there must be raw columns if there are expressions, and only then")
        names = [feature.name for feature in self.model_features]
        doubled = [name for name, times in Counter(names).items() if times > 1]
        if doubled:
            raise ValueError(f"expression {doubled[0]!r} has the name of another feature")
        known = set(names)
        text = {f.name for f in self.model_features if f.dtype == "text" and f.nulls == "reject"}
        for step in self.steps:
            unknown = [name for name in step.features if name not in known]
            if unknown:
                raise ValueError(
                    f"step {step.kind!r} takes {unknown[0]!r}, which is neither a feature nor an earlier output"
                )
            doubled = [name for name in step.outputs if name in known]
            if doubled:
                raise ValueError(f"step {step.kind!r} makes {doubled[0]!r}, which exists already")
            known |= set(step.outputs)
        for entry in self.inputs:
            unknown = [name for name in entry.columns if name not in known]
            if unknown:
                raise ValueError(f"input {entry.name!r} takes {unknown[0]!r}, which is neither a feature nor an output")
            taken = set(entry.columns)
            if doubled := [name for name in entry.prepared if name in known and name not in taken]:
                raise ValueError(f"input {entry.name!r} makes {doubled[0]!r}, which exists already")
        refuse_arguments(self.inputs, self.heads, self.steps, len(self.members))
        if (self.ensemble is None) != (len(self.members) == 1):
            raise ValueError("ensemble must be set if there are several members, and only then")
        doubled = [name for name, times in Counter(head.name for head in self.heads).items() if times > 1]
        if doubled:
            raise ValueError(f"two heads have the name {doubled[0]!r}")
        classes = [head.task for head in self.heads if head.labelled]
        if self.ensemble is not None and (self.ensemble.combine == "mean") == bool(classes):
            raise ValueError(
                f"combine {self.ensemble.combine!r} does not support {classes[0] if classes else 'regression'}"
            )
        texts = [entry for entry in self.inputs if isinstance(entry, TextInput)]
        used = [self.golden.file, *(file for member in self.members for file in files_of(member))]
        used += [entry.tokenizer for entry in texts]
        used += [] if self.reference is None else [self.reference.file]
        for entry in texts:
            other = [name for name in entry.columns if name not in text]
            if other:
                raise ValueError(f"input {entry.name!r} takes text without nulls, which {other[0]!r} is not")
        missing = [file for file in used if file not in self.files]
        if missing:
            raise ValueError(f"no digest for {missing[0]!r}")
        return self

    @property
    def model_features(self) -> list[Feature]:
        """The features that the steps take: columns of the file that are not raw, then the results of expressions."""
        return [*(feature for feature in self.features if feature.dtype != "raw"), *self.expressions]

    @property
    def longest(self) -> int:
        """The largest number of steps of a row; 1 without sequences."""
        return max(entry.max_steps or 1 for entry in self.inputs)

    @property
    def arguments(self) -> list[str]:
        """The names of the model's arguments, in order."""
        return arguments_of(self.inputs, self.heads)


def arguments_of(inputs: Sequence[AnyInput], heads: Sequence[AnyHead]) -> list[str]:
    """The names of a model's arguments, in order: its inputs, each sequence followed by its mask, then the tokens
    generated so far."""
    generated = dict.fromkeys(name for head in heads for name in head.arguments)
    return [*(name for entry in inputs for name in entry.arguments), *generated]


def refuse_arguments(
    inputs: Sequence[AnyInput], heads: Sequence[AnyHead], steps: Sequence[AnyStep], num_members: int
) -> None:
    """Raise ValueError for heads that do not match a model's inputs, and for arguments of the same name."""
    doubled = [name for name, times in Counter(arguments_of(inputs, heads)).items() if times > 1]
    if doubled:
        raise ValueError(f"two arguments of the model have the name {doubled[0]!r}; rename the feature or the input")
    for head in heads:
        head.check_model(inputs, steps, alone=len(heads) == num_members == 1)
