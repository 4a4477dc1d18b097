"""The files that this process has open."""

from pathlib import Path


def open_paths(folder: Path) -> list[str]:
    """Those in a folder."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except OSError:  # the descriptor of this listing
            continue
        if target.startswith(str(folder)):
            found.append(target)
    return sorted(found)
