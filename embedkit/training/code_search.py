"""Code search: an encoder learns to find functions by what is said of them, also where their names do not help."""

import random
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from embedkit.encoders.code.functions import Function, mask_name, search_pairs
from embedkit.encoders.encoder import Encoder
from embedkit.errors import InputError
from embedkit.losses.arguments import not_negative, whole
from embedkit.losses.info_nce import InfoNCELoss
from embedkit.training.batches import InOrder
from embedkit.training.fit import Training, fit


def code_search_pairs(
    functions: Iterable[Function],
    *,
    num_pairs: int | None = None,
    per_distribution: int = 150,
    masked: float = 0.5,
    group: int = 8,
    seed: int = 0,
) -> list[tuple[str, str]]:
    r"""Examples for `code_search`, in the order in which they should be trained on.

    A pair is one of `search_pairs`. Pairs of one distribution stand together in groups, and the groups are in random
    order: in a batch each query has some documents beside its own that speak of the same things.

    Args:
        functions: Those without a docstring are passed over.
        num_pairs: The most pairs; None takes all.
        per_distribution: The most pairs of one distribution, so that no large one drowns the others.
        masked: Share of the functions whose names are masked, 0 … 1.
        group: How many of one distribution stand together.
        seed: Of all draws.

    Returns:
        (query, document) of each.

    Raises:
        InputError: A number is out of range.

    Example:
        >>> from embedkit.encoders.code.functions import find_functions
        >>> text = 'def mean_of(a):\n    "Mean of all numbers."\n    return sum(a) / len(a)\n'
        >>> code_search_pairs(find_functions(text), masked=0.0)
        [('Mean of all numbers.', 'def mean_of(a):\n    return sum(a) / len(a)')]
    """
    for name, count in (("num_pairs", num_pairs), ("per_distribution", per_distribution), ("group", group)):
        if count is not None:
            whole(name, count)
    if not_negative("masked", masked) > 1:
        raise InputError(f"masked must be a share of the functions, 0 … 1; received {masked}")
    draw = random.Random(seed)  # noqa: S311 (no secret)
    of_distribution: dict[str, list[Function]] = defaultdict(list)
    for function in functions:
        if function.docstring is not None:
            of_distribution[function.distribution].append(function)
    groups: list[list[tuple[str, str]]] = []
    queries: set[str] = set()
    for several in of_distribution.values():
        draw.shuffle(several)
        # Masking parses, so what will hardly be needed is left out before it; half the docstrings are too short.
        chosen = several[: 3 * per_distribution]
        seen = [mask_name(each) if draw.random() < masked else each for each in chosen]
        pairs = [pair for pair in search_pairs(seen) if pair[0] not in queries][:per_distribution]
        queries.update(query for query, _ in pairs)
        groups += [pairs[start : start + group] for start in range(0, len(pairs), group)]
    draw.shuffle(groups)
    return [pair for each in groups for pair in each][:num_pairs]


def code_search(
    encoder: Encoder,
    functions: Iterable[Function],
    *,
    num_pairs: int | None = None,
    max_tokens: int = 64,
    batch_size: int = 64,
    learning_rate: float = 1e-4,
    temperature: float = 0.05,
    seed: int = 0,
    **options: Any,
) -> Training:
    """Train an encoder, in place, to find a function by the first paragraph of its docstring, and the other way round.

    The loss is InfoNCE over the batch, half of it from queries to documents and half from documents to queries.
    Examples are those of `code_search_pairs`.

    Args:
        encoder: What is trained; it reads text.
        functions: Such as those of `embedkit.corpus.functions.read_functions`.
        num_pairs: The most pairs; None takes up to 150 of each distribution.
        max_tokens: Longer texts are cut to this in training, not afterwards.
        batch_size: Pairs a step. The others of a batch are a query's wrong documents.
        learning_rate: As in `fit`.
        temperature: Of InfoNCE.
        seed: Of the pairs and their order, and of `fit`.
        **options: As in `fit`, such as `lora`, `score` and `folder`.

    Returns:
        What was done.

    Raises:
        InputError: An argument is out of range, or no function has a docstring that makes a pair.

    Example:
        >>> import calendar, inspect
        >>> import embedkit as ek
        >>> from embedkit.encoders.code.functions import find_functions
        >>> functions = find_functions(inspect.getsource(calendar), distribution="calendar")
        >>> encoder = ek.load()
        >>> code_search(encoder, functions, num_pairs=2, batch_size=2).steps
        1

    Reference:
        H. Husain, H.-H. Wu, T. Gazit, M. Allamanis, M. Brockschmidt, "CodeSearchNet Challenge: Evaluating the State of
        Semantic Code Search", 2019, whose encoders are trained on such pairs, also with masked names.

    Deviations:
        One encoder for both sides; half the names masked; both directions in the loss; and batches of groups of one
        distribution. The paper does none of these.
    """
    whole("max_tokens", max_tokens)
    pairs = code_search_pairs(functions, num_pairs=num_pairs, seed=seed)
    if not pairs:
        raise InputError("functions must have docstrings of 3 words and 3 lines; received none that has both")
    loss = _BothWays(temperature)
    options = {"batch_sampler": InOrder, **options}
    longest = encoder.max_seq_length
    encoder.max_seq_length = min(max_tokens, longest or max_tokens)
    try:
        return fit(encoder, pairs, loss, batch_size=batch_size, learning_rate=learning_rate, seed=seed, **options)
    finally:
        encoder.max_seq_length = longest


class _BothWays(nn.Module):
    """InfoNCE from anchors to positives and back, half and half."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.one_way = InfoNCELoss(temperature=temperature)

    def forward(self, anchors: Tensor, positives: Tensor) -> Tensor:
        there: Tensor = self.one_way(anchors, positives)
        back: Tensor = self.one_way(positives, anchors)
        return (there + back) / 2
