"""`mmrag status`, `forget`, `relocate` and `backup`: look after a library."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import kept_words, milvus_words, on_one_line, output, print_json, warn
from mmrag_plugin.cli.failures import MAX_FAILURES_SHOWN, show_failures

if TYPE_CHECKING:
    from mmrag_plugin.upkeep import Difference


def add_to(app: typer.Typer) -> None:
    """Enter the commands."""
    app.command()(status)
    app.command()(forget)
    app.command()(relocate)
    app.command()(backup)


def status(
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare Milvus with the ledger.")
    ] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what --verify finds.")] = False,
    failures: Annotated[
        bool,
        typer.Option("--failures", help="List every file that failed, why, and what to do."),
    ] = False,
    milvus_uri: options.MilvusUri = None,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Say what is in the library, how far each stage is and which models made it."""
    from mmrag_plugin import upkeep

    with options.open_library(library=library, home=home, milvus_uri=milvus_uri) as opened:
        found = upkeep.status(opened)
        differences = upkeep.repair(opened) if repair else upkeep.verify(opened) if verify else None
    if differences is not None:
        found["verify"] = [vars(difference) for difference in differences]
    if json:
        print_json(found)
    elif failures:
        _show_failures(found)
    else:
        _show_status(found)
        _show_differences(differences, repaired=repair)
    if differences and not repair and any(d.missing or d.surplus for d in differences):
        raise typer.Exit(1)


def forget(
    path: Annotated[Path, typer.Argument(help="A file or folder; it stays where it is.")],
    library: options.Library = None,
    home: options.Home = None,
    milvus_uri: options.MilvusUri = None,
    json: options.Json = False,
) -> None:
    """Take a file or a folder out of the library. The files are not touched.

    What lies inside one of the library's folders stays out until it is named: mmrag index PATH.
    """
    from mmrag_plugin import upkeep

    with options.open_library(library=library, home=home, milvus_uri=milvus_uri) as opened:
        gone = upkeep.forget(opened, path)
        left_out = upkeep.is_left_out(opened, path)
        again = f"mmrag index {shlex.quote(str(path))}{opened.settings.flags}"
    if json:
        print_json({"removed": gone})
    else:
        output.print(f"{gone} media taken out of the library.")
        if left_out:
            line = on_one_line(f"{path} stays out. To take it in again: {again}")
            output.print(line, soft_wrap=True)


def relocate(
    old: Annotated[str, typer.Argument(help="Where the folder was.")],
    new: Annotated[Path, typer.Argument(help="Where it is now.")],
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Tell the library that a folder lies elsewhere now (a new laptop); nothing is read again."""
    from mmrag_plugin import upkeep

    with options.open_library(library=library, home=home) as opened:
        moved, there = upkeep.relocate(opened, old, new)
    if json:
        print_json({"moved": moved, "there": there})
        return
    known = "file is known at its" if moved == 1 else "files are known at their"
    output.print(f"{moved} {known} new place.")
    if there < moved:
        warn([f"{moved - there} of them are not there: the next mmrag index takes them out."])


def backup(
    target: Annotated[Path, typer.Argument(help="A new directory.")],
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Copy the library (not the media) into a new directory, which is a library itself.

    Conversations that were kept, and what assistants made in the library's folder, go along.
    """
    from mmrag_plugin import upkeep

    with options.open_library(library=library, home=home) as opened:
        size_bytes = upkeep.backup(opened, target)
        remote = bool(opened.settings.milvus_uri)
    if json:
        print_json({"path": str(target), "bytes": size_bytes})
    else:
        output.print(
            f"{on_one_line(target)} holds the library ({size_bytes / 2**20:.1f} MB). "
            "To use it, copy it to MMRAG_HOME/NAME"
            + (", then run mmrag index: the vectors are on the server alone." if remote else ".")
        )


def _show_failures(found: dict[str, Any], *, most: int | None = None) -> None:
    from mmrag_plugin.ledger import Failure

    if not found["failures"]:
        output.print("Every file that was found could be read.")
    show_failures([Failure(**failure) for failure in found["failures"]], most=most)


def _show_status(found: dict[str, Any]) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    media = (
        ", ".join(f"{count} {kind}{'s' * (count != 1)}" for kind, count in found["media"].items())
        or "none yet"
    )
    table.add_row("library", on_one_line(f"{found['library']} in {found['directory']}"))
    table.add_row("folders", "\n".join(map(on_one_line, found["roots"])) or "none yet")
    if found["left_out"]:
        table.add_row("left out", "\n".join(map(on_one_line, found["left_out"])))
    table.add_row("media", media)
    for rule in found["hidden"]["rules"]:
        level = "left out" if rule["level"] == "left_out" else "hidden"
        table.add_row(level, on_one_line(f"{rule['kind']} {rule['name']}: {rule['media']} media"))
    first, last = found["taken_at"]["first"], found["taken_at"]["last"]
    if first:
        table.add_row("taken", f"{first[:10]} to {last[:10]}")
        table.add_row("dates by", ", ".join(f"{k} {v}" for k, v in found["taken_at"]["by"].items()))
    stages = ", ".join(key.replace(":", f" {count} ") for key, count in found["stages"].items())
    table.add_row("stages", stages or "-")
    table.add_row(
        "signals", ", ".join(f"{name} {count}" for name, count in found["signals"].items()) or "-"
    )
    if passed := found["not_read_for_text"]:
        table.add_row(
            "not read",
            f"{passed} pictures in which a quick look found nothing like writing; "
            "to have their text read: mmrag index --ocr-all",
        )
    captions = found["captions"]
    if captions["captions"]:
        table.add_row(
            "captions",
            f"{captions['captions']} by a model, of {captions['media']} media, "
            f"{captions['doubtful']} of them doubtful",
        )
    table.add_row("models", on_one_line(_model_words(found["models"])))
    if found["kept_models"]:
        table.add_row("kept loaded", on_one_line(kept_words(found["kept_models"])))
    if found["tuned"]:
        table.add_row("tuned", on_one_line(_tuned_words(found["tuned"])))
    table.add_row("Milvus", milvus_words(found["milvus"]))
    if not found["ledger"].startswith("sqlite"):
        table.add_row("ledger", on_one_line(found["ledger"]))
    if found["writer"]:
        table.add_row("writing", found["writer"])
    if found["failed"]:
        files = "1 file" if found["failed"] == 1 else f"{found['failed']} files"
        table.add_row("failed", f"{files}: mmrag index --retry tries again")
    output.print(table)
    if found["failed"]:
        _show_failures(found, most=MAX_FAILURES_SHOWN)


def _model_words(models: dict[str, Any]) -> str:
    said = []
    for name in ("visual", "text", "vlm", "learned"):
        how = models["run"].get(name)
        said.append(f"{name} {models[name]}" + (f" ({how})" if how else ""))
    return ", ".join(said)


def _tuned_words(kept: dict[str, Any]) -> str:
    from mmrag_plugin.evaluation.tuned import Tuned, described

    tuned = Tuned.from_dict(kept)
    about = tuned.about
    return f"{described(tuned)}; of {about['set']}, {about['at'][:10]}: mmrag tune --undo"


def _show_differences(differences: list[Difference] | None, *, repaired: bool) -> None:
    if differences is None:
        return
    for difference in differences:
        bad = len(difference.missing) + len(difference.surplus)
        verdict = "mended" if repaired else "differ: mmrag status --repair mends them"
        output.print(
            f"{difference.collection}: "
            + (f"{bad} media {verdict}" if bad else "agrees with the ledger")
        )
