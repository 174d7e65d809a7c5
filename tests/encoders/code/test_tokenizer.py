import io
import keyword
import subprocess
import sys
import sysconfig
import tokenize
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.encoders.code import lexer
from embedkit.encoders.code.lexer import EOS, ERROR, INDENT, NEWLINE, NL, CodeToken, Kind, Lexeme, lex_python
from embedkit.encoders.code.tokenizer import MAX_PIECE, CodeTokenizer, piece_tokens, split_token
from embedkit.errors import InputError

KEEP = CodeTokenizer(comments="keep")
DROP = CodeTokenizer()
CUT = {Kind.IDENTIFIER, Kind.NUMBER, Kind.STRING, Kind.COMMENT}
ESCAPES = {"___NLCHAR___": "\n", "___CR___": "\r", "___CARET___": "^"}


def standard_library():
    root = Path(sysconfig.get_path("stdlib"))
    return sorted(path for path in root.rglob("*.py") if "site-packages" not in path.parts)


def read(path):
    try:
        with tokenize.open(path) as file:
            return file.read()
    except (SyntaxError, UnicodeDecodeError):
        return path.read_text("latin-1")


def small(path):
    return 200 < path.stat().st_size < 12_000


SAMPLE = [path for path in standard_library() if small(path)][::30]


def stream(source):
    """Types and texts that the standard library gives, without blank last lines; line ends are all alike."""
    unified = source.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    unified += "" if unified.endswith("\n") else "\n"
    found = [
        (tokenize.tok_name[token.type], "" if token.type in {tokenize.NEWLINE, tokenize.NL} else token.string)
        for token in tokenize.generate_tokens(io.StringIO(unified).readline)
    ]
    end = next(index for index, (name, _) in enumerate(found) if name == "ENDMARKER")
    while end and found[end - 1][0] == "DEDENT":
        end -= 1
    kept = end
    while kept and found[kept - 1][0] == "NL" and found[max(kept - 2, 0)][0] != "COMMENT":
        kept -= 1
    return found[:kept] + found[end:]


def unescaped(piece):
    for escape, character in ESCAPES.items():
        piece = piece.replace(escape, character)
    return piece


def joined(pieces):
    return "".join(unescaped(piece.removesuffix("^")) for piece in pieces)


def check_properties(source):
    tokens = lex_python(source)
    pieces = KEEP.tokenize(source)
    if pieces == [ERROR, EOS]:
        return
    back = KEEP.untokenize(pieces)
    assert stream(back) == stream(source)
    assert KEEP.tokenize(back) == pieces

    owners = piece_tokens(pieces)
    assert owners[-1] == len(tokens) - 1
    groups = [[] for _ in tokens]
    for owner, piece in zip(owners, pieces, strict=True):
        groups[owner].append(piece)
    assert [joined(group) for group in groups] == [token.text for token in tokens]

    for token, group in zip(tokens, groups, strict=True):
        if token.kind in CUT:
            assert all(len(unescaped(piece.removesuffix("^"))) <= MAX_PIECE for piece in group)
        else:
            assert len(group) == 1
        if token.kind in CUT | {Kind.KEYWORD}:
            assert source[token.start : token.end].replace("\r\n", "\n").replace("\r", "\n") == token.text

    sentences = KEEP.sentences(source)
    assert len(sentences) == pieces.count(NEWLINE)
    assert all(line.index(NEWLINE) == len(line) - 1 for line in sentences)
    dropped = DROP.tokenize(source)
    lines = [piece for line in DROP.sentences(source) for piece in line if piece != NL]
    assert lines == [piece for piece in dropped if piece != NL][: len(lines)]
    assert DROP.tokenize(DROP.untokenize(dropped)) == dropped


@pytest.mark.parametrize("path", SAMPLE, ids=lambda path: path.name)
def test_card_properties_on_a_sample_of_the_standard_library(path):
    check_properties(read(path))


@pytest.mark.slow
def test_card_properties_on_every_24th_file_of_the_standard_library():
    failed = 0
    for path in standard_library()[::24]:
        source = read(path)
        failed += KEEP.tokenize(source) == [ERROR, EOS]
        check_properties(source)
    assert failed < 10  # files that the standard library keeps to test errors


def test_sample_is_not_empty():
    assert len(SAMPLE) > 20


def test_worked_by_hand():
    source = (
        'class HTTPCache(dict):\n    """Keep 2 pages."""  # old\n\n    max_size = 0x1F ^ ~1\n    myURLs2 = not_yet\n'
    )
    four = "___INDENT___    "
    first = ["class", "HTTP^", "Cache", "(", "dict", ")", ":", NEWLINE]
    second = [four, '"""^', "Keep^", " ^", "2^", " ^", "pages^", '."""']
    third = ["max_^", "size", "=", "0x1F", "___CARET___", "~", "1", NEWLINE]
    fourth = ["my^", "UR^", "Ls2", "=", "not_^", "yet", NEWLINE]
    end = ["___DEDENT___", EOS]
    assert DROP.tokenize(source) == [*first, *second, NEWLINE, NL, *third, *fourth, *end]
    assert KEEP.tokenize(source) == [*first, *second, "#^", " ^", "old", NEWLINE, NL, *third, *fourth, *end]
    assert DROP.sentences(source) == [first, [*second, NEWLINE], third, fourth]
    assert DROP.untokenize(DROP.tokenize(source)) == (
        'class HTTPCache ( dict ) :\n    """Keep 2 pages."""\n\n    max_size = 0x1F ^ ~ 1\n    myURLs2 = not_yet\n'
    )


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("fooBarBAZ_qux__", ["foo", "Bar", "BAZ_", "qux__"]),
        ("__init__", ["__", "init__"]),
        ("_", ["_"]),
        ("___", ["___"]),
        ("a__b", ["a__", "b"]),
        ("HTTPServer", ["HTTP", "Server"]),
        ("HTTP2", ["HTT", "P2"]),  # a digit counts as a small letter
        ("x1Y2", ["x1", "Y2"]),
        ("A", ["A"]),
        ("élanVital", ["élan", "Vital"]),
        ("ñandúÉxito", ["ñandú", "Éxito"]),
        ("ǅungla", ["ǅungla"]),  # a title-case letter
        ("नमस्ते", ["नमस्ते"]),
        ("变量", ["变量"]),
        ("a" * 31, ["a" * 15, "a" * 15, "a"]),
        ("ab" + "_" * 14, ["ab" + "_" * 13, "_"]),
    ],
)
def test_identifiers(name, pieces):
    assert [piece.removesuffix("^") for piece in split_token(name, Kind.IDENTIFIER)] == pieces


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("'ABCDef9'", ["'", "ABC", "Def", "9", "'"]),
        ("'ABC9'", ["'", "ABC", "9", "'"]),
        ("'a\n  b'", ["'", "a", "___NLCHAR___", "  ", "b", "'"]),
        ("'\n\n'", ["'", "___NLCHAR___", "___NLCHAR___", "'"]),
        ("'a\r'", ["'", "a", "___CR___", "'"]),
        ("'^^'", ["'___CARET______CARET___'"]),
        ("'a" + " " * 20 + "'", ["'", "a", " " * 15, " " * 5, "'"]),
        ("'" + "-" * 30, ["'" + "-" * 14, "-" * 15, "-"]),
        ("'___NLCHAR___'", ["'___", "NLCHAR", "___'"]),
    ],
)
def test_strings(text, pieces):
    assert [piece.removesuffix("^") for piece in split_token(text, Kind.STRING)] == pieces


def test_numbers_and_kinds_that_stay_whole():
    assert split_token("1" * 32, Kind.NUMBER) == ["1" * 15 + "^", "1" * 15 + "^", "11"]
    assert split_token("1_000.5e-10j", Kind.NUMBER) == ["1_000.5e-10j"]
    assert split_token("nonlocal", Kind.KEYWORD) == ["nonlocal"]
    assert split_token(INDENT + " " * 40, Kind.INDENT) == [INDENT + " " * 40]


names = st.text(st.characters(categories=["L", "Nd", "Mn", "Pc"]), min_size=1, max_size=40)
names = (names | st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,40}", fullmatch=True)).filter(
    lambda text: text.isidentifier() and not keyword.iskeyword(text)
)
texts = st.text(st.sampled_from("aZ9_ \t\n\r^#'\"é变ǅ\u0301\ud800\0")) | st.text()


@given(names)
def test_identifiers_lose_nothing(name):
    pieces = split_token(name, Kind.IDENTIFIER)
    assert joined(pieces) == name
    assert all(0 < len(piece.removesuffix("^")) <= MAX_PIECE for piece in pieces)
    assert all(piece.endswith("^") for piece in pieces[:-1])
    assert not pieces[-1].endswith("^")
    assert not {NEWLINE, NL, EOS, ERROR, "___DEDENT___"} & set(pieces)


@given(names)
def test_identifiers_of_any_script_are_one_token(name):
    assert lex_python(f"x = {name}\n")[2] == CodeToken(Kind.IDENTIFIER, name, 4, 4 + len(name))


@given(texts.filter(bool), st.sampled_from([Kind.STRING, Kind.COMMENT]))
def test_strings_lose_nothing(text, kind):
    pieces = split_token(text, kind)
    assert joined(pieces) == text
    assert all(0 < len(unescaped(piece.removesuffix("^"))) <= MAX_PIECE for piece in pieces)
    assert not any(piece.endswith("^") for piece in pieces[-1:])


@given(st.lists(texts.map(repr) | names | st.sampled_from(["1", "0x_F", "- +y", "a ^ b", "f'{x!r:>{y}}'", "(\n2)"])))
@settings(max_examples=200)
def test_lists_of_anything_come_back(parts):
    source = "x = [\n" + ", # c\n".join(parts) + "]\nif x:\n\ty\n"
    assert KEEP.tokenize(source)[0] != ERROR
    check_properties(source)


@given(st.text(st.sampled_from("ab=(:)[]'\"\\ \t\n\r\f#^{}f0_é\0\ud800")))
@settings(max_examples=300)
def test_any_text_is_tokens_or_an_error(source):
    check_properties(source)


# What Python 3.12 and 3.13 give for f-strings, and 3.14 for t-strings, in the form in which they were printed.
F_SOURCE = "x=f'é{a!r:>{w}}ü{{' + t\n"
F_PARTS = [
    Lexeme("NAME", "x", (1, 0), (1, 1)),
    Lexeme("OP", "=", (1, 1), (1, 2)),
    Lexeme("FSTRING_START", "f'", (1, 2), (1, 4)),
    Lexeme("FSTRING_MIDDLE", "é", (1, 4), (1, 5)),
    Lexeme("OP", "{", (1, 5), (1, 6)),
    Lexeme("NAME", "a", (1, 6), (1, 7)),
    Lexeme("OP", "!", (1, 7), (1, 8)),
    Lexeme("NAME", "r", (1, 8), (1, 9)),
    Lexeme("OP", ":", (1, 9), (1, 10)),
    Lexeme("FSTRING_MIDDLE", ">", (1, 10), (1, 11)),
    Lexeme("OP", "{", (1, 11), (1, 12)),
    Lexeme("NAME", "w", (1, 12), (1, 13)),
    Lexeme("OP", "}", (1, 13), (1, 14)),
    Lexeme("FSTRING_MIDDLE", "", (1, 14), (1, 14)),
    Lexeme("OP", "}", (1, 14), (1, 15)),
    Lexeme("FSTRING_MIDDLE", "ü{", (1, 15), (1, 17)),
    Lexeme("FSTRING_END", "'", (1, 18), (1, 19)),
    Lexeme("OP", "+", (1, 20), (1, 21)),
    Lexeme("NAME", "t", (1, 22), (1, 23)),
    Lexeme("NEWLINE", "\n", (1, 23), (1, 24)),
    Lexeme("ENDMARKER", "", (2, 0), (2, 0)),
]
LINES_SOURCE = "f'''é\né{a}é\né''' f'x'\n"
LINES_PARTS = [
    Lexeme("FSTRING_START", "f'''", (1, 0), (1, 4)),
    Lexeme("FSTRING_MIDDLE", "é\né", (1, 4), (2, 2)),  # 3.12.1 counts bytes here
    Lexeme("OP", "{", (2, 1), (2, 2)),
    Lexeme("NAME", "a", (2, 2), (2, 3)),
    Lexeme("OP", "}", (2, 3), (2, 4)),
    Lexeme("FSTRING_MIDDLE", "é\né", (2, 4), (3, 1)),
    Lexeme("FSTRING_END", "'''", (3, 1), (3, 4)),
    Lexeme("FSTRING_START", "f'", (3, 5), (3, 7)),
    Lexeme("FSTRING_MIDDLE", "x", (3, 7), (3, 8)),
    Lexeme("FSTRING_END", "'", (3, 8), (3, 9)),
    Lexeme("NEWLINE", "\n", (3, 9), (3, 10)),
    Lexeme("ENDMARKER", "", (4, 0), (4, 0)),
]


@pytest.mark.parametrize(("source", "parts"), [(F_SOURCE, F_PARTS), (LINES_SOURCE, LINES_PARTS)])
def test_f_strings_in_parts_give_the_same_tokens(source, parts, monkeypatch):
    expected = lex_python(source)
    assert Kind.STRING in {token.kind for token in expected}
    monkeypatch.setattr(lexer, "_lexemes", lambda text: iter(parts))
    assert lex_python(source) == expected


def test_t_strings_and_nested_quotes_are_one_string(monkeypatch):
    source = 't"{f"{x}" # c\n}"\n'
    parts = [
        Lexeme("TSTRING_START", 't"', (1, 0), (1, 2)),
        Lexeme("OP", "{", (1, 2), (1, 3)),
        Lexeme("FSTRING_START", 'f"', (1, 3), (1, 5)),
        Lexeme("OP", "{", (1, 5), (1, 6)),
        Lexeme("NAME", "x", (1, 6), (1, 7)),
        Lexeme("OP", "}", (1, 7), (1, 8)),
        Lexeme("FSTRING_END", '"', (1, 8), (1, 9)),
        Lexeme("COMMENT", "# c", (1, 10), (1, 13)),
        Lexeme("NL", "\n", (1, 13), (1, 14)),
        Lexeme("OP", "}", (2, 0), (2, 1)),
        Lexeme("TSTRING_END", '"', (2, 1), (2, 2)),
        Lexeme("NEWLINE", "\n", (2, 2), (2, 3)),
        Lexeme("ENDMARKER", "", (3, 0), (3, 0)),
    ]
    monkeypatch.setattr(lexer, "_lexemes", lambda text: iter(parts))
    monkeypatch.setattr(lexer, "_parses", lambda text: True)
    assert lex_python(source) == [
        CodeToken(Kind.STRING, source[:-1], 0, 16),
        CodeToken(Kind.NEWLINE, NEWLINE, 16, 17),
        CodeToken(Kind.EOS, EOS, 17, 17),
    ]


@pytest.mark.parametrize(
    "source",
    [
        "def broken(:",
        "^",
        "x = (",
        "x = 'open",
        "x = $",
        "if x:\ny",
        "  x = 1",
        "x = 1 \\",
        "if x:\n\\\n    y\n",  # Python 3.11 finds no indentation here
        "  \\\n\n",
        "print 'Python 2'",
        "except_ = 0777",
        "raise E, 'two'",
        "x <> y",
        "`x`",
        "if x:\n\ty\n        z\n",  # as wide as the tab, but only by one rule of counting
        "x = 1\0",
        "\0",
        "x = '\ud800'",
        "\ud800",
        "x²",
        "(" * 5000 + ")" * 5000,
    ],
)
@pytest.mark.parametrize("tokenizer", [KEEP, DROP])
def test_source_that_does_not_parse_is_an_error_token(source, tokenizer):
    assert tokenizer.tokenize(source) == [ERROR, EOS]
    assert tokenizer.sentences(source) == []
    assert tokenizer.lex(source) == [
        CodeToken(Kind.ERROR, ERROR, 0, len(source)),
        CodeToken(Kind.EOS, EOS, len(source), len(source)),
    ]


def test_what_ends_the_source_stands_at_its_end():
    source = "if x:\n    '''é\n''' 'é\\\né'\n  \n "
    tokens = lex_python(source)
    assert [token.text for token in tokens[-2:]] == ["___DEDENT___", EOS]
    assert {(token.start, token.end) for token in tokens[-2:]} == {(len(source), len(source))}
    strings = [source[token.start : token.end] for token in tokens if token.kind is Kind.STRING]
    assert strings == ["'''é\n'''", "'é\\\né'"]


@pytest.mark.parametrize("source", ["", "\n", " \t\f\n\n", "\ufeff", "\r\n", "\n" * 50])
def test_empty_source(source):
    assert KEEP.tokenize(source) == [EOS]
    assert KEEP.sentences(source) == []
    assert KEEP.untokenize([EOS]) == ""
    assert KEEP.untokenize([]) == ""
    assert piece_tokens([]) == []


def test_only_a_comment():
    assert KEEP.tokenize("# a\n\n") == ["#^", " ^", "a", NL, EOS]
    assert DROP.tokenize("# a") == [EOS]
    assert KEEP.sentences("# a") == []


@pytest.mark.parametrize(
    "source",
    [
        "if x:\n\ty\n\tif z:\n\t    w\n\tv\nu\n",
        "\fif x:\n\f    y\n\f\n    z\n",
        "x = 1 + \\\n    2\n",
        "x = 1 \\\n\n",
        "x = '''a\\\n b'''\n",
        "'''a\r#''' ",
        "0xa\\\n# c",
        "x = 1  # end  \n\n",
        "if x: pass  # c\n  # d\n# e\n",
        "async def f():\n    await g; return 1if x else 2\n",
        "from . import a\nfrom ... import b\nfrom ....c import d\n",
        "class A:\n    def f(self): return 1 .real\n\n    # c\n# d\n\nx = a@b; x @= -~1\n",
        "x = (\n\n  # c\n\n 1,\n# d\n)\n",
        "match x:\n    case [1, *_] if y: print(f'{x!r:>{10}}' f'''\n{y}\n''')\n",
        "x: int = 5; y = lambda *a, **k: (z := ...)\n",
        "℘ = a·1 = e\u0301té = 1\nreturn_ = ℘\n",
    ],
)
def test_odd_source_comes_back(source):
    assert KEEP.tokenize(source)[0] != ERROR
    check_properties(source)


def test_line_ends_and_byte_order_marks_do_not_change_tokens():
    source = "def f():\n    '''é\n    b'''\n    return x\n"
    pieces = KEEP.tokenize(source)
    for end in ("\r\n", "\r"):
        assert KEEP.tokenize(source.replace("\n", end)) == pieces
        check_properties("\ufeff" + source.replace("\n", end))
    marked = "\ufeff" + source
    assert [marked[token.start : token.end] for token in lex_python(marked)][:2] == ["def", "f"]


def test_a_text_that_spells_special_pieces_is_not_special():
    source = "___NEWLINE___ = ___NL___ = '___NEWLINE___'  # ___NLCHAR___ ^\n\n___NL___\nx = 1 ^ 2; x ^= 3\n"
    pieces = KEEP.tokenize(source)
    assert pieces[:2] == ["___^", "NEWLINE___"]
    assert pieces.count(NEWLINE) == 3
    assert pieces.count(NL) == 1
    assert pieces.count("___CARET___") == 2
    assert pieces.count("___CARET___=") == 1
    assert len(KEEP.sentences(source)) == 3
    assert KEEP.sentences(source)[1] == ["___^", "NL___", NEWLINE]
    check_properties(source)


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([ERROR, EOS], "must come from source that parses"),
        (["x^"], "must end with a whole token"),
        (["x", NEWLINE, "___DEDENT___"], "must open each block"),
        ("x y", "must be a sequence of strings"),
    ],
)
def test_pieces_that_are_no_source(pieces, message):
    with pytest.raises(InputError, match=message):
        KEEP.untokenize(pieces)


@pytest.mark.parametrize("source", [b"x = 1", None, 3, ["x"]])
def test_source_must_be_a_string(source):
    with pytest.raises(InputError, match="source must be a string"):
        KEEP.tokenize(source)


def test_comments_must_be_kept_or_dropped():
    with pytest.raises(InputError, match="comments must be 'keep' or 'drop'; received True"):
        CodeTokenizer(comments=True)


@pytest.mark.slow
def test_a_megabyte():
    lines = 24_000
    source = "def f(x):\n" + "    total_of = compute(x, 'some text') + 1\n" * lines
    assert len(DROP.tokenize(source)) == 8 + 16 * lines + 2


@pytest.mark.parametrize("source", ["x = '" + "aB " * 70_000 + "'", "a" * 200_000, "A" * 200_000, "#" + " " * 200_000])
def test_long_tokens_do_not_hang(source):
    assert joined(KEEP.tokenize(source)[:-2]).endswith(source[-100:])


def test_lexer_and_tokenizer_import_nothing_heavy():
    code = "import embedkit.encoders.code.tokenizer, sys; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
