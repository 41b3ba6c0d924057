"""Several things at once: their order, their errors, and what they see of the caller."""

from __future__ import annotations

import threading
import time
from contextvars import ContextVar

import pytest

from mmrag_plugin.side_by_side import side_by_side

asked_by: ContextVar[str] = ContextVar("asked_by", default="nobody")


def test_results_come_in_order_and_the_last_runs_in_the_callers_thread() -> None:
    meeting = threading.Barrier(3, timeout=10)  # fails unless all are under way together

    def work(number: int) -> tuple[int, int]:
        meeting.wait()
        return number, threading.get_ident()

    found = side_by_side([lambda number=number: work(number) for number in range(3)])  # type: ignore[misc]
    assert [number for number, _ in found] == [0, 1, 2]
    assert found[2][1] == threading.get_ident()
    assert len({thread for _, thread in found}) == 3
    assert side_by_side([]) == []


def test_each_sees_the_context_of_the_caller() -> None:
    token = asked_by.set("a test")
    try:
        assert side_by_side([asked_by.get] * 3) == ["a test"] * 3
    finally:
        asked_by.reset(token)


@pytest.mark.parametrize("failing", [{0}, {1}, {2}, {0, 2}, {1, 2}])
def test_the_first_error_is_raised_once_all_have_ended(failing: set[int]) -> None:
    ended: list[int] = []

    def work(number: int) -> None:
        time.sleep(0.02 * (3 - number))
        ended.append(number)
        if number in failing:
            raise ValueError(str(number))

    with pytest.raises(ValueError, match=str(min(failing))):
        side_by_side([lambda number=number: work(number) for number in range(3)])  # type: ignore[misc]
    assert sorted(ended) == [0, 1, 2]
