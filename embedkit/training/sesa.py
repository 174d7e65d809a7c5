"""SESA: named dimensions learned from tagged examples, so that those which share a tag come close."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from embedkit.encoders.concepts import ConceptEncoder
from embedkit.encoders.encoder import Encoder
from embedkit.errors import InputError
from embedkit.losses.arguments import not_negative, positive, whole
from embedkit.losses.info_nce import InfoNCELoss
from embedkit.modules.projection.concepts import LinearConcepts


def sesa(  # noqa: PLR0913 (each is a setting of the training)
    encoder: Encoder,
    inputs: Sequence[Any],
    tags: Iterable[str | Iterable[str]],
    *,
    concept_weight: float = 1.0,
    temperature: float = 0.05,
    epochs: int = 20,
    batch_size: int = 256,
    learning_rate: float = 1e-2,
    seed: int = 0,
    show_progress_bar: bool | None = None,
) -> ConceptEncoder:
    """Learn a map from an encoder's vectors to named concepts; the encoder itself stays as it is.

        loss = rank(anchor, positive, negative) + concept_weight · BCE(sigmoid(weight · embedding + bias), tags)

    where rank is InfoNCE over the cosines of concept vectors, a positive shares a tag with its anchor and a negative
    shares none; both are drawn anew for each step. A large `concept_weight` gives a tagger, 0 dimensions whose names
    mean nothing. An input whose tags all others have, or none has, counts in the second term only.

    Args:
        encoder: Gives the vectors; its modules are shared.
        inputs: Tagged examples, read as documents.
        tags: What each input is about: one name, or several. Concepts come in the order in which they first appear.
        concept_weight: Weight of the concepts' loss beside the ranking's, at least 0.
        temperature: Of the ranking, > 0.
        epochs: Passes over the examples, ≥ 1.
        batch_size: Examples a step, ≥ 1.
        learning_rate: Adam's, > 0.
        seed: Of the first weights, the order and what is drawn.
        show_progress_bar: None shows one on a terminal.

    Returns:
        A concept encoder that ends in `LinearConcepts`.

    Raises:
        InputError: There are no examples, lengths differ, an input has no tag, or a number is out of range.

    Example:
        >>> import embedkit as ek
        >>> texts = ["rain and wind", "a sunny day", "cake", "soup and bread"]
        >>> found = sesa(ek.load(), texts, ["weather", "weather", "food", "food"])
        >>> found.names[found.encode("storm tomorrow").argmax()]
        'weather'

    Reference:
        D. Bogdanova and M. Yazdani, "SESA: Supervised Explicit Semantic Analysis", 2017.

    Deviations:
        The paper trains two recurrent encoders from scratch; here one linear layer is trained on frozen vectors, and
        the ranking is InfoNCE with one negative.
    """
    not_negative("concept_weight", concept_weight)
    positive("temperature", temperature)
    positive("learning_rate", learning_rate)
    whole("epochs", epochs)
    whole("batch_size", batch_size)
    names, tagged = _table(tags, len(inputs))
    vectors = torch.from_numpy(encoder.encode_document(list(inputs), show_progress_bar=show_progress_bar))
    generator = torch.Generator().manual_seed(seed)
    weight = nn.Parameter(torch.randn(len(names), vectors.shape[1], generator=generator) / vectors.shape[1] ** 0.5)
    bias = nn.Parameter(torch.zeros(len(names)))
    optimizer = torch.optim.Adam([weight, bias], lr=learning_rate)
    rank = InfoNCELoss(temperature=temperature, in_batch=False)
    for _ in tqdm(range(epochs), desc="concepts", disable=None if show_progress_bar is None else not show_progress_bar):
        for anchors in torch.split(torch.randperm(len(vectors), generator=generator), batch_size):
            chosen, positives, negatives = _drawn(tagged, anchors, generator)
            rows = torch.cat([anchors, positives, negatives])
            logits = nn.functional.linear(vectors[rows], weight, bias)
            loss = concept_weight * nn.functional.binary_cross_entropy_with_logits(logits, tagged[rows])
            if len(positives):
                anchored = nn.functional.softplus(logits[: len(anchors)])[chosen]
                loss = loss + rank(anchored, *nn.functional.softplus(logits[len(anchors) :]).chunk(2))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return ConceptEncoder(encoder, LinearConcepts(names, weight, bias))


def _drawn(tagged: Tensor, anchors: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A positive and a negative for each anchor that has both: places of these anchors, then rows of the examples."""
    shares = tagged[anchors] @ tagged.T > 0
    others = shares.scatter(1, anchors[:, None], False)
    chosen = (others.any(dim=1) & ~shares.all(dim=1)).nonzero()[:, 0]
    draws = torch.rand(len(chosen), len(tagged), generator=generator) + 1
    return chosen, (draws * others[chosen]).argmax(dim=1), (draws * ~shares[chosen]).argmax(dim=1)


def _table(tags: Iterable[str | Iterable[str]], count: int) -> tuple[list[str], Tensor]:
    """Names of the concepts, and a 1 for each that an input is tagged with, (n, concepts)."""
    each = [[some] if isinstance(some, str) else list(some) for some in tags]
    if not each or len(each) != count or not all(each):
        without = next((row for row, some in enumerate(each) if not some), None)
        received = f"none for input {without}" if without is not None else f"{len(each)} for {count}"
        message = f"tags must be one or more for each input, and there must be an input; received {received}"
        raise InputError(message)
    names = list(dict.fromkeys(name for some in each for name in some))
    place = {name: column for column, name in enumerate(names)}
    table = np.zeros((count, len(names)), dtype=np.float32)
    for row, some in enumerate(each):
        table[row, [place[name] for name in some]] = 1
    return names, torch.from_numpy(table)
