"""What saving chooses for the user: logged, or collected."""

import logging

import pytest
from scoreline.pipeline.saving.notes import collected_notes, say

LOGGER = "scoreline.saving"


def test_a_note_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Under a logger of its own, so that a program can silence it."""
    say("the prefix is 'model.'")
    assert caplog.record_tuples == [(LOGGER, logging.WARNING, "the prefix is 'model.'")]


def test_collected_notes_go_nowhere_else(caplog: pytest.LogCaptureFixture) -> None:
    """In order, each once; also those logged with arguments."""
    with collected_notes() as lines:
        for text in ("b", "a", "b"):
            say(text)
        logging.getLogger(LOGGER).warning("%d of %d", 1, 2)
    assert lines == ["b", "a", "1 of 2"]
    assert not caplog.records


def test_afterwards_notes_are_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    """Even after an error; the list does not change any more."""
    with pytest.raises(ValueError, match="broken"), collected_notes() as lines:
        raise ValueError("broken")
    say("later")
    assert (lines, caplog.messages) == ([], ["later"])
    assert not logging.getLogger(LOGGER).handlers


@pytest.mark.parametrize("propagate", [True, False])
def test_the_setting_of_the_program_is_restored(propagate: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the logger propagates."""
    logger = logging.getLogger(LOGGER)
    monkeypatch.setattr(logger, "propagate", propagate)
    with collected_notes():
        assert not logger.propagate
    assert logger.propagate is propagate
