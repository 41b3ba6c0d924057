"""What is seen of a run and a query: OpenTelemetry's spans, `--profile`, logs; and what is not."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.stdio import stdio_client
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from commands import environment, mmrag, mmrag_here, told
from mcp_calls import call, said
from media_made import end_owners
from mmrag_mcp.server import MmragServer
from mmrag_mcp.warming import WarmLibrary
from mmrag_plugin import logs, tracing
from mmrag_plugin.errors import MediaError
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.settings import Settings
from ollama_double import OllamaDouble
from served_library import DEMO_MEDIA, over_stdio

QUESTION = "zwetschgenkuchen red barn"  # words that stand nowhere else
PRIVATE = ("zwetschgenkuchen", "barn", "IMG_", "Pictures", "Lisbon", "/")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("observed")
    for folder in ("Farm weekend", "Films"):
        shutil.copytree(DEMO_MEDIA / folder, place / "Pictures" / folder)
    home = place / "libraries"
    done = mmrag_here(home, "index", place / "Pictures", "--no-ocr", "--json", "--profile")
    assert told(done, 0)["added"] > 2
    (place / "profile.json").write_text(done.stderr, encoding="utf-8")
    yield home
    end_owners(home)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What a program that has set a TracerProvider exports."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter


def _parents(spans: InMemorySpanExporter) -> dict[str, set[str]]:
    """The names of spans with those of what they are within."""
    finished = spans.get_finished_spans()
    names = {one.context.span_id: one.name for one in finished if one.context}
    found: dict[str, set[str]] = {}
    for one in finished:
        found.setdefault(one.name, set()).add(names[one.parent.span_id] if one.parent else "")
    return found


def _of(spans: InMemorySpanExporter, name: str) -> ReadableSpan:
    return next(one for one in spans.get_finished_spans() if one.name == name)


def _all_told(spans: InMemorySpanExporter) -> str:
    return "\n".join(
        json.dumps([one.name, dict(one.attributes or {}), one.status.description])
        + "".join(json.dumps([e.name, dict(e.attributes or {})]) for e in one.events)
        for one in spans.get_finished_spans()
    )


# -- OpenTelemetry --------------------------------------------------------------------------------


def test_a_run_of_indexing_is_one_trace_of_its_stages_and_their_parts(
    spans: InMemorySpanExporter, tmp_path: Path
) -> None:
    shutil.copytree(DEMO_MEDIA / "Farm weekend", tmp_path / "Pictures")
    home = tmp_path / "libraries"
    options = ("--captions", "missing", "--caption-workers", "2", "--json")
    try:
        with OllamaDouble() as ollama:
            more = {"OLLAMA_HOST": ollama.url, "MMRAG_VLM": "eye"}
            told(mmrag_here(home, "index", tmp_path / "Pictures", *options, **more), 0)
    finally:
        end_owners(home)
    parents = _parents(spans)
    stages = ("scan", "read", "words", "dates", "embed", "looks", "ocr", "caption")
    for stage in stages:
        assert "index" in parents[f"index.{stage}"]
    # captions that take long are brought in between them
    assert "index" in parents["index.words"] <= {"index", "index.caption"}
    assert "index.embed" in parents["encode.pictures"]
    assert {"index.embed", "index.ocr"} <= parents["decode"]  # in threads of their own
    assert "index.ocr" in parents["ocr.read"]
    assert parents["chat eye"] == {"index.caption"}  # asked on an event loop of its own
    assert {"index.embed", "index.words"} <= parents["milvus.upsert"]
    assert {"index.read", "index.embed"} <= parents["ledger.write"]
    index = _of(spans, "index")
    assert index.attributes is not None
    assert index.attributes["mmrag.added"] == 3
    inside = [one for one in spans.get_finished_spans() if one.name.startswith("index")]
    assert len({one.context.trace_id for one in inside if one.context}) == 1
    upsert = _of(spans, "milvus.upsert")
    assert upsert.kind is trace.SpanKind.CLIENT
    assert upsert.attributes is not None
    assert upsert.attributes["db.system.name"] == "milvus"
    assert upsert.attributes["db.operation.name"] == "upsert"
    _nothing_private(spans)


def _nothing_private(spans: InMemorySpanExporter) -> None:
    everything = re.sub(r"\b(tools|server)/[a-z]+", "", _all_told(spans))  # MCP's own names
    assert not [word for word in PRIVATE if word in everything]


def test_a_search_tells_of_its_channels_and_not_what_was_asked(
    spans: InMemorySpanExporter, home: Path
) -> None:
    told(mmrag_here(home, "search", QUESTION, "--json"), 0)
    parents = _parents(spans)
    assert parents["channel.visual"] == parents["channel.bm25"] == {"search"}
    assert parents["encode.texts"] == {"search"}
    assert {"channel.visual", "channel.bm25"} <= parents["milvus.search"]
    assert parents["fusion"] == parents["hits"] == {"search"}
    assert parents["plan"] == {""}
    _nothing_private(spans)


def test_content_is_told_where_the_person_wants_it(spans: InMemorySpanExporter, home: Path) -> None:
    told(mmrag_here(home, "search", QUESTION, "--json", MMRAG_TRACE_CONTENT="1"), 0)
    tracing.tell_content(False)
    assert "zwetschgenkuchen" in _all_told(spans)


def test_an_error_is_told_by_its_class_and_not_by_its_words(
    spans: InMemorySpanExporter, home: Path
) -> None:
    library = MediaLibrary.open(Settings(home=home, visual_model="palette"))
    with library, pytest.raises(MediaError, match="gone"), tracing.span("outer"):
        library.similar(str(home / "gone.jpg"))
    outer = _of(spans, "outer")
    assert outer.attributes == {"error.type": "MediaError"}
    assert outer.status.status_code is trace.StatusCode.ERROR
    assert "gone" not in _all_told(spans)


def test_an_answer_tells_of_tokens_and_sources_and_neither_question_nor_answer(
    spans: InMemorySpanExporter, home: Path
) -> None:
    with OllamaDouble() as ollama:
        more = {"OLLAMA_HOST": ollama.url, "MMRAG_VLM": "eye"}
        told(mmrag_here(home, "ask", "a red barn?", "--json", **more), 0)
    parents = _parents(spans)
    assert parents["chat eye"] == {"answer"}
    assert "answer" in parents["search"] | parents["question"]
    chat = _of(spans, "chat eye").attributes
    assert chat is not None
    assert chat["gen_ai.operation.name"] == "chat"
    assert chat["gen_ai.provider.name"] == "ollama"
    assert chat["gen_ai.request.model"] == "eye"
    assert isinstance(chat["gen_ai.usage.output_tokens"], int)
    answer = _of(spans, "answer").attributes
    assert answer is not None
    assert isinstance(answer["mmrag.sources"], int)
    assert answer["mmrag.sources"] >= 1
    _nothing_private(spans)


async def test_a_tool_of_mcp_is_within_the_span_of_the_request_that_the_sdk_makes(
    spans: InMemorySpanExporter, home: Path
) -> None:
    library = MediaLibrary.open(Settings(home=home, visual_model="palette", text_model="off"))
    warm = WarmLibrary(library.for_assistants)
    try:
        result = await call(MmragServer(warm), "search_media", query=QUESTION)
        wrong = await call(MmragServer(warm), "get_media", media_id="none")
    finally:
        library.close()
    assert "red barn" in said(result).lower() or not result.is_error
    assert wrong.is_error
    parents = _parents(spans)
    assert parents["tool"] == {"tools/call search_media", "tools/call get_media"}
    assert "tool" in parents["question"]
    assert "warm" in parents["searcher"]
    tools = [one.attributes for one in spans.get_finished_spans() if one.name == "tool"]
    assert [one["gen_ai.tool.name"] for one in tools if one] == ["search_media", "get_media"]
    assert tools[1] is not None
    assert tools[1]["mmrag.refused"] == "not_found"
    _nothing_private(spans)


class _Collector(BaseHTTPRequestHandler):
    received: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).received.append((self.path, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def _collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    _Collector.received = []
    server = HTTPServer(("127.0.0.1", 0), _Collector)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", _Collector.received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_standard_variables_send_the_spans_of_a_command_to_a_collector(home: Path) -> None:
    with _collector() as (url, received):
        done = mmrag(home, "status", "--json", OTEL_EXPORTER_OTLP_ENDPOINT=url)
    assert done.returncode == 0, done.stderr
    assert {path for path, _ in received} == {"/v1/traces"}
    sent = b"".join(body for _, body in received)
    assert b"ledger.open" in sent
    assert b"mmrag" in sent
    assert b"Pictures" not in sent


def test_a_collector_that_is_away_holds_up_nothing_for_long(home: Path) -> None:
    away = "http://127.0.0.1:9"
    done = mmrag(home, "status", "--json", OTEL_EXPORTER_OTLP_ENDPOINT=away, timeout_s=60)
    told(done, 0)


def test_spans_on_a_console_go_to_stderr(home: Path) -> None:
    done = mmrag(home, "status", "--json", OTEL_TRACES_EXPORTER="console")
    told(done, 0)
    assert '"name": "ledger.open"' in done.stderr


@pytest.mark.parametrize(("exporter", "says"), [("zipkin", "zipkin is not known"), ("none", "")])
def test_variables_that_mmrag_cannot_follow_are_told_and_stop_nothing(
    home: Path, exporter: str, says: str
) -> None:
    done = mmrag_here(home, "status", "--json", OTEL_TRACES_EXPORTER=exporter)
    told(done, 0)
    assert says in done.stderr
    assert bool(says) == bool(done.stderr)


def test_without_such_variables_nothing_of_opentelemetry_is_imported(home: Path) -> None:
    program = (
        "import sys\nfrom mmrag_plugin.cli import main\n"
        "import atexit; atexit.register(lambda: print("
        "[n for n in sys.modules if n.startswith('opentelemetry.sdk')], file=sys.stderr))\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "status", "--json"],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr.strip() == "[]"


# -- --profile ------------------------------------------------------------------------------------


def _named(part: dict[str, Any], name: str) -> list[dict[str, Any]]:
    inner = [found for one in part.get("parts", ()) for found in _named(one, name)]
    return [part, *inner] if part["name"] == name else inner


def test_the_profile_of_a_run_goes_to_stderr_as_one_line_of_json(home: Path) -> None:
    lines = (home.parent / "profile.json").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith("{")]
    whole = json.loads(line)["profile"]
    (index,) = _named(whole, "index")
    assert index["numbers"]["added"] > 2
    stages = [part["name"] for part in index["parts"]]
    assert stages.index("index.scan") < stages.index("index.read") < stages.index("index.embed")
    assert whole["wall_s"] >= index["wall_s"] >= sum(
        part["wall_s"] for part in index["parts"] if part["name"].startswith("index.")
    ) * 0.99  # fmt: skip
    (embed,) = _named(index, "index.embed")
    assert _named(embed, "decode")
    assert _named(embed, "encode.pictures")


@pytest.mark.parametrize(
    "words", [("--profile", "search", "red barn"), ("search", "red barn", "--profile")]
)
def test_a_search_shows_where_its_time_went_below_its_results(
    home: Path, words: tuple[str, ...]
) -> None:
    done = mmrag_here(home, *words, COLUMNS="60")
    assert done.returncode == 0
    assert "where the time went" not in done.stdout
    head, *rows = done.stderr[done.stderr.index("where the time went") :].splitlines()
    assert "wall s" in head
    assert "share" in head
    assert rows[0].split()[0] == "mmrag"
    assert "100.0%" in rows[0]
    assert max(map(len, rows)) <= 60


def test_a_command_that_fails_shows_its_profile_all_the_same(home: Path) -> None:
    done = mmrag_here(home, "similar", home / "nothing.jpg", "--profile", "--json")
    assert done.returncode != 0
    assert "error" in json.loads(done.stdout)
    assert json.loads(done.stderr.splitlines()[-1])["profile"]["name"] == "mmrag"


# -- logs -----------------------------------------------------------------------------------------


@pytest.fixture
def quiet_again() -> Iterator[None]:
    yield
    logs.set_up()


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.usefixtures("quiet_again")
def test_logs_are_json_lines_without_what_is_private(home: Path) -> None:
    more = {"MMRAG_LOG": "debug", "MMRAG_LOG_FORMAT": "json"}
    done = mmrag_here(home, "search", QUESTION, "--json", **more)
    told(done, 0)
    lines = _lines(done.stderr)
    for line in lines:
        assert {"time", "level", "logger", "event", "process"} <= line.keys()
        assert line["logger"].partition(".")[0] == "mmrag"
    (search,) = [line for line in lines if line["event"] == "search ended"]
    assert search["hits"] >= 1
    assert search["duration_s"] > 0
    assert not [word for word in PRIVATE if word in done.stderr]


@pytest.mark.usefixtures("quiet_again")
def test_a_line_of_the_log_says_which_trace_it_belongs_to(
    spans: InMemorySpanExporter, home: Path
) -> None:
    more = {"MMRAG_LOG": "debug", "MMRAG_LOG_FORMAT": "json"}
    done = mmrag_here(home, "search", "red", "--json", **more)
    (line,) = [line for line in _lines(done.stderr) if line["event"] == "search ended"]
    context = _of(spans, "search").context
    assert context is not None
    assert line["trace_id"] == format(context.trace_id, "032x")
    assert line["span_id"] == format(context.span_id, "016x")


@pytest.mark.usefixtures("quiet_again")
def test_verbose_tells_people_what_is_done_and_twice_every_part_of_it(home: Path) -> None:
    quiet, once, twice = (
        mmrag_here(home, "index", "--no-ocr", *flags).stderr for flags in ((), ("-v",), ("-vvv",))
    )
    assert "INFO" not in quiet
    assert "mmrag: INFO: index.scan ended (media=" in once
    assert "mmrag: INFO: index ended (added=0" in once
    assert "DEBUG" not in once
    assert "mmrag: DEBUG: ledger.read ended" in twice


@pytest.mark.usefixtures("quiet_again")
def test_the_librarys_own_file_may_ask_for_a_log_beside_it(home: Path) -> None:
    config = home / "default" / "config.toml"
    config.write_text('log = "info"\nlog_format = "json"\nlog_file = "mmrag.log"\n')
    try:
        done = mmrag_here(home, "index", "--no-ocr", "--json")
    finally:
        config.unlink()
    told(done, 0)
    log = home / "default" / "mmrag.log"
    events = [line["event"] for line in _lines(log.read_text(encoding="utf-8"))]
    assert "index began" in events
    assert "index ended" in events
    assert log.stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("quiet_again")
def test_a_log_file_that_cannot_be_written_is_an_error_that_says_so(home: Path) -> None:
    done = mmrag_here(home, "status", "--json", MMRAG_LOG_FILE=str(home))
    assert "can't be written" in told(done, 1)["error"]["message"]
    nowhere = home / "no such folder" / "mmrag.log"
    done = mmrag_here(home, "status", "--json", MMRAG_LOG_FILE=str(nowhere))
    assert str(nowhere) in told(done, 1)["error"]["message"]


def test_what_stands_in_a_record_drives_no_terminal_and_breaks_no_line() -> None:
    record = logging.makeLogRecord(
        {"name": "mmrag.x", "msg": "bad \x1b[31m\nname", "levelname": "INFO", "kind": "a\nb"}
    )
    (line,) = logs.PlainLines("mmrag").format(record).splitlines()
    assert "\x1b" not in line
    assert json.loads(logs.JsonLines().format(record))["event"] == "bad \x1b[31m\nname"
    assert "\n" not in logs.JsonLines().format(record)


async def test_an_mcp_server_logs_its_calls_to_stderr_and_nothing_else_to_stdout(
    home: Path, tmp_path: Path
) -> None:
    server = over_stdio(home, MMRAG_LOG="info", MMRAG_LOG_FORMAT="json")
    with (tmp_path / "stderr").open("w+") as stderr:
        async with Client(stdio_client(server, errlog=stderr)) as client:
            await client.list_tools()
            await client.call_tool("search_media", {"query": QUESTION})
            await client.call_tool("get_media", {"media_id": "no such"})
        stderr.seek(0)
        text = stderr.read()
    tools = [line for line in _lines(text) if line["event"] == "tool ended"]
    assert [line["tool"] for line in tools] == ["search_media", "get_media"]
    assert tools[0]["duration_s"] > 0
    assert "refused" not in tools[0]
    assert tools[1]["refused"] == "not_found"
    assert not [word for word in PRIVATE if word in text]
