"""Shots: PySceneDetect's content detector over every frame, fed by our own decoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mmrag_plugin.animations import Animation
from mmrag_plugin.errors import UsageError
from mmrag_plugin.films import Film, open_film
from mmrag_plugin.keyframes.base import KeyframeSelector
from mmrag_plugin.keyframes.choice import Candidate, in_shots, spaced, with_spans
from mmrag_plugin.media import Frame
from mmrag_plugin.motion_photos import FilmPart

_WIDTH_PX = 256  # PySceneDetect scales films down to about this before it compares frames


class SceneSelector(KeyframeSelector):
    """The first frame of each shot, and of a long shot one more every ``max_gap_s``.

    ``threshold`` is that of PySceneDetect's ContentDetector: the mean change of hue, saturation and
    brightness from one frame to the next, 0 to 255. A film is decoded whole.
    """

    name = "scenes"

    def __init__(
        self, *, threshold: float = 27.0, max_gap_s: float = 10.0, min_gap_s: float = 0.5
    ) -> None:
        if not (0 <= min_gap_s < max_gap_s and threshold > 0):
            raise UsageError(
                f"threshold = {threshold}, max_gap_s = {max_gap_s}, min_gap_s = {min_gap_s} "
                "can't all hold.",
                "Give a threshold above 0 and a max_gap_s above min_gap_s.",
            )
        self.threshold = threshold
        self.max_gap_s = max_gap_s
        self.min_gap_s = min_gap_s

    @property
    def stamp(self) -> str:
        """Name the method, its version and its parameters."""
        return (
            f"scenes-2(threshold={self.threshold:g},max_gap_s={self.max_gap_s:g},"
            f"min_gap_s={self.min_gap_s:g})"
        )

    def select(self, source: Path | FilmPart) -> Iterator[Frame]:
        """Yield frames lazily. Raises MediaError when the file holds no readable film."""
        with open_film(source) as film:
            candidates = spaced(self._candidates(film), self.min_gap_s)
            yield from with_spans(film, in_shots(film, candidates))

    def _candidates(self, film: Film | Animation) -> Iterator[Candidate]:
        from scenedetect.detectors import ContentDetector

        # Without a minimum length the detector reports a cut at its very frame, never later.
        detector = ContentDetector(threshold=self.threshold, min_scene_len=0)
        last_s: float | None = None
        size_px: tuple[int, int] | None = None  # of all that is compared, if the film's own changes
        for number, (time_s, frame) in enumerate(film.frames()):
            if size_px is None:
                scale = min(1.0, _WIDTH_PX / frame.width)
                size_px = max(int(frame.width * scale), 2), max(int(frame.height * scale), 2)
            image = frame.reformat(*size_px, "bgr24", interpolation="AREA").to_ndarray()
            is_cut = bool(detector.process_frame(number, image))
            if last_s is None or is_cut or time_s - last_s >= self.max_gap_s:
                yield Candidate(time_s, frame, is_cut)
                last_s = time_s
