"""`mmrag models quantize`: an int8 copy of a visual model, and what is quickest here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import errors, on_one_line, output, print_json
from mmrag_plugin.errors import ModelError

if TYPE_CHECKING:
    from mmrag_plugin.embeddings.dtypes import Verdict
    from mmrag_plugin.settings import Settings


def quantize(
    name: Annotated[str, typer.Argument(help="A catalogue name, a hub name or a model's folder.")],
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the copy instead of making it.")
    ] = False,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Make an int8 copy of a visual model, and measure what is quickest on this machine.

    The copy is used by itself where it is quicker than the other number formats and its vectors
    agree with the model's own; libraries stay as they are. Needs the extra `[onnx]`.
    """
    from mmrag_plugin.embeddings.int8_making import make_copy, remove_copy, stamp_of
    from mmrag_plugin.embeddings.local_models import locate
    from mmrag_plugin.settings import load_settings

    settings = load_settings(home=home)
    folder = locate(name, settings.models_home)
    if remove:
        removed = remove_copy(stamp_of(folder), settings.models_home)
        if json:
            print_json({"name": name, "removed": removed})
        else:
            said = "is removed" if removed else "was not there"
            output.print(on_one_line(f"The int8 copy of {name} {said}."))
        return
    with errors.status("writing the copy"):
        copy = make_copy(folder, settings.models_home)
    with errors.status("measuring"):
        verdict = _measured(folder, settings)
    size_mb = sum(path.stat().st_size for path in copy.rglob("*.onnx*")) / 1e6
    if json:
        measured = {name: vars(found) for name, found in verdict.measured.items()}
        print_json(
            {"name": name, "path": str(copy), "size_mb": round(size_mb)}
            | {"dtype": verdict.dtype, "measured": measured}
        )
        return
    output.print(on_one_line(f"The int8 copy of {name} ({size_mb:.0f} MB) is in {copy}."))
    _show(verdict)
    if verdict.dtype != "int8":
        output.print(on_one_line(f"It is not used: mmrag models quantize {name} --remove"))


def _measured(folder: Path, settings: Settings) -> Verdict:
    """Load the model with its new copy, which tries all formats out."""
    from mmrag_plugin.embeddings.choose import choose_visual
    from mmrag_plugin.embeddings.devices import processor_name
    from mmrag_plugin.embeddings.dtypes import Verdicts

    model, _ = choose_visual(str(folder), models_home=settings.models_home, device=settings.device)
    kept = Verdicts(settings.models_home).latest(model.stamp, processor_name())
    if kept is None:
        raise ModelError(
            f"What was measured of {model.model_name} was not kept.",
            f"{settings.models_home} should be writable.",
        )
    return kept[0]


def _show(verdict: Verdict) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("numbers", "time for a few inputs", "agreement with float32", ""):
        table.add_column(column)
    for name, found in verdict.measured.items():
        used = "used" if name == verdict.dtype else ""
        table.add_row(name, f"{found.probe_s:.3f} s", f"{found.agreement:.4f}", used)
    output.print(table)
