"""A spec for `scoreline pack`: which files saved at training time make a bundle. Paths are relative to the spec."""

from typing import Any, Literal

from .base import Schema


class ModelSpec(Schema):
    """A model file; or weights with their architecture, as a list of layers or as `module:factory`."""

    file: str | None = None
    weights: str | None = None
    #: The entry of a checkpoint that holds the state dict, as in `state_dict`.
    weights_key: str | None = None
    #: What every name in it begins with, as in `module.`; it is removed from each.
    weights_prefix: str = ""
    #: Names in it, as they are in the file, that the architecture does not need, as in `loss.weight`.
    weights_ignore: list[str] = []
    layers: list[dict[str, Any]] | None = None
    factory: str | None = None
    factory_args: dict[str, Any] = {}


class ScalerSpec(Schema):
    """A saved transformer. `kind` says what the numbers of an `.npz` or JSON file are."""

    file: str
    features: list[str] | None = None
    kind: Literal["standard", "minmax", "maxabs", "robust"] | None = None


class PackSpec(Schema):
    """Everything `save_bundle` is told, with files in place of objects."""

    features: list[str] | None = None
    task: Literal["binary", "multiclass", "multilabel", "regression", "tagging", "generation"] | None = None
    labels: list[bool | int | float | str] | None = None
    outputs: Literal["logits", "probabilities", "log_probabilities"] | None = None
    output: int | str | list[int | str] | None = None
    threshold: float | list[float] | dict[str, float] | None = None
    quantiles: list[float] | None = None
    spread: Literal["variance", "log_variance", "std"] | None = None
    bounds: bool | list[float] | list[list[float]] | None = None
    out_of_bounds: Literal["count", "reject"] | None = None
    heads: dict[str, dict[str, Any]] | None = None
    sample: str | None = None
    expected: str | None = None
    model: ModelSpec | list[ModelSpec] | None = None
    scaler: ScalerSpec | list[ScalerSpec] | None = None
    target_scaler: ScalerSpec | float | None = None
    vocabularies: dict[str, list[str]] = {}
    inputs: dict[str, list[str]] | None = None
    images: dict[str, dict[str, Any]] | None = None
    sequences: dict[str, dict[str, Any]] | None = None
    generate: dict[str, Any] | None = None
    call: Literal["arguments", "dict"] = "arguments"
    combine: Literal["probability", "logit", "vote", "mean"] | None = None
    std: bool = False
    prune: float | None = None
