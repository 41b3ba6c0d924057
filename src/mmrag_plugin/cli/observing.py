"""`--profile` and `--verbose`, which stand before or after any command; and what they print."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.cli.console import errors, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from mmrag_plugin.profiling import Profile, Timed
    from mmrag_plugin.settings import Settings

ANYWHERE = re.compile("--profile|--verbose|-v+")
NARROW, NARROWEST = 72, 50  # columns below which percentiles; counts and busy times are left out
SMALL = 0.005  # of the whole: parts below it are told together


class Observing:
    """What one command is watched by."""

    def __init__(self) -> None:
        self._profile: Profile | None = None
        self._verbose = 0
        self._exports = False
        self.others = False  # whether what other libraries log is shown like ours

    def begin(self, *, verbose: int, profile: bool) -> None:
        """Watch a command from now on."""
        from mmrag_plugin import logs

        self._verbose = verbose
        logs.set_up(*logs.from_environment(verbose))
        if profile:
            from mmrag_plugin.profiling import Profile
            from mmrag_plugin.tracing import listen

            now_s = time.perf_counter()
            began_s = now_s - _age_s()
            self._profile = Profile("mmrag", began_s)
            self._profile.add("start", began_s, now_s)
            listen(self._profile)
        if any(name.startswith("OTEL_") for name in os.environ):
            from mmrag_plugin import tracing_otel

            self._exports = tracing_otel.is_wanted()
            tracing_otel.set_up("mmrag")

    def settle(self, settings: Settings) -> None:
        """Do as the settings say, the library's own file included; ``-v`` wins over them."""
        from mmrag_plugin import logs, tracing

        level = settings.log if not self._verbose else logs.from_environment(self._verbose)[0]
        file = settings.log_path
        planned = not settings.directory.is_dir()
        if file is not None and planned and file.is_relative_to(settings.directory):
            file = None
        logs.set_up(level, settings.log_format, file, others=self.others)
        tracing.tell_content(settings.trace_content)

    def end(self, *, as_json: bool) -> None:
        """Print where the time went, and send what spans are left."""
        profile, self._profile = self._profile, None
        if profile is not None:
            from mmrag_plugin.tracing import stop_listening

            stop_listening(profile)
            show(profile.told(), as_json=as_json)
        if self._exports:
            from mmrag_plugin.tracing_otel import finish

            finish()


observing = Observing()


def in_front(arguments: Sequence[str]) -> list[str]:
    """Arguments with those that may stand anywhere before the command, which takes them.

    >>> in_front(["search", "red", "--profile", "--", "-v"])
    ['--profile', 'search', 'red', '--', '-v']
    """
    arguments = list(arguments)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options, rest = arguments[:end], arguments[end:]
    first = [option for option in options if ANYWHERE.fullmatch(option)]
    others = (option for option in options if not ANYWHERE.fullmatch(option))
    return [*first, *others, *rest]


def show(whole: Timed, *, as_json: bool) -> None:
    """Print a profile to stderr: a table, or one line of JSON."""
    if as_json:
        print_json({"profile": whole.as_dict()}, to=sys.stderr)
        return
    errors.print(table(whole, errors.width))
    if any(part.overlaps for part in _all(whole)):
        errors.print(
            "Parts that ran side by side overlap: busy is the sum of all of them, wall how long "
            "any of them ran, so walls may add up to more than what they are within.",
            style="dim",
        )


def table(whole: Timed, width: int) -> Table:
    """The table of a profile, for a terminal of so many columns."""
    from rich.table import Table

    shows_busy = width >= NARROWEST and any(
        part.busy_s > 1.05 * part.wall_s for part in _all(whole)
    )
    numbers = ["times"] if width >= NARROWEST else []
    numbers += ["wall s", "share"]
    numbers += ["busy s"] if shows_busy else []
    numbers += ["p50", "p95"] if width >= NARROW else []
    rows = []
    for name, count, wall_s, busy_s, timed in _rows(whole):
        cells = [name] + [f"{count:,}" if count else ""] * (width >= NARROWEST)
        cells.append(f"{wall_s:.3f}")
        cells.append(f"{wall_s / whole.wall_s:.1%}" if whole.wall_s else "")
        if shows_busy:
            cells.append(f"{busy_s:.3f}" if busy_s > 1.05 * wall_s else "")
        if width >= NARROW:
            many = timed is not None and timed.count > 1
            cells += [_short(timed.p50_s), _short(timed.p95_s)] if timed and many else ["", ""]
        rows.append(cells)
    numbered = (row[1:] for row in rows)
    taken = [2 + max(map(len, column)) for column in zip(numbers, *numbered, strict=True)]
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    title = "where the time went" if width >= NARROWEST else "part"
    # names give way, numbers do not
    room = max(width - sum(taken), len(title))
    shown.add_column(title, overflow="ellipsis", no_wrap=True, max_width=room)
    for name in numbers:
        shown.add_column(name, justify="right", no_wrap=True)
    for cells in rows:
        shown.add_row(*cells)
    return shown


def _rows(
    timed: Timed, whole: Timed | None = None, depth: int = 0
) -> Iterator[tuple[str, int, float, float, Timed | None]]:
    """Each part with its name at its depth: times, wall and busy seconds, and its percentiles."""
    whole = whole or timed
    yield "  " * depth + timed.name, timed.count, timed.wall_s, timed.busy_s, timed
    if timed.wall_s < 2 * SMALL * whole.wall_s:
        return  # nothing in it is worth a line
    small = [part for part in timed if part.wall_s < SMALL * whole.wall_s]
    small = small if len(small) > 1 else []
    for part in timed:
        if part not in small:
            yield from _rows(part, whole, depth + 1)
    inset = "  " * (depth + 1)
    if small:
        wall_s = sum(part.wall_s for part in small)
        count = sum(part.count for part in small)
        busy_s = sum(part.busy_s for part in small)
        yield f"{inset}small parts ({len(small)})", count, wall_s, busy_s, None
    if timed.parts and timed.alone_s >= SMALL * whole.wall_s:
        yield f"{inset}else", 0, timed.alone_s, timed.alone_s, None


def _all(timed: Timed) -> Iterator[Timed]:
    yield timed
    for part in timed:
        yield from _all(part)


def _short(seconds: float) -> str:
    if seconds >= 10:
        return f"{seconds:.0f} s"
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{1000 * seconds:.1f} ms" if seconds >= 0.0001 else f"{1e6 * seconds:.0f} µs"


def _age_s() -> float:
    """How long this process has been there; at least how long it has worked."""
    with suppress(OSError, ValueError, IndexError, AttributeError):
        told = Path("/proc/self/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        began_s = int(told[19]) / os.sysconf("SC_CLK_TCK")  # after the start of the machine
        return max(time.clock_gettime(time.CLOCK_BOOTTIME) - began_s, 0.0)
    return time.process_time()
