"""Whose turn it is: windows, fairness, probes, pages."""

from __future__ import annotations

import msgspec

from foundation.mail.envelope import Sender
from hubtransport.delivery.scheduler import (
    CONNECTIONS_PER_HOP,
    STALL_MS,
    WINDOW,
    WINDOW_FAILING,
    HopQueue,
    Scheduler,
)
from hubtransport.queues.records import HopState, QueuedMessage, StoredHop, Unit

MESSAGE = QueuedMessage(
    entry_id="e",
    network_message_id="n",
    sender=Sender(address=""),
    content_bytes=0,
    content_sha256="",
    received_at_ms=0,
    expires_at_ms=0,
)


def unit(key: str, hop: str) -> Unit:
    return Unit(key=key, message=MESSAGE, recipients=(), hop=hop, created_at_ms=0, expires_at_ms=0)


def fill(scheduler: Scheduler, hop: str, count: int) -> None:
    for number in range(count):
        assert scheduler.reserve(hop, 0)
        scheduler.add(unit(f"{hop}-{number}", hop))


def failed(hop: str, at_ms: int) -> HopState:
    return HopState(
        hop=hop,
        failures=1,
        failing_since_ms=0,
        last_attempt_at_ms=0,
        next_attempt_at_ms=at_ms,
        last_reply="no",
    )


def test_connections_are_shared_out_in_turn_within_both_bounds() -> None:
    scheduler = Scheduler(total=30)
    fill(scheduler, "mx:o:long.test", 100)
    fill(scheduler, "mx:o:short.test", 2)
    fill(scheduler, "mx:o:other.test", 100)
    opened = scheduler.to_open(0)
    assert len(opened) == 30
    assert opened.count("mx:o:short.test") == 2
    assert abs(opened.count("mx:o:long.test") - opened.count("mx:o:other.test")) <= 1
    assert scheduler.to_open(0) == []


def test_one_hop_gets_no_more_than_its_share() -> None:
    scheduler = Scheduler()
    fill(scheduler, "mx:o:a", 100)
    assert scheduler.to_open(0) == ["mx:o:a"] * CONNECTIONS_PER_HOP


def test_an_idle_connection_is_enough_for_one_unit() -> None:
    scheduler = Scheduler()
    fill(scheduler, "mx:o:a", 1)
    assert scheduler.to_open(0) == ["mx:o:a"]
    assert scheduler.to_open(0) == []


def test_failed_hop_is_probed_by_one_connection_when_its_time_has_come() -> None:
    scheduler = Scheduler()
    fill(scheduler, "mx:o:a", 5)
    scheduler.failed(failed("mx:o:a", 1000))
    assert scheduler.to_open(999) == []
    assert scheduler.next_time_ms(999) == 1000
    assert scheduler.to_open(1000) == ["mx:o:a"]
    assert scheduler.to_open(1000) == []
    assert scheduler.failing() == {"mx:o:a"}
    assert scheduler.recovered("mx:o:a")
    assert not scheduler.recovered("mx:o:a")
    assert len(scheduler.to_open(1000)) == 4


def test_memory_is_bounded_and_smaller_for_a_failed_hop() -> None:
    scheduler = Scheduler()
    fill(scheduler, "mx:o:a", WINDOW)
    assert not scheduler.reserve("mx:o:a", 0)
    scheduler.failed(failed("mx:o:b", 10))
    fill(scheduler, "mx:o:b", WINDOW_FAILING)
    assert not scheduler.reserve("mx:o:b", 0)


def test_older_units_in_the_database_go_before_new_ones() -> None:
    scheduler = Scheduler()
    scheduler.add_stored("mx:o:a", 1, 100)
    assert scheduler.reserve("mx:o:a", 99)
    assert not scheduler.reserve("mx:o:a", 100)


def test_pages_are_asked_for_when_due_and_when_there_is_room() -> None:
    scheduler = Scheduler()
    scheduler.add_stored("mx:o:a", 10, 500)
    scheduler.add_stored("mx:o:a", 10, 300)
    assert scheduler.to_load(299) == []
    assert scheduler.next_time_ms(0) == 300
    (queue,) = scheduler.to_load(300)
    queue.loading = True
    assert scheduler.to_load(300) == []
    queue.loading = False
    scheduler.set_stored(StoredHop("mx:o:a", 0, 0))
    assert scheduler.to_load(300) == []


def test_a_full_page_is_taken_off_and_another_asked_for() -> None:
    scheduler = Scheduler()
    scheduler.add_stored("mx:o:a", 5, 100)
    page = [unit("k1", "mx:o:a"), unit("k2", "mx:o:a")]
    page[1] = msgspec.structs.replace(page[1], next_attempt_at_ms=700)
    scheduler.take_page("mx:o:a", page)
    queue = scheduler.queue("mx:o:a")
    assert (queue.stored, queue.stored_due_ms, queue.length) == (3, 700, 5)
    assert scheduler.to_load(699) == []
    assert scheduler.to_load(700) == [queue]
    scheduler.take_page("mx:o:a", page * 2)
    assert scheduler.to_load(700) == [queue], "only a page that is not full says that there are no more"


def test_failed_hop_loads_only_what_its_probe_needs() -> None:
    scheduler = Scheduler()
    scheduler.add_stored("mx:o:a", 100, 0)
    scheduler.failed(failed("mx:o:a", 1000))
    assert scheduler.to_load(999) == []
    (queue,) = scheduler.to_load(1000)
    assert queue.room == WINDOW_FAILING


def test_refused_further_connections_lower_the_share() -> None:
    scheduler = Scheduler()
    fill(scheduler, "mx:o:a", 50)
    assert len(scheduler.to_open(0)) == CONNECTIONS_PER_HOP
    assert not scheduler.crowded("mx:o:a", 0)
    scheduler.queue("mx:o:a").open = 3
    assert scheduler.crowded("mx:o:a", 0)
    for _ in range(CONNECTIONS_PER_HOP):
        scheduler.closed("mx:o:a")
    scheduler.queue("mx:o:a").idle = 0
    assert len(scheduler.to_open(0)) == 3
    scheduler.tidy()
    assert scheduler.to_open(0) == ["mx:o:a"]


def test_put_back_is_first_again_and_empty_queues_are_forgotten() -> None:
    scheduler = Scheduler()
    fill(scheduler, "mx:o:a", 2)
    first = scheduler.take("mx:o:a")
    assert first is not None
    scheduler.put_back(first)
    assert scheduler.take("mx:o:a") is first
    scheduler.done(first)
    second = scheduler.take("mx:o:a")
    assert second is not None
    scheduler.tidy()
    assert scheduler.peek("mx:o:a") is not None
    scheduler.done(second)
    scheduler.tidy()
    assert scheduler.peek("mx:o:a") is None
    assert scheduler.take("mx:o:a") is None


def test_own_server_is_probed_though_nobody_waits_and_a_stranger_is_forgotten() -> None:
    scheduler = Scheduler()
    scheduler.failed(failed("hub::hub-b", 1000))
    scheduler.failed(failed("mx:o:a", 1000))
    assert scheduler.next_time_ms(0) == 1000
    assert scheduler.to_open(999) == []
    assert scheduler.done_failing(999) == []
    assert scheduler.to_open(1000) == ["hub::hub-b"]
    assert scheduler.done_failing(1000) == ["mx:o:a"]
    assert scheduler.failing() == {"hub::hub-b"}


def stalling(hop: str, connections: int) -> tuple[Scheduler, HopQueue]:
    """So many connections stand, each has a unit since moment 0, and others wait."""
    scheduler = Scheduler()
    fill(scheduler, hop, connections + 5)
    assert scheduler.to_open(0).count(hop) >= connections
    queue = scheduler.queue(hop)
    queue.connections = queue.open = queue.connections_max = connections
    queue.idle = 0
    for _ in range(connections):
        assert scheduler.take(hop) is not None
        queue.begun(0)
    return scheduler, queue


def test_own_server_that_answers_nothing_is_asked_by_one_more_connection() -> None:
    scheduler, queue = stalling("hub::b", 3)
    assert scheduler.to_open(STALL_MS - 1) == []
    assert scheduler.next_time_ms(STALL_MS - 1) == STALL_MS
    assert scheduler.to_open(STALL_MS) == ["hub::b"]
    assert scheduler.to_open(STALL_MS) == []
    assert scheduler.next_time_ms(STALL_MS) is None
    scheduler.closed("hub::b")
    assert not scheduler.crowded("hub::b", STALL_MS)
    queue.moved_at_ms = STALL_MS
    assert scheduler.crowded("hub::b", STALL_MS)
    assert scheduler.next_time_ms(STALL_MS) == 2 * STALL_MS


def test_a_stalled_own_server_gets_one_connection_beyond_its_share_and_no_more() -> None:
    scheduler, queue = stalling("hub::b", CONNECTIONS_PER_HOP)
    assert scheduler.to_open(STALL_MS) == ["hub::b"]
    queue.open += 1
    queue.idle = 0
    assert scheduler.to_open(2 * STALL_MS) == []
    assert scheduler.next_time_ms(2 * STALL_MS) is None


def test_a_stranger_that_answers_nothing_is_waited_for() -> None:
    scheduler, _ = stalling("mx:o:a", 3)
    assert scheduler.to_open(STALL_MS * 100) == []
    assert scheduler.crowded("mx:o:a", STALL_MS * 100)


def test_a_server_with_nothing_in_hand_is_not_stalled_and_a_clock_may_go_back() -> None:
    queue = HopQueue("hub::b")
    assert not queue.stalled(STALL_MS)
    queue.begun(STALL_MS)
    assert not queue.stalled(STALL_MS + 1)
    queue.begun(2 * STALL_MS - 1)
    assert queue.stalled(2 * STALL_MS)
    assert queue.stalled(STALL_MS - 1)


def test_a_stalled_hop_that_failed_is_probed_beside_the_connections_that_stand() -> None:
    scheduler, _ = stalling("hub::b", 3)
    scheduler.failed(failed("hub::b", 1000))
    assert scheduler.next_time_ms(0) == 1000
    assert scheduler.to_open(999) == []
    assert scheduler.to_open(1000) == ["hub::b"]
    assert scheduler.to_open(1000) == []
    assert scheduler.next_time_ms(1000) is None
