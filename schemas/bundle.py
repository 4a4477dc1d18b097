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


class GraphMember(Schema):
    """A model as data: operations and tensors."""

    kind: Literal["graph"] = "graph"
    graph: FileName
    weights: FileName


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
    rescale: list[Rescale] = []

    @model_validator(mode="after")
    def _targets_can_be_told_apart(self) -> Self:
        if len(set(self.targets)) < len(self.targets):
            raise ValueError(f"two targets have the same name among {self.targets}")
        width = max(1, len(self.targets))
        for step in self.rescale:
            if any(len(numbers) != width for numbers in (step.scale, step.shift) if numbers is not None):
                raise ValueError(f"rescale has numbers for another number of targets than {width}")
            if step.kind == "minmax" and 0.0 in (step.scale or [0.0]):
                raise ValueError("rescale divides by 0")
        return self


AnyHead = Annotated[BinaryHead | MulticlassHead | RegressionHead, Field(discriminator="task")]


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
    heads: list[AnyHead] = Field(min_length=1, max_length=1)
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
        regression = isinstance(self.heads[0], RegressionHead)
        if self.ensemble is not None and (self.ensemble.combine == "mean") != regression:
            raise ValueError(f"combine {self.ensemble.combine!r} does not go with {self.heads[0].task}")
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
