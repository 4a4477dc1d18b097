"""The feature columns of a file: each once, with a type that its feature can have; messages that help."""

import pyarrow as pa
import pytest
from scoreline.pipeline.errors import ColumnError
from scoreline.pipeline.inputs.columns import check_columns
from scoreline.schemas.inputs import Feature

A, B, C = (Feature(name=name) for name in "abc")
WORD, PHOTO = Feature(name="a", dtype="text"), Feature(name="a", dtype="image")
NUMBERS, WORDS = Feature(name="a", dtype="numbers"), Feature(name="a", dtype="words")
TEXTS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()), pa.null()]
BYTES = [pa.binary(), pa.large_binary(), pa.binary(4), pa.binary_view()]
LISTS = [
    pa.list_, pa.large_list, pa.list_view, pa.large_list_view, lambda arrow_type: pa.list_(arrow_type, 3),
]  # fmt: skip
NUMERIC = [pa.int8(), pa.uint64(), pa.float16(), pa.float64(), pa.bool_(), pa.decimal128(5, 2), pa.null()]
TIMES = [pa.date32(), pa.timestamp("ns"), pa.duration("s"), pa.struct([("x", pa.int8())])]


def refused(schema: pa.Schema, features: list[Feature], text: object = ()) -> str:
    """The message; it begins with the file."""
    with pytest.raises(ColumnError) as error:
        check_columns(schema, features, text=text, source="f.csv")
    begin, _, message = str(error.value).partition(": ")
    assert begin == "f.csv"
    return message


class TestTypes:
    """What each kind of feature can be."""

    @pytest.mark.parametrize(
        ("feature", "types"),
        [
            (A, [*NUMERIC, pa.dictionary(pa.int8(), pa.int64())]),
            (WORD, TEXTS),
            (PHOTO, [*TEXTS, *BYTES, *(pa.dictionary(pa.int8(), one) for one in BYTES)]),
            (NUMBERS, [made(one) for made in LISTS for one in (pa.int64(), pa.float32(), pa.null())] + [pa.null()]),
            (WORDS, [made(one) for made in LISTS for one in (pa.string(), pa.large_string(), pa.null())] + [pa.null()]),
        ],
        ids=["number", "text", "image", "numbers", "words"],
    )
    def test_accepted(self, feature: Feature, types: list[pa.DataType]) -> None:
        for arrow_type in types:
            check_columns(pa.schema([("a", arrow_type), ("other", pa.date32())]), [feature], text=(), source="f")

    @pytest.mark.parametrize(
        ("feature", "types", "message"),
        [
            (
                A,
                [*TEXTS[:-1], *BYTES, *TIMES, pa.list_(pa.int8())],
                "but only numbers, booleans and decimals can be scored; cast it where the file is written",
            ),
            (WORD, [*NUMERIC[:-1], *BYTES, *TIMES], "but the bundle takes text; cast it where the file is written"),
            (
                PHOTO,
                [*NUMERIC[:-1], *TIMES],
                "but the bundle takes images: bytes of JPEG or PNG files, or their paths",
            ),
            (
                NUMBERS,
                [*NUMERIC[:-1], *TEXTS[:-1], pa.list_(pa.string()), pa.list_(pa.list_(pa.int8()))],
                "but the bundle takes lists of numbers; cast it where the file is written",
            ),
            (
                WORDS,
                [*TEXTS[:-1], pa.list_(pa.int8()), pa.large_list(pa.binary())],
                "but the bundle takes lists of words; cast it where the file is written",
            ),
        ],
        ids=["number", "text", "image", "numbers", "words"],
    )
    def test_refused(self, feature: Feature, types: list[pa.DataType], message: str) -> None:
        """The message names the column and its type; the error has the column, so that files can be compared."""
        for arrow_type in types:
            expected = f"feature column 'a' is {arrow_type}, {message}"
            assert refused(pa.schema([("a", arrow_type)]), [feature]) == expected
            with pytest.raises(ColumnError) as error:
                check_columns(pa.schema([("a", arrow_type)]), [feature], text=(), source="f")
            assert error.value.column == "a"

    def test_text_is_a_number_only_where_cells_are_text(self) -> None:
        """Of a CSV file, or from the path."""
        schema = pa.schema([("a", pa.string()), ("b", pa.string())])
        check_columns(schema, [A, B], text={"a", "b"}, source="f")
        assert refused(schema, [A, B], text={"a"}).startswith("feature column 'b' is string, but only numbers")

    @pytest.mark.parametrize("feature", [NUMBERS, WORDS])
    def test_lists_are_not_read_from_text(self, feature: Feature) -> None:
        message = refused(pa.schema([("a", pa.string())]), [feature], text={"a"})
        assert message == (
            f"feature column 'a' takes lists of {feature.dtype}, which CSV files and paths cannot contain; use Parquet"
        )


class TestMissing:
    """Columns that are not there, or several times."""

    def test_how_many(self) -> None:
        schema = pa.schema([("b", pa.int8())])
        assert refused(schema, [A, B]) == "feature column 'a' is missing; the columns are 'b'"
        assert refused(schema, [B, C, A]) == "feature columns 'c', 'a' are missing; the columns are 'b'"
        many, there = [Feature(name=str(n)) for n in range(9)], pa.schema([(f"x{n}y", pa.int8()) for n in range(10)])
        assert refused(there, many) == (
            "feature columns '0', '1', '2', '3', '4', '5' and 3 more are missing; the columns are 'x0y', 'x1y', 'x2y',"
            " 'x3y', 'x4y', 'x5y', 'x6y', 'x7y' and 2 more"
        )

    @pytest.mark.parametrize("name", ["A", " a", "a ", "\ta"])
    def test_a_similar_name_is_suggested(self, name: str) -> None:
        message = refused(pa.schema([("b", pa.int8()), (name, pa.int8())]), [A, B])
        assert message == f"feature column 'a' is missing; {name!r} is there, and names are matched exactly"

    def test_a_misspelled_name_is_suggested(self) -> None:
        """Unless it is another feature."""
        features = [Feature(name="malic_acid"), Feature(name="malic_acids"), Feature(name="ash")]
        schema = pa.schema([(name, pa.int8()) for name in ("malic acid", "malic_acids", "ash")])
        message = refused(schema, features)
        assert message == "feature column 'malic_acid' is missing; 'malic acid' is there, and names are matched exactly"

    @pytest.mark.parametrize(("times", "word"), [(2, "twice"), (3, "3 times")])
    def test_repeated_columns(self, times: int, word: str) -> None:
        schema = pa.schema([("a", pa.int8())] * times)
        assert refused(schema, [A]) == f"feature column 'a' appears {word}"
        check_columns(schema.append(pa.field("b", pa.int8())), [B], text=(), source="f")

    @pytest.mark.parametrize(("delimiter", "written"), [(";", ";"), ("\t", "\\t"), ("|", "|")])
    def test_a_header_that_is_one_column(self, delimiter: str, written: str) -> None:
        """The message has the line for the job file."""
        name = delimiter.join("abc")
        message = refused(pa.schema([(name, pa.string())]), [A], text={name})
        assert message == (
            "feature column 'a' is missing; the header is one column: set the delimiter in the job file,"
            f' [csv] delimiter = "{written}"'
        )

    def test_a_file_without_a_header(self) -> None:
        """Up to four cells of its first row are shown."""
        advice = ": if that is not a header, name the columns in the job file, [csv] columns = [...]"
        for cells, shown in (
            (["1", "2"], "'1', '2'"),
            (["1;2", "3"], "'1;2', '3'"),  # the delimiter is right
            (list("12345"), "'1', '2', '3', '4' and 1 more"),
        ):
            message = refused(pa.schema([(cell, pa.string()) for cell in cells]), [A], text=set(cells))
            assert message == f"feature column 'a' is missing; the first row is {shown}{advice}"

    def test_no_advice_on_headers_where_the_header_was_read(self) -> None:
        """Some features are there, or columns are not text."""
        schema = pa.schema([("b", pa.string()), ("1;2", pa.string())])
        expected = "feature column 'a' is missing; the columns are 'b', '1;2'"
        assert refused(schema, [A, B], text={"b", "1;2"}) == expected
        assert refused(schema, [A], text={"b"}) == expected
        assert refused(schema, [A]) == expected


def test_no_columns() -> None:
    """A file without columns lacks all features; without features, every file is accepted."""
    assert refused(pa.schema([]), [A, B]) == "feature columns 'a', 'b' are missing"
    check_columns(pa.schema([]), [], text=(), source="f")
