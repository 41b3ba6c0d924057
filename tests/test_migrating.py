"""A library's rows moved from one Milvus to another, and everything that may come in between."""

from __future__ import annotations
