"""New pictures that a model makes out of words and of a library's pictures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag_plugin.errors import UsageError
from mmrag_plugin.library_making import LibraryMaking, Target
from mmrag_plugin.walking import expand

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmrag_plugin.makers.base import Made, Piece
    from mmrag_plugin.makers.generating import PictureGenerator

_MOST_LIKE = 8
_SIDES_PX = range(16, 4097)
_MOST_CHARS = 2_000


class LibraryImagining(LibraryMaking):
    """The part of a library that has new pictures made."""

    _generators: dict[str, PictureGenerator]

    def imagine(
        self,
        prompt: str,
        *,
        like: Sequence[Target] = (),
        strength: float = 0.6,
        size: tuple[int, int] | None = None,
        steps: int | None = None,
        seed: int | None = None,
        generator: PictureGenerator | None = None,
        output: Path | None = None,
        folder: Path | None = None,
        force: bool = False,
        tell: Callable[[float], None] | None = None,
        stopped: Callable[[], bool] | None = None,
    ) -> Made:
        """Have a model make a picture of ``prompt``, and of pictures that it should be ``like``.

        ``strength`` (0 to 1) is how far it goes from these. The generator is the settings' unless
        given. The file says in its metadata that a model made it, and is left out of searches that
        don't ask for such pictures. Where it is written, ``tell`` and ``stopped`` as of ``make``.
        Raises MissingExtra and ModelMissing where there is no generator.
        """
        from mmrag_plugin.makers.base import Wish
        from mmrag_plugin.makers.generating import Idea, PictureMaker
        from mmrag_plugin.making import Place, file_name, make

        prompt = prompt.strip()
        if not prompt or len(prompt) > _MOST_CHARS:
            raise UsageError(
                "A picture is made of words, and of 2,000 characters at most.", "Describe it."
            )
        if not 0 <= strength <= 1:
            raise UsageError(f"A strength of {strength:g} is not possible.", "Give 0 to 1.")
        if len(like) > _MOST_LIKE:
            raise UsageError(f"{len(like)} pictures are too many to be like.", "Name up to 8.")
        if size is not None and not all(side in _SIDES_PX for side in size):
            raise UsageError(
                f"A picture of {size[0]} x {size[1]} pixels is not possible.", "Give 16 to 4096."
            )
        pieces = [piece for target in like for piece in self._named("picture", target, None)]
        idea = Idea(prompt, (), strength, size, steps, seed)
        place = Place(
            (folder or Path.cwd()).absolute(),
            None if output is None else expand(output).absolute(),
            force,
        )
        wish = Wish(
            tuple(
                replace(piece, path=piece.path.absolute(), taken_at=None, location=None)
                for piece in pieces
            ),
            place.folder,
        )
        maker = PictureMaker(generator or self._generator(), idea, _opened)
        name = file_name(prompt, "picture")
        return make(maker, wish, place, name, lambda job: job.run(_Here(tell, stopped)))

    async def aimagine(self, prompt: str, **options: Any) -> Made:
        """Have a picture made without holding up the event loop."""
        return await asyncio.to_thread(partial(self.imagine, prompt, **options))

    def _generator(self) -> PictureGenerator:
        """The generator of the settings, loaded once."""
        name = self.settings.generator
        known = self.__dict__.setdefault("_generators", {})
        if name not in known:
            from mmrag_plugin.makers.diffusers_generator import DiffusersGenerator
            from mmrag_plugin.makers.plain_generator import PlainGenerator

            known[name] = PlainGenerator() if name == "plain" else DiffusersGenerator(name)
        generator: PictureGenerator = known[name]
        return generator


def _opened(piece: Piece, at_least_px: int) -> Image:
    """The picture of a piece, decoded in a process that has limits."""
    from mmrag_plugin.readers.workers import DecodesInWorkers

    at_s = None
    if piece.kind == "video":
        start_s = piece.start_s or 0.0
        at_s = start_s if piece.end_s is None else (start_s + piece.end_s) / 2
    decoder = DecodesInWorkers()
    return decoder.picture(piece.kind, piece.path, at_s, at_least_px=at_least_px)


class _Here:
    """Hears how far a generator is, in this process, and stops it where it is not wanted."""

    def __init__(
        self, tell: Callable[[float], None] | None, stopped: Callable[[], bool] | None
    ) -> None:
        self._tell, self._stopped = tell, stopped

    def __call__(self, done: float) -> None:
        """Pass on what share is done."""
        from mmrag_plugin.makers.base import Stopped

        if self._stopped is not None and self._stopped():
            raise Stopped("It was stopped before it was finished.", "Nothing was written.")
        if self._tell is not None:
            self._tell(min(done, 1.0))

    def begin(self, place: int) -> None:
        """Look whether it is still wanted before the next picture is opened."""
        self(0.0)
