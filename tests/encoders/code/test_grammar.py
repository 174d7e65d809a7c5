import re
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.encoders.code import LANGUAGES, chunk_code, grammar
from embedkit.errors import InputError, MissingExtraError

for package in sorted({one.package for one in grammar.GRAMMARS.values()}):
    pytest.importorskip(package)


def count(text):
    return len(re.findall(r"\w+|[^\w\s]", text))


def cut(source, language, **options):
    return chunk_code(source, **{"language": language, "module": "m", "count_tokens": count, **options})


def places(chunks):
    return [(chunk.name, chunk.line, chunk.end_line) for chunk in chunks]


def only(chunks, name):
    (chunk,) = (chunk for chunk in chunks if chunk.name == name)
    return chunk.text


JAVASCRIPT = """\
import a, {b as c} from 'm';
import * as ns from 'k';
// a licence

/** Does A. */
@dec
export class A extends B {
  // a field
  #x = 1;
  /** Doc of m. */
  @d m(x) { return c(x); }  // tail
  static f = () => ns.one;
}

export default function () { return a; }
const f = async (q) => {
  return "// no";
};
Foo.prototype.bar = function () { return 1; };
const BIG = { one: 1, two: 2, three: 3 };
"""


def test_javascript_worked_by_hand():
    chunks = cut(JAVASCRIPT, "javascript")
    assert places(chunks) == [
        ("m", 20, 20),
        ("m.A", 6, 13),
        ("m.A.m", 11, 11),
        ("m.A.f", 12, 12),
        ("m.default", 15, 15),
        ("m.f", 16, 18),
        ("m.Foo.prototype.bar", 19, 19),
    ]
    assert only(chunks, "m.A") == (
        "// m.A\n/** Does A. */\n@dec\nexport class A extends B {\n"
        "  // a field\n  #x = 1;\n  @d m(x)\n  static f = () =>\n}"
    )
    assert only(chunks, "m.A.m") == "// m.A.m uses c\n  /** Doc of m. */\n  @d m(x) { return c(x); }  // tail"
    assert only(chunks, "m.A.f") == "// m.A.f uses ns\n  static f = () => ns.one;"


def test_comments_are_dropped_and_strings_are_not():
    chunks = cut(JAVASCRIPT, "javascript", comments="drop")
    assert only(chunks, "m.A.m") == "// m.A.m uses c\n  @d m(x) { return c(x); }"
    assert only(chunks, "m.f") == '// m.f\nconst f = async (q) => {\n  return "// no";\n};'
    glued = cut("function f() { return/* a\n b */1; /* c */ }", "javascript", comments="drop")
    assert only(glued, "m.f") == "// m.f\nfunction f() { return\n1;  }"
    assert "return 1" in only(cut("function f() { return/**/1 }", "javascript", comments="drop"), "m.f")


TYPESCRIPT = """\
@Comp({a: 1})
export class A {
  @d() m(x: number): void {}
  abstract q(): void;
}
interface I { a(): void }
namespace N { export function g() {} }
declare function h(): void;
enum E { A }
"""


@pytest.mark.parametrize("language", ["typescript", "tsx"])
def test_typescript(language):
    chunks = cut(TYPESCRIPT, language)
    assert places(chunks) == [
        ("m.A", 1, 5),
        ("m.A.m", 3, 3),
        ("m.I", 6, 6),
        ("m.N", 7, 7),
        ("m.N.g", 7, 7),
        ("m.h", 8, 8),
        ("m.E", 9, 9),
    ]
    assert "  m(x: number): void\n  abstract q(): void;\n}" in only(chunks, "m.A")


def test_jsx_in_tsx():
    assert "<b>{x}</b>" in only(cut("const F = (x: string) => <b>{x}</b>;", "tsx"), "m.F")


JAVA = """\
package a.b;
import java.util.List;
/** Doc of C. */
@Ann class C {
  @Override public List f() { return 1; }
  abstract void g();
  C() {}
}
enum E { A, B; void f() {} }
record R(int a) { R { } }
"""


def test_java():
    chunks = cut(JAVA, "java")
    assert places(chunks) == [
        ("m.C", 4, 8),
        ("m.C.f", 5, 5),
        ("m.C.C", 7, 7),
        ("m.E", 9, 9),
        ("m.E.f", 9, 9),
        ("m.R", 10, 10),
        ("m.R.R", 10, 10),
    ]
    assert only(chunks, "m.C") == (
        "// m.C uses List\n/** Doc of C. */\n@Ann class C {\n"
        "  @Override public List f()\n  abstract void g();\n  C()\n}"
    )


GO = """\
package m
import (
    f "fmt"
    "net/http"
)
// M prints.
func (r *T[K]) M(a int) int { f.Print(http.X); return 1 }
// T is a type.
type T struct { a int }
var table = map[string]int{"a": 1, "b": 2}
"""


def test_go_methods_belong_to_their_receiver():
    chunks = cut(GO, "go")
    assert places(chunks) == [("m", 10, 10), ("m.T.M", 7, 7), ("m.T", 9, 9)]
    assert only(chunks, "m.T.M").startswith("// m.T.M uses f, http\n// M prints.\nfunc (r *T[K]) M")


RUST = """\
use std::{io, fmt::Display as D};
/// Doc of S.
#[derive(Debug)]
pub struct S { a: i32 }
impl<T> Tr for S<T> {
    /// Doc of f.
    #[inline]
    fn f(&self) -> io::Result { }
}
mod inner { fn g(d: D) {} }
trait Q { fn a(); fn b() {} }
"""


def test_rust():
    chunks = cut(RUST, "rust")
    assert places(chunks) == [
        ("m.S", 3, 4),
        ("m.S", 5, 9),
        ("m.S.f", 7, 8),
        ("m.inner", 10, 10),
        ("m.inner.g", 10, 10),
        ("m.Q", 11, 11),
        ("m.Q.b", 11, 11),
    ]
    assert chunks[0].text == "// m.S\n/// Doc of S.\n#[derive(Debug)]\npub struct S { a: i32 }"
    assert only(chunks, "m.inner.g") == "// m.inner.g uses D\nfn g(d: D) {}"
    assert only(cut(RUST, "rust", comments="drop"), "m.S.f").endswith(
        "\n    #[inline]\n    fn f(&self) -> io::Result { }"
    )


def test_c_finds_definitions_inside_include_guards():
    source = (
        "#ifndef A_H\n#define A_H\n#include <stdio.h>\nstatic int *f(int a) { return 0; }\n"
        "typedef struct { int a; } T;\nstruct S { int b; };\n#endif\n"
    )
    chunks = cut(source, "c")
    assert places(chunks) == [("m.f", 4, 4), ("m.T", 5, 5), ("m.S", 6, 6)]
    assert chunks[2].text == "// m.S\nstruct S { int b; };"


CPP = """\
using std::vector;
namespace n {
// Doc of A.
template <class T> class A : B {
 public:
  A();
  ~A() { clear(); }
  vector<T> operator+(T x) { return x; }
  int v; /* a field */
};
}
int n::A::f() const { return 1; }
extern "C" { void g() {} }
int &k() { return 0; }
"""


def test_cpp():
    chunks = cut(CPP, "cpp")
    assert places(chunks) == [
        ("m.n", 2, 11),
        ("m.n.A", 4, 10),
        ("m.n.A.~A", 7, 7),
        ("m.n.A.operator+", 8, 8),
        ("m.n.A.f", 12, 12),
        ("m.g", 13, 13),
        ("m.k", 14, 14),
    ]
    assert only(chunks, "m.n.A") == (
        "// m.n.A uses vector\n// Doc of A.\ntemplate <class T> class A : B {\n public:\n  A();\n  ~A()\n"
        "  vector<T> operator+(T x)\n  int v; /* a field */\n};"
    )


RUBY = """\
require 'set'
module M
  class A < B
    attr_reader :x
    # Doc of f.
    def f(a)
      a
    end
  end
end
"""


def test_ruby():
    chunks = cut(RUBY, "ruby")
    assert places(chunks) == [("m.M", 2, 10), ("m.M.A", 3, 9), ("m.M.A.f", 6, 8)]
    assert only(chunks, "m.M.A") == "# m.M.A\n  class A < B\n    attr_reader :x\n    def f(a)\n  end"
    assert only(chunks, "m.M.A.f") == "# m.M.A.f\n    # Doc of f.\n    def f(a)\n      a\n    end"


def test_wide_characters_and_line_endings():
    source = "\ufeffconst é = '字🙂';\r\n\r\nfunction ü(a) {\r\n  return '🙂' + a; // é\r\n}\r\n"
    chunks = cut(source, "javascript", comments="drop")
    assert places(chunks) == [("m", 1, 1), ("m.ü", 3, 5)]
    assert chunks[1].text == "// m.ü\nfunction ü(a) {\r\n  return '🙂' + a;\r\n}"


@pytest.mark.parametrize("language", sorted(grammar.GRAMMARS))
@pytest.mark.parametrize("source", ["", "\n\n", "\ufeff"])
def test_blank_sources_give_no_chunk(source, language):
    assert cut(source, language) == []


@pytest.mark.parametrize("source", ["// only\n/* comments */", "import a from 'b';"])
def test_nothing_of_substance_gives_no_chunk(source):
    assert cut(source, "javascript") == []


def test_sources_with_errors_are_still_cut():
    chunks = cut("function f( { return 1 }\nfunction g() { return 2; }\n}}} class {", "javascript")
    assert any("return 2" in chunk.text for chunk in chunks)


def test_long_functions_are_cut_between_statements():
    statements = "\n".join(f"  g({number},\n    {number});" for number in range(30))
    parts = cut("function f() {\n" + statements + "\n}", "javascript", max_tokens=40)
    assert len(parts) > 3
    for part in parts[1:]:
        assert re.match(r"// m\.f\n  g\(\d+,\n", part.text)
    assert [part.line for part in parts[1:]] == [part.end_line + 1 for part in parts[:-1]]


def test_a_missing_grammar_names_the_extra(monkeypatch):
    grammar._language.cache_clear()
    monkeypatch.setitem(sys.modules, "tree_sitter_go", None)
    with pytest.raises(MissingExtraError, match=r"embedkit\[code\]"):
        cut("package m", "go")


SAMPLES = {"javascript": JAVASCRIPT, "typescript": TYPESCRIPT, "java": JAVA, "go": GO, "rust": RUST, "ruby": RUBY}


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(sorted(grammar.GRAMMARS)), st.data(), st.integers(8, 60), st.sampled_from(["keep", "drop"]))
def test_the_budget_holds_for_broken_sources(language, data, max_tokens, comments):
    text = SAMPLES.get(language, CPP)
    start, end = (data.draw(st.integers(0, len(text))) for _ in range(2))
    source = data.draw(st.text(max_size=10)) + text[start:] + text[:end]
    try:
        chunks = cut(source, language, max_tokens=max_tokens, comments=comments)
    except InputError as error:
        pytest.fail(str(error))
    lines = len(re.split(r"\r\n|\r|\n", source))
    assert all(count(chunk.text) <= max_tokens and 1 <= chunk.line <= chunk.end_line <= lines for chunk in chunks)


@pytest.mark.parametrize(
    ("source", "language"),
    [
        ("x = '" + "a" * 5_000_000 + "'", "javascript"),
        ("function f(a){return a+1}" * 40_000, "javascript"),
        ("class A {" + "m(a){return a+1}" * 40_000 + "}", "javascript"),
        ("class A{static B = class {" * 2_000, "javascript"),
        ("int f(int a) { return a; }\n" * 20_000, "c"),
        ("(" * 100_000, "rust"),
    ],
    ids=["string", "functions", "methods", "nested", "lines", "parentheses"],
)
def test_large_sources_take_linear_time(source, language):
    started = time.perf_counter()
    chunks = cut(source, language)
    assert time.perf_counter() - started < 60  # quadratic work would take hours
    assert all(len(chunk.text) <= 256 * 64 for chunk in chunks)


def test_every_language_has_a_grammar():
    assert set(LANGUAGES.values()) == {"python", *grammar.GRAMMARS}
