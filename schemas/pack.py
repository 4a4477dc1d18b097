"""pack.toml, a spec for `scoreline pack`: which files saved at training time make a bundle. Inputs and tasks are the
specs of `save_bundle`, as tables; paths are relative to the file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from .base import Schema
from .specs.expressions import sql_texts
from .specs.inputs import FloatSequence, Image, Table, Tokens, TokenSequence
from .specs.models import Ensemble, member_list
from .specs.tasks import Binary, Generation, Multiclass, Multilabel, Regression, Tagging
from .specs.values import Call, Columns, Share, choice, shown


class ModelFile(Schema):
    """A model file; or weights with their architecture, as a list of layers or as `module:factory`."""

    #: `.onnx`, a `.pt2` or TorchScript file, or a pickled module.
    file: str | None = None
    #: A state dict, `.safetensors` or saved by `torch.save`.
    weights: str | None = None
    #: The entry of a checkpoint that contains the state dict, such as `state_dict`. If None, it is found by its names.
    weights_key: str | None = None
    #: A prefix of every name in the state dict, such as `module.`; it is removed. If None, it is found by the names of
    #: the architecture.
    weights_prefix: str | None = None
    #: Names in the file that the architecture does not need, such as `loss.weight`.
    weights_ignore: list[str] = []
    #: Layers of torch.nn, in sequence: `type` and the arguments of the constructor.
    layers: list[dict[str, Any]] | None = None
    #: A function that returns the module, as `module:function`; it is imported from the folder of the spec.
    factory: str | None = None
    factory_args: dict[str, Any] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """Refuse fields that exclude each other, or have no effect without another."""
        for one, others in (("file", ("weights", "layers", "factory")), ("layers", ("factory",))):
            for other in others:
                if getattr(self, one) is not None and getattr(self, other) is not None:
                    raise ValueError(f"both {one!r} and {other!r} are given; keep one of them")
        if self.factory_args and self.factory is None:
            raise ValueError("'factory_args' is given without 'factory'; add the factory")
        return self


class SingleModelFile(ModelFile):
    """The only model of a bundle."""

    call: Call = "arguments"
    #: The share of each layer's weights to set to zero, the smallest first.
    prune: Share = None


class ScalerFile(Schema):
    """A saved transformer. `kind`: the meaning of the numbers in an `.npz` or JSON file."""

    file: str
    features: list[str] | None = None
    kind: Annotated[
        Literal["standard", "minmax", "maxabs", "robust"] | None, choice("standard", "minmax", "maxabs", "robust")
    ] = None


def _target_scaler(value: Any) -> Any:
    # A mapping where a spec is read from JSON; in a pack.toml it has become a ScalerFile.
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float | dict | ScalerFile)):
        raise ValueError(f"{shown(value)} is neither a number nor a table with the file of a scaler")
    return value


@dataclass(frozen=True)
class RegressionOfFiles(Regression):
    """A regression whose scaler is a file, or the number that the targets were divided by."""

    scaler: Annotated[ScalerFile | float | None, BeforeValidator(_target_scaler)] = None


@dataclass(frozen=True)
class EnsembleOfFiles(Ensemble):
    """Several model files."""

    members: Annotated[Sequence[ModelFile], BeforeValidator(member_list)]


def _sql(value: Any) -> Any:
    return None if value is None else sql_texts(value)


AnyTaskTable = Annotated[
    Binary | Multiclass | Multilabel | RegressionOfFiles | Tagging | Generation, Field(discriminator="kind")
]
AnyInputTable = Annotated[Table | Image | TokenSequence | FloatSequence | Tokens, Field(discriminator="kind")]
TASK_TABLES = (Binary, Multiclass, Multilabel, RegressionOfFiles, Tagging, Generation)
INPUT_TABLES = (Table, Image, TokenSequence, FloatSequence, Tokens)


class PackSpec(Schema):
    """The arguments of `save_bundle`, with files in place of objects."""

    features: Columns | None = None
    inputs: AnyInputTable | dict[str, AnyInputTable] | None = None
    task: AnyTaskTable | dict[str, AnyTaskTable] | None = None
    #: SQL by feature.
    expressions: Annotated[dict[str, str] | None, BeforeValidator(_sql)] = None
    scaler: ScalerFile | list[ScalerFile] | None = None
    sample: str | None = None
    expected: str | None = None
    #: Rows that the model was trained on, `.parquet` or `.csv`, of which only counts are kept.
    reference: str | None = None
    model: SingleModelFile | EnsembleOfFiles | None = None
