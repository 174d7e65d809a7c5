from collections import Counter

import pytest

from embedkit.encoders.code.functions import find_functions, first_paragraph
from embedkit.encoders.code.tasks import CORRECT, INCORRECT_DOCSTRING, function_docstring
from embedkit.errors import InputError

WORDS = ("alpha", "beta", "gamma", "delta")


def file_of(path, count=4):
    functions = (
        f'def {word}(a):\n    """Return {word}\n    of {path}.\n\n    More."""\n    return {word}(a)' for word in WORDS
    )
    return find_functions("\n".join(functions), distribution="d", path=path)[:count]


def twins(examples):
    return list(zip(examples[::2], examples[1::2], strict=True))


def test_worked_by_hand():
    first, second = twins(function_docstring(file_of("p", 2)))
    assert [example.docstring for example in (*first, *second)] == [
        "Return alpha of p.",
        "Return beta of p.",
        "Return beta of p.",
        "Return alpha of p.",
    ]
    assert first[0].code == first[1].code == "def alpha(a):\n    return alpha(a)"
    assert [example.label for example in first] == [CORRECT, INCORRECT_DOCSTRING]
    assert [example.twin for example in (*first, *second)] == [0, 0, 1, 1]
    assert (first[0].distribution, first[1].error, first[1].candidates) == ("d", None, ())


def test_masked_names_stand_in_no_code():
    for correct, wrong in twins(function_docstring(file_of("p"), mask_names=True)):
        assert correct.code == wrong.code == "def function(a):\n    return function(a)"
        assert correct.docstring != wrong.docstring


def test_negatives_of_the_same_file_come_from_it():
    functions = [function for at in range(20) for function in file_of(f"file{at}")]
    for correct, wrong in twins(function_docstring(functions, negatives="same file")):
        assert correct.docstring.split()[-1] == wrong.docstring.split()[-1]
        assert correct.docstring != wrong.docstring


def test_random_negatives_come_from_anywhere():
    functions = [function for at in range(20) for function in file_of(f"file{at}")]
    pairs = twins(function_docstring(functions, negatives="random"))
    near = sum(correct.docstring.split()[-1] == wrong.docstring.split()[-1] for correct, wrong in pairs)
    assert len(pairs) == 80
    assert near < 12  # 3 expected


def test_half_of_the_mixed_negatives_come_from_the_same_file():
    functions = [function for at in range(40) for function in file_of(f"file{at}")]
    pairs = twins(function_docstring(functions))
    near = sum(correct.docstring.split()[-1] == wrong.docstring.split()[-1] for correct, wrong in pairs)
    assert len(pairs) == 160
    assert 80 <= near < 90  # and by chance a few of the others


def test_functions_alone_in_their_file_have_no_hard_negative():
    functions = [*file_of("first", 1), *file_of("second", 1)]
    assert function_docstring(functions, negatives="same file") == []
    assert len(function_docstring(functions)) == len(function_docstring(functions, negatives="random")) == 4


def test_files_of_one_path_in_two_distributions_are_two():
    functions = [find_functions('def f(): "One two three."', distribution=name, path="p")[0] for name in "ab"]
    assert function_docstring(functions, negatives="same file") == []


@pytest.mark.parametrize("docstring", ["Two words.", "", "Two\n\nwords. And more"])
def test_docstrings_of_fewer_than_three_words_do_not_count(docstring):
    short = find_functions(f'def short(): """{docstring}"""', distribution="d", path="p")
    assert len(function_docstring([*short, *file_of("p", 2)])) == 4


def test_a_docstring_of_the_same_words_is_no_negative():
    same = find_functions('def f(): "Return Alpha\\n of P."\ndef g(): "Return alpha of p."\ndef h(): pass', path="p")
    assert function_docstring(same) == []
    for correct, wrong in twins(function_docstring(same + file_of("p", 2), negatives="random")):
        assert correct.docstring.casefold() != wrong.docstring.casefold()


def test_the_library(library):
    examples = function_docstring(library, negatives="random", mask_names=True)
    assert len(examples) == 2 * sum(len(first_paragraph(function).split()) >= 3 for function in library)
    assert Counter(example.label for example in examples) == dict.fromkeys(
        (CORRECT, INCORRECT_DOCSTRING), len(examples) // 2
    )
    assert all(correct.code == wrong.code for correct, wrong in twins(examples))


def test_the_seed_decides(library):
    assert function_docstring(library, seed=1) == function_docstring(iter(library), seed=1)
    assert function_docstring(library, seed=1) != function_docstring(library, seed=2)


def test_negatives_is_one_of_three_words():
    with pytest.raises(InputError, match="negatives must be one of 'mixed', 'random', 'same file'; received 'hard'"):
        function_docstring([], negatives="hard")
