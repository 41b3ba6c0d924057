"""Spans: who hears of them, how they nest, and what a profile makes of them."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from rich.console import Console

from mmrag_plugin import tracing
from mmrag_plugin.cli.observing import in_front, show, table
from mmrag_plugin.profiling import Profile, Timed
from mmrag_plugin.tracing import Span, carried, span


class Ear:
    """Hears of spans."""

    def __init__(self) -> None:
        self.begun: list[Span] = []
        self.ended: list[Span] = []

    def begin(self, span: Span) -> None:
        self.begun.append(span)

    def enter(self, span: Span) -> None:
        pass

    def leave(self, span: Span) -> None:
        pass

    def end(self, span: Span) -> None:
        self.ended.append(span)

    def parents(self) -> dict[str, str | None]:
        return {one.name: one.parent and one.parent.name for one in self.ended}


@contextmanager
def listening(listener: Any) -> Iterator[Any]:
    tracing.listen(listener)
    try:
        yield listener
    finally:
        tracing.stop_listening(listener)


@pytest.fixture
def ear() -> Iterator[Ear]:
    with listening(Ear()) as heard:
        yield heard


# -- who hears of them ----------------------------------------------------------------------------


def test_a_span_that_nobody_hears_is_always_the_same_nothing() -> None:
    first, second = span("one", media=1), span("two")
    assert first is second
    with first as now, now.within():
        now.set(frames=2)
        now.private(question="red")
    assert tracing.current() is None


def test_a_listener_hears_names_counts_times_and_what_went_wrong(ear: Ear) -> None:
    def work() -> None:
        with span("outer", media=3) as now:
            now.set(frames=5)
            with span("inner"):
                raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        work()
    inner, outer = ear.ended
    assert ear.parents() == {"inner": "outer", "outer": None}
    assert outer.attributes == {"media": 3, "frames": 5}
    assert isinstance(outer.error, ValueError)
    assert 0 <= inner.duration_s <= outer.duration_s


def test_what_is_the_persons_own_is_left_out_unless_they_want_it(ear: Ear) -> None:
    for wanted in (False, True):
        tracing.tell_content(wanted)
        with span("search") as now:
            now.private(question="our wedding")
    tracing.tell_content(False)
    assert [one.attributes for one in ear.ended] == [{}, {"question": "our wedding"}]


def test_a_listener_that_fails_breaks_nothing(ear: Ear) -> None:
    class Deaf(Ear):
        def begin(self, span: Span) -> None:
            raise RuntimeError

        end = enter = leave = begin

    with listening(Deaf()), span("one"):
        done = True
    assert done
    assert [one.name for one in ear.ended] == ["one"]


def test_a_span_ends_once(ear: Ear) -> None:
    now = span("stream").begin()
    now.end()
    now.end(ValueError())
    assert [one.error for one in ear.ended] == [None]


# -- how they nest --------------------------------------------------------------------------------


def test_work_that_is_carried_into_threads_stays_within_its_span(ear: Ear) -> None:
    def work(_: int) -> None:
        with span("decode"):
            time.sleep(0.001)

    with span("embed"), ThreadPoolExecutor(3) as pool:
        list(pool.map(carried(work), range(9)))
        pool.submit(work, 0).result()  # nobody carried it
    parents = [one.parent and one.parent.name for one in ear.ended if one.name == "decode"]
    assert parents == ["embed"] * 9 + [None]


async def test_tasks_and_their_threads_stay_within_their_own_span(ear: Ear) -> None:
    async def one(name: str) -> None:
        with span(name):
            await asyncio.sleep(0.001)
            with span(f"{name} inside"):
                await asyncio.to_thread(lambda: span(f"{name} thread").__enter__().end())

    await asyncio.gather(*(one(name) for name in "abc"))
    for name in "abc":
        assert ear.parents()[f"{name} inside"] == name
        assert ear.parents()[f"{name} thread"] == f"{name} inside"


def test_a_stream_is_within_what_began_it_and_nothing_is_within_it_between_its_pieces(
    ear: Ear,
) -> None:
    def pieces() -> Iterator[int]:
        now = span("stream").begin()
        with now.within(), span("first"):
            pass
        yield 1
        now.end()

    with span("asked"):
        for _ in pieces():
            with span("reader"):
                pass
    assert ear.parents() == {
        "first": "stream", "reader": "asked", "stream": "asked", "asked": None
    }  # fmt: skip


# -- profiles -------------------------------------------------------------------------------------


def _waits(name: str, seconds: float) -> None:
    with span(name):
        time.sleep(seconds)


@pytest.fixture(scope="module")
def timed() -> Timed:
    profile = Profile("mmrag")
    with listening(profile), span("index"):
        for _ in range(3):
            _waits("ledger", 0.01)
        with span("embed", media=2) as now, ThreadPoolExecutor(4) as pool:
            for _ in range(4):
                pool.submit(carried(_waits), "decode", 0.05)
            now.set(frames=8)
        time.sleep(0.02)
    return profile.told()


def _walk(part: Timed) -> Iterator[Timed]:
    yield part
    for inner in part:
        yield from _walk(inner)


def test_a_profile_sums_up_by_name_within_what_it_is_in(timed: Timed) -> None:
    (index,) = timed
    assert [(part.name, part.count) for part in index] == [("ledger", 3), ("embed", 1)]
    ledger, embed = index
    assert embed.numbers == {"media": 2, "frames": 8}
    assert ledger.busy_s == pytest.approx(ledger.wall_s)
    assert 0.01 <= ledger.p50_s <= ledger.p95_s <= ledger.busy_s


def test_threads_side_by_side_are_busy_for_longer_than_the_wall_shows(timed: Timed) -> None:
    (decode,) = next(part for part in _walk(timed) if part.name == "embed")
    assert decode.count == 4
    assert decode.busy_s >= 4 * 0.05
    assert decode.wall_s < decode.busy_s
    assert decode.overlaps


def test_parts_that_do_not_overlap_and_what_is_alone_make_the_whole(timed: Timed) -> None:
    for part in _walk(timed):
        if part.parts and not part.overlaps:
            assert sum(inner.wall_s for inner in part) + part.alone_s == pytest.approx(part.wall_s)
    (index,) = timed
    assert index.alone_s >= 0.02


def test_a_profile_that_is_asked_in_between_counts_what_goes_on() -> None:
    profile = Profile("mmrag")
    with listening(profile), span("index"), span("embed"):
        time.sleep(0.01)
        (index,) = profile.told()
    (embed,) = index
    assert embed.count == 1
    assert index.wall_s >= embed.wall_s >= 0.01
    assert index.alone_s < 0.01


def test_a_span_that_outlives_what_it_is_within_takes_nothing_from_others() -> None:
    profile = Profile("mmrag")
    with listening(profile):
        with span("search"):
            late = span("stream").begin()
        time.sleep(0.01)
        late.end()
    (search,) = profile.told()
    (stream,) = search
    assert stream.wall_s >= 0.01
    assert search.alone_s >= 0


def _printed(timed: Timed, width: int) -> list[str]:
    console = Console(width=width, color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(table(timed, width))
    return [line.rstrip() for line in captured.get().splitlines()]


def _made(name: str, count: int, wall_s: float, busy_s: float, *parts: Timed) -> Timed:
    alone_s = max(wall_s - sum(part.wall_s for part in parts), 0.0) if parts else 0.0
    p50_s = busy_s / count
    return Timed(name, count, wall_s, busy_s, alone_s, p50_s, 2 * p50_s, {}, list(parts))


MADE = _made(
    "mmrag", 1, 20.0, 20.0,
    _made("start", 1, 0.02, 0.02),
    _made("ledger.open", 1, 0.03, 0.03),
    _made(
        "index", 1, 19.9, 19.9,
        _made("ledger.read", 1200, 1.2, 1.2),
        _made("index.embed", 1, 15.0, 15.0, _made("decode", 400, 13.0, 25.0)),
    ),
)  # fmt: skip


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_table_of_a_profile_fits_the_terminal(width: int) -> None:
    head, *lines = _printed(MADE, width)
    assert max(map(len, lines)) <= width
    assert ("p95" in head) == (width >= 72)
    assert ("busy" in head) == (width >= 50)
    assert ("times" in head) == (width >= 50)
    names = [re.split(r" {2,}\d", line)[0].rstrip() for line in lines]
    assert names == [
        "mmrag",
        "  index",
        "    ledger.read",
        "    index.embed",
        "      decode",
        "      else",
        "    else",
        "  small parts (2)",
    ]
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    counted = int(width >= 50)
    assert rows["ledger.read"][: 2 + counted] == [*["1,200"][:counted], "1.200", "6.0%"]
    assert rows["decode"][: 2 + counted] == [*["400"][:counted], "13.000", "65.0%"]
    assert rows["decode"][2 + counted :] == {40: [], 60: ["25.000"]}.get(
        width, ["25.000", "62.5", "ms", "125.0", "ms"]
    )


@pytest.mark.parametrize("width", [30, 40, 60])
def test_in_a_narrow_terminal_names_give_way_to_numbers(width: int) -> None:
    long = "milvus.describe_collection.of_everything_that_there_is"
    head, *lines = _printed(_made("mmrag", 1, 100.0, 100.0, _made(long, 1, 99.5, 99.5)), width)
    assert "wall s" in head
    assert max(map(len, lines)) <= width
    assert lines[1].split()[-2:] == ["99.500", "99.5%"]
    assert lines[1].split()[0].endswith("…")


def test_a_note_explains_busy_times_only_where_there_are_any(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(MADE, as_json=False)
    show(_made("mmrag", 1, 2.0, 2.0, _made("plan", 1, 1.0, 1.0)), as_json=False)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("busy is the sum") == 1


def test_the_shares_of_a_table_are_those_of_its_seconds() -> None:
    rows = [re.search(r"([\d.]+) +([\d.]+)%", line) for line in _printed(MADE, 60)[1:]]
    walls = [float(row[1]) for row in rows if row]
    shares = [float(row[2]) for row in rows if row]
    assert len(shares) == len(rows)
    assert shares[0] == 100.0
    for wall, share in zip(walls, shares, strict=True):
        assert share == pytest.approx(100 * wall / walls[0], abs=0.1)


def test_options_that_stand_anywhere_come_first_but_for_words_after_two_dashes() -> None:
    assert in_front(["search", "red", "-v", "--json"]) == ["-v", "search", "red", "--json"]
    assert in_front(["search", "--", "--profile"]) == ["search", "--", "--profile"]


def test_a_profile_may_be_fed_by_many_threads_at_once() -> None:
    profile = Profile("mmrag")

    def work() -> None:
        for _ in range(200):
            with span("a"), span("b"):
                pass

    with listening(profile):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    (a,) = profile.told()
    (b,) = a
    assert (a.count, b.count) == (800, 800)
    assert a.busy_s >= a.wall_s >= b.wall_s * 0.5
