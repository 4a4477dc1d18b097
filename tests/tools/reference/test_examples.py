"""The files of examples/ in a page."""

from tools.reference.examples import example_names, example_section


def test_a_file_is_shown_as_it_is() -> None:
    """In a block with its language and path."""
    shown = example_section("crontab").splitlines()
    assert (shown[0], shown[-1]) == ('```text title="examples/crontab"', "```")
    assert any(line.startswith("15 2 * * * ") for line in shown)


def test_every_file_is_shown() -> None:
    """But not what Docker ignores."""
    names = example_names()
    assert {"crontab", "docker/Dockerfile", "kubernetes/cronjob.yaml", "systemd/scoreline-nightly.timer"} < set(names)
    assert "docker/Dockerfile.dockerignore" not in names
