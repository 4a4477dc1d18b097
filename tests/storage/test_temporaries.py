"""Names of files that are not whole yet: hidden, recognised, and never too long."""

import os

from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.storage.temporaries import is_temporary, temporary_name

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=300)


@given(names)
def test_a_temporary_is_hidden_short_and_recognised(name: str) -> None:
    """31 bytes however long the other is, always the same, and no name of a user's unless it copies the form."""
    temporary = temporary_name(name)
    assert temporary == temporary_name(name)
    assert temporary.startswith(".")
    assert len(temporary.encode()) == 31
    assert is_temporary(temporary)
    assert not is_temporary(name)


@given(names, names)
def test_two_names_have_two_temporaries(one: str, two: str) -> None:
    """So that two parts of one folder can be written at once."""
    assert (temporary_name(one) == temporary_name(two)) == (one == two)


def test_a_name_that_is_not_utf8_has_one_too() -> None:
    """As Python hands such names out."""
    assert is_temporary(temporary_name(os.fsdecode(b"\xe9.csv")))


def test_what_only_resembles_a_temporary_is_none() -> None:
    """Another program's files are not removed."""
    digits = "0123456789abcdef"
    assert is_temporary(f".scoreline-{digits}.tmp")
    for name in (f".scoreline-{digits}.tmp\n", f"x.scoreline-{digits}.tmp", f".scoreline-{digits.upper()}.tmp",
                 f".scoreline-{digits[:-1]}.tmp", f".scoreline-{digits}.tmp.gz"):  # fmt: skip
        assert not is_temporary(name)
