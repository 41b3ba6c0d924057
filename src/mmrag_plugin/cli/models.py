"""`mmrag models`: what models there are, fetching one, and which of those learned is in use."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mmrag_plugin.cli import learning, options, quantizing
from mmrag_plugin.cli.console import errors, on_one_line, output, print_json
from mmrag_plugin.errors import NotFound, UsageError

_READS = {"visual": "pictures", "text": "texts", "speech": "speech"}
_LANGUAGES = {True: "many languages", False: "English"}


def add_to(app: typer.Typer) -> None:
    """Enter the commands."""
    group = typer.Typer(
        help="List models, fetch one, make it quicker, or choose among those learned.",
        no_args_is_help=True,
    )
    group.command("list")(list_models)
    group.command("pull")(pull)
    group.command("unload")(unload)
    group.command("quantize")(quantizing.quantize)
    group.command("use")(learning.use)
    group.command("rollback")(learning.roll_back)
    app.add_typer(group, name="models")


def list_models(
    library: options.Library = None, home: options.Home = None, json: options.Json = False
) -> None:
    """List the models of the catalogue, which are on this disk, and what the library learned."""
    from mmrag_plugin.embeddings.catalogue import ALL_MODELS
    from mmrag_plugin.embeddings.local_models import models_on_disk
    from mmrag_plugin.settings import load_settings

    here = {model.name: model for model in models_on_disk(load_settings(home=home).models_home)}
    rows = [
        {
            "name": row.name,
            "reads": _READS[row.purpose],
            "hub_id": row.hub_id,
            "dim": row.dim,
            "size_mb": row.size_mb,
            "licence": row.licence,
            "multilingual": row.multilingual,
            "on_disk": row.name in here,
        }
        for row in ALL_MODELS
    ]
    known = {str(row["name"]) for row in rows}
    rows += [
        {"name": name, "reads": model.layout, "on_disk": True, "size_mb": model.size_bytes >> 20}
        for name, model in here.items()
        if name not in known
    ]
    learned = _learned(library, home)
    if json:
        print_json({"models": rows, "learned": learned})
        return
    cells = [
        (
            on_one_line(row["name"]),
            str(row["reads"]),
            f"{row['size_mb']} MB",
            str(row.get("licence", "")),
            "" if "multilingual" not in row else _LANGUAGES[row["multilingual"] is True],
            "yes" if row["on_disk"] else "no",
        )
        for row in rows
    ]
    _show_models(cells)
    output.print("palette (colours only) needs no download. Fetch one: mmrag models pull NAME")
    for version in learned:
        mark = " (in use)" if version["in_use"] else ""
        what = "the visual model itself, " if version.get("kind") == "lora" else ""
        change = version["trial"]["all"]["MRR"]
        output.print(
            f"learned {version['version']}{mark}: {what}{version['made_at']}, "
            f"from {version['media']} media; mean reciprocal rank {change['before']:.3f}, "
            f"then {change['after']:.3f}"
        )


def _learned(library: str | None, home: Path | None) -> list[dict[str, Any]]:
    """The versions of what the library learned; none where there is no library yet."""
    try:
        with options.open_library(library=library, home=home) as opened:
            return opened.learned_versions()
    except NotFound:
        if library is not None:
            raise
        return []


def pull(
    name: Annotated[str, typer.Argument(help="A catalogue name, a hub name, or ocr-ru for text.")],
    home: options.Home = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    json: options.Json = False,
) -> None:
    """Fetch a model from its hub into MMRAG_HOME; asks first, with the size."""
    from mmrag_plugin.embeddings.catalogue import ALL_MODELS, find
    from mmrag_plugin.embeddings.local_models import is_hub_name, layout_of, on_disk
    from mmrag_plugin.embeddings.local_models import pull as fetch
    from mmrag_plugin.settings import load_settings

    models_home = load_settings(home=home).models_home
    if name.startswith("ocr-"):
        _pull_ocr(name, models_home, yes=yes, json=json)
        return
    row = find(name)
    if row is None and not is_hub_name(name):
        names = [row.name for row in ALL_MODELS]
        raise UsageError(
            f"{name} is no model that mmrag knows.",
            f"Name one of {', '.join(names)}; or OWNER/MODEL of a hub.",
        )
    folder = on_disk(name, models_home)
    if folder is None:
        size = f"about {row.size_mb} MB" if row else "of unknown size"
        if not yes and not _agreed(f"{row.hub_id if row else name}, {size}", asking=not json):
            errors.print("Nothing was fetched.")
            raise typer.Exit(1)
        folder = fetch(name, models_home)
    if json:
        print_json({"name": name, "path": str(folder)})
    else:
        output.print(on_one_line(f"{name} is in {folder}."), soft_wrap=True)
        output.print(f"Use it: mmrag index{_flag(name, folder, models_home)}", soft_wrap=True)
        if layout_of(folder) == "whisper" and find_spec("faster_whisper") is None:
            output.print("It needs faster-whisper: pip install 'mmrag-plugin[speech]'")


def unload(home: options.Home = None, json: options.Json = False) -> None:
    """End the process that keeps models loaded for the next search; it also ends by itself."""
    from mmrag_plugin import model_keeper
    from mmrag_plugin.settings import load_settings

    ended = model_keeper.unload(load_settings(home=home).home)
    if json:
        print_json({"unloaded": ended})
    else:
        output.print("No models are loaded any more." if ended else "No models were kept loaded.")


def _pull_ocr(name: str, models_home: Path, *, yes: bool, json: bool) -> None:
    """Fetch a model that reads the text in pictures in another script."""
    from mmrag_plugin.signals.ocr_models import fetch, model_named

    found = model_named(name)
    if found is None:
        raise UsageError(
            f"{name} is no model for text in pictures.",
            "Name a language that RapidOCR has a model for, as ocr-ru, ocr-ko or ocr-hi; "
            "Tesseract reads others: mmrag doctor says how to get it.",
        )
    language, model = found
    if not yes and not _agreed(f"{model.file} from {model.host}, of unknown size", asking=not json):
        errors.print("Nothing was fetched.")
        raise typer.Exit(1)
    path = fetch(model, models_home)
    if json:
        print_json({"name": name, "path": str(path)})
        return
    output.print(on_one_line(f"{name} is in {path}."), soft_wrap=True)
    output.print(f"Use it: set MMRAG_OCR_LANGUAGES, as en,{language.code}, then mmrag index")


def _agreed(what: str, *, asking: bool) -> bool:
    if not asking or not _somebody_is_there():
        raise UsageError(f"{what}, is only fetched after a yes.", "Add --yes.")
    try:
        return typer.confirm(f"Download {what}?")
    except typer.Abort as stop:  # Ctrl-C or Ctrl-D
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        output.print()
        return False


def _somebody_is_there() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _flag(name: str, folder: Path, models_home: Path) -> str:
    """What makes an index run take a model; nothing where it does so by itself."""
    from mmrag_plugin.embeddings.catalogue import (
        DEFAULT_VISUAL,
        SPEECH_MODELS,
        TEXT_MODELS,
        AnyModel,
    )
    from mmrag_plugin.embeddings.local_models import layout_of, on_disk

    kind = {"sentence": "text-model", "whisper": "speech"}.get(layout_of(folder) or "")
    by_itself: dict[str | None, tuple[AnyModel, ...]] = {
        "text-model": TEXT_MODELS,
        "speech": SPEECH_MODELS,
        None: (DEFAULT_VISUAL,),
    }
    for row in by_itself[kind]:
        if on_disk(row.name, models_home) is not None:  # of several, auto takes the first
            if name in (row.name, row.hub_id):
                return ""
            break
    return f" --{kind or 'visual-model'} {shlex.quote(name)}"


def _show_models(rows: Sequence[tuple[str, str, str, str, str, str]]) -> None:
    """Print a table, or where the terminal is too narrow for it a block a model."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("name", "reads", "size", "licence", "language", "on this disk"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    if Measurement.get(output, output.options, table).maximum < output.width:
        output.print(table)
        return
    for name, reads, size, licence, languages, here in rows:
        output.print(Text(name, "bold"), soft_wrap=True)
        disk = "on this disk" if here == "yes" else "not on this disk"
        line = Text(", ".join(filter(None, (reads, size, licence, languages, disk))))
        output.print(Padding(line, (0, 0, 0, 4), expand=False))
