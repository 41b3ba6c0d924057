"""`mmrag facets`: how many media each year, place, folder or name has, and which."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import on_one_line, output, print_json, warn

if TYPE_CHECKING:
    from mmrag_plugin.browsing import Facets, MediaPage

_BY = "year, month, day, place, country, region, city, folder, kind, camera, person, tag or album"


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(facets)


def facets(
    by: Annotated[str, typer.Argument(help=f"{_BY}.")] = "year",
    value: Annotated[
        str | None, typer.Argument(help="List the media of this one: 2019-05, Lisbon, Anna.")
    ] = None,
    inside: Annotated[
        str | None,
        typer.Option(help="By folder: count the folders inside this one.", metavar="FOLDER"),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=100_000, help="How many.", metavar="N")
    ] = 50,
    after: Annotated[
        str | None, typer.Option(help="Go on behind the page before.", metavar="MARK")
    ] = None,
    oldest: Annotated[bool, typer.Option("--oldest", help="The oldest media first.")] = False,
    kind: options.KindOption = None,
    since: options.Since = None,
    until: options.Until = None,
    folder: options.Folder = None,
    camera: options.Camera = None,
    has_text: options.HasText = None,
    person: Annotated[
        list[str] | None, typer.Option(help="Only with this person.", metavar="NAME")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only with this tag.")] = None,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Count media by year, month, place, folder, person, tag and more, or list those of one.

    Needs no model: what was found while indexing is counted.
    """
    from mmrag_plugin.filters import Filters

    options.one_of("--kind", kind, ("image", "video"))
    filters = Filters(
        kind,  # type: ignore[arg-type]
        since,
        until,
        folder,
        camera,
        has_text,
        people=tuple(person or ()),
        tags=tuple(tag or ()),
    )
    with options.open_library(library=library, home=home) as opened:
        if value is None:
            found = opened.browse(by, filters, folder=inside, limit=limit)  # type: ignore[arg-type]
            print_json(found.as_dict()) if json else _show_counts(found)
            return
        page = opened.browse_media(
            filters,
            by=by,  # type: ignore[arg-type]
            value=value,
            limit=limit,
            after=after,
            oldest_first=oldest,
        )
        paths = opened.paths_now([row.media_id for row in page.media])
    if json:
        print_json(_page_dict(page, paths))
    else:
        _show_page(page, paths)


def _show_counts(found: Facets) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    for value in found.values:
        table.add_row(str(value.count), on_one_line(value.label))
    output.print(table)
    if not found.values:
        output.print(f"No media has a {found.by} of its own.")
    notes = []
    if found.distinct > len(found.values):
        notes.append(f"{found.distinct - len(found.values)} more: --limit shows them.")
    if found.without:
        notes.append(f"{found.without} of {found.total} media have no {found.by}.")
    warn(notes)


def _show_page(page: MediaPage, paths: dict[str, str]) -> None:
    for row in page.media:
        taken = (row.taken_at or "")[:16].replace("T", " ")
        path = on_one_line(paths.get(row.media_id, row.path))
        line = f"{taken:16}  {row.kind}  {row.media_id}  {path}"
        output.print(line, soft_wrap=True)
    if page.next:
        warn([f"{page.total} in all; more: --after {shlex.quote(page.next)}"])


def _page_dict(page: MediaPage, paths: dict[str, str]) -> dict[str, object]:
    return {
        "media": [
            {
                "media_id": row.media_id,
                "path": paths.get(row.media_id, row.path),
                "kind": row.kind,
                "taken_at": row.taken_at,
            }
            for row in page.media
        ],
        "total": page.total,
        "next": page.next,
    }
