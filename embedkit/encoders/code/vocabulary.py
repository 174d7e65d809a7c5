"""A subword vocabulary over the pieces of CuBERT's tokenizer."""

from collections.abc import Iterable, Iterator

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from embedkit.encoders.code.lexer import ERROR
from embedkit.encoders.code.tokenizer import CodeTokenizer
from embedkit.errors import InputError

__all__ = ["train_code_vocabulary"]

_SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
_LEAST = 256 + len(_SPECIAL)


def train_code_vocabulary(
    sources: Iterable[str],
    vocab_size: int,
    *,
    tokenizer: CodeTokenizer | None = None,
    min_frequency: int = 2,
    max_length: int = 512,
) -> PreTrainedTokenizerFast:
    r"""Learn which parts of pieces are words of a vocabulary.

    The result reads pieces: `vocabulary(pieces, is_split_into_words=True)`. In what it returns, `word_ids()` gives for
    each subword the index of its piece, None for [CLS] and [SEP]; `piece_tokens(pieces)` gives for each piece the index
    of its token, and `CodeTokenizer.lex(source)` the place of each token in the source.

    Each piece is written with a line end before it, which no piece contains, as UTF-8 bytes. So there is a way back:
    `vocabulary.decode(ids, skip_special_tokens=True).split("\n")[1:]` are the pieces again. No byte is unknown;
    [UNK] is there because encoders ask for one. No source can spell a special token: `[`, `MASK` and `]` are pieces.

    Args:
        sources: Python sources. Those that do not parse are left out.
        vocab_size: The most words, at least 261: 5 special tokens and 256 bytes.
        tokenizer: What cuts sources into pieces; `CodeTokenizer()` when None.
        min_frequency: How often a pair must occur to become a word.
        max_length: Length to which the result truncates when asked to.

    Returns:
        A tokenizer of transformers with [PAD], [UNK], [CLS], [SEP] and [MASK] as ids 0 to 4, which
        `save_pretrained(folder)` saves and `AutoTokenizer.from_pretrained(folder)` loads. It puts [CLS] before the
        first of one or two sequences, and [SEP] behind each.

    Raises:
        InputError: An argument is out of range, or no source parses.

    Example:
        >>> cut = CodeTokenizer()
        >>> vocabulary = train_code_vocabulary(["def addOne(x):\n    return x + 1\n"] * 2, 300)
        >>> pieces = cut.tokenize("addTwo = 2")
        >>> encoded = vocabulary(pieces, is_split_into_words=True)
        >>> [pieces[index] for index in dict.fromkeys(encoded.word_ids()) if index is not None]
        ['add^', 'Two', '=', '2', '___NEWLINE___', '___EOS___']
        >>> text = vocabulary.decode(encoded["input_ids"], skip_special_tokens=True)
        >>> cut.untokenize(text.split("\n")[1:])
        'addTwo = 2\n'

    Reference:
        A. Kanade, P. Maniatis, G. Balakrishnan, K. Shi, "Learning and Evaluating Contextual Embedding of Source Code",
        ICML 2020.

    Deviations:
        Byte-pair encoding of bytes takes the place of the paper's subword encoder: both merge what is frequent.
    """
    if isinstance(sources, str):
        raise InputError("sources must be several strings; received one; put it into a list")
    for name, value, least in (
        ("vocab_size", vocab_size, _LEAST),
        ("min_frequency", min_frequency, 1),
        ("max_length", max_length, 4),
    ):
        if value < least:
            raise InputError(f"{name} must be at least {least}; received {value}")
    learned = Tokenizer(models.BPE(unk_token=_SPECIAL["unk_token"]))
    learned.normalizer = normalizers.Prepend("\n")
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    learned.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(_SPECIAL.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learned.train_from_iterator(_parsed(sources, tokenizer or CodeTokenizer()), trainer)
    learned.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, learned.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=learned, model_max_length=max_length, clean_up_tokenization_spaces=False, **_SPECIAL
    )


def _parsed(sources: Iterable[str], tokenizer: CodeTokenizer) -> Iterator[list[str]]:
    found = False
    for source in sources:
        pieces = tokenizer.tokenize(source)
        if pieces[0] != ERROR:
            found = True
            yield pieces
    if not found:
        raise InputError("sources must hold Python that parses, to learn a vocabulary from; received none")
