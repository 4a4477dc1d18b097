"""The files of examples/, as they are."""

from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
#: The language of a file, by its suffix or name; an unknown one raises KeyError.
LANGUAGES = {
    ".py": "python", ".service": "ini", ".sh": "bash", ".timer": "ini", ".toml": "toml", ".yaml": "yaml",
    "Dockerfile": "dockerfile", "crontab": "text",
}  # fmt: skip


def example_names() -> list[str]:
    """The paths in examples/ of all files that are worth reading, sorted."""
    files = (file for file in EXAMPLES.rglob("*") if file.is_file() and file.suffix in (*LANGUAGES, ""))
    return sorted(file.relative_to(EXAMPLES).as_posix() for file in files)


def example_section(name: str) -> str:
    """A file as a block of code, under its path in the repository."""
    file = EXAMPLES / name
    text = file.read_text(encoding="utf-8").rstrip()
    return f'```{LANGUAGES[file.suffix or file.name]} title="examples/{name}"\n{text}\n```'
