"""What commands print."""

import pytest
from scoreline.jobs.terminal.tables import answer


def test_names_that_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Without what a terminal would act on; wide spaces and joiners are parts of paths."""
    answer("a\x1b[31m\tb\u202e\r\n\x85")
    answer("/a\u00a0b/ou\u3000t/\U0001f469\u200d\U0001f4bb/می\u200cخواهم")
    first, second, third = capsys.readouterr().out.splitlines()
    assert (first, second) == (r"a\x1b[31m\tb\u202e\r", r"\x85")
    assert third == "/a\u00a0b/ou\u3000t/\U0001f469\u200d\U0001f4bb/می\u200cخواهم"
