"""`mmrag doctor`: what works on this machine, and what mends the rest."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.padding import Padding
from rich.text import Text

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import milvus_words, output, print_json
from mmrag_plugin.errors import MmragError

if TYPE_CHECKING:
    from mmrag_plugin.settings import Settings


@dataclass(frozen=True)
class Check:
    """One thing that was tried: whether it works, what was found, the command that mends it."""

    name: str
    works: bool
    found: str
    remedy: str = ""


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(doctor)


def doctor(
    library: options.Library = None, home: options.Home = None, json: options.Json = False
) -> None:
    """Say what works on this machine, and for what doesn't the one command that mends it."""
    from mmrag_plugin.settings import load_settings

    settings = load_settings(library=library, home=home)
    checks = [
        _tried(name, check, settings)
        for name, check in (
            ("libraries", _place),
            ("Milvus", _milvus),
            ("visual model", _visual),
            ("text model", _text),
            ("text in pictures", _ocr),
            ("films", _films),
            ("VLM (Ollama)", _vlm),
        )
    ]
    if json:
        print_json({"checks": [vars(check) for check in checks]})
    else:
        for check in checks:
            mark = ("✓ ", "green") if check.works else ("✗ ", "yellow")
            found = Text.assemble(mark, (check.name, "bold"), f"  {check.found}")
            output.print(Padding(found, 0))
            if check.remedy:
                output.print(Padding(Text(check.remedy, "dim"), (0, 0, 0, 4)))
    if not all(check.works for check in checks):
        raise typer.Exit(1)


def _tried(name: str, check: Callable[[Settings], tuple[str, str]], settings: Settings) -> Check:
    try:
        found, remedy = check(settings)
        return Check(name, True, found, remedy)
    except MmragError as error:
        return Check(name, False, error.message, error.remedy)
    except Exception as error:
        return Check(name, False, f"{type(error).__name__}: {error}", "Reinstall mmrag-plugin.")


def _place(settings: Settings) -> tuple[str, str]:
    home = settings.home.expanduser()
    parent = next(place for place in (home, *home.parents) if place.exists())
    with tempfile.TemporaryFile(dir=parent):
        return f"{home} is writable", ""


def _milvus(settings: Settings) -> tuple[str, str]:
    from mmrag_plugin.milvus_owner import paused

    if settings.milvus_uri:
        return _described(None, settings.milvus_uri, settings.milvus_token)
    with tempfile.TemporaryDirectory() as scratch:
        found = _described(Path(scratch), "", "")
        with paused(Path(scratch)):  # its owner ends before its directory goes
            return found


def _described(directory: Path | None, uri: str, token: str) -> tuple[str, str]:
    from mmrag_plugin.milvus_connection import MilvusConnection

    connection = MilvusConnection(directory, uri=uri, token=token)
    try:
        return milvus_words(connection.describe()), ""
    finally:
        connection.close()


def _visual(settings: Settings) -> tuple[str, str]:
    from mmrag_plugin.embeddings.choose import choose_visual

    model, warnings = choose_visual(settings.visual_model, models_home=settings.models_home)
    return f"{model.model_name}, {model.dim} dimensions", " ".join(warnings)


def _text(settings: Settings) -> tuple[str, str]:
    from mmrag_plugin.embeddings.choose import choose_text, choose_visual

    visual, _ = choose_visual(settings.visual_model, models_home=settings.models_home)
    model, warnings = choose_text(
        settings.text_model,
        visual,
        ollama_host=settings.ollama_host,
        models_home=settings.models_home,
        allow_remote=settings.allow_remote,
    )
    return (model.setting if model else "words alone (BM25)"), " ".join(warnings)


def _ocr(settings: Settings) -> tuple[str, str]:
    import PIL.Image
    import PIL.ImageDraw

    from mmrag_plugin.signals.ocr import RapidOcrReader

    picture = PIL.Image.new("RGB", (320, 80), "white")
    PIL.ImageDraw.Draw(picture).text((20, 20), "Gate 42", "black", font_size=36)
    text = RapidOcrReader().read(picture)
    return f"RapidOCR reads {text.strip()!r} where 'Gate 42' is written", ""


def _films(settings: Settings) -> tuple[str, str]:
    import av

    return (
        f"PyAV {av.__version__}, FFmpeg {'.'.join(map(str, av.ffmpeg_version_info.split()[:1]))}",
        "",
    )


def _vlm(settings: Settings) -> tuple[str, str]:
    from mmrag_plugin.vlm.ollama import OllamaVLM

    model = OllamaVLM(settings.vlm, settings.ollama_host, allow_remote=settings.allow_remote)
    model.preflight()
    return f"{settings.vlm} on {settings.ollama_host} sees pictures", ""
