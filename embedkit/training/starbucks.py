"""Starbucks: one encoder whose small sizes, each a depth with a width, are trained together."""

from typing import Any

from torch import nn

from embedkit.encoders.encoder import Encoder
from embedkit.errors import InputError
from embedkit.losses.cosent import CoSENTLoss
from embedkit.losses.info_nce import InfoNCELoss
from embedkit.losses.starbucks import StarbucksLoss
from embedkit.training.examples import LABELS, Examples, as_dataset
from embedkit.training.fit import Training, fit

_WIDTHS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)


def starbucks_pairs(num_layers: int, dim: int) -> tuple[tuple[int, int], ...]:
    """Six sizes from a sixth of the depth and a sixteenth of the width to the whole model, fewer in shallow ones.

    Args:
        num_layers: Depth of the model, at least 1.
        dim: Its width, at least 16.

    Returns:
        (depth, width), ascending in both.

    Raises:
        InputError: A number is too small.

    Example:
        >>> starbucks_pairs(6, 384)
        ((1, 24), (2, 48), (3, 96), (4, 192), (5, 288), (6, 384))
    """
    if num_layers < 1 or dim < 1 / _WIDTHS[0]:
        message = f"sizes need a depth of at least 1 and a width of at least 16; received {num_layers} and {dim}"
        raise InputError(message)
    count = len(_WIDTHS)
    # The widest of several widths that would share a depth is kept.
    widths = {-(-num_layers * (place + 1) // count): int(share * dim) for place, share in enumerate(_WIDTHS)}
    return tuple(widths.items())


def starbucks(
    encoder: Encoder,
    examples: Examples,
    *,
    pairs: tuple[tuple[int, int], ...] | None = None,
    loss: nn.Module | None = None,
    kl_weight: float = 1.0,
    **options: Any,
) -> Training:
    """Train an encoder at fixed sizes at once (structured representation learning, SRL).

    The loss of a step is the sum over sizes of `loss` on vectors of that depth and width, and `kl_weight` times the
    divergence of each smaller size's similarities from those of the whole model. `smae` before it is the paper's
    pre-training. The encoder stays what it was made of: a folder of it opens in sentence-transformers.

    Args:
        encoder: What is trained, in place.
        examples: As in `fit`.
        pairs: Sizes (depth, width), ascending in both; None takes `starbucks_pairs` of the encoder.
        loss: What each size is trained with; None takes CoSENT where the examples have scores, else InfoNCE.
        kl_weight: Weight of the divergence, at least 0.
        **options: As in `fit`.

    Raises:
        InputError: Sizes are out of order or beyond the encoder, or as in `fit`.

    Example:
        >>> import embedkit as ek
        >>> encoder = ek.load()
        >>> done = starbucks(encoder, [("a cat", "a feline", 1.0), ("a cat", "tax law", 0.0)], max_steps=1)
        >>> encoder.encode("a cat", num_layers=2, truncate_dim=48).shape
        (48,)

    Reference:
        Zhuang, Wang, Zheng, Koopman, Zuccon: Starbucks: Improved Training for 2D Matryoshka Embeddings, 2024.

    Deviations:
        The divergence is between similarities with a teacher that gets no gradient, as in the authors' retrieval
        code; their STS code compares coordinates and lets gradients into the teacher (`StarbucksLoss` has both).
    """
    dataset = as_dataset(examples)
    depth, width = encoder.get_num_layers(), int(encoder.get_embedding_dimension() or 0)
    sizes = pairs or starbucks_pairs(depth, width)
    if any(layer > depth or dim > width for layer, dim in sizes):
        message = f"pairs must stay within {depth} layers and {width} dimensions; received {sizes}"
        raise InputError(message)
    if loss is None:
        loss = CoSENTLoss() if set(dataset.column_names) & set(LABELS) else InfoNCELoss()
    return fit(encoder, dataset, StarbucksLoss(loss, sizes, kl_weight=kl_weight), **options)
