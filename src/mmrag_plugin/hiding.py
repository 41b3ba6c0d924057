"""Hide and show: what assistants don't get to see, and what is left out of the index altogether.

A target is a folder, a media by its id or by a path of it, ``tag:NAME`` or ``person:NAME``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.errors import NotFound, UsageError
from mmrag_plugin.ledger_hiding import HiddenKind, HiddenLevel, HidingRule
from mmrag_plugin.marks import folded
from mmrag_plugin.walking import expand, is_there, real_path

if TYPE_CHECKING:
    from mmrag_plugin.ledger import Ledger, MediaRow

_NAMED: tuple[HiddenKind, ...] = ("tag", "person")


def rule_of(
    ledger: Ledger,
    find: Callable[[str], MediaRow | None],
    target: str,
    level: HiddenLevel = "hidden",
) -> HidingRule:
    """What a target means. Raises NotFound for what is neither in the library nor a folder.

    A name that nothing is marked with yet is taken as it is: the rule waits for it.
    """
    for kind in _NAMED:
        if target.startswith(f"{kind}:"):
            name = " ".join(target.removeprefix(f"{kind}:").split())
            if not folded(name):
                raise UsageError(f"{target} names no {kind}.", f"Write {kind}:NAME.")
            return HidingRule(kind, folded(name), name, level)
    row = find(target)
    if row is not None:
        return HidingRule("media", row.media_id, row.path, level)
    for rule in ledger.hiding_rules():  # of a media or folder that is not there any more
        if target in (rule.target, rule.name):
            return HidingRule(rule.kind, rule.target, rule.name, level)
    place = str(expand(target).absolute())
    real = real_path(place)
    if (is_there(real) and Path(real).is_dir()) or ledger.media_ids_under(real):
        return HidingRule("folder", real, real, level)
    if ledger.media_ids_under(place):
        return HidingRule("folder", place, place, level)
    inside = [root.rstrip(os.sep) + os.sep + target.strip(os.sep) for root in ledger.roots()]
    known = [folder for folder in inside if target and ledger.media_ids_under(folder)]
    if len(known) == 1:
        return HidingRule("folder", known[0], known[0], level)
    raise NotFound(
        f"{target!r} is no folder and no media of this library.",
        f"Name a path or an id; for a tag or a person write tag:{target} or person:{target}.",
    )
