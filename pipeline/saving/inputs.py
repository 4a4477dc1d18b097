"""What `save_bundle` is told of a model's inputs → the inputs of the bundle, and the tensors that a sample makes by the
user's own objects. Joins `features` and `inputs`; knows nothing of models.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import pyarrow as pa
from pydantic import ValidationError

from ...schemas.inputs import AnyInput, Feature, ImageInput, SequenceInput, TableInput
from ...schemas.steps import AnyStep, Encoding, OrdinalStep
from ..arrow_types import is_list
from ..bundle.bundle import first_problem
from ..errors import BundleError, one_line
from ..features.kinds import kind_of
from ..features.program import kept_when_missing, origins
from ..records import Inputs
from .binding import Binding, bind
from .reference import true_inputs
from .sample import Sample, evenly, features_of, fitting, golden_rows, read_sample, with_bytes

Kind = Literal["table", "image", "sequence"]
#: What `images=` and `sequences=` may say of an input.
IMAGE_WORDS = ("size", "resize", "channels", "mean", "std", "interpolation", "exif")
SEQUENCE_WORDS = ("longest", "mask", "pad", "dtype", "unknown")
#: Golden rows are replayed before every run: of images and texts fewer do.
MOST_IMAGES, MOST_SEQUENCES, IMAGES_BYTES = 32, 64, 64 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """An input of the model: its name, its kind, the raw features it is made of, and what was said of it."""

    name: str
    kind: Kind
    features: tuple[str, ...]
    said: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What a model takes: raw features, steps, inputs; the rows of the sample that become golden; and the way from
    inputs to what the model is given for those rows, by the user's own objects."""

    features: list[Feature]
    steps: list[AnyStep]
    inputs: list[AnyInput]
    rows: Sample
    shown: Callable[[Sequence[AnyInput]], Inputs]


def take_apart(
    names: Sequence[str],
    sample: Any,
    *,
    scaler: Any,
    vocabularies: Mapping[str, Sequence[str]],
    inputs: Mapping[str, Sequence[str]] | None,
    images: Mapping[str, Mapping[str, Any]] | None,
    sequences: Mapping[str, Mapping[str, Any]] | None,
) -> Taken:
    """The features, steps and inputs that the arguments of `save_bundle` describe.

    Raises:
        BundleError: they do not go together, or with the sample.
    """
    groups = group(names, inputs, images, sequences)
    given = read_sample(sample, names)
    pictures = {name for one in groups if one.kind == "image" for name in one.features}
    lists = {name for one in groups if one.kind == "sequence" for name in one.features}
    features = features_of(given.batch.schema, images=pictures)
    refuse_other_kinds(groups, features)
    wordy = {feature.name for feature in features if feature.dtype == "words"}
    lookups, tokens = described(lambda: vocabulary_steps(groups, vocabularies, wordy))
    plain = [name for name in names if name not in pictures | lists]
    if not plain and scaler is not None:
        raise BundleError("scaler= is for features of a table, and there are none")
    binding = None
    if plain:
        text = [feature.name for feature in features if feature.dtype == "text"]
        flat = {name: words for name, words in vocabularies.items() if name not in lists}
        binding = described(lambda: bind(scaler, plain, text=text, vocabularies=flat))
        keep = kept_when_missing(plain, binding.steps, binding.columns)
        features = features_of(given.batch.schema, sorted(keep), pictures)
    entries = make_inputs(groups, features, binding, tokens, whole_lists(given.batch), as_bound=inputs is None)
    rows = golden_rows(given, features)
    if pictures | lists:
        most = _most_golden(entries)
        rows = rows.only(evenly(rows.batch.num_rows, 2 * most))
        rows = fitting(rows, features, lookups, entries)
        rows = rows.only(evenly(rows.batch.num_rows, most))
        rows = with_bytes(rows, entries)
    unknown = {name: one.said.get("unknown") for one in groups for name in one.features}
    return Taken(
        features=features,
        steps=[*lookups, *(binding.steps if binding is not None else ())],
        inputs=entries,
        rows=rows,
        shown=lambda chosen: true_inputs(rows, chosen, binding, tokens, vocabularies, unknown),
    )


def _most_golden(entries: Sequence[AnyInput]) -> int:
    """How many rows of images or lists become golden."""
    sizes = [kind.bytes_per_row for entry in entries if (kind := kind_of(entry)).opens_files]
    return max(2, min(MOST_IMAGES, IMAGES_BYTES // sum(sizes))) if sizes else MOST_SEQUENCES


Made = TypeVar("Made")


def described(make: Callable[[], Made]) -> Made:
    """What the user gave, as the schema has it; what it cannot hold is the user's to mend."""
    try:
        return make()
    except ValidationError as error:
        raise BundleError(f"the bundle cannot be described: {first_problem(error)}") from error
    except (ValueError, OverflowError) as error:
        raise BundleError(f"the bundle cannot be described: {one_line(error)}") from error


def group(
    features: Sequence[str],
    inputs: Mapping[str, Sequence[str]] | None,
    images: Mapping[str, Mapping[str, Any]] | None,
    sequences: Mapping[str, Mapping[str, Any]] | None,
) -> list[Group]:
    """The model's inputs, in its order. Without `inputs`, every image and list is an input of its own, named after its
    feature, and the other features are one table, called `features`, where the first of them stands.

    Raises:
        BundleError: a name that is no input or feature, or a word that nothing is known of.
    """
    said: dict[str, tuple[Kind, Mapping[str, Any]]] = {}
    given: list[tuple[Kind, Any, tuple[str, ...]]] = [
        ("image", images, IMAGE_WORDS),
        ("sequence", sequences, SEQUENCE_WORDS),
    ]
    for kind, each, words in given:
        for name, details in (each or {}).items():
            if not isinstance(details, Mapping) or set(details) - set(words):
                strange = sorted(set(details) - set(words)) if isinstance(details, Mapping) else details
                raise BundleError(f"{kind}s[{name!r}] says {strange!r}; it is a mapping of {', '.join(words)}")
            if name in said:
                raise BundleError(f"{name!r} is either an image or a sequence")
            said[name] = kind, details
    groups: dict[str, Any] = {str(name): wanted for name, wanted in (inputs or {}).items()}
    if inputs is None:
        for name in features:
            groups.setdefault(name if name in said else "features", []).append(name)
    missing = [name for name in said if name not in groups]
    if missing:
        there = f"inputs are {', '.join(groups)}" if inputs is not None else f"features are {', '.join(features)}"
        raise BundleError(f"{said[missing[0]][0]}s names {missing[0]!r}; {there}")
    found = []
    for name, wanted in groups.items():
        strange = [feature for feature in wanted if feature not in set(features)]
        if isinstance(wanted, str) or strange:
            raise BundleError(f"input {name!r} names {strange or wanted!r}, no list of features")
        kind, details = said.get(name, ("table", {}))
        if kind == "image" and len(wanted) != 1:
            raise BundleError(f"images[{name!r}] is of {len(wanted)} features; an image is one")
        found.append(Group(name=name, kind=kind, features=tuple(wanted), said=details))
    return found


def refuse_other_kinds(groups: Sequence[Group], features: Sequence[Feature]) -> None:
    """Raise BundleError where the sample holds another kind of column than was said."""
    kinds = {name: one.kind for one in groups for name in one.features}
    for feature in features:
        kind = kinds.get(feature.name, "table")
        is_list, is_image = feature.dtype in ("numbers", "words"), feature.dtype == "image"
        if is_list and kind != "sequence":
            raise BundleError(
                f"feature {feature.name!r} holds lists; say how long they may be: sequences={{{feature.name!r}:"
                " {'longest': 64}}"
            )
        if is_image and kind != "image":
            raise BundleError(
                f"feature {feature.name!r} holds bytes; where they are images, say images={{{feature.name!r}:"
                " {'size': (224, 224)}}"
            )
        if kind == "sequence" and not is_list:
            raise BundleError(f"feature {feature.name!r} is {feature.dtype}, and sequences= are lists")
        if kind == "image" and not is_image:
            raise BundleError(f"feature {feature.name!r} is {feature.dtype}; an image is its bytes or its path")


def vocabulary_steps(
    groups: Sequence[Group], vocabularies: Mapping[str, Sequence[str]], words: Collection[str]
) -> tuple[list[AnyStep], dict[str, str]]:
    """Steps that turn words into tokens, and the column that each makes, by feature.

    Args:
        words: the features that hold lists of words.

    Raises:
        BundleError: a list of words without its vocabulary, or an unknown word that is not in it.
    """
    steps: list[AnyStep] = []
    made: dict[str, str] = {}
    for one in groups:
        for name in one.features if one.kind == "sequence" else ():
            unknown = one.said.get("unknown")
            if name not in words:
                if unknown is not None or name in vocabularies:
                    raise BundleError(f"feature {name!r} is a list of numbers; a vocabulary and unknown are for words")
                continue
            known = [str(word) for word in vocabularies.get(name, ())]
            if not known:
                raise BundleError(f"feature {name!r} is a list of words; give vocabularies={{{name!r}: [...]}}")
            if unknown is not None and unknown not in known:
                raise BundleError(f"unknown word {unknown!r} of {name!r} is not in its vocabulary")
            code = None if unknown is None else float(known.index(unknown))
            made[name] = f"{name}#1"
            encoding = Encoding(categories=known, codes=[float(at) for at in range(len(known))], unknown=code)
            steps.append(OrdinalStep(features=[name], outputs=[made[name]], encodings=[encoding]))
    return steps, made


def make_inputs(
    groups: Sequence[Group],
    features: Sequence[Feature],
    binding: Binding | None,
    tokens: Mapping[str, str],
    whole: Collection[str],
    *,
    as_bound: bool,
) -> list[AnyInput]:
    """The bundle's inputs; tables are float32 until the model says otherwise.

    Args:
        as_bound: the one table has the columns in the order of the transformers.
        tokens: the columns that words become.
        whole: the lists that hold integers.

    Raises:
        BundleError: what was said of one does not hold together, or a table has no columns.
    """
    sources = origins(features, binding.steps) if binding is not None else {}
    found: list[AnyInput] = []
    for one in groups:
        try:
            match one.kind:
                case "image":
                    found.append(ImageInput(name=one.name, columns=list(one.features), **one.said))
                case "sequence":
                    said = {key: value for key, value in one.said.items() if key != "unknown"}
                    are_tokens = (
                        all(name in tokens or name in whole for name in one.features) and len(one.features) == 1
                    )
                    found.append(
                        SequenceInput(
                            name=one.name,
                            columns=[tokens.get(name, name) for name in one.features],
                            **{"dtype": "int64" if are_tokens else "float32", **said},
                        )
                    )
                case "table":
                    assert binding is not None, "tables have features, which are bound"
                    columns = [c for name in one.features for c in binding.columns if sources[c] == name]
                    columns = list(binding.columns) if as_bound else columns
                    if not columns:
                        raise BundleError(f"input {one.name!r} has no columns")
                    found.append(TableInput(name=one.name, columns=columns))
        except ValidationError as error:
            raise BundleError(f"{one.kind}s[{one.name!r}]: {first_problem(error)}") from error
        except TypeError as error:
            raise BundleError(f"{one.kind}s[{one.name!r}]: {one_line(error)}") from error
    return found


def whole_lists(batch: pa.RecordBatch) -> set[str]:
    """The columns that hold lists of integers."""
    return {field.name for field in batch.schema if is_list(field.type) and pa.types.is_integer(field.type.value_type)}
