"""Examples for contrastive training: hard negatives, and positives and negatives from classes and from graded pairs."""

import random
from collections import defaultdict
from collections.abc import Hashable, Sequence

from datasets import Dataset
from sentence_transformers.util import mine_hard_negatives as mine

from embedkit.encoders.encoder import Encoder
from embedkit.errors import InputError


def mine_hard_negatives(
    teacher: Encoder,
    anchors: Sequence[str],
    positives: Sequence[str],
    *,
    corpus: Sequence[str] | None = None,
    num_negatives: int = 7,
    relative_margin: float = 0.05,
    prompt: str | None = None,
) -> list[tuple[str, ...]]:
    """For each pair the texts nearest to its anchor that are clearly less near than its positive.

    A text counts if score(anchor, text) < (1 − relative_margin) × score(anchor, positive): what comes nearer may well
    be an answer that nobody marked. The search is that of sentence-transformers.

    Args:
        teacher: Scores the texts; best a better encoder than the one to be trained.
        anchors: Such as queries.
        positives: One for each anchor.
        corpus: Where negatives are taken from; None takes the positives of the others.
        num_negatives: How many for each pair; pairs that have fewer are left out.
        relative_margin: 0 ≤ relative_margin < 1.
        prompt: Put before the anchors.

    Returns:
        Rows (anchor, positive, negative, …), ready for `fit`.

    Raises:
        InputError: There are no pairs, their numbers differ, or an argument is out of range.

    Reference:
        Moreira et al., NV-Retriever, 2024 (TopK-PercPos); NV-Embed, section 4.1.1, takes 0.95, which is the default.
    """
    if not anchors or len(anchors) != len(positives) or not 0 <= relative_margin < 1 or num_negatives < 1:
        message = (
            "mining needs one positive for each of one or more anchors, 0 <= relative_margin < 1 and num_negatives "
            f">= 1; received {len(anchors)} anchors, {len(positives)} positives, {relative_margin} and {num_negatives}"
        )
        raise InputError(message)
    found = mine(
        Dataset.from_dict({"anchor": list(anchors), "positive": list(positives)}),
        teacher,
        corpus=list(corpus) if corpus is not None else None,
        num_negatives=num_negatives,
        relative_margin=relative_margin,
        query_prompt=prompt,
        output_format="n-tuple",
        verbose=False,
    )
    return list(zip(*(found[name][:] for name in found.column_names), strict=True))


def examples_of_classes(
    texts: Sequence[str], labels: Sequence[Hashable], *, num_negatives: int = 7, seed: int = 0
) -> list[tuple[str, ...]]:
    """For each text another of its class, and texts of other classes: example-based labels.

    Args:
        texts: At least two of a class; a text that is alone in its class is left out as an anchor.
        labels: One for each text.
        num_negatives: How many texts of other classes each row has.
        seed: Of the draws.

    Returns:
        Rows (anchor, positive, negative, …), ready for `fit`.

    Raises:
        InputError: The numbers of texts and labels differ, there is only one class, or no class has two texts.

    Example:
        >>> rows = examples_of_classes(["lost card", "card gone", "pay back"], [0, 0, 1], num_negatives=1)
        >>> rows[0]
        ('lost card', 'card gone', 'pay back')

    Reference:
        Lee et al., NV-Embed, ICLR 2025, section 4.2: example-based positives beat the names of labels.
    """
    members: dict[Hashable, list[int]] = defaultdict(list)
    for position, label in enumerate(labels):
        members[label].append(position)
    pairs = [position for of_class in members.values() if len(of_class) > 1 for position in of_class]
    if len(texts) != len(labels) or len(members) < 2 or not pairs:
        message = (
            f"examples of classes need one label a text, two classes, and a class of two texts; received {len(texts)} "
            f"texts, {len(labels)} labels and {len(members)} classes"
        )
        raise InputError(message)
    draw = random.Random(seed)  # noqa: S311 (no secret)
    rows = []
    for anchor in sorted(pairs):
        same = members[labels[anchor]]
        positive = draw.choice([position for position in same if position != anchor])
        others = [label for label in members if label != labels[anchor]]
        negatives = [draw.choice(members[draw.choice(others)]) for _ in range(num_negatives)]
        rows.append(tuple(texts[position] for position in (anchor, positive, *negatives)))
    return rows


def examples_of_scores(
    first: Sequence[str], second: Sequence[str], scores: Sequence[float], *, least: float
) -> list[tuple[str, str]]:
    """Of graded pairs, those that score high enough, in both orders.

    Args:
        first: One side of the pairs.
        second: The other.
        scores: One a pair.
        least: Lowest score of a positive pair; NV-Embed takes 4 of 5.

    Example:
        >>> examples_of_scores(["a cat", "a dog"], ["one cat", "tax law"], [4.5, 0.0], least=4)
        [('a cat', 'one cat'), ('one cat', 'a cat')]
    """
    alike = [(a, b) for a, b, score in zip(first, second, scores, strict=True) if score >= least]
    return [pair for a, b in alike for pair in ((a, b), (b, a))]
