"""Cursors: where the next page of an answer begins, marked so that nothing has to be remembered.

A cursor holds a place and a check over the place, what was asked and the library. It works in any
process that serves the same library; one that was changed, or comes with another question or from
another library, is refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping

from mmrag_plugin.errors import UsageError

_CHECK_BYTES = 6


def cursor_to(place: str, library_id: str, asked: Mapping[str, object]) -> str:
    """Mark a place in the answer to what was asked."""
    marked = place.encode()
    return base64.urlsafe_b64encode(_check(marked, library_id, asked) + marked).decode().rstrip("=")


def place_in(cursor: str, library_id: str, asked: Mapping[str, object]) -> str:
    """The place that a cursor marks. Raises UsageError for one that does not belong to this."""
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        place = raw[_CHECK_BYTES:].decode()
        if hmac.compare_digest(cursor_to(place, library_id, asked), cursor):
            return place
    except ValueError:  # no base64, no UTF-8, no ASCII
        pass
    raise UsageError(
        "This cursor does not belong to this call.",
        "Repeat the call that returned it, with all its arguments and the cursor as it was; or "
        "leave the cursor out to begin with the first page.",
    )


def _check(marked: bytes, library_id: str, asked: Mapping[str, object]) -> bytes:
    said = json.dumps(asked, sort_keys=True, ensure_ascii=True, default=str).encode()
    key = library_id.encode()[:64]
    return hashlib.blake2b(marked + b"\0" + said, key=key, digest_size=_CHECK_BYTES).digest()
