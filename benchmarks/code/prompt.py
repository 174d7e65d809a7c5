"""Does asking at a mask tell exceptions better than [CLS] or the mean of tokens, under one budget?

Each example is a function in which the name behind one `except` is hidden; its class is that name, of those with 250
examples in the training packages, other than Exception and BaseException. What every arm reads is the same: the line
with the hole and lines around it, taken in turn from before and after, ten at most and as many as fit 116 tokens, so
that the hole stays within 128 tokens beside any template. Packages are in one split: training packages to train,
validation packages to choose, test packages and the standard library to report.

Frozen: the states of all-MiniLM-L6-v2 are computed once, and {pooling, linear map} are trained on them; the epoch is
the one with the best accuracy on validation. CodePrompt's attention over layers stands beside its last layer alone and
beside the same attention over the means of tokens, which tells the prompt from the layers. Fine-tuned: low-rank
adapters and a linear map, equal steps, examples and rates, and nothing chosen. The template, widths and rates were
fixed beforehand. Floors: the most frequent class, and logistic regression on words (C chosen on validation), which
has rows of its own. Without training: the verbaliser with the words in the names of the exceptions.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.sentence_transformer.modules import Pooling
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.nn import functional

import embedkit as ek
from benchmarks.functions import Part, corpus_functions
from benchmarks.peer import on_cores
from benchmarks.results import Row
from embedkit.encoders.code.tasks import HOLE, exception_type
from embedkit.encoders.layerwise import LayerwiseTransformer
from embedkit.encoders.lora import LoRA
from embedkit.encoders.text import Verbaliser, mask_states, prompt_encoder
from embedkit.losses.softmax import SoftmaxLoss
from embedkit.modules.pooling import PromptPooling
from embedkit.ops.masks import masked_mean
from embedkit.training.code_prompt import code_prompt
from embedkit.training.fit import fit

DIM, LAYERS = 384, 6
LINES, TOKENS, WINDOW = 10, 116, 128
MIN_EXAMPLES = 250
SIZES = {"train": 1500, "validation": 300, "test": 800}
SEEDS = (0, 1, 2)
EPOCHS, BATCH, RATE = 40, 64, 1e-3
STEPS, TUNED_BATCH, TUNED_RATE, NEW_RATE = 30, 16, 1e-3, 3e-3
TUNED_TEST = 400

PROMPT, BASELINE = "CodePrompt", "mean of tokens"


@dataclass(frozen=True)
class Split:
    """What is read, and the number of its class."""

    texts: list[str]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """Exception type, cut to size."""

    classes: list[str]
    train: Split
    validation: Split
    test: Split


@dataclass(frozen=True)
class Form:
    """How the arms were trained."""

    name: str
    said: str
    test: Split


def run(smoke: bool) -> Iterator[Row]:
    """Accuracy and macro F1 of each arm, frozen and fine-tuned, then of no training and of words alone."""
    task = exceptions(smoke)
    most = Counter(task.train.labels.tolist()).most_common(1)[0][0]
    seeds = SEEDS[:1] if smoke else SEEDS
    encoder = _plain()

    cached = [states(encoder, split.texts) for split in (task.train, task.validation, task.test)]
    epochs = 2 if smoke else EPOCHS
    frozen = {arm: [trained(task, cached, arm, seed, epochs) for seed in seeds] for arm in FROZEN}
    form = Form("frozen", "all-MiniLM-L6-v2 frozen, pooling and linear map trained", task.test)
    yield from _rows(form, frozen, most)

    tuned_on = _first(task.test, TUNED_TEST)
    jobs = [(arm, seed) for arm in TUNED for seed in seeds]
    steps, batch = (1, 2) if smoke else (STEPS, TUNED_BATCH)
    work = partial(tuned, task=task, texts=tuned_on.texts, steps=steps, batch=batch)
    found = [work(job) for job in jobs] if smoke else on_cores(work, jobs)
    by_arm = {arm: [each for (name, _), each in zip(jobs, found, strict=True) if name == arm] for arm in TUNED}
    form = Form("tuned", f"all-MiniLM-L6-v2, adapters, {STEPS} steps of {TUNED_BATCH}", tuned_on)
    yield from _rows(form, by_arm, most)

    verbaliser = Verbaliser(prompt_encoder(encoder), {name: _words(name) for name in task.classes})
    untrained = {
        "verbaliser": [verbaliser.logits(task.test.texts).argmax(axis=1)],
        "TF-IDF + regression": [by_words(task)],
    }
    yield from _rows(Form("frozen", "no transformer trained", task.test), untrained, most)


def exceptions(smoke: bool) -> Task:
    """The task, each split a sample of its size."""
    least = 2 if smoke else MIN_EXAMPLES
    train = exception_type(_functions("train", smoke), min_examples=least)
    classes = sorted({example.label for example in train})
    codes = {name: code for code, name in enumerate(classes)}
    validation = exception_type(_functions("validation", smoke), classes)
    test = exception_type([*_functions("test", smoke), *([] if smoke else _functions("library", smoke))], classes)
    splits = []
    tokenizer = ek.load(device="cpu").tokenizer
    for name, examples in (("train", train), ("validation", validation), ("test", test)):
        size = 8 if smoke else SIZES[name]
        keep = sorted(np.random.default_rng(0).permutation(len(examples))[:size].tolist())
        texts = [around_hole(examples[row].code, tokenizer) for row in keep]
        splits.append(Split(texts, np.array([codes[examples[row].label] for row in keep], dtype=np.int64)))
    return Task(classes, *splits)


def _functions(part: Part, smoke: bool) -> list[Any]:
    return [each for each in corpus_functions(part, smoke=smoke) if "except" in each.code]


def around_hole(code: str, tokenizer: Any) -> str:
    """The line with the hole and lines around it: ten at most, as many as fit."""
    lines = code.split("\n")
    hole = next(number for number, line in enumerate(lines) if HOLE in line)
    first, last = hole, hole + 1
    left = TOKENS - _count(lines[hole], tokenizer)
    turns = [side for _ in range(LINES) for side in (-1, 1)]
    for side in turns:
        number = first - 1 if side < 0 else last
        if not 0 <= number < len(lines) or last - first == LINES:
            continue
        left -= _count(lines[number], tokenizer)
        if left < 0:
            break
        first, last = min(first, number), max(last, number + 1)
    return "\n".join(lines[first:last])


def _count(line: str, tokenizer: Any) -> int:
    return len(tokenizer(line, add_special_tokens=False, truncation=False, verbose=False)["input_ids"])


def _plain(pooling: str = "mean") -> ek.Encoder:
    """The default transformer and one of the usual poolings, without scaling to length 1."""
    transformer: Any = ek.load(device="cpu")[0]
    transformer.max_seq_length = WINDOW
    return ek.Encoder([transformer, Pooling(DIM, pooling)], device="cpu")


class _EveryLayer(nn.Module):
    """First state and mean state of each layer, side by side."""

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        layers, mask = features["all_layer_embeddings"][1:], features["attention_mask"] > 0
        read = [layer[:, 0] for layer in layers] + [masked_mean(layer, mask) for layer in layers]
        features["sentence_embedding"] = torch.cat(read, dim=1)
        return features

    def get_embedding_dimension(self) -> int:
        return 2 * LAYERS * DIM


def states(encoder: ek.Encoder, texts: list[str]) -> dict[str, Tensor]:
    """What layers 1 … 6 hold at the prompt's mask, at [CLS] and on average, (n, 6, 384) each."""
    every = ek.Encoder([LayerwiseTransformer.of(encoder[0]), _EveryLayer()], device="cpu")
    plain = torch.from_numpy(every.encode(texts)).reshape(len(texts), 2, LAYERS, DIM)
    mask = torch.from_numpy(mask_states(prompt_encoder(encoder), texts))
    return {"mask": mask, "[CLS]": plain[:, 0], "mean": plain[:, 1]}


class _Mixed(nn.Module):
    """Attention over the layers."""

    def __init__(self, first_layer: int = 1) -> None:
        super().__init__()
        self.pooling = PromptPooling(DIM, LAYERS, first_layer=first_layer)

    def forward(self, layers: Tensor) -> Tensor:
        return self.pooling.mix(layers[:, self.pooling.first_layer - 1 :])


class _Last(nn.Module):
    """The last layer."""

    def forward(self, layers: Tensor) -> Tensor:
        return layers[:, -1]


FROZEN: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    PROMPT: ("mask", _Mixed),
    "[CLS]": ("[CLS]", _Last),
    BASELINE: ("mean", _Last),
    "mask, last layer": ("mask", partial(_Mixed, LAYERS)),
    "mean, layers attended": ("mean", _Mixed),
}
"""Which states an arm reads, and how it mixes them."""


def trained(task: Task, cached: Sequence[dict[str, Tensor]], arm: str, seed: int, epochs: int) -> NDArray[np.int64]:
    """Classes that one head gives the test, at the epoch that was best on validation."""
    kind, mixed = FROZEN[arm]
    train, validation, test = (each[kind] for each in cached)
    torch.manual_seed(seed)
    head = nn.Sequential(mixed(), nn.Linear(DIM, len(task.classes)))
    optimizer = torch.optim.AdamW(head.parameters(), lr=RATE)
    labels, best, found = torch.from_numpy(task.train.labels), -1.0, np.empty(0, dtype=np.int64)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(labels)), BATCH):
            loss = functional.cross_entropy(head(train[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.inference_mode():
            right = float((head(validation).argmax(dim=1).numpy() == task.validation.labels).mean())
            if right > best:
                best, found = right, head(test).argmax(dim=1).numpy()
    return found


TUNED = (PROMPT, "[CLS]", BASELINE)


def tuned(job: tuple[str, int], *, task: Task, texts: list[str], steps: int, batch: int) -> NDArray[np.int64]:
    """Classes that one fine-tuned encoder and its linear map give."""
    arm, seed = job
    options: dict[str, Any] = {
        "learning_rate": TUNED_RATE,
        "weight_decay": 0.01,
        "batch_size": batch,
        "max_steps": steps,
        "lora": LoRA(),
        "seed": seed,
        "show_progress_bar": False,
    }
    if arm == PROMPT:
        names = [task.classes[code] for code in task.train.labels]
        classifier = code_prompt(_plain(), task.train.texts, names, new_learning_rate=NEW_RATE, **options)
        return np.array([task.classes.index(name) for name in classifier.predict(texts)], dtype=np.int64)
    encoder = _plain("cls" if arm == "[CLS]" else "mean")
    loss = SoftmaxLoss(DIM, len(task.classes), seed=seed)
    examples = {"text": task.train.texts, "label": task.train.labels.tolist()}
    fit(encoder, examples, loss, learning_rate_mapping={r"^loss\.": NEW_RATE}, **options)
    with torch.inference_mode():
        return loss.logits(torch.from_numpy(encoder.encode(texts))).argmax(dim=1).numpy()


def by_words(task: Task) -> NDArray[np.int64]:
    """Classes by logistic regression on words, signs and pairs of these."""
    vectorizer = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", ngram_range=(1, 2), sublinear_tf=True)
    train = vectorizer.fit_transform(task.train.texts)
    validation, test = vectorizer.transform(task.validation.texts), vectorizer.transform(task.test.texts)
    fitted = [LogisticRegression(C=strength, max_iter=1000).fit(train, task.train.labels) for strength in (1, 10, 100)]
    chosen = max(fitted, key=lambda model: model.score(validation, task.validation.labels))
    found: NDArray[np.int64] = chosen.predict(test)
    return found


def _words(name: str) -> list[str]:
    """The words in the name of an exception: "value" of ValueError."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+", name)
    return [word.lower() for word in words if word not in {"Error", "Exception"}] or [name.lower()]


def _first(split: Split, count: int) -> Split:
    return Split(split.texts[::2][:count], split.labels[::2][:count])


def _rows(form: Form, found: dict[str, list[NDArray[np.int64]]], most: int) -> Iterator[Row]:
    metrics: dict[str, Callable[[NDArray[np.int64]], float]] = {
        "accuracy": lambda given: float((given == form.test.labels).mean()),
        "macro F1": lambda given: float(f1_score(form.test.labels, given, average="macro", zero_division=0)),
    }
    for metric, measure in metrics.items():
        floor = measure(np.full_like(form.test.labels, most))
        scores = {arm: [measure(given) for given in each] for arm, each in found.items()}
        for arm, values in scores.items():
            varies = len(values) > 1
            yield Row(
                method=arm,
                variant=f"{form.said}; baseline: {BASELINE}; floor: the most frequent class",
                dataset=f"exception type, {form.name}",
                metric=metric,
                value=round(float(np.mean(values)), 4),
                low=round(min(values), 4) if varies else None,
                high=round(max(values), 4) if varies else None,
                seeds=len(values),
                baseline=round(float(np.mean(scores[BASELINE])), 4) if BASELINE in scores and arm != BASELINE else None,
                floor=round(floor, 4),
            )
