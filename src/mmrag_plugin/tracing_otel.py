"""Spans as OpenTelemetry has them, for the TracerProvider that the program has set.

Without a provider there is nobody to export to, and nothing is imported. For our own programs
``set_up`` makes a provider out of the standard ``OTEL_*`` variables; without them nothing leaves
this machine.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from mmrag_plugin import __version__
from mmrag_plugin.errors import MissingExtra, MmragError, UsageError

if TYPE_CHECKING:
    from mmrag_plugin.tracing import Span

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
EXPORTER, DISABLED = "OTEL_TRACES_EXPORTER", "OTEL_SDK_DISABLED"
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
END_S = 2.0  # within which the last spans are sent; a collector that is away holds nobody up

# What the semantic conventions have a name for; all else is mmrag's
_NAMES = {
    "model": "gen_ai.request.model",
    "provider": "gen_ai.provider.name",
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "tool": "gen_ai.tool.name",
    "operation": "db.operation.name",
    "collection": "db.collection.name",
    "rows": "db.response.returned_rows",
}
_KINDS: dict[str, dict[str, str]] = {  # by the first word of a span's name
    "milvus": {"db.system.name": "milvus"},
    "chat": {"gen_ai.operation.name": "chat"},
    "encode": {"gen_ai.operation.name": "embeddings"},
}
_TOKEN = "opentelemetry token"  # noqa: S105  (where a span keeps what makes it current)
_CLIENTS = ("milvus", "chat")  # they wait for another process

_NAMED = bool(os.environ.get("OTEL_PYTHON_TRACER_PROVIDER"))  # made by its first use

_exporter: _Exporter | None = None


def exporter() -> _Exporter | None:
    """What tells the present TracerProvider of spans; None as long as none was set."""
    global _exporter  # noqa: PLW0603  (made again for another provider)
    trace: Any = sys.modules["opentelemetry.trace"]
    # its getter looks through the environment each time, which costs more than all the rest
    if getattr(trace, "_TRACER_PROVIDER", trace) is None and not _NAMED:
        return None
    try:
        provider = trace.get_tracer_provider()
    except AttributeError:  # it is being imported, by another thread
        return None
    if _exporter is None or _exporter.provider is not provider:
        _exporter = _Exporter(provider, trace)
    return _exporter if _exporter.is_heard else None


class _Exporter:
    """Makes an OpenTelemetry span of each of ours."""

    def __init__(self, provider: Any, trace: Any) -> None:
        self.provider = provider
        self.is_heard = not isinstance(
            provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider
        )
        self._trace = trace
        self._tracer = provider.get_tracer("mmrag", __version__) if self.is_heard else None

    def begin(self, span: Span) -> None:
        """Begin it within what OpenTelemetry has as current: the program's, MCP's, or ours."""
        assert self._tracer is not None
        first = span.name.partition(".")[0]
        kind = self._trace.SpanKind.CLIENT if first in _CLIENTS else self._trace.SpanKind.INTERNAL
        known = span.attributes
        name = f"chat {known['model']}" if span.name == "chat" and "model" in known else span.name
        span.kept[self] = self._tracer.start_span(name, kind=kind, attributes=_KINDS.get(first))

    def enter(self, span: Span) -> None:
        """Make it OpenTelemetry's current one, for what others export."""
        from opentelemetry import context

        token = context.attach(self._trace.set_span_in_context(span.kept[self]))
        span.kept[_TOKEN] = token

    def leave(self, span: Span) -> None:
        """Make the one before it the current one again."""
        from opentelemetry import context

        context.detach(span.kept.pop(_TOKEN))

    def end(self, span: Span) -> None:
        """End it; of an error its class is told, and its message only with other content."""
        made = span.kept.pop(self)
        made.set_attributes(
            {_NAMES.get(name, f"mmrag.{name}"): value for name, value in span.attributes.items()}
        )
        if span.error is not None and not isinstance(span.error, GeneratorExit):
            from mmrag_plugin.tracing import tells_content

            made.set_attribute("error.type", type(span.error).__qualname__)
            said = str(span.error) if tells_content() else None
            made.set_status(self._trace.StatusCode.ERROR, said)
        made.end()


def is_wanted() -> bool:
    """Whether the person's environment says that spans go somewhere."""
    environ = os.environ
    if environ.get(DISABLED, "").lower() == "true":
        return False
    exporter = environ.get(EXPORTER, "")
    return exporter != "none" and bool(exporter or any(environ.get(name) for name in ENDPOINTS))


def set_up(service: str) -> None:
    """Send the spans of one of our own programs where the ``OTEL_*`` variables say.

    ``OTEL_SERVICE_NAME``, the sampler and the limits are read by OpenTelemetry itself. What is
    missing for it is logged: such variables are often set for all programs of a machine.
    """
    if not is_wanted():
        return
    try:
        _set_up(service)
    except MmragError as error:
        logging.getLogger("mmrag.tracing").warning("No spans are exported: %s", error)


def _set_up(service: str) -> None:
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise _missing() from None
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return  # opentelemetry-instrument, or whoever runs us, has set one
    resource = Resource.create()
    if not os.environ.get("OTEL_SERVICE_NAME") and "service.name" not in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    ):
        resource = resource.merge(Resource({SERVICE_NAME: service}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for name in (os.environ.get(EXPORTER) or "otlp").split(","):
        provider.add_span_processor(BatchSpanProcessor(_exporter_named(name.strip())))
    trace.set_tracer_provider(provider)


def _exporter_named(name: str) -> Any:
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stderr)  # stdout is for results, and for MCP
    if name != "otlp":
        raise UsageError(f"{EXPORTER}={name} is not known.", "Choose otlp, console or none.")
    given = (os.environ.get(variable) for variable in PROTOCOLS)
    protocol = next(filter(None, given), "http/protobuf")
    try:
        if protocol == "grpc":
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
                OTLPSpanExporter as ByGrpc,
            )

            return ByGrpc()
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter()
    except ImportError:
        if protocol == "grpc":
            raise MissingExtra(
                f"{PROTOCOLS[1]}=grpc needs a package that is not installed.",
                "pip install opentelemetry-exporter-otlp-proto-grpc, or set it to http/protobuf.",
            ) from None
        raise _missing() from None


def _missing() -> MissingExtra:
    return MissingExtra(
        "The environment says where spans go (OTEL_*), and OpenTelemetry's SDK is not installed.",
        "pip install 'mmrag-plugin[telemetry]', or unset them.",
    )


def finish() -> None:
    """Send what is left, before the program ends; for at most END_S seconds."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return
    shutdown = getattr(trace.get_tracer_provider(), "shutdown", None)
    if shutdown is not None:
        sending = threading.Thread(target=shutdown, daemon=True)
        sending.start()
        sending.join(END_S)
