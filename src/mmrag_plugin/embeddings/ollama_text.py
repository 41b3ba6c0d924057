"""An embedding model on an Ollama server as the dense text channel, over /api/embed."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmrag_plugin.embeddings.base import TextEncoder
from mmrag_plugin.embeddings.preparing import encodable, normalised
from mmrag_plugin.errors import ModelError, ModelMissing, OllamaUnavailable, RemoteNotAllowed
from mmrag_plugin.ollama_host import checked_host, is_this_machine

if TYPE_CHECKING:
    import httpx
    import numpy as np
    from numpy.typing import NDArray

LOOK_S = 1.0  # how long `auto` waits for a server that may not be there
CONNECT_S, ANSWER_S = 5.0, 120.0  # a cold model is loaded from disk first
TRIES, PAUSE_S = 3, 0.5  # when the server says that it is busy

# What these models want in front of a query and a document, by their model cards.
PROMPTS: dict[str, tuple[str, str]] = {
    "nomic-embed-text": ("search_query: ", "search_document: "),
    "mxbai-embed-large": ("Represent this sentence for searching relevant passages: ", ""),
    "embeddinggemma": ("task: search result | query: ", "title: none | text: "),
}


class OllamaTextEncoder(TextEncoder):
    """An Ollama embedding model. The texts are sent to ``host``.

    Raises RemoteNotAllowed when they would go to another machine, or through this one into
    Ollama's cloud, and ``allow_remote`` is not set; OllamaUnavailable when the server does not
    answer, ModelMissing when it has no such model and ModelError when the model gives no
    embeddings.
    """

    def __init__(
        self, model_name: str, *, host: str, allow_remote: bool = False, batch: int = 32
    ) -> None:
        self.model_name, self.setting = model_name, f"ollama:{model_name}"
        self.host = checked_host(host)
        self.batch = batch  # texts in one request
        if not (allow_remote or is_this_machine(self.host)):
            raise _remote(self.host)
        row = _row(self.host, model_name, timeout_s=CONNECT_S)
        if not allow_remote and (elsewhere := _runs_elsewhere(row)):
            raise _remote(elsewhere)
        self.dim = self.embed(["a photo"]).shape[1]
        self.stamp = f"ollama-{model_name}-{str(row.get('digest', ''))[:12]}"

    def embed(self, texts: Sequence[str], *, query: bool = False) -> NDArray[np.float32]:
        """Embed texts: [n, dim], rows L2-normalised; the server cuts off what is too long."""
        import numpy as np

        prompts = PROMPTS.get(self.model_name.rsplit("/", 1)[-1].split(":")[0], ("", ""))
        prompt = prompts[0 if query else 1]
        rows: list[list[float]] = []
        with _client(self.host, ANSWER_S) as client:
            for start in range(0, len(texts), self.batch):
                part = texts[start : start + self.batch]
                batch = [prompt + encodable(text) for text in part]
                body = {"model": self.model_name, "input": batch, "truncate": True}
                given = _ask(client, "POST", "/api/embed", body).get("embeddings")
                if not isinstance(given, list) or len(given) != len(batch):
                    raise ModelError(
                        f"{self.model_name} on {self.host} gave no embedding for each text.",
                        "Choose an embedding model, such as `ollama pull nomic-embed-text`.",
                    )
                rows.extend(given)
        return normalised(
            np.array(rows, np.float32).reshape(len(rows), -1 if rows else self.dim),
            by=self.model_name,
        )


def find_embedding_model(host: str) -> str | None:
    """The first local model on an Ollama server that embeds; None when none answers within 1 s."""
    deadline = time.monotonic() + LOOK_S
    try:
        with _client(host, LOOK_S) as client:
            for row in _ask(client, "GET", "/api/tags", tries=1).get("models") or []:
                name = str(row.get("name") or "")
                if not name or _runs_elsewhere(row):
                    continue
                able = row.get("capabilities")
                if able is None and time.monotonic() < deadline:  # servers before May 2026
                    shown = _ask(client, "POST", "/api/show", {"model": name}, tries=1)
                    able = shown.get("capabilities")
                if "embedding" in (able or ()):
                    return name
    except (OllamaUnavailable, ModelError):
        return None
    return None


def _runs_elsewhere(row: dict[str, Any]) -> str:
    """Where a cloud model really runs, as Ollama's list says it; empty for a local model."""
    return str(row.get("remote_host") or row.get("remote_model") or "")


def _remote(place: str) -> RemoteNotAllowed:
    return RemoteNotAllowed(
        f"The words of your media would go to {place}.",
        "Allow it with --allow-remote, or choose a model on this machine.",
    )


def _row(host: str, model_name: str, *, timeout_s: float) -> dict[str, Any]:
    wanted = {model_name, f"{model_name}:latest"}
    with _client(host, timeout_s) as client:
        for row in _ask(client, "GET", "/api/tags").get("models") or []:
            if row.get("name") in wanted or row.get("model") in wanted:
                return dict(row)
    raise _missing(model_name, host)


def _client(host: str, timeout_s: float) -> httpx.Client:
    import httpx

    # a proxy for the web has no business between this process and its own machine
    return httpx.Client(
        base_url=host,
        timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S)),
        trust_env=not is_this_machine(host),
        follow_redirects=False,
    )


def _ask(
    client: httpx.Client,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    *,
    tries: int = TRIES,
) -> dict[str, Any]:
    """One exchange of JSON, tried again while the server says that it is busy."""
    import httpx

    host = str(client.base_url).rstrip("/")
    for attempt in range(1, tries + 1):
        try:
            response = client.request(method, path, json=body)
        except httpx.TimeoutException:
            raise OllamaUnavailable(
                f"Ollama at {host} did not answer {path} in time.",
                "See whether it is busy or stuck (`ollama ps`), and try again.",
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OllamaUnavailable(
                f"Ollama can't be reached at {host}: {error}.",
                "Start it with `ollama serve`, or set OLLAMA_HOST.",
            ) from None
        if response.status_code != httpx.codes.SERVICE_UNAVAILABLE or attempt == tries:
            break
        time.sleep(PAUSE_S * attempt)
    if response.status_code == httpx.codes.NOT_FOUND and body is not None:
        raise _missing(str(body.get("model")), host)
    reason = _reason(response)
    if response.status_code == httpx.codes.BAD_REQUEST:
        raise ModelError(
            f"Ollama at {host} refuses {(body or {}).get('model')}: {reason}",
            "Choose an embedding model, such as `ollama pull nomic-embed-text`.",
        )
    if response.is_error:
        raise OllamaUnavailable(
            f"Ollama at {host} answered {path} with {response.status_code}: {reason}",
            "Look into its log, and try again.",
        )
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise OllamaUnavailable(
            f"What answers at {host} is not Ollama.", "Set OLLAMA_HOST to where Ollama listens."
        )
    return answer


def _reason(response: httpx.Response) -> str:
    """The message of an error; Ollama passes its runner's JSON through as a string within JSON."""
    reason: Any = response.text
    for _ in range(3):
        try:
            parsed = json.loads(reason)
        except (ValueError, TypeError):
            break
        if not isinstance(parsed, dict):
            break
        reason = parsed.get("error") or parsed.get("message") or reason
        if isinstance(reason, dict):
            reason = reason.get("message") or str(reason)
    return str(reason)[:300]


def _missing(model_name: str, host: str) -> ModelMissing:
    return ModelMissing(
        f"Ollama at {host} has no model {model_name}.", f"Fetch it with `ollama pull {model_name}`."
    )
