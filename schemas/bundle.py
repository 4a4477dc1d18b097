"""bundle.json, format 1: a trained model with all it needs to score.

`format` is read before anything else is validated (`pipeline/model/bundle.py`), so that a newer bundle is
told apart from a broken one. Raise it whenever an older reader would misread a newer file; keep an old bundle
as a fixture and its reader in place.
"""

from collections import Counter
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from .base import Schema, Sha256
from .steps import AnyStep, Name

FORMAT = 1

Label = bool | int | float | str
#: A label is predicted where its probability is above this.
Threshold = Annotated[float, Field(ge=0, le=1)]
#: A file that lies directly in the bundle: no folders, no way out of it.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")]


class Feature(Schema):
    """One raw input column. Numbers of any type are taken as float64 before any step; `text` stays text.
    `nulls`: whether a missing value rejects its row, or a step has a value for it."""

    name: Name
    dtype: Literal["float64", "float32", "int64", "bool", "text"] = "float64"
    nulls: Literal["reject", "keep"] = "reject"


class Input(Schema):
    """One tensor of the model, `[rows, columns]`: which columns make it, after the steps, in which order."""

    name: Name
    columns: list[Name] = Field(min_length=1)
    dtype: Literal["float32", "int64"] = "float32"
    #: Whether the model needs the rows one behind the other in memory, as `x.view(-1, 2)` does.
    contiguous: bool = False


class LayerRecord(Schema):
    """One step of a graph: its name, what it calls, and the shape of its result for a row."""

    name: str
    calls: str
    shape: list[int]


class GraphMember(Schema):
    """A model as data: operations and tensors. `layers`: every step that makes a tensor, in order, as the graph was
    saved; empty where an older version saved it."""

    kind: Literal["graph"] = "graph"
    graph: FileName
    weights: FileName
    layers: list[LayerRecord] = []


class OnnxMember(Schema):
    """A model as data: an ONNX file, run by onnxruntime."""

    kind: Literal["onnx"] = "onnx"
    file: FileName


class ExportMember(Schema):
    """A program saved by torch.export. Its loader executes code: only a bundle that is trusted by digest loads."""

    kind: Literal["pt2"] = "pt2"
    file: FileName


class ScriptMember(Schema):
    """A TorchScript archive: code, and only loaded when trusted."""

    kind: Literal["torchscript"] = "torchscript"
    file: FileName


class ImportMember(Schema):
    """`module:factory`, imported and called, then filled with weights: code, and only loaded when trusted."""

    kind: Literal["import"] = "import"
    factory: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    weights: FileName


AnyMember = Annotated[
    GraphMember | OnnxMember | ExportMember | ScriptMember | ImportMember, Field(discriminator="kind")
]
#: Kinds of members that cannot be loaded without executing what is in them.
CODE = ("pt2", "torchscript", "import")


class Ensemble(Schema):
    """How several members make one prediction. `std`: whether their spread is written beside it."""

    combine: Literal["probability", "logit", "vote", "mean"]
    std: bool = False


class Rescale(Schema):
    """The inverse of a scaler of the target, per target: predictions come back in the target's own unit.

    `standard` and `robust`: x × scale + shift; `minmax`: (x − shift) / scale; `maxabs`: x × scale; a function of
    numpy by its name.
    """

    kind: Literal["standard", "robust", "minmax", "maxabs", "exp", "expm1", "exp2", "square", "sqrt", "log", "log1p"]
    scale: list[float] | None = None
    shift: list[float] | None = None


class Bounds(Schema):
    """What an output is to lie within. Rows beyond are counted, and rejected where that is said.

    For a regression `low` and `high` per target, in its own unit. For classes there are none: probabilities are to lie
    in [0, 1] and, of one class among several, to sum to 1, within 1e-3.
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
    """One output of the model that predictions are made of. Where there are several heads, each one's columns begin
    with its name."""

    name: Name = "output"
    #: Which of the model's outputs: a place in its tuple, a key of its dict; several stand side by side.
    output: int | str | list[int | str] = 0
    bounds: Bounds | None = None


class ClassHead(Head):
    """A classification output: what its numbers are, and the labels in the order of its columns."""

    outputs: Literal["logits", "probabilities", "log_probabilities"]
    labels: list[Label] = Field(min_length=2)
    #: Fitted on labelled rows after training, and applied to the logits.
    calibration: Annotated[Temperature | Platt, Field(discriminator="kind")] | None = None

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
        if self.bounds is not None and (self.bounds.low is not None or self.bounds.high is not None):
            raise ValueError("the bounds of probabilities are known: 0, 1, and a sum of 1")
        return self


def _pairs(head: ClassHead, number: int) -> None:
    """Raise ValueError where Platt's numbers are not as many as asked for."""
    found = head.calibration
    if found is None or found.kind != "platt":
        return
    if not len(found.slope) == len(found.intercept) == number:
        raise ValueError(f"platt has {len(found.slope)} slopes and {len(found.intercept)} intercepts, not {number}")


class BinaryHead(ClassHead):
    """`[rows]`, `[rows, 1]` (of the second label) or `[rows, 2]`. The second label is predicted where its probability
    is above `threshold`."""

    task: Literal["binary"] = "binary"
    labels: list[Label] = Field(min_length=2, max_length=2)
    threshold: Threshold = 0.5

    @model_validator(mode="after")
    def _one_pair(self) -> Self:
        _pairs(self, 1)
        return self


class MulticlassHead(ClassHead):
    """`[rows, labels]`, of which one is right."""

    task: Literal["multiclass"] = "multiclass"

    @model_validator(mode="after")
    def _temperature_alone(self) -> Self:
        if self.calibration is not None and self.calibration.kind == "platt":
            raise ValueError("platt is for binary and multilabel heads; a multiclass one takes a temperature")
        return self


class MultilabelHead(ClassHead):
    """`[rows, labels]`, of which any number is right. A label is predicted where its probability is above its
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


class RegressionHead(Head):
    """`[rows]` or `[rows, targets]`; `targets` are named where there are several.

    With `quantiles`, `[rows, quantiles × targets]`: the targets of the first quantile, then those of the second. With
    `spread`, `[rows, 2 × targets]`: means, then what `spread` says.
    """

    task: Literal["regression"] = "regression"
    targets: list[Name] = []
    rescale: list[Rescale] = []
    quantiles: list[Annotated[float, Field(gt=0, lt=1)]] = []
    spread: Literal["variance", "log_variance", "std"] | None = None

    @model_validator(mode="after")
    def _targets_can_be_told_apart(self) -> Self:
        if len(set(self.targets)) < len(self.targets):
            raise ValueError(f"two targets have the same name among {self.targets}")
        width = max(1, len(self.targets))
        if sorted(set(self.quantiles)) != self.quantiles:
            raise ValueError(f"quantiles are to rise, each once; these are {self.quantiles}")
        if self.quantiles and self.spread is not None:
            raise ValueError("a head gives quantiles or a spread, not both")
        bent = [step.kind for step in self.rescale if step.kind not in ("standard", "robust", "minmax", "maxabs")]
        if bent and self.spread is not None:
            raise ValueError(f"a spread cannot be taken through {bent[0]!r}, which is no straight line")
        for numbers in (self.bounds.low, self.bounds.high) if self.bounds is not None else ():
            if numbers is not None and len(numbers) != width:
                raise ValueError(f"bounds have {len(numbers)} numbers for {width} targets")
        for step in self.rescale:
            if any(len(numbers) != width for numbers in (step.scale, step.shift) if numbers is not None):
                raise ValueError(f"rescale has numbers for another number of targets than {width}")
            if step.kind == "minmax" and 0.0 in (step.scale or [0.0]):
                raise ValueError("rescale divides by 0")
        return self


AnyHead = Annotated[BinaryHead | MulticlassHead | MultilabelHead | RegressionHead, Field(discriminator="task")]


class Pruning(Schema):
    """What magnitude pruning has taken away: `zeros` of `weights` are zero, and over the golden rows raw outputs moved
    by up to `largest_difference`, and so many predicted labels with them."""

    share: float = Field(gt=0, lt=1)
    zeros: int
    weights: int
    largest_difference: float
    labels_changed: int


class Golden(Schema):
    """Rows with the outputs expected for them, replayed before every run."""

    file: FileName
    rows: int = Field(ge=1)
    #: `model`: the user's own model and scaler objects; `expected`: predictions the user handed over.
    source: Literal["model", "expected"]
    #: What the transformers were fitted in: float32 moves what was expected more than another processor does.
    fitted_in: Literal["float64", "float32"] = "float64"


class BundleManifest(Schema):
    """bundle.json."""

    format: Literal[1] = 1
    scoreline: str
    features: list[Feature] = Field(min_length=1)
    steps: list[AnyStep] = []
    inputs: list[Input] = Field(min_length=1)
    #: How the model takes its inputs: as arguments in their order, or as one dict by their names.
    call: Literal["arguments", "dict"] = "arguments"
    members: list[AnyMember] = Field(min_length=1)
    ensemble: Ensemble | None = None
    pruning: Pruning | None = None
    heads: list[AnyHead] = Field(min_length=1)
    golden: Golden
    files: dict[FileName, Sha256]

    @model_validator(mode="after")
    def _names_hold_together(self) -> Self:
        names = [feature.name for feature in self.features]
        repeated = [name for name, times in Counter(names).items() if times > 1]
        if repeated:
            raise ValueError(f"feature {repeated[0]!r} stands twice")
        known = set(names)
        for step in self.steps:
            unknown = [name for name in step.features if name not in known]
            if unknown:
                raise ValueError(f"step {step.kind!r} takes {unknown[0]!r}, which is no feature or output before it")
            doubled = [name for name in step.outputs if name in known]
            if doubled:
                raise ValueError(f"step {step.kind!r} gives {doubled[0]!r}, which is there already")
            known |= set(step.outputs)
        for entry in self.inputs:
            unknown = [name for name in entry.columns if name not in known]
            if unknown:
                raise ValueError(f"input {entry.name!r} takes {unknown[0]!r}, which is no feature or output of a step")
        if (self.ensemble is None) != (len(self.members) == 1):
            raise ValueError("several members need to be told how they make one prediction, one member does not")
        doubled = [name for name, times in Counter(head.name for head in self.heads).items() if times > 1]
        if doubled:
            raise ValueError(f"two heads have the name {doubled[0]!r}")
        classes = [head.task for head in self.heads if isinstance(head, ClassHead)]
        if self.ensemble is not None and (self.ensemble.combine == "mean") == bool(classes):
            raise ValueError(
                f"combine {self.ensemble.combine!r} does not go with {classes[0] if classes else 'regression'}"
            )
        used = [self.golden.file, *(file for member in self.members for file in files_of(member))]
        missing = [file for file in used if file not in self.files]
        if missing:
            raise ValueError(f"no digest for {missing[0]!r}")
        return self


def files_of(member: AnyMember) -> list[str]:
    """The files of a member."""
    match member:
        case GraphMember():
            return [member.graph, member.weights]
        case ImportMember():
            return [member.weights]
    return [member.file]
