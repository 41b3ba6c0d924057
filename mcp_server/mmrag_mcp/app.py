"""The gallery as an MCP App: a page that hosts show beside what some tools found."""

from __future__ import annotations

from typing import Any

from mcp.server.apps import Apps, ResourceCsp

from mmrag_plugin.gallery.document import document

GALLERY_URI = "ui://mmrag/gallery.html"
# Of a tool whose result the page shows. Clients that know no apps show the text, as ever.
SHOWN_IN_GALLERY: dict[str, Any] = {"ui": {"resourceUri": GALLERY_URI}}


def gallery_app() -> Apps:
    """The extension that serves the page. It fetches nothing: pictures come as data."""
    apps = Apps()
    apps.add_html_resource(
        GALLERY_URI,
        document().html,
        name="gallery",
        title="Gallery",
        description="Shows photos and moments of videos that were found.",
        csp=ResourceCsp(resource_domains=["data:", "blob:"]),
        prefers_border=False,
    )
    return apps
