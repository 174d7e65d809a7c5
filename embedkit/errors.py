"""The exception tree. Every error a user can cause or meet derives from `EmbedkitError`.

Messages say what must hold, what came, and what to do. A failure never returns None.
"""

__all__ = [
    "CorruptFileError",
    "EmbedkitError",
    "ForkedProcessError",
    "IncompatibleIndexError",
    "InputError",
    "LockedIndexError",
    "MissingExtraError",
    "ModelError",
    "StorageError",
]


class EmbedkitError(Exception):
    """Base of every error that embedkit raises on purpose."""


class InputError(EmbedkitError, ValueError):
    """An argument does not satisfy what the call documents."""


class MissingExtraError(EmbedkitError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


class ModelError(EmbedkitError):
    """A model cannot be found, is not what its checksum says, or names code that is never run."""


class ForkedProcessError(EmbedkitError, RuntimeError):
    """torch or faiss was used before this process was forked; both would hang in the child."""


class StorageError(EmbedkitError, OSError):
    """The disk refused: full, read-only, or no permission. What was acknowledged before is intact."""


class CorruptFileError(EmbedkitError):
    """A stored file is missing, truncated, or differs from its recorded checksum."""


class IncompatibleIndexError(EmbedkitError):
    """The index is intact but was written by another encoder or a newer format."""


class LockedIndexError(EmbedkitError):
    """Another process is writing this index."""
