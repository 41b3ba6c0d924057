"""`mmrag models`: what models there are, and fetching one."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import output, print_json


def add_to(app: typer.Typer) -> None:
    """Enter the commands."""
    group = typer.Typer(help="List models, or fetch one.", no_args_is_help=True)
    group.command("list")(list_models)
    group.command("pull")(pull)
    app.add_typer(group, name="models")


def list_models(home: options.Home = None, json: options.Json = False) -> None:
    """List the models of the catalogue, and which are on this disk."""
    from mmrag_plugin.embeddings.catalogue import TEXT_MODELS, VISUAL_MODELS
    from mmrag_plugin.embeddings.local_models import models_on_disk
    from mmrag_plugin.settings import load_settings

    here = {model.name: model for model in models_on_disk(load_settings(home=home).models_home)}
    rows = [
        {
            "name": row.name,
            "reads": reads,
            "hub_id": row.hub_id,
            "dim": row.dim,
            "size_mb": row.size_mb,
            "licence": row.licence,
            "multilingual": row.multilingual,
            "on_disk": row.name in here,
        }
        for reads, catalogue in (("pictures", VISUAL_MODELS), ("texts", TEXT_MODELS))
        for row in catalogue
    ]
    known = {str(row["name"]) for row in rows}
    rows += [
        {"name": name, "reads": model.layout, "on_disk": True, "size_mb": model.size_bytes >> 20}
        for name, model in here.items()
        if name not in known
    ]
    if json:
        print_json({"models": rows})
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("name", "reads", "size", "licence", "languages", "on this disk"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(
            str(row["name"]),
            str(row["reads"]),
            f"{row['size_mb']} MB",
            str(row.get("licence", "")),
            "many" if row.get("multilingual") else "English",
            "yes" if row["on_disk"] else "no",
        )
    output.print(table)
    output.print("palette (colours only) needs no download. Fetch one: mmrag models pull NAME")


def pull(
    name: Annotated[str, typer.Argument(help="A catalogue name or a hub name.")],
    home: options.Home = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    json: options.Json = False,
) -> None:
    """Fetch a model from its hub into MMRAG_HOME; asks first, with the size."""
    from mmrag_plugin.embeddings.catalogue import find
    from mmrag_plugin.embeddings.local_models import pull as fetch
    from mmrag_plugin.settings import load_settings

    row = find(name)
    size = f"about {row.size_mb} MB" if row else "of unknown size"
    if not yes and not json:
        typer.confirm(f"Download {row.hub_id if row else name}, {size}?", abort=True)
    folder = fetch(name, load_settings(home=home).models_home)
    if json:
        print_json({"name": name, "path": str(folder)})
    else:
        output.print(f"{name} is in {folder}. Use it: mmrag index")
