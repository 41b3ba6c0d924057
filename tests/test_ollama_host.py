"""Addresses of an Ollama server as people write them, and which of them are this machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrag_plugin.errors import UsageError
from mmrag_plugin.ollama_host import checked_host, is_this_machine


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("box", "http://box:11434"),
        ("box:80", "http://box:80"),
        ("http://box/", "http://box"),
        ("https://box/ollama/", "https://box/ollama"),
        (" 127.0.0.1 ", "http://127.0.0.1:11434"),
        (":11434", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("http://0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("::1", "http://[::1]:11434"),
        ("::", "http://[::1]:11434"),
        ("[::1]:80", "http://[::1]:80"),
    ],
)
def test_an_address_is_read_as_ollama_reads_it(said: str, meant: str) -> None:
    assert checked_host(said) == meant
    assert checked_host(meant) == meant


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("http://127.0.0.1:1", True),
        ("http://localhost", True),
        ("http://[::1]:11434", True),
        ("127.9.9.9", True),
        ("0.0.0.0", True),
        ("[::]:11434", True),
        ("http://localhost.example.com", False),
        ("http://127.0.0.1.example:1", False),
        ("http://192.168.0.2:11434", False),
        ("https://ollama.com", False),
    ],
)
def test_only_loopback_is_this_machine(host: str, is_here: bool) -> None:
    assert is_this_machine(checked_host(host)) is is_here


def test_a_user_name_does_not_make_another_machine_this_one() -> None:
    assert not is_this_machine("http://127.0.0.1@10.0.0.1:1")


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        url = checked_host(text)
    except UsageError:
        return
    assert url.startswith(("http://", "https://"))
    assert checked_host(url) == url
