"""`mmrag chat`: a conversation in the terminal, or of messages that are piped in."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import on_one_line, output, print_json
from mmrag_plugin.errors import NotFound, UsageError
from mmrag_plugin.settings import CONVERSATIONS_FOLDER


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(chat)


def chat(
    name: Annotated[
        str | None,
        typer.Argument(help="With --resume: the conversation, by default the last one."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an earlier conversation.")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the conversations.")] = False,
    limit: options.Limit = 6,
    kind: options.KindOption = None,
    since: options.Since = None,
    until: options.Until = None,
    folder: options.Folder = None,
    camera: options.Camera = None,
    has_text: options.HasText = None,
    min_confidence: options.MinConfidence = "none",
    rerank: options.Rerank = False,
    rerank_first: options.RerankFirst = None,
    rerank_seconds: options.RerankSeconds = None,
    pictures: options.Pictures = None,
    vlm: options.Vlm = None,
    allow_remote: options.AllowRemote = None,
    visual_model: options.VisualModel = None,
    milvus_uri: options.MilvusUri = None,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Talk with the library: follow-ups, sources that keep their numbers. Needs Ollama.

    Messages are typed, or piped in, one a line; /help tells what else there is. A conversation is
    kept in the library's directory.
    """
    if name is not None and not resume:
        raise UsageError(
            f"{name!r} would be a conversation to go on with.",
            "Add --resume for that, or type your message after mmrag chat.",
        )
    asked = options.search_options(
        limit=limit,
        kind=kind,
        since=since,
        until=until,
        folder=folder,
        camera=camera,
        has_text=has_text,
        channels=None,
        min_confidence=min_confidence,
        rerank=rerank,
        rerank_first=rerank_first,
        rerank_seconds=rerank_seconds,
    )
    del asked["channels"]
    with options.open_library(
        kept_models=True,
        library=library,
        home=home,
        vlm=vlm,
        allow_remote=allow_remote,
        visual_model=visual_model,
        milvus_uri=milvus_uri,
    ) as opened:
        folder_of_all = opened.directory / CONVERSATIONS_FOLDER
        if listed:
            _list(folder_of_all, json=json)
            return
        asked["filters"].resolve(opened.ledger)  # what nothing can pass is wrong for every turn
        from mmrag_plugin.cli.chat_session import ChatSession
        from mmrag_plugin.cli.thumbnails import Thumbnails

        kept_as = _resumed(folder_of_all, name) if resume else None
        engine = opened.as_chat_engine(
            resume=folder_of_all / f"{kept_as}.json" if kept_as else None, **asked
        )
        thumbnails = Thumbnails(False if json else pictures)
        session = ChatSession(opened, engine, thumbnails, name=kept_as, json=json)
        code = session.run()
    if code:
        raise typer.Exit(code)


def _resumed(folder: Path, name: str | None) -> str:
    """The name of the conversation to go on with."""
    from mmrag_plugin.conversation_files import checked_name, kept_conversations

    if name is not None:
        return checked_name(name)
    kept = kept_conversations(folder)
    if not kept:
        raise NotFound("This library has no conversation yet.", "Begin one with: mmrag chat")
    return kept[0].name


def _list(folder: Path, *, json: bool) -> None:
    from mmrag_plugin.conversation_files import kept_conversations

    kept = kept_conversations(folder)
    if json:
        print_json(
            [
                {
                    "name": one.name,
                    "changed_at": _changed(one.changed_s).isoformat(),
                    "turns": one.turns,
                    "begins": one.begins,
                }
                for one in kept
            ]
        )
        return
    if not kept:
        output.print("There is no conversation yet. Begin one with: mmrag chat")
    for one in kept:
        turns = "damaged" if one.turns is None else f"{one.turns} turn{'s' * (one.turns != 1)}"
        output.print(
            on_one_line(f"{one.name}  {_changed(one.changed_s):%Y-%m-%d %H:%M}  {turns}"),
            style="bold",
        )
        if one.begins:
            output.print(on_one_line(f"  {one.begins}"), style="dim")


def _changed(changed_s: float) -> datetime:
    return datetime.fromtimestamp(changed_s).astimezone().replace(microsecond=0)
