"""A scaler as the numbers of a file: `.npz` (without pickles) or JSON. Stands where a fitted object would. Knows
nothing of tensors.
"""

import io
import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..errors import BundleError, one_line

Kind = Literal["standard", "minmax", "maxabs", "robust"]
#: What each kind needs, and may have; a name may end in `_`, as scikit-learn's attributes do.
NEEDS = {"standard": ("mean", "scale"), "robust": ("center", "scale"), "minmax": ("scale", "min"), "maxabs": ("scale",)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """`numbers`: float64 `[columns]` by name."""

    kind: Kind
    numbers: dict[str, np.ndarray]
    clip: tuple[float, float] | None = None

    @property
    def n_features_in_(self) -> int:
        """The number of columns, by the name scikit-learn has for it."""
        return len(self.numbers["scale"])

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803 - the face of a scikit-learn transformer
        """The formula of the scaler over the whole matrix, float64 `[rows, columns]`."""
        values = np.asarray(X, dtype=np.float64)
        shift = self.numbers.get("mean", self.numbers.get("center"))
        if self.kind == "minmax":
            values = values * self.numbers["scale"] + self.numbers["min"]
        else:
            values = (values if shift is None else values - shift) / self.numbers["scale"]
        clipped: np.ndarray = values if self.clip is None else np.clip(values, *self.clip)
        return clipped

    def inverse_transform(self, X: Any) -> np.ndarray:  # noqa: N803 - the face of a scikit-learn transformer
        """The formula turned round: what a target scaler is for."""
        values = np.asarray(X, dtype=np.float64)
        if self.kind == "minmax":
            turned: np.ndarray = (values - self.numbers["min"]) / self.numbers["scale"]
            return turned
        shift = self.numbers.get("mean", self.numbers.get("center", 0.0))
        shifted: np.ndarray = values * self.numbers["scale"] + shift
        return shifted


def read_parameters(data: bytes, name: str, kind: Kind | None) -> Parameters:
    """Parse the numbers of a scaler.

    Args:
        kind: what they are; a JSON file may say it itself.

    Raises:
        BundleError: not such a file, or it lacks numbers; says which line of the spec would help.
    """
    found = _npz(data, name) if name.lower().endswith(".npz") else _json(data, name)
    kind = kind or found.pop("kind", None)
    found.pop("kind", None)
    if isinstance(kind, np.ndarray):
        kind = str(kind)  # type: ignore[assignment]
    if not isinstance(kind, str) or kind not in NEEDS:
        raise BundleError(
            f'{name} does not say what its numbers are; add to the spec, under [scaler]: kind = "standard"'
        )
    clip = found.pop("clip", None)
    plain = {str(key).rstrip("_"): value for key, value in found.items()}
    missing = [key for key in NEEDS[kind] if key not in plain]
    if missing:
        raise BundleError(
            f"{name} lacks {missing[0]!r}, which a {kind} scaler has; it has {', '.join(plain) or 'nothing'}"
        )
    try:
        numbers = {key: np.asarray(plain[key], dtype=np.float64).reshape(-1) for key in NEEDS[kind]}
        bounds = None if clip is None else (float(clip[0]), float(clip[1]))
        if any(np.iscomplexobj(plain[key]) for key in NEEDS[kind]):
            raise ValueError("complex numbers")
    except (TypeError, ValueError, LookupError) as error:
        raise BundleError(f"{name} does not hold plain numbers: {one_line(error)}") from error
    if len({len(values) for values in numbers.values()}) != 1:
        raise BundleError(f"{name}: its numbers are of different lengths")
    return Parameters(kind=kind, numbers=numbers, clip=bounds)


def _npz(data: bytes, name: str) -> dict[str, Any]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except Exception as error:  # zip, header and type errors have no common base
        raise BundleError(f"{name} is no .npz file of plain numbers: {one_line(error)}") from error


def _json(data: bytes, name: str) -> dict[str, Any]:
    try:
        found = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{name} is not JSON: {one_line(error)}") from error
    if not isinstance(found, dict):
        raise BundleError(f"{name} is no JSON object of a scaler's numbers")
    return found
