"""How long a model may take, and who hangs up when nobody waits any more."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from llama_index.core.llms import ChatMessage

from mmrag_plugin.errors import OllamaUnavailable, ServiceError
from mmrag_plugin.vlm.ollama import OllamaVLM
from mmrag_plugin.vlm.time_limits import Clock, TimeLimits
from ollama_double import OllamaDouble, Reply

ASKED = [ChatMessage(role="user", content="What?")]
SLOW_S = 30.0


@pytest.fixture
def double() -> Iterator[OllamaDouble]:
    with OllamaDouble() as double:
        yield double


def vlm(double: OllamaDouble, **limits: Any) -> OllamaVLM:
    llm = OllamaVLM("eye", double.url, backoff_s=0.01, **limits)
    llm.preflight()
    return llm


def whole(llm: OllamaVLM) -> None:
    llm.chat(ASKED)


def streamed(llm: OllamaVLM) -> None:
    for _ in llm.stream_chat(ASKED):
        pass


def awaited(llm: OllamaVLM) -> None:
    asyncio.run(llm.achat(ASKED))


def streamed_awaited(llm: OllamaVLM) -> None:
    async def listen() -> None:
        async for _ in await llm.astream_chat(ASKED):
            pass

    asyncio.run(listen())


WAYS = pytest.mark.parametrize("way", [whole, streamed, awaited, streamed_awaited])


@WAYS
@pytest.mark.parametrize(
    ("reply", "limits", "said"),
    [
        (Reply("late", delay_s=SLOW_S), {"first_token_s": 0.1}, "0.1 seconds without a word"),
        (Reply("a b", break_after=0, how="stall"), {"first_token_s": 0.1}, "without a word"),
        (Reply("a b c", break_after=1, how="stall"), {"between_s": 0.1}, "fell silent for 0.1"),
        (Reply("a b c", pause_s=SLOW_S), {"between_s": 0.1}, "fell silent"),
        (Reply("a b c", drip_s=0.02), {"first_token_s": 0.15}, "without a word"),
        (
            Reply("word " * 500, pause_s=0.02),
            {"total_s": 0.3, "first_token_s": 9, "between_s": 9},
            "not done after 0.3 seconds",
        ),
        (
            Reply("late", delay_s=SLOW_S),
            {"total_s": 0.1, "first_token_s": 9},
            "not done after 0.1 seconds",
        ),
    ],
)
def test_a_model_that_takes_too_long_is_an_error_that_names_the_limit(
    double: OllamaDouble, way: Any, reply: Reply, limits: dict[str, float], said: str
) -> None:
    double.script(reply)
    began = time.monotonic()
    with pytest.raises(ServiceError, match=said) as caught:
        way(vlm(double, **limits))
    assert time.monotonic() - began < 3
    assert "smaller model" in caught.value.remedy
    assert len(double.chats) == 1, "a slow server is not asked again"
    assert double.hang_ups.acquire(timeout=2)


@WAYS
def test_slow_but_steady_answers_arrive(double: OllamaDouble, way: Any) -> None:
    double.script(Reply("one two three", delay_s=0.2, pause_s=0.1))
    way(vlm(double, first_token_s=1.0, between_s=0.5, total_s=5.0))


def test_time_in_which_nobody_listens_does_not_count(double: OllamaDouble) -> None:
    double.script("one two three")
    pieces = []
    for piece in vlm(double, between_s=0.1, total_s=0.3).stream_chat(ASKED):
        time.sleep(0.2)
        pieces.append(piece.delta)
    assert pieces[:3] == ["one", " two", " three"]


def test_limits_follow_from_the_whole() -> None:
    assert TimeLimits.within(900) == TimeLimits(300, 60, 900)
    assert TimeLimits.within(900, 5, 1) == TimeLimits(5, 1, 900)


def test_a_clock_tells_which_limit_is_nearest() -> None:
    clock = Clock(TimeLimits(first_token_s=100, between_s=10, total_s=105))
    assert clock.left_s == float("inf")
    with clock.waiting():
        assert 99 < clock.left_s <= 100
    with clock.waiting():
        assert 9 < clock.left_s <= 10


# -- hanging up --------------------------------------------------------------------------------


def test_the_connection_is_closed_at_once_when_a_stream_is_ended(double: OllamaDouble) -> None:
    double.script(Reply("word " * 500, pause_s=0.05))
    stream = vlm(double).stream_chat(ASKED)
    next(stream)
    stream.close()
    assert double.hang_ups.acquire(timeout=1)


def test_a_stream_that_nobody_began_to_read_is_closed_too(double: OllamaDouble) -> None:
    double.script(*[Reply("word " * 500, pause_s=0.05)] * 2)
    vlm(double).stream_chat(ASKED).close()
    assert double.hang_ups.acquire(timeout=1)

    async def turn_away() -> None:
        await (await vlm(double).astream_chat(ASKED)).aclose()  # type: ignore[attr-defined]
        assert await asyncio.to_thread(double.hang_ups.acquire, timeout=1)

    asyncio.run(turn_away())


async def test_the_connection_is_closed_at_once_when_an_async_stream_is_ended(
    double: OllamaDouble,
) -> None:
    double.script(Reply("word " * 500, pause_s=0.05))
    stream = await vlm(double).astream_chat(ASKED)
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    assert await asyncio.to_thread(double.hang_ups.acquire, timeout=1)


@pytest.mark.parametrize("reply", [Reply("x", delay_s=SLOW_S), Reply("a b c", pause_s=SLOW_S)])
@pytest.mark.parametrize("scoped", [False, True])
async def test_the_connection_is_closed_at_once_when_a_task_is_cancelled(
    double: OllamaDouble, reply: Reply, scoped: bool
) -> None:
    """By asyncio, and by an anyio scope, in which every further await is cancelled, too."""
    double.script(reply)
    llm = vlm(double)
    if scoped:
        with anyio.move_on_after(0.2) as scope:
            await llm.achat(ASKED)
        assert scope.cancelled_caught
    else:
        task = asyncio.create_task(llm.achat(ASKED))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await asyncio.to_thread(double.hang_ups.acquire, timeout=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        gc.collect()


def test_no_thread_is_left_over(double: OllamaDouble) -> None:
    llm = vlm(double)
    for _ in range(3):
        llm.chat(ASKED)
    until = time.monotonic() + 2
    while any(thread.name == "mmrag-watchdog" for thread in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.01)


async def test_many_questions_at_once_keep_their_answers_apart(double: OllamaDouble) -> None:
    llm = vlm(double)

    async def ask() -> str:
        return str((await llm.achat(ASKED)).message.content)

    answers = await asyncio.gather(*(ask() for _ in range(8)))
    threaded = await asyncio.gather(*(asyncio.to_thread(llm.chat, ASKED) for _ in range(8)))
    assert {*answers, *(str(one.message.content) for one in threaded)} == {"I see no picture."}


# -- what passes, and what does not --------------------------------------------------------------


@WAYS
def test_a_connection_that_is_lost_before_anything_was_said_is_tried_again(
    double: OllamaDouble, way: Any
) -> None:
    double.script(*[Reply("a b", break_after=0, how="reset")] * 2)
    way(vlm(double))
    assert len(double.chats) == 3


@WAYS
def test_a_server_that_goes_away_while_it_answers_is_an_error(
    double: OllamaDouble, way: Any
) -> None:
    double.script(Reply("a b c d", pause_s=0.3))
    llm = vlm(double)
    stopping = threading.Timer(0.4, double.stop)
    stopping.start()
    with pytest.raises(ServiceError, match="broke off") as caught:
        way(llm)
    stopping.join()
    assert not isinstance(caught.value, OllamaUnavailable)
