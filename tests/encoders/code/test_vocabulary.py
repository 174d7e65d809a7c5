import pytest
from transformers import AutoTokenizer

from embedkit.encoders.code.lexer import Kind
from embedkit.encoders.code.tokenizer import CodeTokenizer, piece_tokens
from embedkit.encoders.code.vocabulary import train_code_vocabulary
from embedkit.errors import InputError

SOURCES = [
    "def addOne(x):\n    return x + 1\n",
    "class HTTPCache(dict):\n    '''Keep pages.'''\n    max_size = 10\n",
    "for each_page in range(max_size):\n    print(each_page)\n",
] * 3
CUT = CodeTokenizer()
KEEP = CodeTokenizer(comments="keep")


@pytest.fixture(scope="module")
def vocabulary():
    return train_code_vocabulary(SOURCES, 400)


def back(vocabulary, ids):
    return vocabulary.decode(ids, skip_special_tokens=True).split("\n")[1:]


def test_special_tokens_come_first(vocabulary):
    assert vocabulary.convert_ids_to_tokens(range(5)) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert (vocabulary.pad_token_id, vocabulary.mask_token_id) == (0, 4)
    assert 261 < len(vocabulary) <= 400
    assert vocabulary.model_max_length == 512


def test_words_are_learned(vocabulary):
    pieces = CUT.tokenize(SOURCES[0])
    ids = vocabulary(pieces, is_split_into_words=True)["input_ids"]
    assert len(ids) == len(pieces) + 2


@pytest.mark.parametrize(
    "source",
    [
        "unseenName = '变量 é 🙂 </w> [MASK] [PAD] Ġ Ċ'  # [SEP] [CLS]\n",
        "x = '''\n\n  a\n'''\nif x ^ 1:\n\ty\n",
        "[MASK]\n",
    ],
)
def test_ids_lead_back_to_the_source(vocabulary, source):
    pieces = KEEP.tokenize(source)
    ids = vocabulary(pieces, is_split_into_words=True)["input_ids"]
    assert (ids[0], ids[-1]) == (2, 3)
    assert not {0, 1, 2, 3, 4} & set(ids[1:-1])
    assert back(vocabulary, ids) == pieces


def test_subwords_lead_to_places_in_the_source(vocabulary):
    source = "def f(veryUnusualName):  # why\n    return veryUnusualName\n"
    pieces = CUT.tokenize(source)
    tokens = CUT.lex(source)
    owners = piece_tokens(pieces)
    encoded = vocabulary(pieces, is_split_into_words=True)
    words = encoded.word_ids()
    assert words[0] is None
    assert words[-1] is None
    found = {owners[word] for word in words if word is not None}
    assert found == set(range(len(tokens)))
    names = [token for token in tokens if token.kind is Kind.IDENTIFIER]
    assert [source[token.start : token.end] for token in names] == ["f", "veryUnusualName", "veryUnusualName"]
    second = [index for index, word in enumerate(words) if word is not None and owners[word] == tokens.index(names[1])]
    assert "".join(back(vocabulary, [encoded["input_ids"][index] for index in second])) == "very^Unusual^Name"


def test_pairs_and_truncation(vocabulary):
    encoded = vocabulary([["x"], ["y"]], is_split_into_words=True)
    assert [ids[-1] for ids in encoded["input_ids"]] == [3, 3]
    pair = vocabulary(["x"], ["y"], is_split_into_words=True)
    assert [token for token in pair.tokens() if token.startswith("[")] == ["[CLS]", "[SEP]", "[SEP]"]
    assert pair.sequence_ids()[-2] == 1
    assert len(vocabulary(["x"] * 600, is_split_into_words=True, truncation=True)["input_ids"]) == 512


def test_saved_folder_is_an_ordinary_tokenizer(vocabulary, tmp_path):
    vocabulary.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    pieces = CUT.tokenize("def unseenName(x):\n    return '变'\n")
    ids = vocabulary(pieces, is_split_into_words=True)["input_ids"]
    assert loaded(pieces, is_split_into_words=True)["input_ids"] == ids
    assert back(loaded, ids) == pieces
    assert loaded.mask_token == "[MASK]"
    assert loaded.model_max_length == 512


def test_training_is_deterministic(vocabulary):
    assert train_code_vocabulary(iter(SOURCES), 400).get_vocab() == vocabulary.get_vocab()


def test_sources_that_do_not_parse_are_left_out(vocabulary):
    assert train_code_vocabulary(["def (", *SOURCES, "print 'x'"], 400).get_vocab() == vocabulary.get_vocab()


def test_comments_are_learned_where_they_are_kept():
    sources = ["x = 1  # remarkable\n"] * 3
    kept = train_code_vocabulary(sources, 400, tokenizer=KEEP)
    assert "Ċremarkable" in kept.get_vocab()
    assert "Ċremarkable" not in train_code_vocabulary(sources, 400).get_vocab()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x = 1", 300), "sources must be several strings"),
        ((["x = 1"], 260), "vocab_size must be at least 261; received 260"),
        ((["def ("], 300), "sources must hold Python that parses"),
        (([], 300), "sources must hold Python that parses"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        train_code_vocabulary(*arguments)


@pytest.mark.parametrize("options", [{"min_frequency": 0}, {"max_length": 3}])
def test_bad_options(options):
    with pytest.raises(InputError, match="must be at least"):
        train_code_vocabulary(["x = 1"], 300, **options)
