"""Preparation steps as they are written in bundle.json: numbers and categories, no code.

Every step takes some columns and adds new ones, so that a column can be used by several steps. Numbers are float64 and
applied in float64. The formulas are scikit-learn's (`pipeline/features/` has them), so results equal its `transform`.
"""

from collections import Counter
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from .base import Schema

Name = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Bounds = tuple[float, float]


class Step(Schema):
    """`features`: the columns that it takes; `outputs`: the columns that it adds, in order."""

    features: list[Name] = Field(min_length=1)
    outputs: list[Name] = Field(min_length=1)

    @model_validator(mode="after")
    def _every_name_once(self) -> Self:
        for names in (self.features, self.outputs):
            repeated = [name for name, times in Counter(names).items() if times > 1]
            if repeated:
                raise ValueError(f"column {repeated[0]!r} appears twice in one step")
        return self


class EachStep(Step):
    """One output column for each input column; every list of numbers has one entry for each."""

    @model_validator(mode="after")
    def _one_number_per_feature(self) -> Self:
        for field in type(self).model_fields:
            numbers = getattr(self, field)
            if field != "references" and isinstance(numbers, list) and len(numbers) != len(self.features):
                raise ValueError(f"{field} has {len(numbers)} values for {len(self.features)} features")
        if 0.0 in (getattr(self, "scale", None) or []):
            feature = self.features[self.scale.index(0.0)]  # type: ignore[attr-defined]
            raise ValueError(f"scale of feature {feature!r} is 0")
        return self


class StandardStep(EachStep):
    """StandardScaler: (x − mean) / scale."""

    kind: Literal["standard"] = "standard"
    mean: list[float] | None
    scale: list[float] | None


class RobustStep(EachStep):
    """RobustScaler: (x − center) / scale."""

    kind: Literal["robust"] = "robust"
    center: list[float] | None
    scale: list[float] | None


class MinMaxStep(EachStep):
    """MinMaxScaler: x × scale + min, then clipped to `clip` if it is set."""

    kind: Literal["minmax"] = "minmax"
    scale: list[float]
    min: list[float]
    clip: Bounds | None = None


class MaxAbsStep(EachStep):
    """MaxAbsScaler: x / scale, then clipped to `clip` if it is set."""

    kind: Literal["maxabs"] = "maxabs"
    scale: list[float]
    clip: Bounds | None = None


class PowerStep(EachStep):
    """PowerTransformer without its scaler: Yeo-Johnson, or Box-Cox of positive values."""

    kind: Literal["power"] = "power"
    method: Literal["yeo-johnson", "box-cox"]
    lambdas: list[float]


class QuantileStep(EachStep):
    """QuantileTransformer: the rank of x among the quantiles, uniform or as a normal deviate."""

    kind: Literal["quantile"] = "quantile"
    distribution: Literal["uniform", "normal"]
    references: list[float] = Field(min_length=1)
    quantiles: list[list[float]]

    @model_validator(mode="after")
    def _one_quantile_per_reference(self) -> Self:
        if any(len(column) != len(self.references) for column in self.quantiles):
            raise ValueError(f"every feature has {len(self.references)} quantiles")
        return self


class WeightStep(EachStep):
    """FeatureUnion, ColumnTransformer, TF-IDF: x × weight. A weight of 1 copies a column that is used twice."""

    kind: Literal["weight"] = "weight"
    weights: list[float]


class BinarizeStep(EachStep):
    """Binarizer: 1 if x > threshold, else 0."""

    kind: Literal["binarize"] = "binarize"
    threshold: float


class BinsStep(EachStep):
    """KBinsDiscretizer: the number of a feature's inner edges that are at or below x."""

    kind: Literal["bins"] = "bins"
    edges: list[list[float]]


class FunctionStep(EachStep):
    """FunctionTransformer with a function of numpy."""

    kind: Literal["function"] = "function"
    function: Literal[
        "abs", "cbrt", "exp", "exp2", "expm1", "log", "log10", "log1p", "log2", "negative", "reciprocal",
        "sign", "sqrt", "square",
    ]  # fmt: skip


class ClipStep(EachStep):
    """FunctionTransformer with `np.clip`: at least `low`, at most `high`; None is no bound."""

    kind: Literal["clip"] = "clip"
    low: list[float | None]
    high: list[float | None]


class RoundStep(EachStep):
    """FunctionTransformer with `np.round`: to this number of decimals, half to even."""

    kind: Literal["round"] = "round"
    decimals: Annotated[int, Field(ge=-300, le=300)]


class ReplaceStep(EachStep):
    """FunctionTransformer with `np.nan_to_num`: replaces missing values and infinities."""

    kind: Literal["replace"] = "replace"
    nan: list[float]
    posinf: list[float]
    neginf: list[float]


class ImputeStep(EachStep):
    """SimpleImputer: replaces missing values."""

    kind: Literal["impute"] = "impute"
    values: list[Annotated[int, Field(ge=-(2**63), lt=2**63)] | float | str]


class MissingStep(EachStep):
    """SimpleImputer's indicator: 1 if the value is missing, else 0."""

    kind: Literal["missing"] = "missing"


class Encoding(Schema):
    """The categories of one feature, each with its code. `unknown`: the code of a value that is not among them;
    `missing`: the code of a missing value. None rejects the row, `nan` keeps the value missing."""

    categories: list[str] | list[Annotated[int, Field(ge=-(2**63), lt=2**63)]] | list[float]
    codes: list[float]
    unknown: float | Literal["nan"] | None = None
    missing: float | Literal["nan"] | None = None

    @model_validator(mode="after")
    def _one_code_per_category(self) -> Self:
        if len(self.codes) != len(self.categories):
            raise ValueError(f"{len(self.codes)} codes for {len(self.categories)} categories")
        if len(set(self.categories)) < len(self.categories):
            raise ValueError("a category appears twice")
        return self


class OrdinalStep(EachStep):
    """OrdinalEncoder, or a vocabulary: one code per category."""

    kind: Literal["ordinal"] = "ordinal"
    encodings: list[Encoding]


class OneHotStep(Step):
    """OneHotEncoder: a feature's code is the index of the 1 among the feature's columns; −1 is all zeros."""

    kind: Literal["onehot"] = "onehot"
    #: Empty if every feature has one category and it is dropped; unknown categories are still rejected.
    outputs: list[Name]
    encodings: list[Encoding]
    widths: list[Annotated[int, Field(ge=0)]]

    @model_validator(mode="after")
    def _widths_match_outputs(self) -> Self:
        if not len(self.encodings) == len(self.widths) == len(self.features):
            raise ValueError(f"{len(self.encodings)} encodings for {len(self.features)} features")
        if sum(self.widths) != len(self.outputs):
            raise ValueError(f"{len(self.outputs)} outputs, but the widths sum to {sum(self.widths)}")
        return self


class NormalizeStep(EachStep):
    """Normalizer: each row divided by its norm over the features; a norm below 10 epsilon counts as 1."""

    kind: Literal["normalize"] = "normalize"
    norm: Literal["l1", "l2", "max"]


class PolynomialStep(Step):
    """PolynomialFeatures: each output the product of the features to these powers."""

    kind: Literal["polynomial"] = "polynomial"
    powers: list[list[Annotated[int, Field(ge=0, le=64)]]]

    @model_validator(mode="after")
    def _one_row_per_output(self) -> Self:
        if len(self.powers) != len(self.outputs) or any(len(row) != len(self.features) for row in self.powers):
            raise ValueError(f"powers must be {len(self.outputs)} rows of {len(self.features)}")
        return self


class LinearStep(Step):
    """PCA and TruncatedSVD: (x − mean) times the transposed matrix, then divided by scale. `matrix`: one row for each
    output, one number for each feature."""

    kind: Literal["linear"] = "linear"
    matrix: list[list[float]]
    mean: list[float] | None = None
    scale: list[Annotated[float, Field(gt=0)]] | None = None

    @model_validator(mode="after")
    def _shapes_match(self) -> Self:
        if len(self.matrix) != len(self.outputs) or any(len(row) != len(self.features) for row in self.matrix):
            raise ValueError(f"matrix must be {len(self.outputs)} rows of {len(self.features)}")
        for field, numbers, count in (
            ("mean", self.mean, len(self.features)),
            ("scale", self.scale, len(self.outputs)),
        ):
            if numbers is not None and len(numbers) != count:
                raise ValueError(f"{field} has {len(numbers)} values instead of {count}")
        return self


class SplineStep(Step):
    """SplineTransformer: the B-splines of each feature over its knots.

    `extrapolation`: what replaces a B-spline outside of the inner knots: nothing (`error` rejects the row), its value
    at the boundary, a straight line, its own polynomial, or its repetition. `bias`: whether the last one of each
    feature is kept. `zeros_if_missing`: all are 0 for a missing value.
    """

    kind: Literal["spline"] = "spline"
    degree: Annotated[int, Field(ge=0, le=32)]
    knots: list[list[float]]
    extrapolation: Literal["error", "constant", "linear", "continue", "periodic"]
    bias: bool = True
    zeros_if_missing: bool = False

    @property
    def splines(self) -> int:
        """The number of B-splines of each feature."""
        return len(self.knots[0]) - self.degree - 1 - (self.degree if self.extrapolation == "periodic" else 0)

    @property
    def width(self) -> int:
        """The number of outputs of each feature."""
        return self.splines - (0 if self.bias else 1)

    @model_validator(mode="after")
    def _shapes_match(self) -> Self:
        if len(self.knots) != len(self.features) or len({len(knots) for knots in self.knots}) != 1:
            raise ValueError(f"knots must be {len(self.features)} lists of the same length")
        if self.splines < max(self.degree, 1):
            raise ValueError(f"{len(self.knots[0])} knots are too few for degree {self.degree}")
        if self.degree == 0 and self.extrapolation in ("constant", "linear"):
            raise ValueError(f"extrapolation {self.extrapolation!r} needs a degree of at least 1")
        if self.width * len(self.features) != len(self.outputs):
            raise ValueError(f"{len(self.outputs)} outputs, but {len(self.features)} features of {self.width} each")
        if any(later < earlier for knots in self.knots for earlier, later in pairwise(knots)):
            raise ValueError("knots must be in ascending order")
        return self


class TextCountsStep(Step):
    """CountVectorizer: how often each term of a vocabulary occurs in a text.

    Terms are n-grams of `words` that match the pattern, of `characters`, or of the characters of each word with a
    space at both ends. `accents`: `unicode` removes combining characters, `ascii` everything that has no ASCII form.
    `weight`: what becomes of a count above 0, `log` being 1 + its natural logarithm.
    """

    kind: Literal["text_counts"] = "text_counts"
    features: list[Name] = Field(min_length=1, max_length=1)
    vocabulary: list[str]
    terms: Literal["words", "characters", "characters_of_words"] = "words"
    ngrams: tuple[Annotated[int, Field(ge=1, le=32)], Annotated[int, Field(ge=1, le=32)]] = (1, 1)
    pattern: Literal[r"(?u)\b\w\w+\b", r"(?u)\b\w+\b", r"\b\w\w+\b", r"\b\w+\b", r"\w+", r"\S+"] = r"(?u)\b\w\w+\b"
    lower: bool = True
    accents: Literal["keep", "ascii", "unicode"] = "keep"
    stop_words: list[str] = []
    weight: Literal["count", "one", "log"] = "count"

    @model_validator(mode="after")
    def _terms_match_outputs(self) -> Self:
        if len(self.vocabulary) != len(self.outputs) or len(set(self.vocabulary)) < len(self.vocabulary):
            raise ValueError(f"{len(set(self.vocabulary))} different terms for {len(self.outputs)} outputs")
        if self.ngrams[0] > self.ngrams[1]:
            raise ValueError(f"ngrams {self.ngrams[0]} to {self.ngrams[1]} are none")
        return self


AnyStep = Annotated[
    StandardStep
    | RobustStep
    | MinMaxStep
    | MaxAbsStep
    | PowerStep
    | QuantileStep
    | WeightStep
    | BinarizeStep
    | BinsStep
    | FunctionStep
    | ClipStep
    | RoundStep
    | ReplaceStep
    | ImputeStep
    | MissingStep
    | OrdinalStep
    | OneHotStep
    | NormalizeStep
    | PolynomialStep
    | LinearStep
    | SplineStep
    | TextCountsStep,
    Field(discriminator="kind"),
]
