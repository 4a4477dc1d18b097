"""Keys by identity."""

from functools import lru_cache

from scoreline.pipeline.same import Same


def test_equal_lists_are_not_the_same() -> None:
    first, second = ["a"], ["a"]
    assert Same(first) == Same(first) != Same(second)
    assert Same(first) != first


def test_a_cache_keeps_its_objects() -> None:
    """Otherwise a new object could have the id of one that is gone."""
    calls = []

    @lru_cache(maxsize=100)
    def first_of(same: Same[list[int]]) -> int:
        calls.append(same)
        return same.value[0]

    assert [first_of(Same([number])) for number in range(100)] == list(range(100))
    assert len(calls) == 100
