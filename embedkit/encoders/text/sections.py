"""Prose cut into sections, and sections into paragraphs, sentences and words that fit an encoder."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Literal, NamedTuple, TypeAlias

from embedkit.encoders.chunk import Chunk, CountTokens
from embedkit.encoders.split import INSIDE, Budget, Piece, Source, prose
from embedkit.errors import InputError

__all__ = ["MARKUPS", "Markup", "chunk_text"]

Markup: TypeAlias = Literal["plain", "markdown", "rst"]

MARKUPS: dict[str, Markup] = {".txt": "plain", ".md": "markdown", ".markdown": "markdown", ".rst": "rst"}
"""Markup of a file by its suffix."""

MAX_NAME = 200  # characters of one heading in the name of a chunk
MAX_TITLE_LINES = 3  # a longer paragraph with a line under it is no heading

_ATX = re.compile(r" {0,3}(#{1,6})(?=[ \t\r\n]|\Z)")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*[\r\n]*\Z")
_FENCE = re.compile(r"[ \t]*(`{3,}(?!.*`)|~{3,})")
_NO_TITLE = re.compile(r"\s*(?:[>|]|[-*+][ \t]|\d{1,9}[.)][ \t])| {4}|\t")
_ADORNMENT = re.compile(r"([!-/:-@[-`{-~])\1*\s*\Z")


class _Heading(NamedTuple):
    """A title with its depth, the index of its first line and that of the first line behind it."""

    depth: int
    title: str
    first: int
    body: int


def chunk_text(
    source: str,
    *,
    markup: Markup = "plain",
    count_tokens: CountTokens,
    max_tokens: int = 256,
    name: str = "",
) -> list[Chunk]:
    r"""Cut prose into sections, packed with paragraphs up to the budget.

    A chunk begins with the nearest heading and is named after the path of headings. Paragraphs that are too long are
    cut between sentences, then lines, then words, then inside a word. A heading with nothing below it is a chunk; one
    with only other headings below it is not. Fenced code of Markdown is kept whole where it fits.

    Args:
        source: The text.
        markup: What marks headings; "plain" text has none.
        count_tokens: Tokens of a string, special tokens not counted.
        max_tokens: The most tokens of a chunk, at least 8.
        name: What goes before the path of headings.

    Returns:
        Chunks in the order of the source; none for a blank source.

    Raises:
        InputError: `markup` is unknown, or `max_tokens` too small.

    Example:
        >>> chunks = chunk_text(
        ...     "# Guide\n\n## Install\n\nUse pip.\n", markup="markdown", count_tokens=lambda text: len(text.split())
        ... )
        >>> [(chunk.name, chunk.text, chunk.line, chunk.end_line) for chunk in chunks]
        [('Guide > Install', 'Install\n\nUse pip.', 3, 5)]
    """
    readers = {"plain": _plain, "markdown": _markdown, "rst": _rst}
    if markup not in readers:
        raise InputError(f"markup must be one of {sorted(readers)}; received {markup!r}")
    budget = Budget(count_tokens, max_tokens)
    place = Source(source.removeprefix("\ufeff"))
    lines = [place.text[place.start(line) : place.start(line + 1)] for line in range(1, len(place.starts) + 1)]
    headings, fenced = readers[markup](lines)
    return list(_sections(lines, headings, fenced, budget, name))


def _plain(lines: Sequence[str]) -> tuple[list[_Heading], set[int]]:
    return [], set()


def _sections(
    lines: Sequence[str], headings: Sequence[_Heading], fenced: set[int], budget: Budget, name: str
) -> Iterator[Chunk]:
    first = headings[0].first if headings else len(lines)
    yield from _section(_body(lines, fenced, 0, first), None, name, budget)
    path: list[_Heading] = []
    for index, heading in enumerate(headings):
        following = headings[index + 1] if index + 1 < len(headings) else None
        path = [*(above for above in path if above.depth < heading.depth), heading]
        named = " > ".join(part for part in (name, *(above.title[:MAX_NAME] for above in path)) if part)
        body = _body(lines, fenced, heading.body, following.first if following else len(lines))
        if any(piece.text.strip() for piece in body):
            yield from _section(body, heading, named, budget)
        elif following is None or following.depth <= heading.depth:
            yield from _section([Piece(heading.title, heading.first + 1, 0)], None, named, budget)


def _body(lines: Sequence[str], fenced: set[int], first: int, last: int) -> list[Piece]:
    """Pieces of lines; a fenced block counts as one paragraph, cut between lines if it must be."""
    pieces: list[Piece] = []
    for is_fenced, numbers in groupby(range(first, last), key=fenced.__contains__):
        if is_fenced:
            block = [Piece(lines[number], number + 1, INSIDE) for number in numbers]
            pieces += [block[0]._replace(level=0), *block[1:]]
        else:
            pieces += prose((number + 1, lines[number]) for number in numbers)
    return pieces


def _section(pieces: Sequence[Piece], heading: _Heading | None, name: str, budget: Budget) -> Iterator[Chunk]:
    """Chunks of one section. The heading is its own first line, with a blank line behind it."""
    title = heading.title if heading else ""
    header = budget.clip(title)
    if heading and header != title:
        pieces = [Piece(title + "\n", heading.first + 1, 0), *pieces]
    for index, part in enumerate(budget.pack(pieces, header + "\n" if header else "")):
        line = heading.first + 1 if heading and not index else part.line
        yield Chunk(part.text, "text", name, line, part.end_line)


def _markdown(lines: Sequence[str]) -> tuple[list[_Heading], set[int]]:
    headings: list[_Heading] = []
    fenced: set[int] = set()
    at = _front_matter(lines)
    paragraph = at
    while at < len(lines):
        line = lines[at]
        fence, atx, setext = _FENCE.match(line), _ATX.match(line), _SETEXT.match(line)
        if fence:
            end = _fence_end(lines, at, fence[1])
            fenced.update(range(at, end))
            at = paragraph = end
            continue
        if atx:
            headings.append(_Heading(len(atx[1]), _atx_title(line[atx.end() :]), at, at + 1))
        elif setext and 0 < at - paragraph <= MAX_TITLE_LINES and not _NO_TITLE.match(lines[paragraph]):
            title = " ".join(text.strip() for text in lines[paragraph:at])
            headings.append(_Heading(1 if setext[1][0] == "=" else 2, title, paragraph, at + 1))
        at += 1
        if atx or setext or not line.strip():
            paragraph = at
    return headings, fenced


def _front_matter(lines: Sequence[str]) -> int:
    """First line behind the metadata that some generators put before Markdown."""
    if not lines or lines[0].rstrip() != "---":
        return 0
    return next((at + 1 for at, line in enumerate(lines) if at and line.rstrip() in {"---", "..."}), 0)


def _fence_end(lines: Sequence[str], at: int, fence: str) -> int:
    for end in range(at + 1, len(lines)):
        text = lines[end].strip()
        if text.startswith(fence) and not text.strip(fence[0]):
            return end + 1
    return len(lines)


def _atx_title(rest: str) -> str:
    title = rest.strip()
    open_end = title.rstrip("#")
    return open_end.rstrip() if not open_end or open_end[-1] in " \t" else title


def _rst(lines: Sequence[str]) -> tuple[list[_Heading], set[int]]:
    headings: list[_Heading] = []
    styles: list[tuple[str, bool]] = []
    at = 0
    while at < len(lines):
        found = _overlined(lines, at) or _underlined(lines, at)
        if found is None:
            at += 1
            continue
        style, title, body = found
        if style not in styles:
            styles.append(style)
        headings.append(_Heading(styles.index(style), title, at, body))
        at = body
    return headings, set()


def _overlined(lines: Sequence[str], at: int) -> tuple[tuple[str, bool], str, int] | None:
    if at + 2 >= len(lines) or not _ADORNMENT.match(lines[at]) or lines[at].rstrip() != lines[at + 2].rstrip():
        return None
    title = lines[at + 1].strip()
    if not title or len(lines[at].rstrip()) < min(len(title), 4):
        return None
    return (lines[at][0], True), title, at + 3


def _underlined(lines: Sequence[str], at: int) -> tuple[tuple[str, bool], str, int] | None:
    begins = at == 0 or not lines[at - 1].strip()
    if not begins or at + 1 >= len(lines) or not _ADORNMENT.match(lines[at + 1]) or _ADORNMENT.match(lines[at]):
        return None
    title = lines[at].rstrip()
    if not title or title[0].isspace() or len(lines[at + 1].rstrip()) < min(len(title), 4):
        return None
    return (lines[at + 1][0], False), title, at + 2
