"""Write docs/images/demo.svg: what `mmrag demo` shows on a terminal, from a real run of it."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "demo.svg"
WIDTH = 84
# Rich's picture would fetch a font from a server; the reader's own monospace will do.
SVG_FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def demo_output() -> str:
    """Run the demo in a new library and return what it prints, colours included."""
    with tempfile.TemporaryDirectory() as home:
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environment |= {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": str(WIDTH)}
        done = subprocess.run(
            [sys.executable, "-c", "from mmrag_plugin.cli import main; main()", "demo"],
            env=environment | {"MMRAG_HOME": home},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    shown, _, _ = done.stdout.partition("Search them:")  # after it come this machine's paths
    return shown.rstrip()


def main() -> None:
    """Draw it."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ make demo", style="bold"))
    console.print(Text.from_ansi(demo_output()))
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    svg = console.export_svg(title="mmrag", code_format=SVG_FORMAT)
    PICTURE.write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
