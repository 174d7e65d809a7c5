"""The tokenizer of CuBERT for Python: typed tokens, cut into pieces that a subword vocabulary can learn."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Literal

from embedkit.encoders.code.lexer import DEDENT, EOS, ERROR, INDENT, NEWLINE, NL, CodeToken, Kind, lex_python
from embedkit.errors import InputError

__all__ = ["MAX_PIECE", "SENTINEL", "CodeTokenizer", "piece_tokens", "split_token"]

MAX_PIECE = 15
"""The most characters of a piece, before what may not stand in it is spelled out."""
SENTINEL = "^"
"""What ends every piece but the last of its token."""

_ESCAPES = {"\n": "___NLCHAR___", "\r": "___CR___", SENTINEL: "___CARET___"}
_ESCAPE = str.maketrans(_ESCAPES)
_UNESCAPE = {escape: character for character, escape in _ESCAPES.items()}
_ESCAPED = re.compile("|".join(_UNESCAPE))


class _Classes(dict[int, str]):
    """Class of a character: U upper case, L other letters, D digits, B blank, N line end, S anything else."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if category in {"Lu", "Lt"}:
            found = "U"
        elif category == "Nd":
            found = "D"
        elif category[0] in "LMN":
            found = "L"
        else:
            found = "B" if character.isspace() else "S"
        self[code] = found
        return found


_CLASSES = _Classes({ord("\n"): "N", ord("\r"): "N"})
_WORD = re.compile(r"U+(?=U[LD])|U?[LD]+|U+")
_NAME = re.compile(rf"(?:{_WORD.pattern})S*|S+|[BN]")
_TEXT = re.compile(r"U+(?=UL)|U?L+|U+|D+|B+|S+|N")
_PATTERNS = {Kind.STRING: _TEXT, Kind.COMMENT: _TEXT, Kind.NUMBER: re.compile(r".+")}


def split_token(text: str, kind: Kind) -> list[str]:
    r"""Cut the text of one token into pieces.

    Identifiers are cut behind underscores, and before the last capital of a run where small letters follow; digits
    count as small letters. Strings and comments are cut wherever capitals, small letters, digits, blanks, line ends
    and other characters meet, and likewise before a last capital. These and numbers are then cut at `MAX_PIECE`
    characters. Other kinds stay whole.

    Args:
        text: Text of the token.
        kind: What the token is.

    Returns:
        Pieces. `\n`, `\r` and `^` are `___NLCHAR___`, `___CR___` and `___CARET___` in them; without that, and without
        the `^` that ends every piece but the last, they join to `text`.

    Example:
        >>> split_token("fooBarBAZ_qux__", Kind.IDENTIFIER)
        ['foo^', 'Bar^', 'BAZ_^', 'qux__']
        >>> split_token('"2 XMLTags\n"', Kind.STRING)
        ['"^', '2^', ' ^', 'XML^', 'Tags^', '___NLCHAR___^', '"']
        >>> split_token("^=", Kind.PUNCTUATION)
        ['___CARET___=']

    Reference:
        A. Kanade, P. Maniatis, G. Balakrishnan, K. Shi, "Learning and Evaluating Contextual Embedding of Source Code",
        ICML 2020.

    Deviations:
        Runs of blanks are cut at `MAX_PIECE` like everything else, and each line end in a string is a piece. Letters
        that have no case, marks and numerals count as small letters.
    """
    return _spelled(_parts(text, kind))


def _parts(text: str, kind: Kind) -> list[str]:
    """What a token is cut into, as it stands in the source."""
    if kind is Kind.IDENTIFIER:
        return list(_words(text))
    pattern = _PATTERNS.get(kind)
    return [text] if pattern is None else list(_cut(text, pattern))


@lru_cache(maxsize=1 << 16)
def _words(identifier: str) -> tuple[str, ...]:
    """Names come again and again."""
    return tuple(_cut(identifier, _NAME))


def _spelled(parts: Sequence[str]) -> list[str]:
    """Parts of one token as pieces."""
    return [part.translate(_ESCAPE) + SENTINEL for part in parts[:-1]] + [parts[-1].translate(_ESCAPE)]


def _cut(text: str, pattern: re.Pattern[str]) -> Iterator[str]:
    for run in pattern.finditer(text.translate(_CLASSES)):
        for start in range(run.start(), run.end(), MAX_PIECE):
            yield text[start : min(start + MAX_PIECE, run.end())]


def piece_tokens(pieces: Iterable[str]) -> list[int]:
    """Say to which token each piece belongs.

    Args:
        pieces: Pieces of whole tokens.

    Returns:
        For each piece the index of its token.

    Example:
        >>> pieces = CodeTokenizer().tokenize("myList = 1")
        >>> pieces
        ['my^', 'List', '=', '1', '___NEWLINE___', '___EOS___']
        >>> piece_tokens(pieces)
        [0, 0, 1, 2, 3, 4]
    """
    ends = [not piece.endswith(SENTINEL) for piece in pieces]
    return list(accumulate(ends[:-1], initial=0)) if ends else []


class CodeTokenizer:
    r"""Cut Python source into the pieces of CuBERT, and join pieces to source again.

    A piece that ends in `^` goes on in the next piece; `NEWLINE`, `NL`, `INDENT` with its white space, `DEDENT` and
    `EOS` are pieces with spellings of their own, which no identifier, string or comment is ever cut into.

    Args:
        comments: Whether comments stay.

    Raises:
        InputError: `comments` is neither.

    Example:
        >>> tokenizer = CodeTokenizer()
        >>> source = "def addOne(x):\n    return x + 1  # sum\n"
        >>> pieces = tokenizer.tokenize(source)
        >>> print(*pieces[:8])
        def add^ One ( x ) : ___NEWLINE___
        >>> print(tokenizer.untokenize(pieces))
        def addOne ( x ) :
            return x + 1
        >>> [len(sentence) for sentence in tokenizer.sentences(source)]
        [8, 6]
        >>> tokenizer.tokenize("def broken(:")
        ['___ERROR___', '___EOS___']

    Reference:
        A. Kanade, P. Maniatis, G. Balakrishnan, K. Shi, "Learning and Evaluating Contextual Embedding of Source Code",
        ICML 2020.

    Deviations:
        Those of `lex_python` and `split_token`. Sentences keep comments where `comments` is "keep".
    """

    def __init__(self, *, comments: Literal["keep", "drop"] = "drop") -> None:
        if comments not in {"keep", "drop"}:
            raise InputError(f"comments must be 'keep' or 'drop'; received {comments!r}")
        self.comments = comments

    def lex(self, source: str) -> list[CodeToken]:
        """Tokens of `source` with their places, without comments where they are dropped; `piece_tokens` counts these.

        Args:
            source: Text of one file, or statements that parse by themselves.

        Returns:
            Tokens in the order of the source; [ERROR, EOS] when it does not parse.

        Raises:
            InputError: `source` is not a string.
        """
        return lex_python(source, keep_comments=self.comments == "keep")

    def tokenize(self, source: str) -> list[str]:
        """Cut source into pieces.

        Args:
            source: Text of one file, or statements that parse by themselves.

        Returns:
            Pieces, the last of them EOS; exactly [ERROR, EOS] when `source` does not parse, whence `pieces[0] == ERROR`
            tells a source that could not be read.

        Raises:
            InputError: `source` is not a string.
        """
        return [piece for token in self.lex(source) for piece in split_token(token.text, token.kind)]

    def locate(self, source: str) -> list[tuple[str, int, int]]:
        """Cut source into pieces that know where they stand.

        Args:
            source: Text of one file, or statements that parse by themselves.

        Returns:
            (piece, start, end) of each piece of `tokenize`: it stands for `source[start:end]`. NEWLINE, INDENT and
            their like stand for the white space that they came from, which may be none.

        Raises:
            InputError: `source` is not a string.

        Example:
            >>> CodeTokenizer().locate("myList = 1")[:3]
            [('my^', 0, 2), ('List', 2, 6), ('=', 7, 8)]
        """
        found: list[tuple[str, int, int]] = []
        for token in self.lex(source):
            parts = _parts(token.text, token.kind)
            ends = list(accumulate(map(len, parts), initial=token.start))
            if source[token.start : token.end] != token.text:  # it is spelled, not written
                ends = [token.start, token.end]
            found += [(piece, *span) for piece, span in zip(_spelled(parts), pairwise(ends), strict=True)]
        return found

    def sentences(self, source: str) -> list[list[str]]:
        r"""Cut source into its logical lines.

        Args:
            source: Text of one file, or statements that parse by themselves.

        Returns:
            Pieces of each logical line, each of which ends with NEWLINE and begins with the INDENT or DEDENTs before
            it. Blank lines vanish, and what follows the last logical line: comments, DEDENTs and EOS. None for a
            source that does not parse.

        Raises:
            InputError: `source` is not a string.

        Example:
            >>> CodeTokenizer().sentences("if a:\n\n    b = (1,\n         2)\n")
            [['if', 'a', ':', '___NEWLINE___'],
             ['___INDENT___    ', 'b', '=', '(', '1', ',', '___NL___', '2', ')', '___NEWLINE___']]
        """
        found: list[list[str]] = []
        line: list[str] = []
        before = [NEWLINE]
        for token in self.lex(source):
            pieces = split_token(token.text, token.kind)
            if pieces != [NL] or before not in ([NEWLINE], [NL]):
                line += pieces
            before = pieces
            if token.kind is Kind.NEWLINE:
                found.append(line)
                line = []
        return found

    def untokenize(self, pieces: Sequence[str]) -> str:
        r"""Join pieces to source with the same tokens.

        Tokens of a line stand one space apart; line continuations are joined.

        Args:
            pieces: What `tokenize` returned, or some sentences one after another.

        Returns:
            Source that `tokenize` cuts into the same pieces.

        Raises:
            InputError: The pieces stand for a source that did not parse, end inside a token, or close a block that
                none of them opens.

        Example:
            >>> CodeTokenizer().untokenize(["no^", "One", "=", "None", "___NEWLINE___", "___EOS___"])
            'noOne = None\n'
        """
        if isinstance(pieces, str):
            raise InputError("pieces must be a sequence of strings, as tokenize returns it; received one string")
        writer = _Writer()
        token: list[str] = []
        for piece in pieces:
            if piece.endswith(SENTINEL):
                token.append(piece[:-1])
            elif token:
                writer.write("".join(map(_unescape, [*token, piece])))
                token = []
            else:
                writer.write_piece(piece)
        if token:
            raise InputError(f"pieces must end with a whole token; the last is {pieces[-1]!r}; append what follows it")
        return "".join(writer.parts)


def _unescape(piece: str) -> str:
    return _ESCAPED.sub(lambda found: _UNESCAPE[found.group()], piece)


class _Writer:
    """Source under way: parts of it, and where in a logical line it stands."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._indents = [""]
        self._is_new = True
        self._space = ""

    def write_piece(self, piece: str) -> None:
        """Write a token of one piece."""
        if piece in {NEWLINE, NL}:
            self.parts.append("\n")
            self._is_new |= piece == NEWLINE
            self._space = ""
        elif piece.startswith(INDENT):
            self._indents.append(piece.removeprefix(INDENT))
        elif piece == DEDENT:
            if len(self._indents) == 1:
                raise InputError("pieces must open each block that they close; received a DEDENT without its INDENT")
            self._indents.pop()
        elif piece == ERROR:
            raise InputError("pieces must come from source that parses; received those of source that does not")
        elif piece != EOS:
            self.write(_unescape(piece))

    def write(self, text: str) -> None:
        """Write the text of a token."""
        if self._is_new and not text.startswith("#"):
            self.parts.append(self._indents[-1])
            self._is_new = False
        self.parts += [self._space, text]
        self._space = " "
