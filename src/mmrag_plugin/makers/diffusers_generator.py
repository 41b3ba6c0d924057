"""A picture generator of the `diffusers` library (extra ``[generate]``), on this machine."""

from __future__ import annotations

from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mmrag_plugin.errors import MissingExtra, ModelError, ModelMissing, UsageError
from mmrag_plugin.makers.base import Stopped, Told
from mmrag_plugin.makers.generating import Idea, PictureGenerator

if TYPE_CHECKING:
    from PIL.Image import Image

_STEPS = 30
_MULTIPLE = 8  # of pixels, which every model can


class DiffusersGenerator(PictureGenerator):
    """Any text-to-image model of diffusers, from a folder or from the hub's cache on this disk.

    Nothing is fetched, and weights that could run code (pickles) are refused. Raises MissingExtra,
    UsageError where no model is named, ModelMissing where it is not on this disk.
    """

    def __init__(self, model: str) -> None:
        if find_spec("diffusers") is None:
            raise MissingExtra(
                "Making new pictures needs a generator, which is not installed.",
                "Run `pip install 'mmrag-plugin[generate]'`.",
            )
        if not model.strip():
            raise UsageError(
                "No model for new pictures is named.",
                "Name a folder or hub name of a diffusers model with --generator or "
                "MMRAG_GENERATOR, such as stabilityai/sd-turbo (hf download fetches it).",
            )
        self.name = model

    @cached_property
    def _from_words(self) -> Any:
        import torch
        import transformers
        from diffusers import AutoPipelineForText2Image
        from diffusers.utils import logging

        logging.disable_progress_bar()  # ours says how far it is
        transformers.utils.logging.disable_progress_bar()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if torch.backends.mps.is_available():
            device = "mps"
        try:
            pipeline = AutoPipelineForText2Image.from_pretrained(
                self.name,
                local_files_only=True,
                use_safetensors=True,
                torch_dtype=torch.float16 if device == "cuda" else torch.float32,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelMissing(
                f"The generator {self.name} can't be loaded from this disk ({reason}).",
                f"Fetch it: hf download {self.name}; or name a folder with a diffusers model.",
            ) from None
        pipeline.set_progress_bar_config(disable=True)
        return pipeline.to(device)

    @cached_property
    def _from_pictures(self) -> Any:
        from diffusers import AutoPipelineForImage2Image

        try:
            pipeline = AutoPipelineForImage2Image.from_pipe(self._from_words)
        except ValueError:
            raise ModelError(
                f"The generator {self.name} makes pictures out of words only.",
                "Leave --like out, or name another generator.",
            ) from None
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def generate(self, idea: Idea, tell: Told) -> Image:
        """Make a picture; of several that it should be like, an even mixture is where it begins."""
        import torch

        steps = idea.steps or _STEPS
        given: dict[str, Any] = {"prompt": idea.prompt, "num_inference_steps": steps}
        if idea.seed is not None:
            given["generator"] = torch.Generator("cpu").manual_seed(idea.seed)
        size = idea.size and _rounded(idea.size)
        if idea.like:
            pipeline = self._from_pictures
            # some steps must be left, however little may change
            strength = min(max(idea.strength, 1.0 / steps), 1.0)
            given |= {"image": _mixed(idea.like, size or self._own_size), "strength": strength}
        else:
            pipeline = self._from_words
            if size:
                given |= {"width": size[0], "height": size[1]}

        def heard(_: Any, step: int, __: Any, state: dict[str, Any]) -> dict[str, Any]:
            tell((step + 1) / steps)
            return state

        try:
            made = pipeline(**given, callback_on_step_end=heard)
        except Stopped:
            raise
        except (RuntimeError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(
                f"The generator {self.name} failed ({reason}).",
                "Try a smaller --size, or another generator.",
            ) from None
        picture: Image = made.images[0]
        return picture.convert("RGB")

    @property
    def _own_size(self) -> tuple[int, int]:
        """The size that a model was made for."""
        pipeline = self._from_words
        network = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
        side = getattr(getattr(network, "config", None), "sample_size", None) or 64
        side_px = int(side) * int(getattr(pipeline, "vae_scale_factor", 8))
        return _rounded((side_px, side_px))


def _mixed(pictures: tuple[Image, ...], size: tuple[int, int]) -> Image:
    """An even mixture of pictures; without a size of its own in the shape of the first."""
    import PIL.Image
    from PIL import ImageOps

    wide, high = pictures[0].size
    factor = (size[0] * size[1] / (wide * high)) ** 0.5
    shape = _rounded((round(wide * factor), round(high * factor)))
    mixture = ImageOps.fit(pictures[0], shape)
    for number, picture in enumerate(pictures[1:], start=2):
        mixture = PIL.Image.blend(mixture, ImageOps.fit(picture, shape), 1 / number)
    return mixture


def _rounded(size: tuple[int, int]) -> tuple[int, int]:
    return tuple(max(side // _MULTIPLE, 1) * _MULTIPLE for side in size)  # type: ignore[return-value]
