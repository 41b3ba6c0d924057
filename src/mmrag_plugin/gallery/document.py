"""The page as one document; its markup, styles and scripts lie in files of their own."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

STYLES = "gallery.css"
MARKUP = "gallery.html"
# Each says what it needs of those before it; together they are one script in strict mode.
SCRIPTS = (
    "texts.js",
    "loopback.js",
    "host.js",
    "cards.js",
    "detail.js",
    "conversation.js",
    "gallery.js",
)


@dataclass(frozen=True)
class Document:
    """The page, and the one content security policy under which it runs in a browser."""

    html: str
    policy: str


@lru_cache(maxsize=1)
def document() -> Document:
    """Join the files. Nothing in them is a template: no text of a library gets into the page."""
    styles = _read(STYLES)
    body = "\n".join(_read(name) for name in SCRIPTS)
    script = f'"use strict";\n(() => {{\n{body}\n}})();\n'
    html = _read(MARKUP)
    html = html.replace("<style></style>", f"<style>{styles}</style>")
    html = html.replace("<script></script>", f"<script>{script}</script>")
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash_of(script)}",
            f"style-src {_hash_of(styles)}",
            "img-src 'self' data: blob:",
            "media-src 'self' data: blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
    return Document(html, policy)


def _read(name: str) -> str:
    return (files("mmrag_plugin.gallery") / "page" / name).read_text(encoding="utf-8")


def _hash_of(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
