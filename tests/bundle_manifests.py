"""Manifests of bundles, for tests: a valid one with some fields replaced, without files."""

from collections.abc import Sequence
from typing import Any

from scoreline.schemas.bundle import BundleManifest, Golden
from scoreline.schemas.inputs import Feature, TableInput
from scoreline.schemas.members import GraphMember, LayerRecord

DIGEST = "sha256:" + "0" * 64


def member_of(*layers: LayerRecord) -> GraphMember:
    """A graph with these layers."""
    return GraphMember(graph="graph.json", weights="weights.safetensors", layers=list(layers))


def manifest_of(*heads: Any, features: Sequence[str | Feature] = "ab", **changes: Any) -> BundleManifest:
    """A bundle of one graph that takes a table. `features`: a name of a number each, or a feature."""
    whole = [Feature(name=one) if isinstance(one, str) else one for one in features]
    fields = {
        "scoreline": "0", "features": whole, "members": [member_of()],
        "inputs": [TableInput(name="x", columns=[one.name for one in whole])], "heads": list(heads),
        "golden": Golden(file="golden.parquet", rows=1, source="model"),
        "files": dict.fromkeys(("golden.parquet", "graph.json", "weights.safetensors", "model.onnx"), DIGEST),
    }  # fmt: skip
    return BundleManifest(**{**fields, **changes})
