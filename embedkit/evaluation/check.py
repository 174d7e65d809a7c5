"""Does an encoder do what every user takes for granted? Thirteen checks that any checkpoint must pass.

None of them asks whether the vectors are good, only whether they are the vectors of their inputs: whatever stands
beside an input, in whatever order, thread or process, at every depth and width, and however odd the input is.
"""

import inspect
import math
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedkit.errors import InputError, ModelError
from embedkit.types import SupportsEncode

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from embedkit.encoders.encoder import Encoder

Status: TypeAlias = Literal["pass", "fail", "skip"]


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        name: Which check.
        status: Whether the encoder passed, failed, or the check does not apply to it.
        measured: One sentence with the number; empty where it was skipped.
        advice: What to do after a failure, or why it was skipped; empty where it passed.
    """

    name: str
    status: Status
    measured: str
    advice: str


def check(
    encoder: Any,
    *,
    inputs: Sequence[Any] | None = None,
    seed: int = 0,
    on_finding: Callable[[Finding], None] | None = None,
) -> tuple[Finding, ...]:
    """Put an encoder through every check.

    Differences are lengths of difference vectors relative to the length of the vector they should be. Rounding of
    another batch may reach 1e-5 in float32, 1e-2 in float16 and 5e-2 in bfloat16; the same batch, a reloaded copy
    and other threads must be equal in every bit. Nothing else may use the encoder meanwhile: its cache is set aside.

    Args:
        encoder: An `Encoder`, a `SentenceTransformer`, or anything else with `encode` and
            `get_embedding_dimension`, which is taken to read text.
        inputs: At least two different inputs to check with; None takes 24 texts in several scripts. Checks that
            need text of their own are skipped where the encoder reads something else.
        seed: Draws the order in which inputs are shuffled, at least 0.
        on_finding: Is handed each finding as soon as it is there.

    Returns:
        One finding a check, in the order of `CHECKS`. An exception fails its check; the others still run.

    Raises:
        InputError: This is no encoder; it reads no text and `inputs` is missing; or an argument is out of range.

    Example:
        >>> class Constant:
        ...     def encode(self, inputs):
        ...         return np.ones(3 if isinstance(inputs, str) else (len(inputs), 3), dtype=np.float32)
        ...
        ...     def get_embedding_dimension(self):
        ...         return 3
        >>> [(finding.name, finding.measured) for finding in check(Constant()) if finding.status == "fail"]
        [('distinct vectors', 'mean cosine 1.000 between 24 inputs, 276 pairs equal, 0 vectors zero')]
    """
    subject = _Subject(encoder, inputs, seed)
    findings = []
    with _cache_set_aside(encoder):
        for one in CHECKS:
            finding = _find(one, subject)
            findings.append(finding)
            if on_finding is not None:
                on_finding(finding)
    return tuple(findings)


def _find(one: "_Check", subject: "_Subject") -> Finding:
    try:
        status, found = one.run(subject)
    except Exception as error:  # a broken encoder raises anything at all, and the other checks still have a say
        status, found = "fail", f"{type(error).__name__}: {error}"
    sentence = _one_line(found)
    if status == "skip":
        return Finding(one.name, status, "", sentence)
    return Finding(one.name, status, sentence, one.advice if status == "fail" else "")


def _one_line(text: str) -> str:
    """What others wrote into an exception, as a sentence that every terminal and file can hold."""
    line = " ".join(text.encode("utf-8", "backslashreplace").decode().split())
    return line if len(line) <= _LONGEST_SENTENCE else f"{line[: _LONGEST_SENTENCE - 1]}…"


@contextmanager
def _cache_set_aside(encoder: Any) -> Iterator[None]:
    """A cache would answer the second call of every comparison."""
    cache = getattr(encoder, "cache", None)
    if cache is None:
        yield
        return
    encoder.cache = None
    try:
        yield
    finally:
        encoder.cache = cache


# -- what is checked -----------------------------------------------------------------------------------

_ROUNDING = {"torch.float16": 1e-2, "torch.bfloat16": 5e-2}
_FLOAT32_ROUNDING = 1e-5

_TEXTS = (
    "Hi",
    "The cat sat on the mat.",
    "A dog barks at the moon while the whole village sleeps.",
    "Photosynthesis turns light, water and carbon dioxide into sugar.",
    "Where can I renew my passport?",
    "ALL CAPITALS, BUT WHY?!",
    "def area(r):\n    return 3.14159 * r ** 2",
    "SELECT name, age FROM people WHERE age > 30 ORDER BY name;",
    "https://example.org/path?query=1&lang=en#top",
    "3 + 4 = 7",
    "naïve café, déjà vu",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich",
    "Быстрая лиса rapidly прыгает через ленивую собаку",
    "東京は日本の首都です Tokyo",
    "敏捷的狐狸 fox",
    "القطة تجلس cat على السجادة الحمراء الكبيرة",
    "बिल्ली kitten चटाई पर बैठी है",
    "고양이가 매트 위에 앉았다 doormat",
    "🚀 launch 🌍",
    "  blanks   around\tand\nbetween  ",
    "semicolon; colon: dash - and (brackets) [square] {curly}",
    "to be or not to be, that is the question of every prince of Denmark",
    "Stock markets fell sharply on Tuesday as investors weighed rising interest rates against slowing growth, "
    "and analysts warned that the coming quarter would bring further losses to banks and insurers alike.",
    "It was raining when the train left the station, and nobody on the platform waved. " * 6,
)
_LONGEST_SENTENCE = 400
_WORDS = "the old man and a red bird sat on one green hill by some blue water".split()  # noqa: SIM905 (reads better)
_LONG_TEXT = " ".join(islice(cycle(_WORDS), 400))
_LONGEST_WINDOW = 4096  # a longer text costs a large model minutes on a CPU
_ODD_TEXTS = {
    "the empty string": "",
    "whitespace": " \t\r\n\u00a0\u3000",
    "emoji": "🙂👩‍🚀🏳️‍🌈",
    "control characters": "a\x00b\x07c\x1b[0m\x7f",
    "marks of direction and byte order": "\ufeff\u202eabc\u200b",
    "private and unassigned characters": "\ue000\U0010ffff\u0378",
    "a lone surrogate": "a\ud800b",
    "10,000 characters without a space": "x" * 10_000,
}
_NO_TEXTS = (None, 7, math.nan, b"text")


class _Subject:
    """An encoder, the inputs it is checked with, and what several checks need to know about it."""

    def __init__(self, encoder: Any, inputs: Sequence[Any] | None, seed: int) -> None:
        if isinstance(encoder, type) or not isinstance(encoder, SupportsEncode):
            message = (
                "check needs an encoder, with encode and get_embedding_dimension; "
                f"received {type(encoder).__name__}: open a model with embedkit.load"
            )
            raise InputError(message)
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            message = f"seed must be an integer of at least 0; received {seed!r}"
            raise InputError(message)
        self.encoder = encoder
        self.seed = seed
        reads_text = self.model is None or _reads_text(self.model)
        self.inputs = _inputs_of(inputs, reads_text)
        self.reads_text = reads_text and all(isinstance(value, str) for value in self.inputs)

    @cached_property
    def model(self) -> "SentenceTransformer | None":
        """The encoder, if its modules can be looked at."""
        from sentence_transformers import SentenceTransformer

        return self.encoder if isinstance(self.encoder, SentenceTransformer) else None

    @cached_property
    def own(self) -> "Encoder | None":
        """The encoder, if it is embedkit's and so promises more than others do."""
        from embedkit.encoders.encoder import Encoder

        return self.encoder if isinstance(self.encoder, Encoder) else None

    @cached_property
    def vectors(self) -> NDArray[Any]:
        return self.encode(self.inputs)

    @cached_property
    def reloaded(self) -> "Encoder":
        """The encoder after a round through the disk."""
        from embedkit.encoders.loading import load

        if self.own is None:
            message = "only embedkit's encoders are saved and loaded"
            raise InputError(message)
        with tempfile.TemporaryDirectory() as folder:
            self.own.save(Path(folder, "model"), create_model_card=False)
            return load(Path(folder, "model"), device=str(self.own.device))

    @property
    def with_long(self) -> list[Any]:
        """The inputs, and where text is read one that fills most windows."""
        return [*self.inputs, _LONG_TEXT] if self.reads_text else self.inputs

    @property
    def rounding(self) -> float:
        """By how much a vector may differ in another batch."""
        return _ROUNDING.get(str(getattr(self.model, "dtype", None)), _FLOAT32_ROUNDING)

    def encode(self, inputs: Sequence[Any], **options: Any) -> NDArray[Any]:
        """Vectors of a batch; an option that is None is left to the encoder."""
        given = {name: value for name, value in options.items() if value is not None}
        vectors = np.asarray(self.encoder.encode(list(inputs), **given))
        if vectors.ndim != 2 or len(vectors) != len(inputs):
            message = f"{len(inputs)} inputs gave vectors of shape {vectors.shape}"
            raise ModelError(message)
        return vectors

    def encode_together(self, inputs: Sequence[Any]) -> NDArray[Any]:
        """Vectors of inputs that share one padded batch."""
        return self.encode(inputs, batch_size=1024 if self.takes("batch_size") else None)

    def encode_bare(self, text: str) -> NDArray[Any]:
        """Vectors of one text without the encoder's default prompt."""
        return self.encode([text], prompt="" if self.takes("prompt") else None)

    def takes(self, option: str) -> bool:
        """Whether `encode` has this argument by name."""
        return option in inspect.signature(self.encoder.encode).parameters

    def judge(self, differences: Iterable[float], over: str, limit: float | None = None) -> "_Verdict":
        """Whether all differences, of which NaN is none, are within the limit."""
        limit = self.rounding if limit is None else limit
        largest = float(np.max(list(differences)))
        measured = f"largest relative difference {largest:.2g} {over} (allowed: {limit:g})"
        return "pass" if largest <= limit else "fail", measured


def _reads_text(model: Any) -> bool:
    from embedkit.encoders.inputs import InputModule

    first = model[0]
    return first.problem("text") is None if isinstance(first, InputModule) else "text" in model.modalities


def _inputs_of(inputs: Sequence[Any] | None, reads_text: bool) -> list[Any]:
    if inputs is None and not reads_text:
        message = "this encoder reads no text: give inputs, at least two different ones of what it reads"
        raise InputError(message)
    read = list(_TEXTS if inputs is None else inputs)
    if isinstance(inputs, str) or len(read) < 2:
        message = f"inputs must be at least two different inputs; received {inputs!r:.60}"
        raise InputError(message)
    return read


def _difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Largest length of a row's difference, relative to the length of the expected row; NaN where either holds NaN."""
    if found.shape != expected.shape:
        message = f"vectors of shape {found.shape} came where {expected.shape} was to be expected"
        raise ModelError(message)
    with np.errstate(invalid="ignore", over="ignore"):
        distances = np.linalg.norm(found.astype(np.float64) - expected, axis=-1)
    return float(np.max(distances / np.maximum(_lengths(expected), np.finfo(np.float64).tiny)))


def _lengths(vectors: NDArray[Any]) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.linalg.norm(vectors.astype(np.float64), axis=-1)
    return lengths


# -- the checks ----------------------------------------------------------------------------------------

_Verdict: TypeAlias = tuple[Status, str]
"""What came out, and the sentence that says so."""


def _form(subject: _Subject) -> _Verdict:
    count, said = len(subject.inputs), subject.encoder.get_embedding_dimension()
    dim = subject.vectors.shape[1] if said is None else said
    wrong = []
    for given, what, shape in (
        (subject.inputs, f"{count} inputs", (count, dim)),
        (subject.inputs[0], "one input", (dim,)),
        ([], "no input", (0, dim)),
    ):
        found = subject.encoder.encode(given)
        if not isinstance(found, np.ndarray):
            wrong.append(f"{what} gave {type(found).__name__}")
        elif found.shape != shape or found.dtype != np.float32:
            wrong.append(f"{what} gave {found.dtype} {found.shape}")
        elif not found.flags.c_contiguous:
            wrong.append(f"{what} gave an array that is not contiguous")
    if wrong:
        return "fail", f"{'; '.join(wrong)}, where float32 (n, {dim}) is promised"
    return "pass", f"float32 (n, {dim}) for a batch, one input and none"


def _batches(subject: _Subject) -> _Verdict:
    inputs = subject.inputs
    alone = np.concatenate([subject.encode([value]) for value in inputs])
    batched = [_in_slices(subject, size) for size in (3, len(inputs))]
    if subject.takes("batch_size"):
        batched += [subject.encode(inputs, batch_size=size) for size in (1, 5)]
    differences = (_difference(vectors, alone) for vectors in [subject.vectors, *batched])
    return subject.judge(differences, f"between {len(inputs)} inputs alone and in {len(batched) + 1} kinds of batch")


def _in_slices(subject: _Subject, size: int) -> NDArray[Any]:
    slices = [subject.inputs[start : start + size] for start in range(0, len(subject.inputs), size)]
    return np.concatenate([subject.encode_together(part) for part in slices])


def _padding(subject: _Subject) -> _Verdict:
    short, *others = subject.with_long
    others = others[-4:]
    alone = subject.encode([short])
    before = [subject.encode_together([short, other])[:1] for other in others]
    behind = [subject.encode_together([other, short])[1:] for other in others]
    differences = (_difference(vectors, alone) for vectors in before + behind)
    return subject.judge(differences, f"for one input beside each of {len(others)} others")


def _order(subject: _Subject) -> _Verdict:
    count = len(subject.inputs)
    shuffled = np.random.default_rng(subject.seed).permutation(count)
    order = np.concatenate([shuffled, np.arange(count)[::-1]])
    found = subject.encode([subject.inputs[position] for position in order])
    return subject.judge([_difference(found, subject.vectors[order])], f"over {count} inputs, shuffled and each twice")


def _determinism(subject: _Subject) -> _Verdict:
    first, *others = (subject.encode(subject.inputs) for _ in range(3))
    differences = (_difference(vectors, first) for vectors in others)
    return subject.judge(differences, f"between 3 calls with the same {len(subject.inputs)} inputs", limit=0)


def _threads(subject: _Subject) -> _Verdict:
    count = len(subject.inputs)
    # Each thread has inputs of its own: where state is shared, somebody gets another's rows.
    batches = [subject.inputs[start:] + subject.inputs[:start] for start in (i * count // 4 for i in range(4))]
    expected = [subject.encode(batch) for batch in batches]
    barrier = threading.Barrier(len(batches))

    def work(batch: list[Any]) -> NDArray[Any]:
        barrier.wait()
        return subject.encode(batch)

    with ThreadPoolExecutor(len(batches)) as pool:
        found = list(pool.map(work, batches))
    return subject.judge(
        map(_difference, found, expected), f"between {len(batches)} threads and one, {count} inputs each", limit=0
    )


def _prompt_mask(subject: _Subject) -> _Verdict:
    model = subject.model
    prompts = [prompt for prompt in (getattr(model, "prompts", None) or {}).values() if prompt]
    if model is None or not subject.reads_text or not prompts:
        return "skip", "the encoder has no prompts"
    if all(getattr(module, "include_prompt", True) for module in model.modules()):
        return "skip", "its prompts are pooled together with the text"
    if not _gives_offsets(model):
        return "skip", "its tokenizer does not say which characters a token stands for"
    pairs = [(prompt, text) for prompt in prompts for text in subject.inputs]
    ends = {pair: end for pair in pairs if (end := _end_of_prompt(model, *pair))}
    if not ends:
        return "skip", "its prompts fill the window"
    masked = {pair: int(model.preprocess([pair[1]], prompt=pair[0]).get("prompt_length") or 0) for pair in ends}
    shifted = [pair for pair in ends if ends[pair] != masked[pair]]
    if shifted:
        prompt, text = shifted[0]
        return "fail", (
            f"the mask is not the prompt in {len(shifted)} of {len(ends)} prompted texts: {masked[shifted[0]]} tokens "
            f"are masked of {prompt + text!r:.60}, which begins with {ends[shifted[0]]} of the prompt"
        )
    some = list(ends)[:: max(1, len(ends) // 8)]
    differences = (
        _difference(subject.encode([text], prompt=prompt), _without_prompt(model, prompt, text, ends[prompt, text]))
        for prompt, text in some
    )
    return subject.judge(differences, f"to pooling without the prompt in {len(some)} texts")


def _gives_offsets(model: Any) -> bool:
    return bool(getattr(getattr(model, "tokenizer", None), "is_fast", False))


def _end_of_prompt(model: Any, prompt: str, text: str) -> int | None:
    """How many tokens, special ones included, come before the first that stands for a character of the text."""
    encoded = model.tokenizer(prompt + text, truncation=True, return_offsets_mapping=True)
    ends = [end for _, end in encoded["offset_mapping"]]
    return next((position for position, end in enumerate(ends) if end > len(prompt)), None)


def _without_prompt(model: Any, prompt: str, text: str, length: int) -> NDArray[Any]:
    import torch

    features = {**model.preprocess([text], prompt=prompt), "prompt_length": length}
    features = {name: value.to(model.device) if torch.is_tensor(value) else value for name, value in features.items()}
    with torch.inference_mode():
        vectors = model.eval()(features)["sentence_embedding"].float().cpu().numpy()
    return np.asarray(vectors)


def _width(subject: _Subject) -> _Verdict:
    if not subject.takes("truncate_dim"):
        return "skip", "the encoder has no choice of width: encode has no truncate_dim"
    dim = subject.vectors.shape[1]
    dims = sorted({max(1, dim // part) for part in (1, 2, 3, 4, 8)})
    is_unit = _promises_unit_length(subject)
    differences, lengths = [], [_lengths(subject.vectors)]
    for width in dims:
        found, prefix = subject.encode(subject.inputs, truncate_dim=width), subject.vectors[:, :width]
        lengths.append(_lengths(found))
        differences.append(_difference(found, _unit(prefix) if is_unit else prefix))
    over = f"to the prefix{', scaled to length 1,' if is_unit else ''} at {len(dims)} widths"
    status, measured = subject.judge(differences, over)
    if not is_unit:
        return status, measured
    every = np.concatenate(lengths)
    return (
        status if np.abs(every - 1).max() <= subject.rounding else "fail",
        f"lengths {every.min():.4f} to {every.max():.4f}; {measured}",
    )


def _promises_unit_length(subject: _Subject) -> bool:
    if subject.model is None:
        return bool(np.abs(_lengths(subject.vectors) - 1).max() <= subject.rounding)
    from sentence_transformers.base.modules import Normalize

    return isinstance(subject.model[-1], Normalize)


def _unit(vectors: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(vectors / np.maximum(_lengths(vectors), np.finfo(np.float64).tiny)[:, None])


def _depth(subject: _Subject) -> _Verdict:
    if not subject.takes("num_layers") or not hasattr(subject.encoder, "get_num_layers"):
        return "skip", "the encoder has no choice of depth: encode has no num_layers"
    try:
        depth = int(subject.encoder.get_num_layers())
    except InputError as error:
        return "skip", str(error)
    if not np.array_equal(subject.encode(subject.inputs, num_layers=depth), subject.vectors):
        return "fail", f"num_layers={depth}, which is all, gives other vectors than none"
    shallower = sorted({1, (depth + 1) // 2} - {depth})
    problems = {layers: _depth_problem(subject, layers) for layers in shallower}
    wrong = [f"num_layers={layers} {problem}" for layers, problem in problems.items() if problem]
    if wrong:
        return "fail", "; ".join(wrong)
    said = " and ".join(map(str, shallower)) or "no fewer"
    return "pass", f"all {depth} layers equal the default in every bit; {said} give finite vectors of their own"


def _depth_problem(subject: _Subject, layers: int) -> str | None:
    found = subject.encode(subject.inputs, num_layers=layers)
    if found.shape != subject.vectors.shape or not np.isfinite(found).all():
        return "gives vectors of another shape, NaN or infinity"
    if np.array_equal(found, subject.vectors):
        return "gives the vectors of all layers"
    if subject.own and not np.array_equal(subject.reloaded.encode(subject.inputs, num_layers=layers), found):
        return "gives other vectors after saving and loading"
    return None


def _disk(subject: _Subject) -> _Verdict:
    if subject.own is None:
        return "skip", "only embedkit's encoders are saved and loaded: open the model with embedkit.load"
    inputs = subject.with_long
    difference = _difference(subject.reloaded.encode(inputs), subject.encode(inputs))
    over = f"over {len(inputs)} inputs after saving and loading"
    status, measured = subject.judge([difference], over, limit=0)
    if subject.reloaded.fingerprint != subject.own.fingerprint:
        return "fail", f"{measured}; the fingerprint changed"
    return status, measured


def _window(subject: _Subject) -> _Verdict:
    if not subject.reads_text:
        return "skip", "the encoder reads no text"
    window = getattr(subject.model, "max_seq_length", None) or math.inf
    if _LONGEST_WINDOW < window < math.inf:
        return "skip", f"its window of more than {_LONGEST_WINDOW:,} tokens takes too long to fill"
    count = int(min(window, _LONGEST_WINDOW)) + 50
    texts = [" ".join(islice(cycle(_WORDS), start, start + count)) for start in range(len(_WORDS))]
    if not np.isfinite(subject.encode_bare(texts[0])).all():
        return "fail", f"a text of {count:,} words gives NaN or infinity"
    if not _gives_offsets(subject.model):
        return "pass", f"a text of {count:,} words gives a finite vector; where it was cut, if at all, is unknown"
    kept = int(subject.model.preprocess([texts[0]])["input_ids"].shape[1])  # type: ignore[union-attr]
    text, cut = next(((text, cut) for text in texts if (cut := _cut_at(subject.model, text, kept))), (texts[0], ""))
    if not cut or cut == text:
        return "pass", f"a text of {count:,} words gives a finite vector; {kept:,} tokens of it are read"
    difference = _difference(subject.encode_bare(text), subject.encode_bare(cut))
    status, measured = subject.judge([difference], f"to a text of {kept:,} tokens")
    return status, f"longer texts are cut silently at {kept:,} tokens; {measured}"


def _cut_at(model: Any, text: str, tokens: int) -> str:
    """As much of the text as its first `tokens` tokens stand for; empty where that reads differently on its own."""
    encoded = model.tokenizer(text, truncation=True, max_length=tokens, return_offsets_mapping=True)
    spans = [(start, end) for start, end in encoded["offset_mapping"] if end > start]
    cut = text[min(start for start, _ in spans) : max(end for _, end in spans)]
    return cut if model.tokenizer(cut)["input_ids"] == encoded["input_ids"] else ""


def _odd_inputs(subject: _Subject) -> _Verdict:
    if not subject.reads_text:
        return "skip", "the encoder reads no text"
    refusal: type[Exception] = InputError if subject.own else ValueError
    read, refused, wrong = [], [], []
    for name, text in _ODD_TEXTS.items():
        try:
            vectors = subject.encode([text])
        except refusal:
            refused.append(name)
        except Exception as error:  # the texts after it are tried too
            wrong.append(f"{name} raises {type(error).__name__}: {error}")
        else:
            read.append(text)
            if not np.isfinite(vectors).all():
                wrong.append(f"{name} gives NaN or infinity")
    if read and not np.isfinite(subject.encode_together([subject.inputs[0], *read])).all():
        wrong.append("odd texts give NaN or infinity to their batch")
    if subject.own:
        wrong += [said for value in _NO_TEXTS for given in (value, [value]) if (said := _taken(subject.own, given))]
    if wrong:
        return "fail", "; ".join(wrong)
    return "pass", f"{len(read)} odd texts give finite vectors; refused: {', '.join(refused) or 'none'}"


def _taken(encoder: "Encoder", value: Any) -> str | None:
    """What happens to `value`, which is no text, if not what should."""
    try:
        encoder.encode(value)
    except InputError:
        return None
    except Exception as error:  # the values after it are tried too
        return f"{value!r} raises {type(error).__name__}: {error}"
    return f"{value!r} is read as text"


def _distinct(subject: _Subject) -> _Verdict:
    if not np.isfinite(subject.vectors).all():
        return "fail", "vectors hold NaN or infinity"
    zeros = int((_lengths(subject.vectors) == 0).sum())
    unit = _unit(subject.vectors.astype(np.float64))
    first, second = np.triu_indices(len(unit), 1)
    cosine = float((unit[first] * unit[second]).sum(axis=1).mean())
    distances = _lengths(subject.vectors[first].astype(np.float64) - subject.vectors[second])
    alike = int((distances <= _FLOAT32_ROUNDING * _lengths(subject.vectors)[first]).sum())
    measured = f"mean cosine {cosine:.3f} between {len(unit)} inputs, {alike} pairs equal, {zeros} vectors zero"
    return "fail" if zeros or alike or cosine > 0.999 else "pass", measured


class _Check(NamedTuple):
    name: str
    run: Callable[[_Subject], _Verdict]
    advice: str


CHECKS = (
    _Check(
        "form",
        _form,
        "Return a C-contiguous float32 array, (n, dim) for a batch, (dim,) for one input, (0, dim) for none; "
        "models opened with embedkit.load do.",
    ),
    _Check(
        "batch size",
        _batches,
        "Nothing may be computed over the batch: look for statistics of the batch (batch norm in training mode, "
        "centring, quantisation ranges) and for masks that are left out.",
    ),
    _Check(
        "padding",
        _padding,
        "Padding leaks into the vector: pass the attention mask to the backbone and to the pooling, and let position "
        "ids and the last token follow the side on which is padded.",
    ),
    _Check(
        "order",
        _order,
        "Rows do not belong to their inputs: undo the sorting by length, and give repeated inputs a row each.",
    ),
    _Check(
        "determinism",
        _determinism,
        "Switch dropout off (eval()), draw nothing at random in encode, and set torch.use_deterministic_algorithms "
        "on a GPU.",
    ),
    _Check(
        "threads",
        _threads,
        "Keep no state between the steps of encode, or hold a lock around them: tokenizers and masks are not safe to "
        "share. Until then call encode from one thread only.",
    ),
    _Check(
        "prompt mask",
        _prompt_mask,
        "The prompt is measured alone, and its last token merges with the text or is no token there: end prompts so "
        "that the boundary is kept (a newline or a colon instead of a blank), or pool the prompt too.",
    ),
    _Check(
        "width",
        _width,
        "Truncate first and normalise then: pass normalize_embeddings=True, or open the model with embedkit.load.",
    ),
    _Check(
        "depth",
        _depth,
        "num_layers must stop the backbone's own forward early, with its final norm, and saving must keep all layers.",
    ),
    _Check(
        "save and load",
        _disk,
        "Something that decides the vectors is not saved: keep it in parameters, buffers or the settings of a module.",
    ),
    _Check(
        "window",
        _window,
        "Set max_seq_length to at most the number of positions the backbone has, and cut inputs by tokens.",
    ),
    _Check(
        "odd inputs",
        _odd_inputs,
        "Guard divisions by the number of tokens and by the length; refuse what is no text with an InputError.",
    ),
    _Check(
        "distinct vectors",
        _distinct,
        "Inputs collapse: check that the weights were loaded and the vocabulary is the model's; a cosine near 1 asks "
        "for centring or whitening before searching.",
    ),
)
"""The suite, in the order in which it runs."""
