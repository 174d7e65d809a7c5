"""Python source as typed tokens, the same on every Python from 3.11 on."""

import ast
import io
import keyword
import re
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from embedkit.encoders.split import Source
from embedkit.errors import InputError

__all__ = ["DEDENT", "EOS", "ERROR", "INDENT", "NEWLINE", "NL", "CodeToken", "Kind", "lex_python"]

NEWLINE = "___NEWLINE___"
"""Spelling of the end of a logical line."""
NL = "___NL___"
"""Spelling of a line end that ends no logical line: behind a blank line, a comment, or inside brackets."""
INDENT = "___INDENT___"
"""What the spelling of an indentation begins with; the white space of the line follows."""
DEDENT = "___DEDENT___"
"""Spelling of the end of an indented block."""
EOS = "___EOS___"
"""Spelling of the end of the source."""
ERROR = "___ERROR___"
"""Spelling that stands for a whole source which does not parse."""


class Kind(StrEnum):
    """What a token of Python source is."""

    PUNCTUATION = "punctuation"
    KEYWORD = "keyword"
    IDENTIFIER = "identifier"
    NUMBER = "number"
    STRING = "string"
    COMMENT = "comment"
    NEWLINE = "newline"
    INDENT = "indent"
    DEDENT = "dedent"
    EOS = "eos"
    ERROR = "error"


class CodeToken(NamedTuple):
    """One token and its place: `source[start:end]`, in characters of the source as it came."""

    kind: Kind
    text: str
    start: int
    end: int


Place: TypeAlias = tuple[int, int]


class Lexeme(NamedTuple):
    """What the standard library says of a token: the name of its type, its text, and its (line, column) places."""

    name: str
    text: str
    start: Place
    end: Place


_KINDS = {
    "NAME": Kind.IDENTIFIER,
    "NUMBER": Kind.NUMBER,
    "STRING": Kind.STRING,
    "COMMENT": Kind.COMMENT,
    "OP": Kind.PUNCTUATION,
    "NL": Kind.PUNCTUATION,
    "NEWLINE": Kind.NEWLINE,
    "INDENT": Kind.INDENT,
    "DEDENT": Kind.DEDENT,
    "ENDMARKER": Kind.EOS,
}
_SPELLINGS = {"NEWLINE": NEWLINE, "NL": NL, "DEDENT": DEDENT, "ENDMARKER": EOS}
_BETWEEN_LINES = {"NEWLINE", "NL", "INDENT", "DEDENT"}
_WORDS = {"NAME", "NUMBER", "ERRORTOKEN"}
_LINE_END = re.compile(r"\r\n?")


def lex_python(source: str, *, keep_comments: bool = True) -> list[CodeToken]:
    r"""Cut Python source into typed tokens.

    An f-string is one STRING, whatever stands in its braces. Blank lines at the end of the source are no tokens, nor
    is the white space between tokens; that at the beginning of a block is part of its INDENT.

    Args:
        source: Text of one file, or statements that parse by themselves: take the indentation off a method first.
        keep_comments: Whether comments are tokens. The line end behind a comment is one in any case.

    Returns:
        Tokens in the order of the source, the last of them EOS; [ERROR, EOS] when `source` does not parse.

    Raises:
        InputError: `source` is not a string.

    Example:
        >>> [(str(token.kind), token.text) for token in lex_python('return_to = f"{home}/"')]
        [('identifier', 'return_to'), ('punctuation', '='), ('string', 'f"{home}/"'), ('newline', '___NEWLINE___'),
         ('eos', '___EOS___')]
        >>> [token.text for token in lex_python("if x:\n  y()  # why")]
        ['if', 'x', ':', '___NEWLINE___', '___INDENT___  ', 'y', '(', ')', '# why', '___NEWLINE___', '___DEDENT___',
         '___EOS___']
        >>> [token.text for token in lex_python("print 'Python 2'")]
        ['___ERROR___', '___EOS___']

    Reference:
        A. Kanade, P. Maniatis, G. Balakrishnan, K. Shi, "Learning and Evaluating Contextual Embedding of Source Code",
        ICML 2020.

    Deviations:
        Source that fails to parse is an error as a whole; the paper's lexer takes what splits into tokens, which
        differs between versions of Python. Newer syntax than that of the running Python is such an error too. So is a
        line that begins with a backslash and nothing before it but white space, where versions differ in what the
        indentation is. Line ends are read as Python reads them: \r\n and \r are \n.
    """
    if not isinstance(source, str):
        raise InputError(f"source must be a string; received {type(source).__name__}; decode bytes first")
    text = _LINE_END.sub("\n", source.removeprefix("\ufeff"))
    failed = [CodeToken(Kind.ERROR, ERROR, 0, len(source)), CodeToken(Kind.EOS, EOS, len(source), len(source))]
    if not _parses(text):
        return failed
    given = Source(source)
    given.starts[0] = len(source) - len(source.removeprefix("\ufeff"))
    text += "" if text.endswith("\n") else "\n"
    tokens: list[CodeToken] = []
    begins_line, end = True, 0
    try:
        for lexeme in _whole_strings(_whole_names(_lexemes(text)), Source(text)):
            token = _typed(lexeme, given)
            if token.kind is Kind.ERROR or (begins_line and "\\" in source[end : token.start]):
                return failed
            begins_line, end = lexeme.name in _BETWEEN_LINES, token.end
            if keep_comments or token.kind is not Kind.COMMENT:
                tokens.append(token)
    except (tokenize.TokenError, SyntaxError):
        return failed
    return _ended(tokens, len(source))


def _parses(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _lexemes(text: str) -> Iterator[Lexeme]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        yield Lexeme(tokenize.tok_name[token.type], token.string, token.start, token.end)


def _whole_names(lexemes: Iterable[Lexeme]) -> Iterator[Lexeme]:
    """Join identifiers with letters that `tokenize` of Python 3.11 does not know, such as combining accents."""
    run: list[Lexeme] = []
    for lexeme in lexemes:
        is_word = lexeme.name in _WORDS and not lexeme.text.isspace()
        if run and not (is_word and lexeme.start == run[-1].end):
            yield from _joined(run)
            run = []
        if is_word:
            run.append(lexeme)
        elif lexeme.name != "ERRORTOKEN":
            yield lexeme


def _joined(run: list[Lexeme]) -> list[Lexeme]:
    if all(lexeme.name != "ERRORTOKEN" for lexeme in run):
        return run
    text = "".join(lexeme.text for lexeme in run)
    return [Lexeme("NAME" if text.isidentifier() else "ERRORTOKEN", text, run[0].start, run[-1].end)]


def _whole_strings(lexemes: Iterable[Lexeme], lines: Source) -> Iterator[Lexeme]:
    """Join the parts in which Python 3.12 and later give f-strings, and 3.14 t-strings."""
    opening: list[Place] = []
    for lexeme in lexemes:
        if lexeme.name.endswith("STRING_START"):
            opening.append(lexeme.start)
        elif lexeme.name.endswith("STRING_END"):
            start = opening.pop()
            if not opening:
                text = lines.text[_offset(lines, start) : _offset(lines, lexeme.end)]
                yield Lexeme("STRING", text, start, lexeme.end)
        elif not opening:
            yield lexeme


def _offset(lines: Source, place: Place) -> int:
    return min(lines.start(place[0]) + place[1], len(lines.text))


def _typed(lexeme: Lexeme, lines: Source) -> CodeToken:
    kind = _KINDS.get(lexeme.name, Kind.ERROR)
    text = _SPELLINGS.get(lexeme.name, lexeme.text)
    if kind is Kind.IDENTIFIER and keyword.iskeyword(text):
        kind = Kind.KEYWORD
    elif kind is Kind.INDENT:
        text = INDENT + text
    end = _behind(lexeme) if kind is Kind.STRING else lexeme.end
    return CodeToken(kind, text, _offset(lines, lexeme.start), _offset(lines, end))


def _behind(lexeme: Lexeme) -> Place:
    """Where a string ends, counted from its start: Python 3.12.1 counts bytes on the later lines of some."""
    line, column = lexeme.start
    last = lexeme.text.rfind("\n") + 1
    return line + lexeme.text.count("\n"), len(lexeme.text) - last + (0 if last else column)


def _ended(tokens: list[CodeToken], size: int) -> list[CodeToken]:
    """Leave out blank lines at the end of a source of `size` characters, and put there what ends with it."""
    end = len(tokens)
    while end and tokens[end - 1].kind in {Kind.DEDENT, Kind.EOS}:
        end -= 1
    kept = end
    while kept and tokens[kept - 1].text == NL and (kept == 1 or tokens[kept - 2].kind is not Kind.COMMENT):
        kept -= 1
    return tokens[:kept] + [token._replace(start=size, end=size) for token in tokens[end:]]
