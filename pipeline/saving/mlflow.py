"""An MLflow model folder (pytorch flavor) → the fields of a spec that it determines. Does not import mlflow."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...schemas.pack import ModelFile, PackSpec, SingleModelFile
from ..errors import BundleError, one_line
from ..storage.plain_files import read_plain

EXAMPLE = "sample-from-mlflow.csv"


def spec_from_mlflow(folder: Path, spec: PackSpec) -> tuple[PackSpec, dict[str, Any] | None]:
    """Fill in fields from MLmodel: the model file, the features of its signature, its input example.

    Returns:
        The spec, whose own fields take precedence; and the input example as columns, None if there is none.

    Raises:
        BundleError: not an MLflow model folder, or another flavor.
    """
    try:
        import yaml  # optional: only packing needs it
    except ImportError as error:
        raise BundleError("an MLflow folder needs pyyaml; install it with: pip install 'scoreline[pack]'") from error
    try:
        described = yaml.safe_load(read_plain(folder / "MLmodel").decode("utf-8"))
    except OSError as error:
        raise BundleError(f"{folder} is not an MLflow model: its MLmodel cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BundleError(f"{folder / 'MLmodel'} is not YAML: {one_line(error)}") from error
    flavors = described.get("flavors") if isinstance(described, dict) else None
    flavors = flavors if isinstance(flavors, dict) else {}
    if not isinstance(flavors.get("pytorch"), dict):
        there = ", ".join(map(str, flavors)) or "none"
        raise BundleError(f"{folder} has the flavors {there}; only pytorch is supported")
    given: dict[str, Any] = {}
    model = SingleModelFile() if spec.model is None else spec.model
    if isinstance(model, SingleModelFile) and not model.model_fields_set & ModelFile.model_fields.keys():
        data = str(flavors["pytorch"].get("model_data", "data"))  # the spec may still say how it is called and pruned
        given["model"] = model.model_copy(update={"file": str(folder / data / "model.pth")})
    names = _signature_names(described)
    example = _example(folder, described, spec.features or names)
    if spec.features is None and (names or example):
        given["features"] = names or list(example or {})
    return spec.model_copy(update=given), example


def _signature_names(described: dict[str, Any]) -> list[str] | None:
    """The columns of the signature; None if it describes a tensor."""
    try:
        entries = json.loads(described["signature"]["inputs"])
        return [str(entry["name"]) for entry in entries if entry.get("type") != "tensor"] or None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _example(folder: Path, described: dict[str, Any], names: Sequence[str] | None) -> dict[str, Any] | None:
    """The input example, by column. MLflow writes it in split orientation, or as a list of rows."""
    info = described.get("saved_input_example_info") or {}
    try:
        found = json.loads(read_plain(folder / info["artifact_path"]))
        if isinstance(found, dict) and "data" in found:
            columns, rows = found.get("columns") or names, found["data"]
        else:
            columns, rows = names, found["inputs"] if isinstance(found, dict) else found
        if columns is None:
            columns = [f"x{index}" for index in range(len(rows[0]))]
        return {str(name): [row[index] for row in rows] for index, name in enumerate(columns)}
    except (KeyError, OSError, ValueError, TypeError, IndexError):
        return None
