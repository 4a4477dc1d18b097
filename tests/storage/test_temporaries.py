"""Names of temporary files: hidden, recognisable, and never too long."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.storage.temporaries import is_temporary, is_temporary_of, temporary_name

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=300)


@given(names)
def test_a_temporary_is_hidden_short_and_recognised(name: str) -> None:
    """It always has 48 bytes, and differs from user names unless they copy the form."""
    temporary = temporary_name(name)
    assert temporary.startswith(".")
    assert len(temporary.encode()) == 48
    assert is_temporary(temporary)
    assert not is_temporary(name)
    assert is_temporary_of(temporary, name)


@given(names)
def test_no_two_writers_share_a_temporary(name: str) -> None:
    """Not even of the same file."""
    assert len({temporary_name(name) for _ in range(20)}) == 20


@given(names, names)
def test_a_temporary_belongs_to_one_name(one: str, two: str) -> None:
    """It is known which file it is of."""
    assert is_temporary_of(temporary_name(one), two) == (one == two)


def test_a_name_that_is_not_utf8_has_a_temporary() -> None:
    """As Python represents such names."""
    assert is_temporary(temporary_name(os.fsdecode(b"\xe9.csv")))


@pytest.mark.parametrize("digits", ["0123456789abcdef", "0123456789abcdef-fedcba9876543210"])
def test_similar_names_are_not_temporaries(digits: str) -> None:
    """So that the files of other programs are not removed. Names of earlier versions are recognised."""
    assert is_temporary(f".scoreline-{digits}.tmp")
    for name in (f".scoreline-{digits}.tmp\n", f"x.scoreline-{digits}.tmp", f".scoreline-{digits.upper()}.tmp",
                 f".scoreline-{digits[:-1]}.tmp", f".scoreline-{digits}.tmp.gz"):  # fmt: skip
        assert not is_temporary(name)
