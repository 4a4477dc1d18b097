"""Bind feature columns by name, once per file: missing, doubled and mistyped ones are refused."""

from collections import Counter
from collections.abc import Collection, Sequence

import pyarrow as pa

from ...schemas.inputs import Feature
from ..arrow_types import is_bytes, is_list, is_number, is_text
from ..errors import ColumnError


def check_columns(schema: pa.Schema, features: Sequence[Feature], *, text: Collection[str], source: str) -> None:
    """Refuse a file whose feature columns are not there, stand twice, or hold no numbers.

    Args:
        schema: the columns of the file.
        text: the columns whose text is read as numbers (those of a CSV, and Hive keys).
        source: the file's name, for the message.

    Raises:
        ColumnError: names the column, what it is, and the file.
    """
    times = Counter(schema.names)
    missing = [feature.name for feature in features if feature.name not in times]
    if missing:
        like = [n for n in times for m in missing if n.strip().lower() == m.strip().lower()]
        hint = (
            f"; {like[0]!r} is there, and names are matched exactly" if like else _header_hint(schema, features, text)
        )
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ColumnError(f"{source}: feature column {missing[0]!r}{more} is missing{hint}")
    for feature in features:
        if times[feature.name] > 1:
            raise ColumnError(f"{source}: feature column {feature.name!r} stands {times[feature.name]} times")
        kind = schema.field(feature.name).type
        if feature.dtype == "text":
            if not (is_text(kind) or pa.types.is_null(kind)):
                raise ColumnError(
                    f"{source}: feature column {feature.name!r} is {kind}, and the bundle takes it as text; cast it"
                    " where the file is written",
                    column=feature.name,
                )
            continue
        if feature.dtype in ("image", "numbers", "words"):
            _check_rich(feature, kind, text=feature.name in text, source=source)
            continue
        if not is_number(kind) and not (feature.name in text and is_text(kind)):
            raise ColumnError(
                f"{source}: feature column {feature.name!r} is {kind}, and only numbers, booleans and decimals"
                " can be scored; cast it where the file is written",
                column=feature.name,
            )


def _check_rich(feature: Feature, kind: pa.DataType, *, text: bool, source: str) -> None:
    """Refuse what is no image, or no list of the right kind. `text`: a column of a CSV, or of the path."""
    if pa.types.is_null(kind):
        return
    if feature.dtype == "image":
        if not (is_text(kind) or is_bytes(kind)):
            raise ColumnError(
                f"{source}: feature column {feature.name!r} is {kind}, and the bundle takes images: bytes of JPEG or"
                " PNG, or their paths",
                column=feature.name,
            )
        return
    if text:
        raise ColumnError(
            f"{source}: feature column {feature.name!r} is to hold lists of {feature.dtype}, and a CSV or a path holds"
            " none; write Parquet",
            column=feature.name,
        )
    fits = is_number if feature.dtype == "numbers" else is_text
    if not (is_list(kind) and (fits(kind.value_type) or pa.types.is_null(kind.value_type))):
        raise ColumnError(
            f"{source}: feature column {feature.name!r} is {kind}, and the bundle takes lists of {feature.dtype};"
            " cast it where the file is written",
            column=feature.name,
        )


def _header_hint(schema: pa.Schema, features: Sequence[Feature], text: Collection[str]) -> str:
    """What to do about a CSV whose whole header became one column, or that has none."""
    names = [name for name in schema.names if name in text]
    if not names or len(names) < len(schema.names) or any(feature.name in names for feature in features):
        return ""
    for delimiter, written in ((";", ";"), ("\t", "\\t"), ("|", "|")):
        if len(names) == 1 and delimiter in names[0]:
            return f'; the header is one column: say in the job file how it is cut, [csv] delimiter = "{written}"'
    shown = ", ".join(repr(name) for name in names[:4]) + (" …" if len(names) > 4 else "")
    return (
        f"; the first row is {shown}: where that is no header, name the columns in the job file, [csv] columns = [...]"
    )
