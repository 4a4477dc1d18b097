"""Lanes: each flow scores on one device, on a lane of its own where there are enough."""

from scoreline.pipeline.running.lanes import Lane, Lanes


def test_flows_take_turns_among_devices() -> None:
    """Flow n is on device n % devices."""
    lanes = Lanes([2, 2, 2])
    assert lanes.num_devices == 3
    assert [lanes.take(flow) for flow in range(6)] == [Lane(flow % 3, flow // 3) for flow in range(6)]
    assert not any(lanes.has_free(flow) for flow in range(6))


def test_a_flow_keeps_its_lane() -> None:
    """If it is free; otherwise the one that was used last."""
    lanes = Lanes([3])
    taken = [lanes.take(flow) for flow in (0, 1, 2)]
    for lane in (taken[1], taken[2], taken[0]):
        lanes.give_back(lane)
    assert lanes.take(2) == Lane(0, 2)
    assert lanes.take(9) == Lane(0, 0)
    assert lanes.take(0) == Lane(0, 1)
    assert not lanes.has_free(1)


def test_devices_with_different_counts() -> None:
    """A device without a free lane does not borrow one."""
    lanes = Lanes([1, 2])
    assert lanes.take(0) == Lane(0, 0)
    assert not lanes.has_free(2)
    assert lanes.has_free(1)
