"""The double must refuse what Ollama refuses; otherwise tests against it prove nothing."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any, Literal

import httpx
import PIL.Image
import pytest
from pydantic import BaseModel, Field

from ollama_double import Model, OllamaDouble, Reply, runner_error

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


def chat(
    double: OllamaDouble, *images: Any, text: str = "What?", timeout_s: float = 5.0, **more: Any
) -> httpx.Response:
    body = {
        "model": "eye",
        "messages": [{"role": "user", "content": text, "images": list(images)}],
        "stream": False,
        "think": False,
        "options": OPTIONS,
    }
    return httpx.post(
        f"{double.url}/api/chat", json=body | more, timeout=timeout_s, trust_env=False
    )


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


@pytest.mark.parametrize("how", ["exif", "comment", "icc_profile", "xmp"])
def test_a_picture_that_says_where_it_was_taken_is_written_down(
    double: OllamaDouble, how: str
) -> None:
    buffer, exif = io.BytesIO(), PIL.Image.Exif()
    exif[0x010F] = "a camera"
    said: dict[str, Any] = {how: exif if how == "exif" else b"<x>abc</x>"}
    PIL.Image.new("RGB", (8, 8)).save(buffer, "JPEG", **said)
    chat(double, base64.b64encode(buffer.getvalue()).decode())
    assert [how in violation for violation in double.violations] == [True]


def test_what_is_written_down_is_refused_and_raised_on_leaving() -> None:
    double = OllamaDouble()
    with pytest.raises(AssertionError, match="num_ctx"), double:
        reply = chat(double, options={})
    assert reply.status_code == 400
    assert "num_ctx" in reply.json()["error"]


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


class Pet(BaseModel):
    colour: Literal["green", "red"]
    name: str = Field(max_length=5)


class Seen(BaseModel):
    caption: str
    objects: list[str] = Field(max_length=2)
    people: int = Field(ge=0, le=1)
    sure: float = Field(ge=0, le=0.5)
    indoors: bool
    place: str | None
    pets: list[Pet] = Field(min_length=2)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_an_answer_fits_the_schema_and_names_what_is_seen(double: OllamaDouble, count: int) -> None:
    reply = chat(double, *[picture("red")] * count, format=Seen.model_json_schema())
    seen = Seen.model_validate_json(reply.json()["message"]["content"])
    assert seen.objects == ["red"] * min(count, 2)
    assert ("red" in seen.caption) is (count > 0)
    assert (seen.people, seen.indoors) == (min(count, 1), count > 0)
    assert seen.pets[0].colour == ("red" if count else "green")


def test_an_answer_is_cut_at_num_predict(double: OllamaDouble) -> None:
    double.script("one two three four")
    reply = chat(double, options={**OPTIONS, "num_predict": 2}).json()
    assert reply["message"]["content"] == "one two"
    assert reply["done_reason"] == "length"


def test_a_context_that_is_too_small_is_named_with_what_is_needed(double: OllamaDouble) -> None:
    error = chat(double, *[picture("red")] * 9, options={"num_ctx": 2048}).json()["error"]
    inner = json.loads(error)["error"]
    assert inner["type"] == "exceed_context_size_error"
    assert inner["n_ctx"] == 2048
    assert inner["n_prompt_tokens"] > 9 * 256


def test_another_num_ctx_loads_the_model_anew(double: OllamaDouble) -> None:
    for num_ctx in (4096, 4096, 8192):
        chat(double, options={"num_ctx": num_ctx})
    assert double.loads == [("eye:latest", 4096), ("eye:latest", 8192)]
    running = httpx.get(f"{double.url}/api/ps", trust_env=False).json()["models"]
    assert [model["context_length"] for model in running] == [8192]


def test_a_scripted_error_is_sent_as_it_is(double: OllamaDouble) -> None:
    nested = runner_error(500, "out of memory", "server_error").body["error"]
    double.script(Reply(status=500, error=nested))
    reply = chat(double)
    assert reply.status_code == 500
    assert json.loads(reply.json()["error"])["error"]["message"] == "out of memory"


@pytest.mark.parametrize(
    "reply",
    [
        Reply("a b c", break_after=1, how="stall"),
        Reply("a b c", pause_s=30),
        Reply("a b c", drip_s=30),
        Reply("a b c", delay_s=30),
    ],
)
def test_it_sees_a_client_hang_up_while_it_keeps_it_waiting(
    double: OllamaDouble, reply: Reply
) -> None:
    double.script(reply)
    with pytest.raises(httpx.ReadTimeout):
        chat(double, stream=True, timeout_s=0.1)
    assert double.hang_ups.acquire(timeout=2)
