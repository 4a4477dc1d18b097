"""Many objects at once."""

from scoreline.pipeline.storage.objects import read_objects
from scoreline.pipeline.storage.ranges import read_range

from object_storage import Storage


def test_each_has_its_bytes_or_its_error(storage: Storage) -> None:
    """In the order of the URIs."""
    for number in range(40):
        storage.put(f"a/{number}", b"%d" % number)
    uris = [f"{storage.uri}/a/{number}" for number in range(41)]
    *found, missing = read_objects(uris)
    assert found == [b"%d" % number for number in range(40)]
    assert isinstance(missing, FileNotFoundError)
    wrong = read_objects(["http://host/a", f"{storage.uri}/a//b"])
    assert all(isinstance(one, OSError) for one in wrong)


def test_a_range(storage: Storage) -> None:
    """As of a file."""
    storage.put("a", bytes(range(100)))
    assert read_range(f"{storage.uri}/a", 10, 5) == bytes(range(10, 15))
