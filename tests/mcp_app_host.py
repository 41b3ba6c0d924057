"""A small strict host of MCP Apps: it shows a tool's page in a sandboxed frame and bridges for it.

The frame gets the content security policy that the MCP Apps specification (2026-01-26) has hosts
build out of the resource's ``_meta.ui.csp``: nothing that is not declared. Calls of the page go
through the SDK's client to a real server.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from mcp import Client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

APP_TYPE = "text/html;profile=mcp-app"

_HOST = """<!doctype html><meta charset="utf-8"><title>a host</title>
<body style="margin:0"><iframe sandbox="allow-scripts" style="border:0;width:100%"></iframe>
<script>
const asked = JSON.parse(decodeURIComponent(location.hash.slice(1)));
const frame = document.querySelector("iframe");
const told = window.told = { messages: [], links: [], sizes: [], methods: [], initialize: null };
const send = (message) => frame.contentWindow.postMessage({ jsonrpc: "2.0", ...message }, "*");
const rpc = async (method, params) => {
  const reply = await fetch("/rpc", { method: "POST", body: JSON.stringify({ method, params }) });
  return reply.json();
};
addEventListener("message", async ({ source, data }) => {
  if (source !== frame.contentWindow) return;
  told.methods.push(data.method);
  if (data.method === "ui/initialize") {
    told.initialize = data.params;
    send({ id: data.id, result: {
      protocolVersion: "2026-01-26", hostInfo: { name: "strict", version: "1" },
      hostCapabilities: asked.capabilities,
      hostContext: { theme: "dark", locale: "en-GB", displayMode: "inline" },
    } });
  } else if (data.method === "ui/notifications/initialized") {
    send({ method: "ui/notifications/tool-input", params: { arguments: asked.arguments } });
    const called = await rpc("tools/call", { name: asked.tool, arguments: asked.arguments });
    send({ method: "ui/notifications/tool-result", params: called.result });
  } else if (data.method === "ui/notifications/size-changed") {
    told.sizes.push(data.params);
    frame.style.height = `${data.params.height}px`;
  } else if (data.method === "ui/message") {
    told.messages.push(data.params);
    send({ id: data.id, result: {} });
  } else if (data.id !== undefined) {
    send({ id: data.id, ...(await rpc(data.method, data.params)) });
  }
});
frame.src = "/app" + location.search;
</script>"""


class AppHost:
    """Serves the host's page; its calls go to the MCP server at ``url``."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        routes = [
            Route("/host", lambda _: HTMLResponse(_HOST)),
            Route("/app", self._app),
            Route("/rpc", self._rpc, methods=["POST"]),
            Route("/favicon.ico", lambda _: Response(status_code=204)),
        ]
        config = uvicorn.Config(Starlette(routes=routes), lifespan="off", log_config=None)
        self._server = uvicorn.Server(config)
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.calls: list[tuple[str, dict[str, Any]]] = []

    async def _run(self) -> None:
        async with Client(self._url) as client:
            self._client = client
            tools = (await client.list_tools()).tools
            self.tools = {tool.name: tool for tool in tools}
            self._started.set()
            await self._server.serve(sockets=[self._listening])

    async def _app(self, request: Request) -> Response:
        tool = self.tools["search_media"]
        assert tool.meta is not None
        read = await self._client.read_resource(tool.meta["ui"]["resourceUri"])
        (content,) = read.contents
        assert content.mime_type == APP_TYPE
        declared = (content.meta or {}).get("ui", {}).get("csp", {}).get("resourceDomains", [])
        if "nodata" in request.query_params:
            declared = []
        sources = " ".join(declared)
        policy = "; ".join(
            (
                "default-src 'none'",
                "script-src 'self' 'unsafe-inline'",
                "style-src 'self' 'unsafe-inline'",
                f"img-src 'self' {sources}",
                f"media-src 'self' {sources}",
                "font-src 'self'",
                "connect-src 'none'",
                "frame-src 'none'",
                "object-src 'none'",
                "base-uri 'none'",
                "sandbox allow-scripts",
            )
        )
        return HTMLResponse(content.text, headers={"content-security-policy": policy})

    async def _rpc(self, request: Request) -> Response:
        asked = json.loads(await request.body())
        method, params = asked["method"], asked["params"]
        self.calls.append((method, params))
        try:
            if method == "tools/call":
                result: Any = await self._client.call_tool(params["name"], params["arguments"])
            elif method == "resources/read":
                result = await self._client.read_resource(params["uri"])
            else:
                return JSONResponse({"error": {"code": -32601, "message": f"no {method}"}})
        except Exception as error:
            return JSONResponse({"error": {"code": -32000, "message": str(error)}})
        return JSONResponse(
            {"result": result.model_dump(mode="json", by_alias=True, exclude_none=True)}
        )

    def __enter__(self) -> AppHost:
        self._thread.start()
        assert self._started.wait(60), "the MCP server does not answer"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)


@contextmanager
def app_host(url: str) -> Iterator[AppHost]:
    """A host for the server at a URL."""
    with AppHost(url) as host:
        yield host
