"""Cutting pieces of text to a token budget in linear time, and where they stood in their source.

A source is a row of `Piece`s, each at most one line long, each knowing how bad a cut just before it is. `Budget.pack`
joins them into the longest parts that fit, and cuts at the best places where they do not.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import NamedTuple, TypeAlias

from embedkit.encoders.chunk import Chunk, CountTokens
from embedkit.errors import InputError

__all__ = ["INSIDE", "Budget", "Cutter", "Part", "Piece", "Source", "Span", "Unit", "prose", "subtract"]

Span: TypeAlias = tuple[int, int]
"""Offsets (start, end) of characters, end exclusive."""

PARAGRAPH, SENTENCE, WRAP, INSIDE = 0, 1, 2, 1000
"""Levels of the cut before a piece: the lower, the better. Code uses the depth of the statement, or INSIDE one."""

MIN_TOKENS = 8
CHARS_PER_TOKEN = 64  # a word that a tokenizer maps to one unknown token may be 50 MB long; it is still cut
MIN_SENTENCE = 8  # characters; "A. B. C." is not worth three pieces

_BREAKS = (re.compile(r".*[\s;]", re.DOTALL), re.compile(r".*\W", re.DOTALL))
_SENTENCE = re.compile(r"(?:[.!?][\"')\]]*+\s++(?![a-z])|[。！？])")
_SENTENCE_ENDS = re.compile(r"[.!?:。！？][\"')\]]*\Z")
_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,4}[.)])\s")
_NEWLINE = re.compile(r"\r\n?|\n")
_BLANK_LINES = re.compile(r"(?:[ \t\f]*+(?:\r\n?|\n))*+")
_WIDTHS = re.compile("([\x00-\x7f]+)|([\x80-\u07ff]+)|([\u0800-\uffff]+)|([\U00010000-\U0010ffff]+)")


class Piece(NamedTuple):
    """Text from one line.

    Attributes:
        text: The text, with the white space behind it.
        line: Line it stands on, counted from 1.
        level: How bad a cut before this piece is; 0 is the best place.
    """

    text: str
    line: int
    level: int


class Part(NamedTuple):
    """Pieces joined, with their first and last line."""

    text: str
    line: int
    end_line: int


class Source:
    r"""A text with its lines, which only \n, \r\n and \r end, and the way from UTF-8 offsets to characters.

    Args:
        text: The source.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts = [0, *(match.end() for match in _NEWLINE.finditer(text))]
        self._chars, self._bytes, self._widths = [0], [0], [1]
        if not text.isascii():
            self._index_widths()

    def _index_widths(self) -> None:
        at = 0
        self._chars, self._bytes, self._widths = [], [], []
        for run in _WIDTHS.finditer(self.text):
            width = run.lastindex or 1
            self._chars.append(run.start())
            self._bytes.append(at)
            self._widths.append(width)
            at += (run.end() - run.start()) * width

    def line(self, at: int) -> int:
        """Line on which the character at `at` stands."""
        return bisect_right(self.starts, at)

    def start(self, line: int) -> int:
        """Offset of the first character of `line`; the end of the text for a line behind the last."""
        return self.starts[line - 1] if line <= len(self.starts) else len(self.text)

    def at_byte(self, offset: int) -> int:
        """Character at a UTF-8 offset."""
        run = bisect_right(self._bytes, offset) - 1
        return self._chars[run] + (offset - self._bytes[run]) // self._widths[run]

    def at_column(self, line: int, column: int) -> int:
        """Character at a UTF-8 `column` of a `line`, the way `ast` counts them."""
        start = self.starts[line - 1]
        run = bisect_right(self._chars, start) - 1
        return self.at_byte(self._bytes[run] + (start - self._chars[run]) * self._widths[run] + column)

    def indent(self, at: int) -> int:
        """Start of the white space before `at` when the line has nothing else there, else `at`."""
        start = at
        while start and self.text[start - 1] in " \t\f":
            start -= 1
        return start if not start or self.text[start - 1] in "\r\n" else at

    def blank_rest(self, end: int) -> int:
        """Behind the blank lines that follow `end`, where its own line ends there; else `end`."""
        found = _BLANK_LINES.match(self.text, end)
        return found.end() if found else end

    def pieces(self, spans: Iterable[Span], levels: Mapping[int, int]) -> list[Piece]:
        """The lines of `spans`; a line of which nothing but white space is left over is dropped.

        Args:
            spans: Sorted spans to keep.
            levels: Level of the cut before a line; INSIDE where it is missing.

        Returns:
            One piece for each line that is left.
        """
        rows: list[tuple[int, list[str]]] = []
        for line, text in self._fragments(spans):
            if not rows or rows[-1][0] != line:
                rows.append((line, [text]))
                continue
            # a comment may be all that stood between two words
            glued = rows[-1][1][-1][-1].isalnum() and text[0].isalnum()
            rows[-1][1].extend([" ", text] if glued else [text])
        return list(self._kept(rows, levels))

    def _fragments(self, spans: Iterable[Span]) -> Iterator[tuple[int, str]]:
        for start, end in spans:
            first, last = self.line(start), self.line(end - 1)
            for line in range(first, last + 1):
                yield line, self.text[max(start, self.start(line)) : min(end, self.start(line + 1))]

    def _kept(self, rows: Iterable[tuple[int, list[str]]], levels: Mapping[int, int]) -> Iterator[Piece]:
        seen = 0
        for line, texts in rows:
            text = "".join(texts)
            whole = len(text) == self.start(line + 1) - self.start(line)
            if not whole and not text.strip():
                continue
            level = min(levels.get(number, INSIDE) for number in range(seen + 1 if seen else line, line + 1))
            yield Piece(text if whole else _trimmed(text), line, level)
            seen = line


def _trimmed(text: str) -> str:
    ending = text[len(text.rstrip("\r\n")) :]
    return text.rstrip() + (ending or "\n")


def subtract(spans: Iterable[Span], holes: Sequence[Span]) -> list[Span]:
    """What is left of `spans` without `holes`.

    Args:
        spans: Sorted, disjoint.
        holes: Sorted, disjoint.

    Returns:
        Sorted, disjoint spans, none of them empty.

    Example:
        >>> subtract([(0, 10)], [(2, 4), (8, 12)])
        [(0, 2), (4, 8)]
    """
    left: list[Span] = []
    for start, end in spans:
        first = max(bisect_right(holes, (start, start)) - 1, 0)
        inside = holes[first : bisect_left(holes, (end, end), first)]
        edges = [start, *(min(max(edge, start), end) for hole in inside for edge in hole), end]
        left.extend((edges[at], edges[at + 1]) for at in range(0, len(edges), 2) if edges[at] < edges[at + 1])
    return left


def prose(lines: Iterable[tuple[int, str]]) -> Iterator[Piece]:
    """Lines of prose as pieces: best cut between paragraphs, then sentences, then lines.

    Args:
        lines: (number, text) with the line's ending.

    Yields:
        Every character of the lines, in order.
    """
    level = PARAGRAPH
    for number, line in lines:
        if not line.strip():
            yield Piece(line, number, WRAP)
            level = PARAGRAPH
            continue
        if level and _ITEM.match(line):
            level = SENTENCE
        for sentence in _sentences(line):
            yield Piece(sentence, number, level)
            level = SENTENCE
        level = SENTENCE if _SENTENCE_ENDS.search(line.rstrip()[-4:]) else WRAP


def _sentences(line: str) -> Iterator[str]:
    start = 0
    for match in _SENTENCE.finditer(line):
        if match.end() - start >= MIN_SENTENCE and match.end() < len(line):
            yield line[start : match.end()]
            start = match.end()
    yield line[start:]


class Budget:
    """Cuts to a number of tokens that no part exceeds.

    Args:
        count_tokens: Tokens of a string.
        max_tokens: The most tokens of a part, at least 8.

    Raises:
        InputError: `max_tokens` is less than 8.
    """

    def __init__(self, count_tokens: CountTokens, max_tokens: int) -> None:
        if max_tokens < MIN_TOKENS:
            raise InputError(f"max_tokens must be at least {MIN_TOKENS}; received {max_tokens}")
        self._count = count_tokens
        self._max = max_tokens
        self._max_chars = max_tokens * CHARS_PER_TOKEN

    def reaches(self, texts: Iterable[str], tokens: int) -> bool:
        """Whether `texts` come to `tokens` together."""
        return any(total >= tokens for total in accumulate(self._cost(text) for text in texts))

    def header(self, mark: str, name: str, uses: Sequence[str] = ()) -> str:
        """One comment line within a quarter of the budget: the name, and as many of `uses` as fit.

        Args:
            mark: What begins a comment.
            name: Qualified name; parts are dropped from the left when it is too long.
            uses: Names imported by the file.

        Returns:
            The line, without a line ending.
        """
        parts = " ".join(name.split()).split(".")[-CHARS_PER_TOKEN:]
        line = " ".join([mark, ".".join(parts)]).rstrip()
        if self._brief(line):
            return self._with_uses(line, uses)
        while len(parts) > 1 and not self._brief(line):
            parts = parts[1:]
            line = f"{mark} {'.'.join(parts)}"
        while len(line) > len(mark) and not self._brief(line):
            line = line[: max(len(mark), min(len(line) * 3 // 4, self._max_chars))].rstrip()
        return line

    def _with_uses(self, line: str, uses: Sequence[str]) -> str:
        for kept in range(min(len(uses), self._max), 0, -1):
            longer = f"{line} uses {', '.join(uses[:kept])}"
            if self._brief(longer):
                return longer
        return line

    def _brief(self, line: str) -> bool:
        return self._cost(line) <= max(2, self._max // 4)

    def clip(self, text: str) -> str:
        """The beginning of `text` that fits a quarter of the budget, cut between words where it can be."""
        while text and not self._brief(text):
            end = min(len(text) * 7 // 8, self._max_chars)
            text = text[: _break_before(text, 0, end)].rstrip()
        return text

    def pack(self, pieces: Sequence[Piece], header: str = "") -> Iterator[Part]:
        """Join pieces into parts that fit, each of them beginning with `header`.

        Args:
            pieces: In order; no piece is longer than a line.
            header: A first line for each part.

        Yields:
            Parts that are not blank; together they hold every piece that is not.

        Raises:
            InputError: Not even one character fits the budget.
        """
        whole = _part(pieces, header)
        if whole is None:
            return
        if self._fits(whole.text):
            yield whole
            return
        room = self._max - self._cost(header + "\n" if header else "")
        yield from self._fill(list(self._sized(pieces, room, header)), room, header)

    def _cost(self, text: str) -> float:
        least = len(text) / CHARS_PER_TOKEN
        return least if least > self._max else max(least, self._count(text))

    def _fits(self, text: str) -> bool:
        return self._cost(text) <= self._max

    def _sized(self, pieces: Iterable[Piece], room: float, header: str) -> Iterator[tuple[Piece, float]]:
        for piece in pieces:
            cost = self._cost(piece.text)
            if cost <= room:
                yield piece, cost
                continue
            level = piece.level
            for text in self._split(piece.text, header):
                yield Piece(text, piece.line, level), self._cost(text)
                level = 2 * INSIDE

    def _fill(self, sized: list[tuple[Piece, float]], room: float, header: str) -> Iterator[Part]:
        pieces = [piece for piece, _ in sized]
        sums = list(accumulate((cost for _, cost in sized), initial=0.0))
        cuts = _cuts(pieces, sums, 0, len(pieces), room)
        ends = [sums[cut] for cut in cuts]
        first = 0
        while first < len(pieces):
            last = max(cuts[bisect_right(ends, sums[first] + room) - 1], first + 1)
            part = _part(pieces[first:last], header)
            while part is not None and last - first > 1 and not self._fits(part.text):
                last = _earlier(cuts, first, last)
                part = _part(pieces[first:last], header)
            if part is not None and self._fits(part.text):
                yield part
            elif part is not None:
                yield from self._parts(pieces[first], header)
            first = last

    def _parts(self, piece: Piece, header: str) -> Iterator[Part]:
        for text in self._split(piece.text, header):
            part = _part([Piece(text, piece.line, INSIDE)], header)
            if part is not None:
                yield part

    def _split(self, text: str, header: str) -> Iterator[str]:
        """Cut inside a line; each cut is looked for in a window that follows the tokens seen so far."""
        at, size = 0, 4 * self._max
        while at < len(text):
            end, tokens = self._window(text, at, size, header)
            yield text[at:end]
            size = max(1, int((end - at) * min(2.0, 0.95 * self._max / max(tokens, 1))))
            at = end

    def _window(self, text: str, at: int, size: int, header: str) -> tuple[int, float]:
        while True:
            end = _break_before(text, at, at + size)
            tokens = self._cost(_joined(header, text[at:end]))
            if tokens <= self._max:
                return end, tokens
            if end - at == 1:
                raise InputError(
                    f"max_tokens must leave room for one character: count_tokens counts {tokens:g} of {self._max} "
                    f"for {_joined(header, text[at:end])!r}; raise max_tokens"
                )
            size = max(1, min(end - at - 1, int((end - at) * 0.95 * self._max / tokens)))


def _break_before(text: str, at: int, end: int) -> int:
    """The last good place for a cut in the second half of text[at:end]; `end` itself when there is none."""
    if end >= len(text):
        return len(text)
    for pattern in _BREAKS:
        found = pattern.match(text, (at + end + 1) // 2, end)
        if found:
            return found.end()
    return end


def _joined(header: str, body: str) -> str:
    return f"{header}\n{body}" if header else body


def _part(pieces: Sequence[Piece], header: str) -> Part | None:
    first, last = 0, len(pieces)
    while first < last and not pieces[first].text.strip():
        first += 1
    while last > first and not pieces[last - 1].text.strip():
        last -= 1
    if first == last:
        return None
    body = "".join(piece.text for piece in pieces[first:last]).rstrip()
    return Part(_joined(header, body), pieces[first].line, pieces[last - 1].line)


def _cuts(pieces: Sequence[Piece], sums: Sequence[float], first: int, last: int, room: float) -> list[int]:
    """Ends of the coarsest segments that fit; a segment that does not is cut at the next worse level."""
    done: list[int] = []
    todo = [(first, last)]
    while todo:
        first, last = todo.pop()
        if last - first <= 1 or sums[last] - sums[first] <= room:
            done.append(last)
            continue
        best = min(piece.level for piece in pieces[first + 1 : last])
        places = [place for place in range(first + 1, last) if pieces[place].level == best]
        todo.extend(reversed(list(pairwise([first, *places, last]))))
    return done


def _earlier(cuts: Sequence[int], first: int, last: int) -> int:
    cut = cuts[bisect_left(cuts, last) - 1] if cuts[0] < last else first
    return cut if cut > first else first + (last - first) // 2


@dataclass(frozen=True, slots=True)
class Unit:
    """What becomes one chunk of code if it fits, else several.

    Attributes:
        name: Qualified name.
        spans: Sorted spans of the source that belong to it.
        line: First line of the definition; comments before it are shown but do not count.
        end_line: Last line of the definition.
    """

    name: str
    spans: Sequence[Span]
    line: int
    end_line: int


@dataclass(frozen=True, slots=True)
class Cutter:
    """Turns the units of one file into chunks.

    Attributes:
        source: The file.
        budget: What each chunk must fit.
        mark: What begins a comment.
        levels: Level of the cut before a line.
        uses: Sorted (offset, name) wherever an imported name is read.
        drop: Sorted spans left out everywhere.
    """

    source: Source
    budget: Budget
    mark: str
    levels: Mapping[int, int]
    uses: Sequence[tuple[int, str]] = ()
    drop: Sequence[Span] = field(default=())

    def chunks(self, unit: Unit) -> Iterator[Chunk]:
        """The chunks of one unit.

        Args:
            unit: What to cut.

        Yields:
            At least one chunk, unless nothing but white space is left of the unit.
        """
        header = self.budget.header(self.mark, unit.name or "<module>", self._used(unit.spans))
        pieces = self.source.pieces(subtract(unit.spans, self.drop), self.levels)
        parts = list(self.budget.pack(pieces, header))
        for index, part in enumerate(parts):
            line = unit.line if not index else max(part.line, unit.line)
            end_line = unit.end_line if index == len(parts) - 1 else max(part.end_line, line)
            yield Chunk(part.text, "code", unit.name, line, end_line)

    def _used(self, spans: Sequence[Span]) -> list[str]:
        names: dict[str, None] = {}
        for start, end in spans:
            first = bisect_left(self.uses, (start, ""))
            last = bisect_left(self.uses, (end, ""))
            names.update(dict.fromkeys(name for _, name in self.uses[first:last]))
        return list(names)
