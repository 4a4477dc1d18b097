"""Check that a file has every feature column once and with a usable type. Columns are matched by name."""

from collections import Counter
from collections.abc import Collection, Sequence
from difflib import get_close_matches

import pyarrow as pa

from ...schemas.inputs import Feature
from ..arrow_types import is_bytes, is_list, is_number, is_text
from ..errors import ColumnError, listed, repeated
from ..raw_types import arrow_of, fits, is_nested


def check_columns(schema: pa.Schema, features: Sequence[Feature], *, text: Collection[str], source: str) -> None:
    """Check that each feature column exists once and has a usable type.

    Args:
        schema: the columns of the file.
        text: the columns whose text is read as numbers (those of a CSV, and Hive keys).
        source: the name of the file, for messages.

    Raises:
        ColumnError: names the file, the column and its type.
    """
    times = Counter(schema.names)
    missing = [feature.name for feature in features if feature.name not in times]
    if missing:
        known = {feature.name for feature in features}
        hint = similar_hint(missing, [name for name in times if name not in known])
        hint = hint or _header_hint(schema, features, text)
        if times and not hint:
            hint = f"; the columns are {listed(list(times), 8)}"
        what = "feature column" if len(missing) == 1 else "feature columns"
        raise ColumnError(f"{source}: {what} {listed(missing)} {'is' if len(missing) == 1 else 'are'} missing{hint}")
    for feature in features:
        if times[feature.name] > 1:
            raise ColumnError(f"{source}: feature column {feature.name!r} appears {repeated(times[feature.name])}")
        arrow_type = schema.field(feature.name).type
        if feature.dtype == "text":
            if not (is_text(arrow_type) or pa.types.is_null(arrow_type)):
                raise ColumnError(
                    f"{source}: feature column {feature.name!r} is {arrow_type}, but the bundle takes text; cast it"
                    " where the file is written",
                    column=feature.name,
                )
            continue
        if feature.dtype == "raw":
            _check_raw(feature, arrow_type, text=feature.name in text, source=source)
            continue
        if feature.dtype in ("image", "numbers", "integers", "words"):
            _check_rich(feature, arrow_type, text=feature.name in text, source=source)
            continue
        if not is_number(arrow_type) and not (feature.name in text and is_text(arrow_type)):
            raise ColumnError(
                f"{source}: feature column {feature.name!r} is {arrow_type}, but only numbers, booleans and decimals"
                " can be scored; cast it where the file is written",
                column=feature.name,
            )


def _check_raw(feature: Feature, arrow_type: pa.DataType, *, text: bool, source: str) -> None:
    """Check the type of a column that expressions read. `text`: the column comes from a CSV file or the path."""
    assert feature.arrow is not None, "raw features have one"
    wanted = arrow_of(feature.arrow)
    if text and (is_nested(wanted) or pa.types.is_binary(wanted)):
        raise ColumnError(
            f"{source}: column {feature.name!r}, which expressions read, was {wanted} when the bundle was saved, which"
            " CSV files and paths cannot contain; use Parquet",
            column=feature.name,
        )
    if not text and not fits(arrow_type, wanted):
        raise ColumnError(
            f"{source}: column {feature.name!r}, which expressions read, is {arrow_type}, but was {wanted} when the"
            " bundle was saved; cast it where the file is written",
            column=feature.name,
        )


def _check_rich(feature: Feature, arrow_type: pa.DataType, *, text: bool, source: str) -> None:
    """Check the type of an image or list column. `text`: the column comes from a CSV file or the path."""
    if pa.types.is_null(arrow_type):
        return
    cells = arrow_type.value_type if pa.types.is_dictionary(arrow_type) else arrow_type
    if feature.dtype == "image":
        if not (is_text(cells) or is_bytes(cells)):
            raise ColumnError(
                f"{source}: feature column {feature.name!r} is {arrow_type}, but the bundle takes images: bytes of JPEG"
                " or PNG files, or their paths",
                column=feature.name,
            )
        return
    if text:
        raise ColumnError(
            f"{source}: feature column {feature.name!r} takes lists of {feature.dtype}, which CSV files and paths"
            " cannot contain; use Parquet",
            column=feature.name,
        )
    fits = is_text if feature.dtype == "words" else is_number
    if not (is_list(cells) and (fits(cells.value_type) or pa.types.is_null(cells.value_type))):
        raise ColumnError(
            f"{source}: feature column {feature.name!r} is {arrow_type}, but the bundle takes lists of {feature.dtype};"
            " cast it where the file is written",
            column=feature.name,
        )


def similar_hint(missing: Sequence[str], others: Sequence[str]) -> str:
    """Another column that may be one of the missing ones; empty if none is like them."""
    like = [n for n in others for m in missing if n.strip().lower() == m.strip().lower()]
    like = like or [name for one in missing for name in get_close_matches(one, others, n=1)]
    return f"; {like[0]!r} is there, and names are matched exactly" if like else ""


def _header_hint(schema: pa.Schema, features: Sequence[Feature], text: Collection[str]) -> str:
    """What to do about a CSV file whose header was read as one column, or that has none."""
    names = [name for name in schema.names if name in text]
    if not names or len(names) < len(schema.names) or any(feature.name in names for feature in features):
        return ""
    for delimiter, written in ((";", ";"), ("\t", "\\t"), ("|", "|")):
        if len(names) == 1 and delimiter in names[0]:
            return f'; the header is one column: set the delimiter in the job file, [csv] delimiter = "{written}"'
    return (
        f"; the first row is {listed(names, 4)}: if that is not a header, name the columns in the job file, [csv]"
        " columns = [...]"
    )
