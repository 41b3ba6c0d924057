"""Iterators that run ahead keep the order and their bound, and end when nobody listens."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from mmrag_plugin.index_ahead import ahead, each_ahead


def test_results_come_in_the_order_of_the_items_though_some_take_longer() -> None:
    def work(item: int) -> Iterator[int]:
        time.sleep(0.02 if item % 3 == 0 else 0)
        yield item
        yield -item

    found = list(each_ahead(work, range(12), threads=4, waiting=6))
    assert found == [value for item in range(12) for value in (item, -item)]


def test_no_more_is_begun_than_may_wait() -> None:
    begun: list[int] = []

    def items() -> Iterator[int]:
        for item in range(50):
            begun.append(item)
            yield item

    results = each_ahead(lambda item: [item], items(), threads=2, waiting=5)
    assert next(results) == 0
    time.sleep(0.1)
    assert len(begun) == 5
    results.close()


def test_one_that_runs_ahead_stops_at_its_bound_and_is_closed_with_who_listens() -> None:
    made: list[int] = []
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                made.append(len(made))
                yield made[-1]
        finally:
            closed.set()

    results = ahead(endless(), 3)
    assert [next(results), next(results)] == [0, 1]
    time.sleep(0.1)
    assert len(made) <= 7
    results.close()
    assert closed.wait(5)


def test_what_goes_wrong_is_raised_when_its_turn_comes() -> None:
    def work(item: int) -> Iterator[int]:
        if item == 2:
            raise KeyboardInterrupt
        yield item

    results = each_ahead(work, range(9), threads=3, waiting=9)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(KeyboardInterrupt):
        next(results)
    assert not [
        thread for thread in threading.enumerate() if thread.name.startswith("mmrag-ahead")
    ], "no thread is left"
