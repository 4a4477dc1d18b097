"""Names of temporary files: hidden, recognisable, and never too long."""

import os

from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.storage.temporaries import is_temporary, temporary_name

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=300)


@given(names)
def test_a_temporary_is_hidden_short_and_recognised(name: str) -> None:
    """It always has 31 bytes, is deterministic, and differs from user names unless they copy the form."""
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


def test_a_name_that_is_not_utf8_has_a_temporary() -> None:
    """As Python represents such names."""
    assert is_temporary(temporary_name(os.fsdecode(b"\xe9.csv")))


def test_similar_names_are_not_temporaries() -> None:
    """So that the files of other programs are not removed."""
    digits = "0123456789abcdef"
    assert is_temporary(f".scoreline-{digits}.tmp")
    for name in (f".scoreline-{digits}.tmp\n", f"x.scoreline-{digits}.tmp", f".scoreline-{digits.upper()}.tmp",
                 f".scoreline-{digits[:-1]}.tmp", f".scoreline-{digits}.tmp.gz"):  # fmt: skip
        assert not is_temporary(name)
