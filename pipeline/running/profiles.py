"""The profiles of the parts that this process publishes, until the run compares them: reading them from the parts again
would take longer than counting the rows of many small files."""

from collections.abc import Mapping
from threading import Lock

from ..monitoring.layout import Layout

#: The bytes of profiles to keep; those of further parts are read from the files.
MAX_BYTES = 32 << 20


class PartProfiles:
    """Profiles by the checksum of the part's receipt. Used by several threads.

    Args:
        layout: of the profiles; None if it has not been opened.
    """

    def __init__(self, layout: Layout | None = None) -> None:
        self.layout = layout
        self._profiles: dict[str, bytes] = {}
        self._num_bytes = 0
        self._lock = Lock()

    def add(self, receipt: str, profile: bytes | None) -> None:
        """Keep the profile of a published part, if there is one, and room for it."""
        with self._lock:
            if profile is not None and self._num_bytes + len(profile) <= MAX_BYTES:
                self._profiles[receipt] = profile
                self._num_bytes += len(profile)

    def add_all(self, profiles: Mapping[str, bytes]) -> None:
        """Keep those that another process has published."""
        for receipt, profile in profiles.items():
            self.add(receipt, profile)

    def all(self) -> dict[str, bytes]:
        """What is kept, by the checksum of the receipt."""
        return self._profiles

    def get(self, receipt: str) -> bytes | None:
        """The profile of a part; None if it is not kept."""
        return self._profiles.get(receipt)
