"""The double must refuse what Ollama refuses; otherwise tests against it prove nothing."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import PIL.Image
import pytest

from ollama_double import Model, OllamaDouble, Reply

OPTIONS = {"num_ctx": 4096}


@pytest.fixture
def double() -> Iterator[OllamaDouble]:
    models = {
        "eye:latest": Model(),
        "reader": Model(capabilities=("completion",)),
        "thinker": Model(capabilities=("completion", "vision", "thinking")),
        "words": Model(capabilities=("embedding",)),
        "cloud": Model(remote_host="https://ollama.com"),
    }
    with OllamaDouble(models, strict=False) as double:
        yield double


def picture(colour: str, size: tuple[int, int] = (64, 48), suffix: str = "PNG") -> str:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", size, colour).save(buffer, suffix)
    return base64.b64encode(buffer.getvalue()).decode()


def chat(double: OllamaDouble, *images: Any, text: str = "What?", **more: Any) -> httpx.Response:
    body = {
        "model": "eye",
        "messages": [{"role": "user", "content": text, "images": list(images)}],
        "stream": False,
        "think": False,
        "options": OPTIONS,
    }
    return httpx.post(f"{double.url}/api/chat", json=body | more, trust_env=False)


def test_it_says_what_it_saw_in_the_order_it_came(double: OllamaDouble) -> None:
    reply = chat(double, picture("red", (640, 480)), picture("blue", (512, 288), "JPEG"))
    answer = reply.json()["message"]["content"]
    assert answer == "I see 2 pictures: [1] mostly red, 640x480; [2] mostly blue, 512x288."
    assert reply.json()["done"] is True
    assert not double.violations


@pytest.mark.parametrize(
    ("images", "more", "status", "said"),
    [
        ([], {"model": "absent"}, 404, "model 'absent' not found"),
        ([], {"model": ""}, 400, "model is required"),
        (["data:image/png;base64,AAAA"], {}, 400, "illegal base64 data at input byte 4"),
        (["AAA"], {}, 400, "illegal base64 data at input byte 3"),
        ([base64.b64encode(b"no picture").decode()], {}, 400, "Failed to load image"),
        ([picture("red", suffix="WEBP")], {}, 400, "Failed to load image"),
        ([picture("red")], {"model": "reader"}, 500, "image input is not supported"),
        ([7], {}, 400, "cannot unmarshal"),
        ([], {"think": True}, 400, "does not support thinking"),
        ([], {"model": "words", "tools": [{}]}, 400, "does not support tools"),
        ([], {"format": "yaml"}, 500, "invalid format"),
        ([], {"options": {"num_ctx": "4096"}}, 500, "must be of type integer"),
        ([picture("red")] * 9, {"options": {"num_ctx": 2048}}, 400, "available context size"),
    ],
)
def test_it_refuses_what_ollama_refuses(
    double: OllamaDouble, images: list[Any], more: dict[str, Any], status: int, said: str
) -> None:
    reply = chat(double, *images, **more)
    assert reply.status_code == status
    assert said in reply.json()["error"]


def test_errors_of_the_runner_are_json_inside_json(double: OllamaDouble) -> None:
    reply = chat(double, base64.b64encode(b"no picture").decode())
    inner = json.loads(reply.json()["error"])
    assert inner["error"]["type"] == "invalid_request_error"


def test_habits_that_a_server_would_not_report_are_written_down(double: OllamaDouble) -> None:
    chat(double, think=None, options={})  # null is as good as left out
    chat(double, text="see [img-0]")
    chat(double, picture("red"), text="[img] and [img]")
    chat(double, picture("red"), text="here: [img]")  # on purpose, and the number fits
    assert len(double.violations) == 4


def test_leaving_the_block_raises_what_was_written_down() -> None:
    with pytest.raises(AssertionError, match="num_ctx"), OllamaDouble() as double:
        chat(double, options={})


def test_a_model_that_thinks_unless_told_not_to_says_nothing(double: OllamaDouble) -> None:
    aloud = chat(double, picture("red"), model="thinker").json()["message"]
    silent = chat(double, picture("red"), model="thinker", think=True).json()
    assert "red" in aloud["content"]
    assert silent["message"]["content"] == ""
    assert "red" in silent["message"]["thinking"]
    assert silent["done_reason"] == "length"


def test_show_tells_capabilities_and_remote_hosts(double: OllamaDouble) -> None:
    def show(name: str) -> Any:
        return httpx.post(f"{double.url}/api/show", json={"model": name}, trust_env=False).json()

    assert "vision" in show("eye")["capabilities"]
    assert show("cloud")["remote_host"] == "https://ollama.com"
    assert "model_info" not in show("cloud")
    tags = httpx.get(f"{double.url}/api/tags", trust_env=False).json()
    assert [model["name"] for model in tags["models"]] == list(double.models)


def test_embeddings_are_unit_vectors_of_words(double: OllamaDouble) -> None:
    def embed(**body: Any) -> httpx.Response:
        return httpx.post(f"{double.url}/api/embed", json=body, trust_env=False)

    near, nearer, far = embed(
        model="words", input=["a red boat", "the red boat", "some soup"]
    ).json()["embeddings"]

    def dot(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert dot(near, near) == pytest.approx(1)
    assert dot(near, nearer) > dot(near, far)
    assert embed(model="gone", input="x").json()["error"].endswith("try pulling it first")
    assert embed(model="words", input=7).status_code == 400


def test_a_stream_is_lines_and_a_foreign_host_header_is_forbidden(double: OllamaDouble) -> None:
    double.script("three short words", Reply("never seen whole", break_after=1))
    whole = chat(double, stream=True)
    assert whole.headers["content-type"] == "application/x-ndjson"
    pieces = [json.loads(line) for line in whole.text.splitlines()]
    assert "".join(piece["message"]["content"] for piece in pieces) == "three short words"
    assert [piece["done"] for piece in pieces] == [False, False, False, True]
    assert len(chat(double, stream=True).text.splitlines()) == 1
    foreign = httpx.get(f"{double.url}/api/tags", headers={"Host": "evil.example"}, trust_env=False)
    assert foreign.status_code == 403
