"""Every error that mmrag raises on purpose, one family.

MmragError                  what went wrong, and what to do about it
├── UsageError              an argument or a setting is wrong                     exit 2
│   ├── NotALibrary         the directory exists but holds no mmrag library
│   ├── RemoteNotAllowed    pictures would leave this machine without --allow-remote
│   └── NoSuchPath          an argument names a path that is not there (a NotFound, too)
├── ModelError              a model is missing, damaged or not the expected one   exit 2
│   ├── ModelMissing        not on disk, not on the server
│   ├── ModelMismatch       the library's vectors come from another model
│   └── ModelCannotSee      a VLM without vision
├── MissingExtra            an optional dependency is not installed               exit 2
├── NotFound                no such media, file or moment                         exit 1
├── MediaError              one file cannot be read; the run goes on              exit 1
├── StorageError            the disk is full or not writable                      exit 1
├── IndexStopped            somebody had a run of indexing stopped                exit 1
├── LibraryBusy             another process is writing                            exit 3
└── ServiceError            Milvus or Ollama cannot be reached or answers wrongly exit 3
    ├── MilvusUnavailable
    └── OllamaUnavailable
"""

from __future__ import annotations

from typing import ClassVar


class MmragError(Exception):
    """Base of the family: ``message`` says what and which value, ``remedy`` what to do."""

    kind: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()

    def __reduce__(self) -> tuple[type[MmragError], tuple[str, str]]:
        return type(self), (self.message, self.remedy)

    def as_dict(self) -> dict[str, str]:
        """The shape that ``--json`` prints under ``"error"``."""
        return {"kind": self.kind, "message": self.message, "remedy": self.remedy}


class UsageError(MmragError):
    """An argument or a setting is wrong."""

    kind = "usage"
    exit_code = 2


class NotALibrary(UsageError):
    """The directory exists but holds no mmrag library."""

    kind = "not_a_library"


class RemoteNotAllowed(UsageError):
    """Pictures would leave this machine and nobody said they may."""

    kind = "remote_not_allowed"


class ModelError(MmragError):
    """A model is missing, damaged or not the expected one."""

    kind = "model"
    exit_code = 2


class ModelMissing(ModelError):
    """A model is not on this disk or not on the server."""

    kind = "model_missing"


class ModelMismatch(ModelError):
    """The library's vectors come from another model."""

    kind = "model_mismatch"


class ModelCannotSee(ModelError):
    """The VLM takes no pictures."""

    kind = "model_cannot_see"


class MissingExtra(MmragError):
    """An optional dependency is not installed; the remedy holds the command."""

    kind = "missing_extra"
    exit_code = 2


class NotFound(MmragError):
    """No such media, file or moment."""

    kind = "not_found"
    exit_code = 1


class NoSuchPath(UsageError, NotFound):
    """An argument names a path that is not there."""

    kind = "not_found"


class MediaError(MmragError):
    """One file cannot be read; the run goes on and the report names it."""

    kind = "media"
    exit_code = 1

    def __init__(self, message: str, remedy: str = "", *, path: str = "") -> None:
        super().__init__(message, remedy)
        self.path = path

    def __reduce__(self) -> tuple[type[MmragError], tuple[str, str]]:
        return type(self), (self.message, self.remedy)


def unexpected(path: str, error: Exception) -> MediaError:
    """The error about a file over which a program breaks that should not."""
    return MediaError(
        f"{path} can't be processed ({type(error).__name__}: {error}).",
        "Open it in another program; report it if it looks fine there.",
    )


class StorageError(MmragError):
    """The disk is full or not writable."""

    kind = "storage"
    exit_code = 1


class IndexStopped(MmragError):
    """Somebody had a run of indexing stopped."""

    kind = "stopped"
    exit_code = 1


class LibraryBusy(MmragError):
    """Another process holds the writer's lease."""

    kind = "busy"
    exit_code = 3


class ServiceError(MmragError):
    """A service cannot be reached, or answers wrongly."""

    kind = "service"
    exit_code = 3


class MilvusUnavailable(ServiceError):
    """Milvus cannot be reached."""

    kind = "milvus_unavailable"


class OllamaUnavailable(ServiceError):
    """Ollama cannot be reached."""

    kind = "ollama_unavailable"
