"""Reads fitted transformers from files: skops, the numbers of `.npz` and JSON, and pickles if allowed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...schemas.pack import ScalerFile
from ..errors import BundleError, one_line
from ..storage.plain_files import read_plain
from .archives import refuse_bomb
from .parameters import Parameters, read_parameters
from .pickle_files import PICKLES, ReadPickle, read_pickle_file


def read_scalers(spec: ScalerFile | list[ScalerFile] | None, folder: Path, read_pickle: ReadPickle | None) -> Any:
    """The scaler, in a form that `save_bundle` accepts.

    Raises:
        NeedsPickleError: a file is a pickle, and there is no `read_pickle`.
        BundleError: a file cannot be read, or one of several has no features.
    """
    if spec is None:
        return None
    listed = spec if isinstance(spec, list) else [spec]
    found = [read_scaler(one, folder, read_pickle) for one in listed]
    columns = [_columns_of(one, scaler) for one, scaler in zip(listed, found, strict=True)]
    if len(listed) == 1 and columns[0] is None:
        return found[0]
    bare = [one.file for one, names in zip(listed, columns, strict=True) if names is None]
    if bare:
        raise BundleError(f'scaler {bare[0]!r} is one of several; add: features = ["age", "income"]')
    return list(zip(found, columns, strict=True))


def _columns_of(spec: ScalerFile, scaler: Any) -> list[str] | None:
    """The columns of a scaler, from the spec or from the file with its numbers; None if neither names them."""
    named = scaler.columns if isinstance(scaler, Parameters) else None
    if spec.features is not None and named is not None and list(named) != spec.features:
        raise BundleError(
            f"scaler {spec.file!r} was fitted on {', '.join(named)}, in this order, but the spec has"
            f" {', '.join(spec.features)}; remove features from [scaler], or list them as in the file"
        )
    return spec.features if named is None else list(named)


def read_scaler(spec: ScalerFile, folder: Path, read_pickle: ReadPickle | None) -> Any:
    """One fitted transformer."""
    path = folder / spec.file
    suffix = path.suffix.lower()
    if suffix in (*PICKLES, ".skops"):
        found = _skops(path) if suffix == ".skops" else read_pickle_file(path, read_pickle)
        if not hasattr(found, "transform"):
            raise BundleError(f"{path} holds a {type(found).__name__}, not a fitted transformer")
        return found
    if suffix in (".npz", ".json"):
        return read_parameters(_read(path), path.name, spec.kind)
    raise BundleError(f"scaler {spec.file!r} must be one of .skops, .npz, .json, {', '.join(PICKLES)}")


#: What skops does not trust by itself, and only holds data: the dtype of a SimpleImputer.
_HARMLESS = ("numpy.dtype",)


def _skops(path: Path) -> Any:
    try:
        import skops.io  # optional: only packing needs it
    except ImportError as error:
        raise BundleError("a .skops file needs skops; install it with: pip install 'scoreline[pack]'") from error
    data = _read(path)
    refuse_bomb(data, path.name)
    try:
        untrusted = [name for name in skops.io.get_untrusted_types(data=data) if name not in _HARMLESS]
        if not untrusted:
            return skops.io.loads(data, trusted=list(_HARMLESS))
    except Exception as error:  # whatever skops raises on a damaged file
        raise BundleError(f"{path} is not a skops file: {one_line(error)}") from error
    raise BundleError(
        f"{path} holds types that skops does not trust: {', '.join(untrusted)}; use save_bundle, or a .joblib file with"
        " --allow-pickle"
    )


def word_columns(fitted: Any, names: Sequence[Any]) -> set[str]:
    """The features whose encoder was fitted on text, even if every word contains only digits."""
    if isinstance(fitted, list):
        return {name for one, columns in fitted for name in word_columns(one, columns)}
    names = list(getattr(fitted, "feature_names_in_", names))
    if hasattr(fitted, "transformers_"):
        parts = [(one, columns) for _, one, columns in fitted.transformers_ if isinstance(columns, list)]
        chosen = [(one, [names[c] if isinstance(c, int) else c for c in columns]) for one, columns in parts]
        return {name for one, columns in chosen for name in word_columns(one, columns)}
    if hasattr(fitted, "steps"):  # a pipeline: steps before an encoder keep columns separate
        return {name for _, one in fitted.steps for name in word_columns(one, names)}
    if hasattr(fitted, "transformer_list"):
        return {name for _, one in fitted.transformer_list for name in word_columns(one, names)}
    categories = getattr(fitted, "categories_", [])
    return {n for n, known in zip(names, categories, strict=False) if any(isinstance(word, str) for word in known)}


def _read(path: Path) -> bytes:
    try:
        return read_plain(path)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {one_line(error)}") from error
