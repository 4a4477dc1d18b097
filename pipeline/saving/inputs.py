"""Input specs → the inputs of a bundle, and the tensors that a sample makes by the user's own objects. Joins `features`
and `inputs`; independent of models.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from ...schemas.inputs import AnyInput, Feature, ImageInput, SequenceInput, TableInput
from ...schemas.specs.inputs import AnyInputSpec, FloatSequence, Image, Table, TokenSequence
from ...schemas.steps import AnyStep, Encoding, OrdinalStep
from ..errors import BundleError, one_line
from ..features.kinds import kind_of
from ..features.program import kept_when_missing, origins
from ..records import Inputs
from .binding import Binding, bind
from .reference import reference_inputs
from .sample import Sample, evenly, features_of, fitting, golden_rows, read_sample, with_bytes
from .specs import ONLY_TABLE, columns_of, problem

#: Golden rows are replayed before every run: of images and texts fewer do.
MOST_IMAGES, MOST_SEQUENCES, IMAGES_BYTES = 32, 64, 64 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class BoundInputs:
    """What a model takes: raw features, steps, inputs; the rows of the sample that become golden; and `reference`, from
    inputs to what the model takes for those rows, by the user's own objects."""

    features: list[Feature]
    steps: list[AnyStep]
    inputs: list[AnyInput]
    rows: Sample
    reference: Callable[[Sequence[AnyInput]], Inputs]


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabularies:
    """The words of text and of lists of words, by feature. `unknown`: the word that replaces unknown ones in lists."""

    tables: Mapping[str, Sequence[str]]
    lists: Mapping[str, Sequence[str]]
    unknown: Mapping[str, str]


def bind_inputs(specs: Mapping[str, AnyInputSpec], sample: Any, scaler: Any) -> BoundInputs:
    """The features, steps and inputs of these specs, bound to the columns of a sample.

    Raises:
        BundleError: they do not fit together, or not to the sample.
    """
    names = list(dict.fromkeys(name for spec in specs.values() for name in columns_of(spec)))
    refuse_columns(specs, names)
    given = read_sample(sample, names)
    images = {spec.column for spec in specs.values() if isinstance(spec, Image)}
    lists = {
        name for spec in specs.values() if isinstance(spec, TokenSequence | FloatSequence) for name in columns_of(spec)
    }
    features = features_of(given.batch.schema, images=images)
    refuse_other_kinds(specs, features)
    words = vocabularies_of(specs)
    lookups, tokens = described(lambda: vocabulary_steps(specs, words, features))
    plain = [name for name in names if name not in images | lists]
    if not plain and scaler is not None:
        raise BundleError("scaler= is for columns of a Table, and there are none")
    binding = None
    if plain:
        text = [feature.name for feature in features if feature.dtype == "text"]
        binding = described(lambda: bind(scaler, plain, text=text, vocabularies=words.tables))
        keep = kept_when_missing(plain, binding.steps, binding.columns)
        features = features_of(given.batch.schema, sorted(keep), images)
    entries = make_inputs(specs, features, binding, tokens)
    rows = golden_rows(given, features)
    if images | lists:
        most = _most_golden(entries)
        rows = rows.only(evenly(rows.batch.num_rows, 2 * most))
        rows = fitting(rows, features, lookups, entries)
        rows = rows.only(evenly(rows.batch.num_rows, most))
        rows = with_bytes(rows, entries)
    return BoundInputs(
        features=features,
        steps=[*lookups, *(binding.steps if binding is not None else ())],
        inputs=entries,
        rows=rows,
        reference=lambda chosen: reference_inputs(rows, chosen, binding, tokens, words.lists, words.unknown),
    )


def _most_golden(entries: Sequence[AnyInput]) -> int:
    """How many rows of images or lists become golden."""
    sizes = [kind.bytes_per_row for entry in entries if (kind := kind_of(entry)).opens_files]
    return max(2, min(MOST_IMAGES, IMAGES_BYTES // sum(sizes))) if sizes else MOST_SEQUENCES


Made = TypeVar("Made")


def described(make: Callable[[], Made]) -> Made:
    """What the schema makes of the user's arguments; what it refuses is the user's to fix."""
    try:
        return make()
    except ValidationError as error:
        raise BundleError(f"the bundle cannot be described{problem(error, ())}") from error
    except (ValueError, OverflowError) as error:
        raise BundleError(f"the bundle cannot be described: {one_line(error)}") from error


def refuse_columns(specs: Mapping[str, AnyInputSpec], names: Sequence[str]) -> None:
    """Raise BundleError for an input without columns or with one twice, for a column of two kinds of input, and for a
    name that no column can have."""
    kinds: dict[str, type] = {}
    for name, spec in specs.items():
        columns = columns_of(spec)
        where = "features" if name == ONLY_TABLE else f"input {name!r}"
        if not columns:
            raise BundleError(f"{where}: there are no columns")
        twice = [column for at, column in enumerate(columns) if column in columns[:at]]
        if twice:
            raise BundleError(f"{where}: column {twice[0]!r} appears twice among {columns}")
        for column in columns:
            if kinds.setdefault(column, type(spec)) is not type(spec):
                raise BundleError(
                    f"column {column!r} is of {kinds[column].__name__} and of {type(spec).__name__}; it can be of one"
                )
    described(lambda: [Feature(name=name) for name in names])


def refuse_other_kinds(specs: Mapping[str, AnyInputSpec], features: Sequence[Feature]) -> None:
    """Raise BundleError where the sample holds another kind of column than the spec takes."""
    kinds = {name: type(spec) for spec in specs.values() for name in columns_of(spec)}
    for feature in features:
        name, kind = feature.name, kinds[feature.name]
        is_list, is_image = feature.dtype in ("numbers", "words"), feature.dtype == "image"
        if is_list and kind not in (TokenSequence, FloatSequence):
            raise BundleError(
                f"column {name!r} holds lists; pass inputs=TokenSequence({name!r}, longest=64) for words or tokens, or"
                f" FloatSequence([{name!r}], longest=64) for numbers"
            )
        if is_image and kind is not Image:
            raise BundleError(
                f"column {name!r} holds bytes; where they are images, pass inputs=Image({name!r}, size=(224, 224))"
            )
        if kind in (TokenSequence, FloatSequence) and not is_list:
            raise BundleError(f"column {name!r} is {feature.dtype}, and {kind.__name__} takes lists")
        if kind is Image and not is_image:
            raise BundleError(f"column {name!r} is {feature.dtype}; an image is its bytes or its path")


def vocabularies_of(specs: Mapping[str, AnyInputSpec]) -> Vocabularies:
    """The words that inputs give, by column."""
    tokens = [spec for spec in specs.values() if isinstance(spec, TokenSequence)]
    tables = [spec for spec in specs.values() if isinstance(spec, Table)]
    return Vocabularies(
        tables={name: words for spec in tables for name, words in spec.vocabularies.items()},
        lists={spec.column: spec.vocabulary for spec in tokens if spec.vocabulary},
        unknown={spec.column: spec.unknown for spec in tokens if spec.unknown is not None},
    )


def vocabulary_steps(
    specs: Mapping[str, AnyInputSpec], words: Vocabularies, features: Sequence[Feature]
) -> tuple[list[AnyStep], dict[str, str]]:
    """Steps that turn words into tokens, and the column that each makes, by feature.

    Raises:
        BundleError: a list of words without its vocabulary, or an unknown word that is not in it.
    """
    steps: list[AnyStep] = []
    made: dict[str, str] = {}
    hold_words = {feature.name for feature in features if feature.dtype == "words"}
    for spec in specs.values():
        if isinstance(spec, FloatSequence) and hold_words & {*spec.columns}:
            name = min(hold_words & {*spec.columns})
            raise BundleError(f"column {name!r} holds lists of words; pass TokenSequence({name!r}, vocabulary=[...])")
        if not isinstance(spec, TokenSequence):
            continue
        name, known, unknown = spec.column, list(spec.vocabulary), words.unknown.get(spec.column)
        if name not in hold_words:
            if known or unknown is not None:
                raise BundleError(f"column {name!r} holds lists of numbers; vocabulary and unknown are for words")
            continue
        if not known:
            raise BundleError(f"column {name!r} holds lists of words; pass TokenSequence({name!r}, vocabulary=[...])")
        if unknown is not None and unknown not in known:
            raise BundleError(f"unknown: {unknown!r} of column {name!r} is not in its vocabulary")
        made[name] = f"{name}#1"
        code = None if unknown is None else float(known.index(unknown))
        encoding = Encoding(categories=known, codes=[float(at) for at in range(len(known))], unknown=code)
        steps.append(OrdinalStep(features=[name], outputs=[made[name]], encodings=[encoding]))
    return steps, made


def make_inputs(
    specs: Mapping[str, AnyInputSpec],
    features: Sequence[Feature],
    binding: Binding | None,
    tokens: Mapping[str, str],
) -> list[AnyInput]:
    """The bundle's inputs; tables are float32 until the model says otherwise. One table has its columns in the order of
    the transformers, of several each those of its features.

    Args:
        tokens: the columns that words become.

    Raises:
        BundleError: fields of a spec that do not fit together, or a table has no columns.
    """
    sources = origins(features, binding.steps) if binding is not None else {}
    only_table = sum(isinstance(spec, Table) for spec in specs.values()) == 1
    found: list[AnyInput] = []
    for name, spec in specs.items():
        try:
            match spec:
                case Image():
                    found.append(_image(name, spec))
                case TokenSequence():
                    columns = [tokens.get(spec.column, spec.column)]
                    found.append(_sequence(name, spec, columns, "int64"))
                case FloatSequence():
                    found.append(_sequence(name, spec, list(spec.columns), "float32"))
                case Table():
                    assert binding is not None, "tables have features, which are bound"
                    columns = [c for feature in spec.columns for c in binding.columns if sources[c] == feature]
                    columns = list(binding.columns) if only_table else columns
                    if not columns:
                        raise BundleError(f"input {name!r} has no columns")
                    found.append(TableInput(name=name, columns=columns))
        except ValidationError as error:
            raise BundleError(f"input {name!r}{problem(error, ())}") from error
    return found


def _image(name: str, spec: Image) -> ImageInput:
    height, width = spec.size
    return ImageInput(
        name=name,
        columns=[spec.column],
        size=(height, width),
        resize=spec.resize,
        channels=spec.channels,
        mean=list(spec.mean),
        std=list(spec.std),
        interpolation=spec.interpolation,
        exif=spec.exif,
    )


def _sequence(
    name: str, spec: TokenSequence | FloatSequence, columns: list[str], dtype: Literal["float32", "int64"]
) -> SequenceInput:
    return SequenceInput(name=name, columns=columns, dtype=dtype, longest=spec.longest, mask=spec.mask, pad=spec.pad)
