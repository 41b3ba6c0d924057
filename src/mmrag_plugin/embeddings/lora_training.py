"""Training both towers of a visual model on photos and texts: LoRA by peft, with Trainer.

The loss is that of CLIP with the model's own scale; a photo's other texts, and other photos of a
text, are no negatives. What the model knew is tied: over general phrases, the similarities to the
photos of a batch, and to some that nobody annotated, stay near what they were.
"""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag_plugin.embeddings.transformers_model import TransformersEncoder, quiet
from mmrag_plugin.errors import MissingExtra, ModelError, StorageError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL.Image import Image

RANK = 16
RATE = 2e-4
EPOCHS, PATIENCE = 20, 3  # rounds over all pairs, and how many without a better held-out loss
BATCH = 32
OTHERS, PHRASES = 16, 64  # pictures and phrases in a step that hold what the model knew
TIE = 10.0  # the weight of what holds it
_LARGE = 200_000_000  # parameters, from which on memory is saved at the price of time
# the linear layers of both towers, as CLIP and the SigLIPs name them
_TARGETS = r".*\.layers\.\d+\.(self_attn\.(q|k|v|out)_proj|mlp\.fc[12])"


Losses = list[tuple[int, float | None, float]]


@dataclass(frozen=True)
class Course:
    """What to train on: pictures by number, and texts by number.

    ``decoded`` gives upright RGB pictures. ``said`` marks which text says which picture, [texts,
    pictures], ``strengths`` how much each text counts, [texts]. ``taught`` and ``held_out`` are
    pairs (text, picture) of which the latter say when to stop. ``others`` are pictures that nothing
    was said of. ``old_pictures`` [pictures, dim] and ``old_phrases`` [phrases, dim] are vectors of
    the model as it is.
    """

    decoded: Callable[[Sequence[int]], list[Image]]
    texts: Sequence[str]
    said: NDArray[np.bool_]
    strengths: NDArray[np.float32]
    taught: Sequence[tuple[int, int]]
    held_out: Sequence[tuple[int, int]]
    others: Sequence[int]
    phrases: Sequence[str]
    old_pictures: NDArray[np.float32]
    old_phrases: NDArray[np.float32]


def require_peft() -> None:
    """Raise MissingExtra where the libraries for training are not installed."""
    if any(find_spec(name) is None for name in ("peft", "accelerate")):
        raise MissingExtra(
            "Training the visual model needs peft and accelerate, which are not installed.",
            "Run `pip install 'mmrag-plugin[learn]'`.",
        )


def train_lora(
    visual: TransformersEncoder,
    course: Course,
    *,
    kept_in: Path,
    seed: int = 0,
    heard: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[bytes, Losses]:
    """Train a model, which is changed by it; gives a file's content and the losses by round.

    ``kept_in`` holds what a run that was killed goes on from. Lines of losses are step, training
    loss (None before the first) and held-out loss. Raises ModelError when the loss is not
    finite or the model has no layers to train, and StorageError when the disk is full.
    """
    import torch
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from safetensors import SafetensorError
    from safetensors.torch import save
    from transformers.trainer_utils import get_last_checkpoint

    network = visual.network
    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=_TARGETS)
    with _own_chance(seed), quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft and Trainer are behind transformers
        if network.num_parameters() > _LARGE:
            network.gradient_checkpointing_enable({"use_reentrant": False})
        try:
            adapted = get_peft_model(network, config)
        except ValueError as error:
            raise ModelError(
                f"{visual.model_name} is a {network.config.model_type} model, whose layers mmrag "
                "does not know how to train.",
                "Use a CLIP, SigLIP or SigLIP 2 model, or learn without --lora.",
            ) from error
        trainer = _trainer(adapted, visual, course, kept_in, seed, heard)
        try:
            with contextlib.suppress(FileNotFoundError):
                begun = get_last_checkpoint(str(kept_in))
            trainer.train(resume_from_checkpoint=begun if kept_in.is_dir() else None)
        except torch.cuda.OutOfMemoryError as error:
            raise ModelError(
                f"The memory of the GPU is too small to train {visual.model_name}.",
                "End what else uses it, take a smaller model, or hide it: CUDA_VISIBLE_DEVICES=",
            ) from error
        except (OSError, SafetensorError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "writ" not in str(error):
                raise  # torch has no kind of its own for a file that it can't write
            raise StorageError(
                f"{kept_in} can't take what training leaves: {error}",
                "Free some space and learn again; the model in use stays.",
            ) from error
        matrices = {
            name: tensor.detach().float().cpu().contiguous()
            for name, tensor in get_peft_model_state_dict(adapted).items()
        }
    if not all(bool(torch.isfinite(tensor).all()) for tensor in matrices.values()):
        raise _astray("what was learned is not finite")
    return save(matrices), _losses(trainer.state.log_history)


def _trainer(
    adapted: Any,
    visual: TransformersEncoder,
    course: Course,
    kept_in: Path,
    seed: int,
    heard: Callable[[int, int], None],
) -> Any:
    import torch
    from transformers import (
        EarlyStoppingCallback,
        PrinterCallback,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    class Hears(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            heard(state.global_step, state.max_steps)

    class Contrasts(Trainer):  # type: ignore[misc]
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any
        ) -> Any:
            loss = _loss(adapted, inputs)
            if not torch.isfinite(loss):
                raise _astray(f"the loss is {loss.item()} at step {self.state.global_step + 1}")
            return (loss, {}) if return_outputs else loss

        def prediction_step(self, model: Any, inputs: Any, *_: Any, **__: Any) -> Any:
            with torch.no_grad():
                return _loss(adapted, self._prepare_inputs(inputs)), None, None

    on_gpu = visual.device.startswith("cuda")
    arguments = TrainingArguments(
        output_dir=str(kept_in),
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=2 * BATCH,
        learning_rate=RATE,
        lr_scheduler_type="cosine",
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        eval_on_start=True,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        prediction_loss_only=True,
        remove_unused_columns=False,
        label_names=[],
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        seed=seed,
        data_seed=seed,
        use_cpu=visual.device == "cpu",
        bf16=on_gpu and torch.cuda.is_bf16_supported(including_emulation=False),
        dataloader_pin_memory=on_gpu,
    )
    trainer = Contrasts(
        adapted,
        arguments,
        data_collator=_Batches(visual, course),
        train_dataset=[(*pair, True) for pair in course.taught],
        eval_dataset=[(*pair, False) for pair in course.held_out],
        callbacks=[EarlyStoppingCallback(PATIENCE), Hears()],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


class _Batches:
    """Turns pairs into what a step needs; only its pictures are in memory."""

    def __init__(self, visual: TransformersEncoder, course: Course) -> None:
        self.visual, self.course = visual, course

    def __call__(self, pairs: Sequence[tuple[int, int, bool]]) -> dict[str, Any]:
        import torch

        course = self.course
        texts = sorted({text for text, _, _ in pairs})
        pictures = sorted({picture for _, picture, _ in pairs})
        said = torch.from_numpy(course.said[texts][:, pictures])
        batch: dict[str, Any] = {
            "said": said,
            "strengths": torch.from_numpy(course.strengths[texts]),
            "texts": self.visual.text_inputs([course.texts[text] for text in texts]),
        }
        if pairs[0][2]:  # of the taught ones: what the model knew is to be held, too
            others = [course.others[index] for index in _some(len(course.others), OTHERS)]
            phrases = _some(len(course.phrases), PHRASES)
            pictures = [*pictures, *others]
            batch["phrases"] = self.visual.text_inputs([course.phrases[i] for i in phrases])
            batch["old"] = torch.from_numpy(
                course.old_phrases[phrases] @ course.old_pictures[pictures].T
            )
        batch["pictures"] = self.visual.picture_inputs(course.decoded(pictures))
        return batch


def _some(count: int, most: int) -> list[int]:
    import torch

    chosen: list[int] = torch.randperm(count)[:most].tolist()
    return chosen


def _loss(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    pictures = _vectors(model.get_image_features, batch["pictures"])
    texts = _vectors(model.get_text_features, batch["texts"])
    said, scale = batch["said"], model.logit_scale.exp().detach()
    scores = scale * texts @ pictures[: said.shape[1]].T
    found = _symmetric(scores, said, batch["strengths"])
    if "old" in batch:
        new = _vectors(model.get_text_features, batch["phrases"]) @ pictures.T
        found = found + TIE * _moved(batch["old"], new)
    return found


def _vectors(features: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    import torch

    output = features(**inputs)
    rows = output if isinstance(output, torch.Tensor) else output.pooler_output
    return torch.nn.functional.normalize(rows.float(), dim=-1)


def _symmetric(scores: torch.Tensor, said: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    """The loss of ``learning.symmetric_loss`` with its gradient: any right photo answers a text."""
    by_picture = (said * strengths[:, None]).amax(dim=0)
    ways = (scores, said, strengths), (scores.T, said.T, by_picture)
    losses = []
    for towards, right, weights in ways:
        among = towards.masked_fill(~right, float("-inf")).logsumexp(dim=1)
        losses.append(((towards.logsumexp(dim=1) - among) * weights).sum() / weights.sum())
    return (losses[0] + losses[1]) / 2


def _moved(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """How far the similarities of rows moved against each other, by how far they lay apart."""
    moved = new - old
    moved = moved - moved.mean(dim=1, keepdim=True)
    apart = old - old.mean(dim=1, keepdim=True)
    return moved.square().mean() / apart.square().mean().clamp(min=1e-12)


@contextlib.contextmanager
def _own_chance(seed: int) -> Iterator[None]:
    """Chance that begins with a seed, and everybody else's as it was."""
    import numpy as np
    import torch
    from transformers import set_seed

    of_python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        set_seed(seed)
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)


def _losses(history: Sequence[dict[str, Any]]) -> Losses:
    taught = {line["step"]: float(line["loss"]) for line in history if "loss" in line}
    return [
        (line["step"], taught.get(line["step"]), float(line["eval_loss"]))
        for line in history
        if "eval_loss" in line
    ]


def _astray(what: str) -> ModelError:
    return ModelError(
        f"Learning went astray: {what}.",
        "The model in use stays. Vectors that are damaged: mmrag status --verify.",
    )
