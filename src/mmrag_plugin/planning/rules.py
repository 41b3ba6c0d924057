"""A question in everyday language, understood by rules."""

from __future__ import annotations

from datetime import date

from mmrag_plugin.plan import Plan
from mmrag_plugin.planning.base import KnownNames
from mmrag_plugin.planning.search_box import read_box


class Rules:
    """Reads the grammar of the search box, and what is left by rules."""

    def plan(self, question: str, *, today: date, known: KnownNames) -> Plan:
        """Say what a question asks for. Raises UsageError for a filter that is none."""
        return read_box(question, today)
