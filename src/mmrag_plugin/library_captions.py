"""Who captions and checks the media of a library, by its settings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mmrag_plugin.library_models import careful, limited, vlm_of

if TYPE_CHECKING:
    from llama_index.core.llms import LLM

    from mmrag_plugin.embeddings.base import VisualEncoder
    from mmrag_plugin.index_captions import CaptionWork
    from mmrag_plugin.index_run import Stamps
    from mmrag_plugin.ledger import Ledger
    from mmrag_plugin.media import Kind
    from mmrag_plugin.scanning import ScanResult
    from mmrag_plugin.settings import Settings


def caption_work(settings: Settings, llm: LLM | None = None) -> CaptionWork:
    """What the caption stage is to do; ``llm`` captions instead of the settings' VLM.

    No server is asked for anything yet.
    """
    from mmrag_plugin.index_captions import CaptionWork

    if settings.captions == "off":
        return CaptionWork()
    from mmrag_plugin.vlm import verifying
    from mmrag_plugin.vlm.captions import TOKEN_CAP, Captioner

    workers = settings.caption_workers
    vlm = vlm_of(settings) if llm is None else careful(llm, settings)
    captioner = Captioner(limited(vlm, max_tokens=TOKEN_CAP, temperature=0.0), workers=workers)
    if not settings.verify_with.strip():
        return CaptionWork(settings.captions, captioner, personal=settings.personal)
    second = vlm_of(settings.model_copy(update={"vlm": settings.verify_with}))
    judge = limited(second, max_tokens=verifying.TOKEN_CAP, temperature=0.0)
    verifier = verifying.Verifier(judge, workers=workers)
    return CaptionWork(settings.captions, captioner, verifier, settings.personal)


def to_be_captioned(
    ledger: Ledger, settings: Settings, visual: VisualEncoder, stamps: Stamps, found: ScanResult
) -> int:
    """How many media a run would caption after a scan; no server is asked.

    What is known already but not looked at yet, because of a run that was broken off, is left out.
    """
    from mmrag_plugin.index_captions import stamp_now
    from mmrag_plugin.index_personal import knows_things, media_stamp

    captioner = caption_work(settings).captioner
    if captioner is None or settings.captions == "off":
        return 0
    personal = settings.personal and knows_things(visual)
    annotated = len(ledger.photos_annotated()) if personal else 0
    stamp = media_stamp(stamp_now(captioner, ledger.fact("caption")), annotated)
    kinds: tuple[Kind, ...] = ("image", "video")
    owed = [
        media_id
        for kind in kinds
        for media_id in ledger.to_caption(
            settings.captions, replace(stamps, caption=stamp).of("caption", kind), kind
        )
    ]
    return found.new_kinds.total() + len(set(owed).difference(found.removed))
