"""Input specs → the inputs of a bundle, and the tensors of a sample, computed by the user's own objects. Independent of
models.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from ...schemas.inputs import AnyInput, Expression, Feature, ImageInput, SequenceInput, TableInput
from ...schemas.specs.expressions import Expressions
from ...schemas.specs.inputs import AnyInputSpec, FloatSequence, Image, Table, Tokens, TokenSequence
from ...schemas.steps import AnyStep, Encoding, ImputeStep, MissingStep, OneHotStep, OrdinalStep
from ..errors import BundleError, one_line
from ..features.kinds import kind_of
from ..features.program import kept_when_missing, origins
from ..inputs.cells.numbers import EXACT
from ..records import Inputs
from .binding import Binding, bind
from .expressions import BoundExpressions, bind_expressions
from .reference import reference_inputs
from .sample import (
    Sample,
    evenly_spaced,
    features_of,
    golden_rows,
    large_integers,
    read_sample,
    scorable_rows,
    with_bytes,
)
from .specs import columns_of, problem
from .texts import BoundTexts, bind_texts

#: Limits for golden rows with images or lists, since golden rows are replayed before every run.
MAX_IMAGES, MAX_SEQUENCES, IMAGES_BYTES = 32, 64, 64 << 20
NEEDS_VOCABULARY = "contains lists of words; use a TokenSequence (kind 'tokens') with a vocabulary"


@dataclass(frozen=True, kw_only=True, slots=True)
class BoundInputs:
    """Features, steps and inputs of a model; `columns`: the columns of a file that are read; `expressions`: what is
    computed from the raw ones; `texts`: the tokenizers. `rows`: the sample rows that become golden rows; `reference`:
    inputs → the model's input tensors for those rows, computed by the user's own objects."""

    features: list[Feature]
    columns: list[Feature]
    expressions: list[Expression]
    steps: list[AnyStep]
    inputs: list[AnyInput]
    texts: BoundTexts
    rows: Sample
    reference: Callable[[Sequence[AnyInput]], Inputs]


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabularies:
    """The words of features and of lists, by feature: text or integers, as in the column. `unknown`: the word that
    replaces unknown words in lists."""

    tables: Mapping[str, Sequence[Any]]
    lists: Mapping[str, Sequence[Any]]
    unknown: Mapping[str, Any]


def bind_inputs(
    specs: Mapping[str, AnyInputSpec], sample: Any, scaler: Any, expressions: Expressions | None = None
) -> BoundInputs:
    """The features, steps and inputs of these specs, bound to the columns of a sample.

    Raises:
        BundleError: the specs are inconsistent, or do not match the sample.
    """
    names = list(dict.fromkeys(name for spec in specs.values() for name in columns_of(spec)))
    refuse_columns(specs, names)
    images = {spec.column for spec in specs.values() if isinstance(spec, Image)}
    lists = {
        name for spec in specs.values() if isinstance(spec, TokenSequence | FloatSequence) for name in columns_of(spec)
    }
    given, computed = _read(sample, names, expressions, images | lists)
    lists |= {name for spec in specs.values() if isinstance(spec, Tokens) for name in spec.columns}
    features = features_of(given.batch.schema, images=images)
    refuse_other_kinds(specs, features)
    holds_text = {feature.name for feature in features if feature.dtype in ("text", "words")}
    words, texts = vocabularies_of(specs, text=holds_text), described(lambda: bind_texts(specs))
    lookups, tokens = described(lambda: vocabulary_steps(specs, words, features))
    integers = {name for name, known in words.lists.items() if not isinstance(known[0], str)}
    plain = [name for name in names if name not in images | lists]
    if not plain and scaler is not None:
        raise BundleError("scaler needs columns of a Table, and the model takes none")
    binding, keep = None, set[str]()
    if plain:
        text = [feature.name for feature in features if feature.dtype == "text"]
        binding = described(lambda: bind(scaler, plain, text=text, vocabularies=words.tables))
        keep = kept_when_missing(plain, binding.steps, binding.columns)
        integers |= exact_integers(binding.steps, binding.columns, large_integers(given.batch))
    features = features_of(given.batch.schema, keep, images, integers)
    entries = make_inputs(specs, features, binding, tokens, texts)
    rows = golden_rows(given, features)
    if images | lists:
        limit = _max_golden_rows(entries)
        rows = rows.only(evenly_spaced(rows.batch.num_rows, 2 * limit))
        rows = scorable_rows(rows, features, lookups, entries, texts.encoders)
        rows = rows.only(evenly_spaced(rows.batch.num_rows, limit))
        rows = with_bytes(rows, entries)
    columns, results = (features, []) if computed is None else computed.split(features)
    return BoundInputs(
        features=features,
        columns=columns,
        expressions=results,
        steps=[*lookups, *(binding.steps if binding is not None else ())],
        inputs=entries,
        texts=texts,
        rows=rows,
        reference=lambda chosen: reference_inputs(rows, chosen, binding, tokens, words.lists, words.unknown, texts),
    )


def exact_integers(steps: Sequence[AnyStep], columns: Sequence[str], large: Collection[str]) -> set[str]:
    """The columns that stay exact integers: they are only encoded as categories, also after missing ones are replaced
    by an integer, and these, or values of the sample, are integers that float64 cannot hold, or those of a vocabulary.

    Args:
        columns: the columns of the model.
        large: the columns with such values.

    Raises:
        BundleError: an encoder has such categories, but its column is also computed with.
    """
    categories, exact, rounded = set[str](), dict[str, int](), set(columns)
    for step in reversed(steps):
        if not isinstance(step, OrdinalStep | OneHotStep | ImputeStep | MissingStep):
            rounded.update(step.features, step.outputs)  # once, for thousands of columns
            continue
        for index, name in enumerate(step.features):
            match step:
                case OrdinalStep() | OneHotStep():
                    categories.add(name)
                    integers = [value for value in step.encodings[index].categories if isinstance(value, int)]
                    exact |= {name: max(integers, key=abs)} if integers else {}
                case ImputeStep() if _is_exact(step.values[index]):
                    output = step.outputs[index]
                    categories |= {name} if output in categories else set()
                    rounded |= {name} if output in rounded else set()
                    exact |= {name: exact[output]} if output in exact else {}
                case ImputeStep():
                    rounded |= {name, step.outputs[index]}
    if both := [category for name, category in exact.items() if name in rounded and abs(category) > EXACT]:
        raise BundleError(
            f"the encoder has the category {both[0]}, an integer beyond ±2^53, and a step before or beside it converts"
            " the column to float64, which cannot hold it; encode the column alone, or after a SimpleImputer that"
            " replaces missing values by an integer"
        )
    return ((categories & set(large)) | set(exact)) - rounded


def _is_exact(value: float | str) -> bool:
    """Whether a value that replaces missing ones is an integer without rounding."""
    if isinstance(value, float):
        return value.is_integer() and abs(value) <= EXACT
    return isinstance(value, int)


def _read(
    sample: Any, names: Sequence[str], expressions: Expressions | None, others: set[str]
) -> tuple[Sample, BoundExpressions | None]:
    """The columns that the inputs take, and the expressions that compute some of them."""
    if expressions is None:
        return read_sample(sample, names), None
    computed, given = bind_expressions(expressions, sample, names, sorted(others))
    return given, computed


def _max_golden_rows(entries: Sequence[AnyInput]) -> int:
    """The largest number of golden rows with images or lists."""
    sizes = [kind.bytes_per_row for entry in entries if (kind := kind_of(entry)).opens_files]
    return max(2, min(MAX_IMAGES, IMAGES_BYTES // sum(sizes))) if sizes else MAX_SEQUENCES


Made = TypeVar("Made")


def described(make: Callable[[], Made]) -> Made:
    """Call `make`, with the schema's validation errors as BundleError."""
    try:
        return make()
    except ValidationError as error:
        raise BundleError(f"the bundle cannot be described{problem(error, ())}") from error
    except (ValueError, OverflowError) as error:
        raise BundleError(f"the bundle cannot be described: {one_line(error)}") from error


def refuse_columns(specs: Mapping[str, AnyInputSpec], names: Sequence[str]) -> None:
    """Raise BundleError for a column that appears in two kinds of input, and for an invalid column name."""
    kinds: dict[str, type] = {}
    for spec in specs.values():
        for column in columns_of(spec):
            if kinds.setdefault(column, type(spec)) is not type(spec):
                raise BundleError(
                    f"column {column!r} is used by {kinds[column].__name__} and by {type(spec).__name__}; it can only"
                    " be used by one kind of input"
                )
    described(lambda: [Feature(name=name) for name in names])


def refuse_other_kinds(specs: Mapping[str, AnyInputSpec], features: Sequence[Feature]) -> None:
    """Raise BundleError if a column of the sample does not have the type that its spec takes."""
    kinds = {name: type(spec) for spec in specs.values() for name in columns_of(spec)}
    for feature in features:
        name, kind = feature.name, kinds[feature.name]
        is_list, is_image = feature.dtype in ("numbers", "words"), feature.dtype == "image"
        if is_list and kind not in (TokenSequence, FloatSequence):
            raise BundleError(
                f"column {name!r} contains lists; describe it in inputs by a TokenSequence (kind 'tokens') for words or"
                " tokens, or a FloatSequence (kind 'floats') for numbers"
            )
        if is_image and kind is not Image:
            raise BundleError(
                f"column {name!r} contains bytes; if they are images, describe it in inputs by an Image (kind 'image')"
            )
        if kind in (TokenSequence, FloatSequence) and not is_list:
            raise BundleError(f"column {name!r} is {feature.dtype}, but {kind.__name__} takes lists")
        if kind is Tokens and feature.dtype != "text":
            raise BundleError(f"column {name!r} is {feature.dtype}, but Tokens takes text")
        if kind is Image and not is_image:
            raise BundleError(f"column {name!r} is {feature.dtype}, but Image takes bytes or paths")


def vocabularies_of(specs: Mapping[str, AnyInputSpec], *, text: Collection[str]) -> Vocabularies:
    """The vocabularies of the inputs, by column. `text`: the columns of text, whose words are text."""
    tokens = [spec for spec in specs.values() if isinstance(spec, TokenSequence)]
    tables = [spec for spec in specs.values() if isinstance(spec, Table)]
    return Vocabularies(
        tables={name: _spelled(words, name in text) for spec in tables for name, words in spec.vocabularies.items()},
        lists={spec.column: _spelled(spec.vocabulary, spec.column in text) for spec in tokens if spec.vocabulary},
        unknown={
            spec.column: _spelled([spec.unknown], spec.column in text)[0] for spec in tokens if spec.unknown is not None
        },
    )


def _spelled(words: Sequence[Any], text: bool) -> list[Any]:
    """The words of a vocabulary, as text where the column holds text."""
    return [str(word) for word in words] if text else list(words)


def vocabulary_steps(
    specs: Mapping[str, AnyInputSpec], words: Vocabularies, features: Sequence[Feature]
) -> tuple[list[AnyStep], dict[str, str]]:
    """The steps that convert words to tokens, and the output column of each, by feature.

    Raises:
        BundleError: a list of words without a vocabulary, or an `unknown` that is not in it.
    """
    steps: list[AnyStep] = []
    made: dict[str, str] = {}
    hold_words = {feature.name for feature in features if feature.dtype == "words"}
    for spec in specs.values():
        if isinstance(spec, FloatSequence) and hold_words & {*spec.columns}:
            name = min(hold_words & {*spec.columns})
            raise BundleError(f"column {name!r} {NEEDS_VOCABULARY}")
        if not isinstance(spec, TokenSequence):
            continue
        name, known, unknown = spec.column, list(words.lists.get(spec.column, ())), words.unknown.get(spec.column)
        if not known and name in hold_words:
            raise BundleError(f"column {name!r} {NEEDS_VOCABULARY}")
        if not known:
            if unknown is not None:
                raise BundleError(f"column {name!r}: unknown has no effect without a vocabulary; leave it out")
            continue
        if name not in hold_words and isinstance(known[0], str):
            raise BundleError(f"column {name!r} contains lists of numbers, so its vocabulary must be integers")
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
    texts: BoundTexts,
) -> list[AnyInput]:
    """The bundle's inputs; tables are float32 until the model's dtypes are known. A single table has its columns in the
    order of the transformers; with several, each has those of its features.

    Args:
        tokens: the columns of tokens, by feature.

    Raises:
        BundleError: a spec has inconsistent fields, or a table has no columns.
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
                case Tokens():
                    found.append(texts.inputs[name])
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
    if spec.pad != 0 and spec.mask is None:
        raise BundleError(
            f"input {name!r}: pad: {spec.pad} has no effect without mask, since only lists of the same length are"
            " batched together; set mask as well, or leave pad out"
        )
    return SequenceInput(name=name, columns=columns, dtype=dtype, longest=spec.longest, mask=spec.mask, pad=spec.pad)
