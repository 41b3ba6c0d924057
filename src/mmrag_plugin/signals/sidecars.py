"""What the files beside the media of one folder say about them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mmrag_plugin.dates import Dated
from mmrag_plugin.errors import MediaError
from mmrag_plugin.media import Signal, each_once, kind_of
from mmrag_plugin.signals.sidecar_formats import FOLDER_FORMATS, SIDECAR_FORMATS, SidecarFormat
from mmrag_plugin.signals.sidecar_formats.base import MediaNames, Place, Said, Statement, folded
from mmrag_plugin.signals.sidecar_formats.icloud import album_folders

SIDECARS_VERSION = 2  # part of every stamp: a new way to read gives new signals
MAX_SIDECAR_BYTES = 16 * 2**20

_Sidecars = list[tuple[str, SidecarFormat]]


@dataclass(frozen=True)
class Beside:
    """What stands beside one media: words, dates, and a position in degrees."""

    signals: tuple[Signal, ...] = ()
    dates: tuple[Dated, ...] = ()
    latitude: float | None = None
    longitude: float | None = None


class FolderSidecars:
    """Finds the sidecar files of one folder by name and reads them when they are asked for.

    ``entries`` maps each file in the folder to its size in bytes and its modification time in
    nanoseconds, so that nothing is looked up twice. ``above`` is the parent folder, when its lists
    may speak about this one: ``captions.json`` beside ``images/``. What lists the media of this
    folder elsewhere is brought by ``listen_to``.
    """

    def __init__(
        self,
        folder: Path,
        entries: Mapping[str, tuple[int, int]],
        above: FolderSidecars | None = None,
    ) -> None:
        self._folder = folder
        self._entries = entries
        self._above = above
        self._media = MediaNames(name for name in entries if kind_of(name))
        self._own: dict[str, _Sidecars] = defaultdict(list)
        self._lists: _Sidecars = []
        self._elsewhere: tuple[FolderSidecars, ...] = ()
        self._listed: dict[str, list[Said]] | None = None
        self._of_all: list[Said] = []  # said by lists of this folder of all media in it
        self._problems: list[MediaError] = []
        self._bad: set[str] = set()
        borrowed: list[tuple[str, SidecarFormat, frozenset[str]]] = []
        for name in sorted(entries.keys() - self._media.all):
            if not name.startswith("."):  # macOS puts binary ._captions.csv on foreign drives
                borrowed += self._sort_in(name)
        for name, sidecar_format, borrowers in borrowed:
            for media_name in borrowers:
                own = self._own[media_name]
                if not any(known is sidecar_format for _, known in own):
                    own.append((name, sidecar_format))
        stamp_above = above._lists_stamp if above else ""
        if self._lists and self._names_below:
            stamp_above += " names below"
        self._lists_stamp: str = self._stamp(self._lists, stamp_above)

    @property
    def _names_below(self) -> bool:
        """Whether bare names in lists of this folder mean media in the folders below as well.

        So it is where lists lie beside a folder of media, as long as no media lies beside them.
        """
        return not self._media.all

    @staticmethod
    def lists_elsewhere(folder: Path, entries: Mapping[str, tuple[int, int]]) -> list[Path]:
        """Folders that may hold lists of the media in a folder, though not above it."""
        return album_folders(folder, entries)

    def listen_to(self, others: Sequence[FolderSidecars]) -> None:
        """Have the lists of other folders speak about this one, which name its media barely."""
        self._elsewhere = tuple(other for other in others if other is not self)
        for other in self._elsewhere:
            self._lists_stamp = other._stamp(other._lists, self._lists_stamp)

    def stamp_for(self, media_name: str) -> str:
        """Hash name, size and time of every file that may speak about a media; "" without any.

        Reads nothing. Another stamp means that ``signals_for`` may answer differently.
        """
        own = self._own.get(media_name)
        return self._stamp(own, self._lists_stamp) if own else self._lists_stamp

    def signals_for(self, media_name: str) -> list[Signal]:
        """Read the words about a media, each thing once; bad files are left to ``problems``."""
        return list(self.about(media_name).signals)

    def about(self, media_name: str) -> Beside:
        """Read what is said about a media, each thing once; bad files are left to ``problems``."""
        own = self._own.get(media_name, [])
        statements = [
            *(statement for sidecar in own for _, statement in self._parse(*sidecar)),
            *self._listed_for(PurePosixPath(media_name)),
        ]
        said = each_once(statements)
        place = next((found for found in said if isinstance(found, Place)), None)
        return Beside(
            signals=tuple(found for found in said if isinstance(found, Signal)),
            dates=tuple(found for found in said if isinstance(found, Dated)),
            latitude=place.latitude if place else None,
            longitude=place.longitude if place else None,
        )

    def may_speak(self, name: str) -> bool:
        """Whether a file in this folder is a sidecar of a media in it, or a list."""
        return self.subjects_of(name) != frozenset()

    def subjects_of(self, name: str) -> frozenset[str] | None:
        """The media in this folder whose sidecar a file is; None for a list."""
        if any(name == listed for listed, _ in self._lists):
            return None
        return frozenset(
            media_name
            for media_name, sidecars in self._own.items()
            if any(name == sidecar for sidecar, _ in sidecars)
        )

    def problems(self) -> list[MediaError]:
        """Hand over the folder's files that could not be read, each once: then only news."""
        problems, self._problems = self._problems, []
        return problems

    def _sort_in(self, name: str) -> list[tuple[str, SidecarFormat, frozenset[str]]]:
        """Enter a file with those whose sidecar it is; returns who may borrow it."""
        here = FOLDER_FORMATS.get(self._folder.name)
        for sidecar_format in (*([here] if here else []), *SIDECAR_FORMATS):
            subjects = sidecar_format.subjects(name, self._media)
            if subjects is None:
                self._lists.append((name, sidecar_format))
                return []
            for media_name in subjects:
                self._own[media_name].append((name, sidecar_format))
            if subjects:
                borrowers = sidecar_format.borrowers(subjects, self._media)
                return [(name, sidecar_format, borrowers)] if borrowers else []
        return []

    def _stamp(self, sidecars: _Sidecars, rest: str) -> str:
        if not sidecars:
            return rest
        facts = [f"{name}\0{self._entries[name]}" for name, _ in sidecars]
        joined = "\n".join([str(SIDECARS_VERSION), rest, *facts])
        return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

    def _listed_for(self, path: PurePosixPath) -> Iterator[Said]:
        """Look a media up in the lists that may speak about it; ``path`` from this folder."""
        self._read_lists()
        yield from self._of_all
        for other in self._elsewhere:
            yield from other._read_lists().get(folded(path.name), ())
        here: FolderSidecars | None = self
        while here is not None:
            from_above = PurePosixPath(here._folder.name, path)
            spellings = [path, from_above]
            if here._names_below:
                spellings.append(PurePosixPath(path.name))
            listed = here._read_lists()
            for spelling in spellings if listed else ():
                yield from listed.get(folded(str(spelling)), ())
                yield from listed.get(folded(str(spelling.with_suffix(""))), ())
            here, path = here._above, from_above

    def _read_lists(self) -> dict[str, list[Said]]:
        if self._listed is None:
            self._listed = defaultdict(list)
            for name, sidecar_format in self._lists:
                for written, said in self._parse(name, sidecar_format):
                    if written is None:
                        self._of_all.append(said)
                    else:
                        self._listed[self._key(written)].append(said)
        return self._listed

    def _key(self, written: str) -> str:
        """Bring a file as written in a list to the form it is looked up by."""
        path = PurePosixPath(written.replace("\\", "/"))
        if path.is_absolute() and path.is_relative_to(self._folder):
            path = path.relative_to(self._folder)
        return folded(str(path))

    def _parse(self, name: str, sidecar_format: SidecarFormat) -> Iterator[Statement]:
        """Yield what one file says; what is wrong with it becomes a problem, reported once."""
        path = self._folder / name
        try:
            yield from sidecar_format.parse(name, self._read(path))
        except MediaError as error:
            self._add_problem(path, error.message)
        except (ValueError, RecursionError) as error:
            self._add_problem(path, str(error) or type(error).__name__)
        except OSError as error:
            self._add_problem(path, error.strerror or type(error).__name__)

    def _read(self, path: Path) -> bytes:
        size_bytes = self._entries[path.name][0]
        if size_bytes <= MAX_SIDECAR_BYTES:
            with path.open("rb") as file:
                data = file.read(MAX_SIDECAR_BYTES + 1)  # it may have grown since the scan
            if len(data) <= MAX_SIDECAR_BYTES:
                return data
            size_bytes = len(data)
        raise ValueError(
            f"it is larger than {MAX_SIDECAR_BYTES // 2**20} MB ({size_bytes:,} bytes)"
        )

    def _add_problem(self, path: Path, reason: str) -> None:
        if path.name not in self._bad:
            self._bad.add(path.name)
            self._problems.append(
                MediaError(
                    f"{path} can't be read whole: {reason.rstrip('.')}.",
                    "Mend it, or rename or remove it if it does not speak about media.",
                    path=str(path),
                )
            )
