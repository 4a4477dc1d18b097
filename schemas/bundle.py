"""bundle.json, format 1: a trained model with all it needs to score.

`format` is read before anything else is validated (`pipeline/model/bundle.py`), so that a newer bundle is
told apart from a broken one. Raise it whenever an older reader would misread a newer file; keep an old bundle
as a fixture and its reader in place.
"""

from collections import Counter
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from .base import Schema, Sha256

FORMAT = 1

Name = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Label = bool | int | float | str
#: A file that lies directly in the bundle: no folders, no way out of it.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")]


class Feature(Schema):
    """One raw input column. Values of any numeric type are taken as float64 before any step."""

    name: Name
    dtype: Literal["float64", "float32", "int64", "bool"] = "float64"
    nulls: Literal["reject"] = "reject"


class Step(Schema):
    """A preparation of some features, by name. Its numbers are float64 and applied in float64."""

    features: list[Name] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_number_per_feature(self) -> Self:
        repeated = [name for name, times in Counter(self.features).items() if times > 1]
        if repeated:
            raise ValueError(f"feature {repeated[0]!r} stands twice in one step")
        for field in type(self).model_fields:
            numbers = getattr(self, field)
            if isinstance(numbers, list) and len(numbers) != len(self.features):
                raise ValueError(f"{field} has {len(numbers)} values for {len(self.features)} features")
        if 0.0 in (getattr(self, "scale", None) or []):
            feature = self.features[self.scale.index(0.0)]  # type: ignore[attr-defined]
            raise ValueError(f"scale of feature {feature!r} is 0")
        return self


class StandardStep(Step):
    """scikit-learn's StandardScaler: (x − mean) / scale."""

    kind: Literal["standard"] = "standard"
    mean: list[float] | None
    scale: list[float] | None


class RobustStep(Step):
    """scikit-learn's RobustScaler: (x − center) / scale."""

    kind: Literal["robust"] = "robust"
    center: list[float] | None
    scale: list[float] | None


class MinMaxStep(Step):
    """scikit-learn's MinMaxScaler: x × scale + min, then clipped to `clip` where it is given."""

    kind: Literal["minmax"] = "minmax"
    scale: list[float]
    min: list[float]
    clip: tuple[float, float] | None = None


class MaxAbsStep(Step):
    """scikit-learn's MaxAbsScaler: x / scale, then clipped to `clip` where it is given."""

    kind: Literal["maxabs"] = "maxabs"
    scale: list[float]
    clip: tuple[float, float] | None = None


AnyStep = Annotated[StandardStep | RobustStep | MinMaxStep | MaxAbsStep, Field(discriminator="kind")]


class Input(Schema):
    """One tensor of the model, `[rows, features]`: which prepared features make it, in which order."""

    name: Name
    features: list[Name] = Field(min_length=1)
    dtype: Literal["float32", "int64"] = "float32"
    #: Whether the model needs the rows one behind the other in memory, as `x.view(-1, 2)` does.
    contiguous: bool = False


class GraphMember(Schema):
    """A model as data: operations and tensors."""

    kind: Literal["graph"] = "graph"
    graph: FileName
    weights: FileName


class ClassHead(Schema):
    """A classification output: what its numbers are, and the labels in the order of its columns."""

    name: Name = "output"
    #: Which of the model's outputs: a place in its tuple, a key of its dict.
    output: int | str = 0
    outputs: Literal["logits", "probabilities", "log_probabilities"]
    labels: list[Label] = Field(min_length=2)

    @model_validator(mode="after")
    def _labels_can_be_told_apart(self) -> Self:
        kinds = {type(label) for label in self.labels}
        if len(kinds) > 1:
            raise ValueError(f"labels are of {len(kinds)} types: {sorted(kind.__name__ for kind in kinds)}")
        for label in self.labels:
            if isinstance(label, str):
                label.encode("utf-8")  # raises for what no file can hold
            elif isinstance(label, int) and not -(2**63) <= label < 2**63:
                raise ValueError(f"label {label} does not fit into int64")
        alike = [text for text, times in Counter(str(label) for label in self.labels).items() if times > 1]
        if alike:
            raise ValueError(f"two labels read {alike[0]!r} as text")
        return self


class BinaryHead(ClassHead):
    """`[rows]`, `[rows, 1]` (of the second label) or `[rows, 2]`."""

    task: Literal["binary"] = "binary"
    labels: list[Label] = Field(min_length=2, max_length=2)


class MulticlassHead(ClassHead):
    """`[rows, labels]`."""

    task: Literal["multiclass"] = "multiclass"


class RegressionHead(Schema):
    """`[rows]` or `[rows, targets]`; `targets` are named where there are several."""

    task: Literal["regression"] = "regression"
    name: Name = "output"
    output: int | str = 0
    targets: list[Name] = []

    @model_validator(mode="after")
    def _targets_can_be_told_apart(self) -> Self:
        if len(set(self.targets)) < len(self.targets):
            raise ValueError(f"two targets have the same name among {self.targets}")
        return self


AnyHead = Annotated[BinaryHead | MulticlassHead | RegressionHead, Field(discriminator="task")]


class Golden(Schema):
    """Rows with the outputs expected for them, replayed before every run."""

    file: FileName
    rows: int = Field(ge=1)
    #: `model`: the user's own model and scaler objects; `expected`: predictions the user handed over.
    source: Literal["model", "expected"]


class BundleManifest(Schema):
    """bundle.json."""

    format: Literal[1] = 1
    scoreline: str
    features: list[Feature] = Field(min_length=1)
    steps: list[AnyStep] = []
    inputs: list[Input] = Field(min_length=1, max_length=1)
    members: list[GraphMember] = Field(min_length=1, max_length=1)
    heads: list[AnyHead] = Field(min_length=1, max_length=1)
    golden: Golden
    files: dict[FileName, Sha256]

    @model_validator(mode="after")
    def _names_hold_together(self) -> Self:
        names = [feature.name for feature in self.features]
        repeated = [name for name, times in Counter(names).items() if times > 1]
        if repeated:
            raise ValueError(f"feature {repeated[0]!r} stands twice")
        for part in [*self.steps, *self.inputs]:
            unknown = [name for name in part.features if name not in set(names)]
            if unknown:
                raise ValueError(f"{type(part).__name__} names {unknown[0]!r}, which is no feature")
        used = [self.golden.file, *(f for m in self.members for f in (m.graph, m.weights))]
        missing = [file for file in used if file not in self.files]
        if missing:
            raise ValueError(f"no digest for {missing[0]!r}")
        return self
