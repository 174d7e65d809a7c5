"""A file becomes documents: read it safely, cut it, and remember where each piece stood."""

import hashlib
import io
import tokenize
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from embedkit.corpus.walk import SourceFile
from embedkit.encoders.chunk import Chunk, CountTokens
from embedkit.encoders.code import LANGUAGES, chunk_code
from embedkit.encoders.table import chunk_table, read_tables
from embedkit.encoders.text import MARKUPS, chunk_text
from embedkit.errors import EmbedkitError, InputError

_TABLE_ROWS = 10_000


@dataclass(frozen=True)
class Cutting:
    """How files are cut. A change of any of these makes every file new.

    Attributes:
        max_tokens: Largest number of tokens of one document, special tokens not counted.
        comments: Whether comments stay in code documents.
        public_only: Leave out modules, classes and functions whose names begin with an underscore.
        max_bytes: Larger text and code files are skipped; of tables the first 10,000 rows are read.
    """

    max_tokens: int = 254
    comments: Literal["keep", "drop"] = "keep"
    public_only: bool = False
    max_bytes: int = 10_000_000


@dataclass(frozen=True)
class FileDocuments:
    """What one file gave.

    Attributes:
        chunks: Its documents.
        notes: What was mended or left out, in plain sentences.
        skipped: Why nothing was read; None when something was.
    """

    chunks: tuple[Chunk, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: str | None = None


def cut_file(source: SourceFile, cutting: Cutting, count_tokens: CountTokens) -> FileDocuments:
    """Read and cut one file; whatever is wrong with it becomes a reason, never an exception.

    Args:
        source: The file.
        cutting: Budgets and choices.
        count_tokens: Tokens of a string, as the encoder counts them.
    """
    cut: dict[str, Callable[..., FileDocuments]] = {"code": _cut_code, "text": _cut_text, "table": _cut_tables}
    try:
        if source.kind != "table" and source.size > cutting.max_bytes:
            return FileDocuments(skipped=f"has {source.size:,} bytes, more than {cutting.max_bytes:,}")
        return cut[source.kind](source.path, cutting, count_tokens)
    except FileNotFoundError:
        return FileDocuments(skipped="vanished while the tree was read")
    except OSError as error:
        return FileDocuments(skipped=f"cannot be read: {error.strerror or error}")
    except EmbedkitError as error:
        return FileDocuments(skipped=str(error))


def digest_of(path: Path) -> str | None:
    """SHA-256 of a file's content; None when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _cut_code(path: Path, cutting: Cutting, count_tokens: CountTokens) -> FileDocuments:
    language = LANGUAGES[path.suffix.lower()]
    data = _text_bytes(path)
    text = _decode_python(data) if language == "python" else _decode(data)
    chunks = chunk_code(
        text,
        language=language,
        module=_module_name(path) if language == "python" else path.stem,
        count_tokens=count_tokens,
        max_tokens=cutting.max_tokens,
        comments=cutting.comments,
    )
    if cutting.public_only:
        chunks = [chunk for chunk in chunks if not any(part.startswith("_") for part in chunk.name.split("."))]
    return _result(chunks, ())


def _cut_text(path: Path, cutting: Cutting, count_tokens: CountTokens) -> FileDocuments:
    markup: Any = MARKUPS[path.suffix.lower()]
    text = _decode(_text_bytes(path))
    return _result(chunk_text(text, markup=markup, count_tokens=count_tokens, max_tokens=cutting.max_tokens), ())


def _cut_tables(path: Path, cutting: Cutting, count_tokens: CountTokens) -> FileDocuments:
    chunks: list[Chunk] = []
    notes: list[str] = []
    for read in read_tables(path, max_rows=_TABLE_ROWS):
        pieces, uncovered = chunk_table(
            read.table, count_tokens=count_tokens, max_tokens=cutting.max_tokens, line=read.first_line
        )
        chunks += pieces
        notes += read.notes
        if uncovered:
            notes.append(f"{uncovered:,} rows of {read.table.name} are in no row document")
    return _result(chunks, tuple(notes))


def _result(chunks: list[Chunk], notes: tuple[str, ...]) -> FileDocuments:
    return FileDocuments(tuple(chunks), notes, None if chunks else "holds nothing to index")


def _text_bytes(path: Path) -> bytes:
    data = path.read_bytes()
    if b"\0" in data[:100_000] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        message = "is binary: it holds NUL bytes"
        raise InputError(message)
    return data


def _decode(data: bytes) -> str:
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    return _decoded(data, encoding)


def _decode_python(data: bytes) -> str:
    """Python says its encoding itself (PEP 263)."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    except SyntaxError as error:
        raise InputError(str(error)) from None
    return _decoded(data, encoding)


def _decoded(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        message = f"is not {error.encoding} text: byte 0x{data[error.start]:02x} at offset {error.start}"
        raise InputError(message) from None


def _module_name(path: Path) -> str:
    """Dotted name, going up as long as there is a package around the file."""
    parts = [] if path.stem == "__init__" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder.parent != folder:
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts)
