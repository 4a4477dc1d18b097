"""The names of constants, and the digest in them."""

import pytest
from scoreline.pipeline.bundle.constants import check_constants, constant_option, with_digest
from scoreline.pipeline.errors import UsageError
from scoreline.pipeline.options import ColumnOptions, ScoreJob


def job(*constants: tuple[str, str]) -> ScoreJob:
    """A job with constants."""
    return ScoreJob(bundle="b", input="i", output="o", run_id="r", columns=ColumnOptions(constants=constants))


def test_the_digest() -> None:
    """Replaced wherever it appears."""
    found = with_digest(job(("a", "{bundle_digest}-{bundle_digest}"), ("b", "x")), "sha256:0")
    assert found.columns.constants == (("a", "sha256:0-sha256:0"), ("b", "x"))
    assert constant_option(found) == '[["a", "sha256:0-sha256:0"], ["b", "x"]]'
    assert constant_option(job()) is None


@pytest.mark.parametrize("names", [("a", "a"), ("a", "prediction")])
def test_names_that_are_taken(names: tuple[str, str]) -> None:
    """By another constant, or by a prediction."""
    with pytest.raises(UsageError, match=f"--constant {names[1]}: there is another output column of this name"):
        check_constants(job(*((name, "") for name in names)).columns, ["prediction"])
