"""What an error of pymilvus means: whether Milvus is away, silent, not ready, or refuses."""

from __future__ import annotations

import re
from typing import Any, Literal

# "lost": nobody is there. "silent": somebody is, and doesn't answer. "unready": it answers that it
# can't answer yet, as after a start. "unloaded": nor has it loaded the collection. "denied": it
# doesn't know us. "unknown": it has no such call. "full": its disk. "refused": anything else.
Failure = Literal["lost", "silent", "unready", "unloaded", "denied", "unknown", "full", "refused"]

PASSING = ("lost", "unready", "unloaded")  # the same call may do a moment later
# Milvus's own numbers: starting, no clock, recovering, no replica, channels and nodes on the move
_UNREADY = {1, 10, 106, *range(500, 504), 601, 602, *range(900, 905), 401}
_UNLOADED = {101, 103}
_CONNECT_FAILED = 2  # pymilvus's own
_DENIED = 1400
_UNREADY_WORDS = re.compile(
    r"rpc error: code = (Unavailable|Canceled)|client connection is closing|unrecoverable error|"
    r"not ready|not healthy|service unavailable|no available|node not match|nodes? (not|lack)|"
    r"failed to search/query delegator|channel not (available|subscribed|found)|session expired|"
    r"server is not serving"
)
_LAST_REASON = re.compile(r"(Connection refused|CERTIFICATE_VERIFY_FAILED[^\"}]*|DNS[^\"};]*)")


def failure_of(error: Any) -> Failure:
    """Say what a MilvusException or an error of gRPC means."""
    import grpc  # type: ignore[import-untyped]

    from mmrag_plugin.milvus_owner import is_disk_error

    code, text = code_of(error), text_of(error)
    status = grpc.StatusCode
    unconnected = code == _CONNECT_FAILED and "connect" in text.lower()
    cause = code_of(error.__cause__) if unconnected else code
    away = {status.UNAVAILABLE, status.CANCELLED}
    kinds: dict[Failure, bool] = {
        "full": is_disk_error(text),
        "denied": cause in (status.UNAUTHENTICATED, _DENIED) or "auth check failure" in text,
        "lost": unconnected or code in away or "closed channel" in text,
        "unknown": code == status.UNIMPLEMENTED,
        "unloaded": code in _UNLOADED,
        "unready": code in _UNREADY or bool(_UNREADY_WORDS.search(text)),
        "silent": code == status.DEADLINE_EXCEEDED or "timeout" in text.lower(),
    }
    otherwise: Failure = "lost" if isinstance(error, grpc.RpcError) else "refused"
    return next((kind for kind, holds in kinds.items() if holds), otherwise)


def code_of(error: Any) -> Any:
    """Milvus's number, or gRPC's status."""
    code = getattr(error, "code", None)
    return code() if callable(code) else code


def text_of(error: Any) -> str:
    """What the error says."""
    details = error.details() if hasattr(error, "details") else getattr(error, "message", error)
    return str(details).strip().rstrip(".")


def reason_of(error: Any) -> str:
    """What it says in short, with the cause that pymilvus has hidden."""
    text, cause = text_of(error), error.__cause__
    told = f"{text} {text_of(cause)}" if cause is not None else text
    found = _LAST_REASON.search(told)
    return found[0].strip() if found else text.partition("\n")[0][:300]
