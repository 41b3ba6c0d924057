"""Write docs/images/gallery*.webp: the gallery with the demo's own media, in a real Chromium.

The answer in them comes from the stand-in for Ollama that the tests use, and says so.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
MMRAG = [sys.executable, "-c", "from mmrag_plugin.cli import main; main()"]
WIDTH, HEIGHT = 1280, 800
QUALITY = 80

sys.path.insert(0, str(ROOT / "tests"))

from chromium import NAMES, Page, chromium  # noqa: E402
from ollama_double import Model, OllamaDouble  # noqa: E402


@contextmanager
def gallery(ollama: str) -> Iterator[str]:
    """Serve the demo's library, and give the address."""
    with tempfile.TemporaryDirectory() as home:
        environment = {"PATH": os.environ["PATH"], "HOME": home, "OLLAMA_HOST": ollama}
        environment |= {"MMRAG_VLM": "stand-in", "MMRAG_TEXT_MODEL": "off"}
        photos = Path(home) / "Pictures"
        shutil.copytree(ROOT / "src" / "mmrag_plugin" / "demo_media", photos)
        index = [*MMRAG, "index", photos, "--visual-model", "palette"]
        subprocess.run(index, env=environment, check=True, capture_output=True)  # noqa: S603
        process = subprocess.Popen(  # noqa: S603
            [*MMRAG, "browse", "--no-open"],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)


def keep(page: Page, name: str) -> None:
    """Write what the page shows."""
    page.wait(
        "[...document.querySelectorAll('.frame')].every((one) => one.dataset.shown"
        " || one.getBoundingClientRect().top > innerHeight)"
    )
    page.wait("!document.getAnimations().some((one) => one.playState === 'running')")
    IMAGES.mkdir(exist_ok=True)
    shown = Image.open(io.BytesIO(page.picture())).convert("RGB")
    shown.save(IMAGES / f"{name}.webp", quality=QUALITY, method=6)


def find(page: Page, words: str) -> None:
    """Search."""
    page.click("#query")
    page.evaluate("document.activeElement.select()")
    page.write(words)
    page.press("Enter")
    page.wait(f"document.querySelector('#heading').textContent === '“{words}”'", 60)


def main() -> None:
    """Take the pictures."""
    if not any(map(shutil.which, NAMES)):
        sys.exit("There is no Chromium here: the pictures of the gallery stay as they are.")
    with (
        OllamaDouble({"stand-in:latest": Model()}) as ollama,
        gallery(ollama.url) as address,
        chromium() as browser,
    ):
        page = Page(browser, browser.context(), width=WIDTH, height=HEIGHT)
        page.prefer(reduced_motion="reduce")
        page.goto(address)
        page.wait("document.querySelectorAll('.card').length")
        ollama.script(
            "In the film Biscuit runs ahead through the meadow [1]; in the photo of the farm "
            "weekend he waits for the ball [2]."
        )
        find(page, "brown dog in the meadow")
        page.click("#message")
        page.write("Where is our brown dog Biscuit in the meadow?")
        page.press("Enter")
        page.wait("document.querySelector('.turn .sources')", 60)
        page.evaluate("document.activeElement.blur(), scrollTo(0, 0)")
        keep(page, "gallery")
        find(page, "Biscuit in the meadow")
        page.click(".card")
        page.wait("document.querySelectorAll('#detail .alike .tile').length > 5")
        keep(page, "gallery-moment")
        page.press("Escape")
        page.click("#talk-close")
        page.size(390, 780, scale=2)
        page.prefer(color_scheme="dark", reduced_motion="reduce")
        find(page, "red barn")
        page.evaluate("document.activeElement.blur()")
        keep(page, "gallery-narrow")


if __name__ == "__main__":
    main()
