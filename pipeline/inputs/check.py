"""A record batch and the bundle's features → the rows that can be scored, and the rejects with their reasons.

Binds columns by name, once per file (`check_columns`), and values to float64, batch by batch (`check_batch`).
Exactly or not at all: an integer beyond 2^53 is a reject, a decimal goes to the nearest float64, text is no
number unless it came from a CSV cell or a folder's name. Knows nothing of torch.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ...schemas.bundle import Feature
from ..arrays import to_arrow, to_numpy
from ..errors import ColumnError
from ..records import CheckedBatch, CsvDialect, Lists, Reject

#: Beyond this, float64 no longer holds every integer.
EXACT = 2**53
#: How text is written, unless a job says otherwise.
DIALECT = CsvDialect()
NONE_UNREADABLE: Mapping[int, str] = MappingProxyType({})
_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
_LISTS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)
#: Bad values of one column of one batch: where, and why.
Problems = list[tuple[int, str]]


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
            if not (_is_text(kind) or pa.types.is_null(kind)):
                raise ColumnError(
                    f"{source}: feature column {feature.name!r} is {kind}, and the bundle takes it as text; cast it"
                    " where the file is written",
                    column=feature.name,
                )
            continue
        if feature.dtype in ("image", "numbers", "words"):
            _check_rich(feature, kind, text=feature.name in text, source=source)
            continue
        if not _is_number(kind) and not (feature.name in text and _is_text(kind)):
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
        if not (_is_text(kind) or is_bytes(kind)):
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
    fits = _is_number if feature.dtype == "numbers" else _is_text
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


def check_batch(
    batch: pa.RecordBatch,
    features: Sequence[Feature],
    *,
    text: Collection[str] = (),
    dialect: CsvDialect = DIALECT,
    unreadable: Mapping[int, str] = NONE_UNREADABLE,
) -> CheckedBatch:
    """Take every feature to float64, and leave out the rows in which one has no finite, exact value.

    Args:
        batch: the rows as read; columns that are no feature are not looked at.
        features: in the bundle's order; where several are bad in a row, the first gives the reason.
        text: the columns whose text is read as numbers.
        dialect: how that text is written.
        unreadable: the places of rows that no sense could be made of, with the reason.

    Returns:
        `columns[name]`: float64 `[kept]`, an Arrow array of strings for a text feature or paths, of bytes for images,
        or lists, without infinities; NaN
        or null only where the feature keeps what is missing. A view into `batch` where the column was float64
        already: not to be written to.
    """
    columns: dict[str, Any] = {}
    rejects: list[Reject] = []
    bad = np.zeros(batch.num_rows, dtype=bool)
    if unreadable:
        positions = np.array(list(unreadable), dtype=np.int64)
        bad[positions] = True
        rejects.append(Reject(positions=positions, stage="read", column="", reasons=tuple(unreadable.values())))
    for feature in features:
        array = batch.column(feature.name)
        if feature.name in text:
            array = _without_null_words(array, dialect)
        if feature.dtype == "text":
            values, problems = _words(array, feature)
        elif feature.dtype == "image":
            values, problems = _image_cells(array)
        elif feature.dtype in ("numbers", "words"):
            values, problems = _lists(array, feature)
        else:
            values, problems = _finite(array, feature, decimal=dialect.decimal if feature.name in text else None)
        columns[feature.name] = values
        fresh = [(position, reason) for position, reason in problems if not bad[position]]
        if fresh:
            positions = np.array([position for position, _ in fresh], dtype=np.int64)
            bad[positions] = True
            rejects.append(
                Reject(
                    positions=positions,
                    stage="check",
                    column=feature.name,
                    reasons=tuple(reason for _, reason in fresh),
                )
            )
    if not rejects:
        return CheckedBatch(batch=batch, columns=columns, kept=None)
    kept = np.flatnonzero(~bad)
    columns = {name: some_rows(values, kept) for name, values in columns.items()}
    return CheckedBatch(batch=batch, columns=columns, kept=kept, rejects=tuple(rejects))


def some_rows(values: Any, kept: NDArray[np.int64]) -> Any:
    """Of a checked column those at places in order, whatever it holds."""
    if isinstance(values, pa.Array):
        return values.take(to_arrow(kept))
    return values.only(kept) if isinstance(values, Lists) else values[kept]


def _without_null_words(array: pa.Array, dialect: CsvDialect) -> pa.Array:
    """Cells of a CSV: an empty one has no value, nor has one of the words that say so."""
    empty = pc.is_in(array, pa.array(["", *dialect.nulls], array.type)) if dialect.nulls else pc.equal(array, "")
    return pc.if_else(empty, None, array)


def _words(array: pa.Array, feature: Feature) -> tuple[pa.Array, Problems]:
    """Text as it is."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    array = array.cast(pa.large_string())
    if not array.null_count or feature.nulls == "keep":
        return array, []
    nulls = np.flatnonzero(to_numpy(array.is_null())).tolist()
    return array, [(position, "is null") for position in nulls]


def _image_cells(array: pa.Array) -> tuple[pa.Array, Problems]:
    """Bytes and paths as they are."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if array.type in (pa.string_view(), pa.binary_view(), pa.null()):  # of which Arrow cannot take
        array = array.cast(pa.large_string() if _is_text(array.type) else pa.large_binary())
    nulls = np.flatnonzero(to_numpy(array.is_null())).tolist()
    return array, [(position, "is null") for position in nulls]


def _lists(array: pa.Array, feature: Feature) -> tuple[Lists, Problems]:
    """Lists with a value at every step, one at least. Steps are counted from 0."""
    known = to_numpy(array.is_valid())
    problems = [(position, "is null") for position in np.flatnonzero(~known).tolist()]
    flat, lengths = pa.nulls(0), np.zeros(len(array), dtype=np.int64)
    if not pa.types.is_null(array.type):  # and no cast on the way: of a slice of views Arrow makes negative lengths
        flat = array.flatten()
        lengths = np.where(known, to_numpy(pc.list_value_length(array).fill_null(0)), 0).astype(np.int64)
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    problems += [(position, "has no steps") for position in np.flatnonzero((lengths == 0) & known).tolist()]
    plain = Feature(name=feature.name, dtype="text" if feature.dtype == "words" else "float64")
    values, found = _words(flat, plain) if feature.dtype == "words" else _finite(flat, plain, decimal=None)
    seen = set()
    for place, reason in sorted(found):
        row = int(np.searchsorted(offsets, place, side="right")) - 1
        if row not in seen:
            seen.add(row)
            problems.append((row, f"step {place - int(offsets[row])} {reason}"))
    return Lists(values=values, offsets=offsets), problems


def _finite(array: pa.Array, feature: Feature, *, decimal: str | None) -> tuple[NDArray[np.float64], Problems]:
    array, problems = _to_float64(array, feature, decimal=decimal)
    keep = feature.nulls == "keep"
    if array.null_count:
        known = {position for position, _ in problems}
        nulls = np.flatnonzero(to_numpy(array.is_null())).tolist()
        if not keep:
            problems += [(position, "is null") for position in nulls if position not in known]
        array = array.fill_null(float("nan") if keep else 0.0)
    values: NDArray[np.float64] = np.asarray(to_numpy(array), dtype=np.float64)
    finite = ~np.isinf(values) if keep else np.isfinite(values)
    if not finite.all():
        words = {position: _word(values[position]) for position in np.flatnonzero(~finite).tolist()}
        problems += [(position, f"is {word}") for position, word in words.items()]
    return values, problems


def _word(value: np.float64) -> str:
    return "NaN" if np.isnan(value) else "infinite" if value > 0 else "minus infinite"


def _to_float64(array: pa.Array, feature: Feature, *, decimal: str | None) -> tuple[pa.Array, Problems]:
    """`decimal`: the decimal mark of text that is to be read as numbers, None where there is no such text."""
    kind = array.type
    if kind == pa.float64():
        return array, []
    if pa.types.is_dictionary(kind):
        return _to_float64(array.dictionary_decode(), feature, decimal=decimal)
    if _is_text(kind) and decimal is not None:
        return _parse(array, feature, decimal)
    if pa.types.is_decimal(kind):
        # By way of its digits, which are rounded once and right.
        return array.cast(pa.string()).cast(pa.float64()), []
    if pa.types.is_integer(kind):
        return _exact_integers(array)
    if pa.types.is_boolean(kind):
        return array.cast(pa.int8()).cast(pa.float64()), []
    return array.cast(pa.float64()), []


def _exact_integers(array: pa.Array) -> tuple[pa.Array, Problems]:
    try:
        return array.cast(pa.float64()), []  # a safe cast, which refuses what float64 cannot hold
    except pa.ArrowInvalid:
        inexact = pc.greater(array, pa.scalar(EXACT, array.type))
        if not pa.types.is_unsigned_integer(array.type):
            inexact = pc.or_(inexact, pc.less(array, pa.scalar(-EXACT, array.type)))
        where = np.flatnonzero(to_numpy(inexact.fill_null(False))).tolist()
        problems = [(p, f"is {array[p]}, beyond 2^53: no exact float64") for p in where]
        return pc.if_else(inexact, None, array).cast(pa.float64()), problems


def _parse(cells: pa.Array, feature: Feature, decimal: str) -> tuple[pa.Array, Problems]:
    """Text cells → float64, null where a cell is null or no number."""
    array = _zero_or_one(cells) if feature.dtype == "bool" else cells
    if decimal != ".":  # a point is no decimal mark then, and thousands are not guessed
        array = pc.replace_substring(pc.replace_substring(array, ".", "?"), decimal, ".")
    try:
        numbers, problems = array.cast(pa.float64()), []
    except pa.ArrowInvalid:
        trimmed = pc.utf8_trim_whitespace(array)
        trimmed = pc.if_else(pc.equal(trimmed, ""), None, trimmed)
        wrong = _unparsable(trimmed, 0)
        problems = [
            (p, f"is {_shown(cells[p].as_py())}, not a number{_comma_hint(cells[p].as_py(), decimal)}") for p in wrong
        ]
        keep = np.ones(len(array), dtype=bool)
        keep[wrong] = False
        numbers = pc.if_else(to_arrow(keep), trimmed, None).cast(pa.float64())
    problems += _inexact_cells(cells, numbers)
    if feature.dtype == "float32":  # as the same value is in a Parquet column of that type
        numbers = numbers.cast(pa.float32(), safe=False).cast(pa.float64())
    return numbers, problems


def _comma_hint(cell: str, decimal: str) -> str:
    """Numbers with a decimal comma, where none is declared."""
    comma = decimal == "." and re.fullmatch(r"\s*[+-]?[0-9]+,[0-9]+\s*", cell)
    return ' (a decimal comma is declared in the job file: [csv] decimal = ",")' if comma else ""


def _inexact_cells(text: pa.Array, numbers: pa.Array) -> Problems:
    """Integers, written as such, that float64 cannot hold."""
    size = pc.abs(numbers)
    # What is infinite as a float64 is a reject already.
    large = pc.and_(pc.greater_equal(size, float(EXACT)), pc.is_finite(size)).fill_null(False)
    where = np.flatnonzero(to_numpy(large)).tolist()
    cells = [(p, text[p].as_py().strip()) for p in where]
    return [(p, f"is {_shown(cell)}, beyond 2^53: no exact float64") for p, cell in cells if _is_beyond(cell)]


def _is_beyond(cell: str) -> bool:
    digits = cell.lstrip("+-").lstrip("0")
    return digits.isdigit() and (len(digits) > len(str(EXACT)) or int(digits) > EXACT)


def _zero_or_one(array: pa.Array) -> pa.Array:
    lowered = pc.utf8_lower(array)
    return pc.if_else(pc.equal(lowered, "true"), "1", pc.if_else(pc.equal(lowered, "false"), "0", array))


def _unparsable(array: pa.Array, offset: int) -> list[int]:
    """The places of the cells that are no numbers, found by halving."""
    try:
        array.cast(pa.float64())
    except pa.ArrowInvalid:
        if len(array) == 1:
            return [offset]
        half = len(array) // 2
        return _unparsable(array.slice(0, half), offset) + _unparsable(array.slice(half), offset + half)
    return []


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= 40 else cell[:37] + "...")


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column holds binary values."""
    return any(is_one(kind) for is_one in _BYTES)


def is_list(kind: pa.DataType) -> bool:
    """Whether a column holds lists."""
    return any(is_one(kind) for is_one in _LISTS)


def _is_number(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_number(kind.value_type)
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
    )
