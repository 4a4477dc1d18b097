"""bundle.json, format 1: a trained model with all it needs to score.

`format` is read before anything else is validated (`pipeline/bundle/bundle.py`), so that a newer bundle is
told apart from a broken one. Raise it whenever an older reader would misread a newer file; keep an old bundle
as a fixture and its reader in place.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from .base import Schema, Sha256
from .steps import AnyStep, Name, OrdinalStep

FORMAT = 1

#: The argument that takes what has been generated, where a model takes one dict.
GENERATED = "generated"
Label = bool | int | float | str
#: A label is predicted where its probability is above this.
Threshold = Annotated[float, Field(ge=0, le=1)]
#: Pixels along one side of an image.
Side = Annotated[int, Field(ge=1, le=1 << 14)]
#: A file that lies directly in the bundle: no folders, no way out of it.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")]


class Feature(Schema):
    """One raw input column. Numbers of any type are taken as float64 before any step; `text` stays text. An `image` is
    its bytes or its path; `numbers` and `words` are lists of such. `nulls`: whether a missing value rejects its row, or
    a step has a value for it."""

    name: Name
    dtype: Literal["float64", "float32", "int64", "bool", "text", "image", "numbers", "words"] = "float64"
    nulls: Literal["reject", "keep"] = "reject"


class TableInput(Schema):
    """One tensor of the model, `[rows, columns]`: which columns make it, after the steps, in which order."""

    kind: Literal["table"] = "table"
    name: Name
    columns: list[Name] = Field(min_length=1)
    dtype: Literal["float32", "int64"] = "float32"
    #: Whether the model needs the rows one behind the other in memory, as `x.view(-1, 2)` does.
    contiguous: bool = False

    @property
    def numbers(self) -> int:
        """How many a row has."""
        return len(self.columns)


class ImageInput(Schema):
    """Images as one tensor of the model, float32 `[rows, channels, height, width]`.

    An image is turned as its EXIF says, converted to grey or RGB and resized: so that its shorter side has `resize`
    pixels, and then cut to the middle `size`, or, without `resize`, stretched to `size`. A pixel is
    `(value / 255 − mean) / std`, by channel.
    """

    kind: Literal["image"] = "image"
    name: Name
    columns: list[Name] = Field(min_length=1, max_length=1)
    #: Height and width.
    size: tuple[Side, Side]
    resize: Side | None = None
    channels: Literal[1, 3] = 3
    mean: list[float] = []
    std: list[float] = []
    interpolation: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = "bilinear"
    exif: bool = True

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (0, self.channels):
                raise ValueError(f"{name} has {len(numbers)} numbers for {self.channels} channels")
        if any(not deviation > 0 for deviation in self.std):
            raise ValueError(f"std {self.std} is not above 0 throughout")
        if self.resize is not None and self.resize < max(self.size):
            raise ValueError(f"resize {self.resize} leaves less than the size {self.size} that is cut out")
        return self

    @property
    def numbers(self) -> int:
        """How many a row has."""
        return self.channels * self.size[0] * self.size[1]


class SequenceInput(Schema):
    """Lists as tensors of the model: int64 tokens `[rows, steps]`, or float32 `[rows, steps, columns]`, lists that are
    equally long side by side.

    With a `mask`, lists of about the same length go through the model together, padded with `pad` at their end, and an
    argument behind this one says which steps are there: bool `[rows, steps]`, true where a step is (`real`) or where
    none is (`padding`), or int64 `[rows]` (`lengths`). Without, only lists of the same length go through together.
    """

    kind: Literal["sequence"] = "sequence"
    name: Name
    columns: list[Name] = Field(min_length=1)
    dtype: Literal["float32", "int64"] = "int64"
    #: Longer lists are rejects.
    longest: int = Field(ge=1, le=1 << 20)
    mask: Literal["real", "padding", "lengths"] | None = None
    pad: int = 0

    @model_validator(mode="after")
    def _tokens_alone(self) -> Self:
        if self.dtype == "int64" and len(self.columns) > 1:
            raise ValueError(f"input {self.name!r} takes tokens of one column, not of {len(self.columns)}")
        return self

    @property
    def numbers(self) -> int:
        """How many a row has, at most."""
        return self.longest * len(self.columns)


def _kind(given: Any) -> str:
    """Older bundles have tables alone, and do not say so."""
    return str(given.get("kind", "table") if isinstance(given, dict) else getattr(given, "kind", ""))


AnyInput = Annotated[
    Annotated[TableInput, Tag("table")]
    | Annotated[ImageInput, Tag("image")]
    | Annotated[SequenceInput, Tag("sequence")],
    Discriminator(_kind),
]


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


class LabelledHead(Head):
    """An output that speaks for labels: what its numbers are, and the labels in the order of its columns."""

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
        if self.bounds is not None and (self.bounds.low is not None or self.bounds.high is not None):
            raise ValueError("the bounds of probabilities are known: 0, 1, and a sum of 1")
        return self


class ClassHead(LabelledHead):
    """One prediction of labels for a row. `calibration`: fitted on labelled rows after training, and applied to the
    logits."""

    calibration: Annotated[Temperature | Platt, Field(discriminator="kind")] | None = None


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


def quantile_name(quantile: float) -> str:
    """0.1 → `p10`, 0.025 → `p2_5`."""
    return f"p{quantile * 100:.6g}".replace(".", "_")


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

    def names(self) -> list[str]:
        """Of each predicted number, in the order of the output: its target and quantile, in as far as there are
        several."""
        names = self.targets or [""]
        if not self.quantiles:
            return names
        return ["_".join(part for part in (name, quantile_name(q)) if part) for q in self.quantiles for name in names]


class TaggingHead(LabelledHead):
    """`[rows, steps, labels]`: one label for each step of the bundle's first sequence."""

    task: Literal["tagging"] = "tagging"
    output: int | str = 0


class GenerationHead(LabelledHead):
    """A step model: scores `[rows, vocabulary]` of the next token, or `[rows, steps, vocabulary]` of the token behind
    each one given. `labels` is the vocabulary; a token is its place in it.

    With `start`, the model's last argument is what has been generated so far, int64 `[rows, steps]`, beginning with
    `start`. Without, what is generated goes on where the bundle's sequence ends.
    """

    task: Literal["generation"] = "generation"
    output: int | str = 0
    start: int | None = None
    #: The token that ends a text, and is not written.
    end: int = Field(ge=0)
    #: The most tokens that are generated, the last one included.
    steps: int = Field(ge=1, le=1 << 16)
    #: How many beginnings are kept at each step; 1 is greedy.
    beams: int = Field(default=1, ge=1, le=1024)
    #: Texts are compared by their log-probability divided by their number of tokens to this power.
    length_penalty: float = Field(default=0.0, ge=0, le=10)

    @model_validator(mode="after")
    def _tokens_are_there(self) -> Self:
        for name, token in (("start", self.start), ("end", self.end)):
            if token is not None and not 0 <= token < len(self.labels):
                raise ValueError(f"{name} {token} is no token of a vocabulary of {len(self.labels)}")
        if self.bounds is not None:
            raise ValueError("bounds do not go with what is generated")
        return self


AnyHead = Annotated[
    BinaryHead | MulticlassHead | MultilabelHead | RegressionHead | TaggingHead | GenerationHead,
    Field(discriminator="task"),
]


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
    inputs: list[AnyInput] = Field(min_length=1)
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
        refuse_arguments(self.inputs, self.heads, self.steps, len(self.members))
        if (self.ensemble is None) != (len(self.members) == 1):
            raise ValueError("several members need to be told how they make one prediction, one member does not")
        doubled = [name for name, times in Counter(head.name for head in self.heads).items() if times > 1]
        if doubled:
            raise ValueError(f"two heads have the name {doubled[0]!r}")
        classes = [head.task for head in self.heads if isinstance(head, LabelledHead)]
        if self.ensemble is not None and (self.ensemble.combine == "mean") == bool(classes):
            raise ValueError(
                f"combine {self.ensemble.combine!r} does not go with {classes[0] if classes else 'regression'}"
            )
        used = [self.golden.file, *(file for member in self.members for file in files_of(member))]
        missing = [file for file in used if file not in self.files]
        if missing:
            raise ValueError(f"no digest for {missing[0]!r}")
        return self

    @property
    def longest(self) -> int:
        """The most steps that a row may have; 1 without sequences."""
        return max((entry.longest for entry in self.inputs if isinstance(entry, SequenceInput)), default=1)

    @property
    def arguments(self) -> list[str]:
        """What the model takes, in order."""
        return arguments_of(self.inputs, self.heads)


def arguments_of(inputs: Sequence[AnyInput], heads: Sequence[AnyHead]) -> list[str]:
    """What a model takes, in order: its inputs, masks behind their sequences, and what has been generated."""
    names = []
    for entry in inputs:
        names.append(entry.name)
        if isinstance(entry, SequenceInput) and entry.mask is not None:
            names.append(f"{entry.name}_mask")
    if any(isinstance(head, GenerationHead) and head.start is not None for head in heads):
        names.append(GENERATED)
    return names


def refuse_arguments(
    inputs: Sequence[AnyInput], heads: Sequence[AnyHead], steps: Sequence[AnyStep], num_members: int
) -> None:
    """Raise ValueError for heads that do not go with a model's inputs, and for arguments of the same name."""
    doubled = [name for name, times in Counter(arguments_of(inputs, heads)).items() if times > 1]
    if doubled:
        raise ValueError(f"two arguments of the model have the name {doubled[0]!r}; rename the feature or the input")
    sequences = [entry for entry in inputs if isinstance(entry, SequenceInput)]
    for head in heads:
        if isinstance(head, TaggingHead) and not sequences:
            raise ValueError("tagging gives a label for each step of a sequence, and there is none")
        if not isinstance(head, GenerationHead):
            continue
        if len(heads) > 1 or num_members > 1:
            raise ValueError("generation is the one head of one model")
        if head.start is not None:
            continue
        if not len(sequences) == len(inputs) == 1 or sequences[0].dtype != "int64":
            raise ValueError("without a start, generation goes on with the one sequence of tokens that is given")
        for step in steps:
            words = [str(label) for label in head.labels]
            if step.outputs == sequences[0].columns and isinstance(step, OrdinalStep):
                known = [str(word) for word in step.encodings[0].categories]
                if known != words[: len(known)]:
                    raise ValueError(
                        "without a start, what is generated goes back in as tokens; give the labels, which are the"
                        " vocabulary, and the vocabulary of the sequence in the same order"
                    )


def files_of(member: AnyMember) -> list[str]:
    """The files of a member."""
    match member:
        case GraphMember():
            return [member.graph, member.weights]
        case ImportMember():
            return [member.weights]
    return [member.file]
