"""Vectors of the leaves of syntax trees at several depths of an encoder, and the encoder with layers of chance."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32

from embedkit.encoders.code.syntax_tree import TreeTuple, syntax_tree, tree_tuple
from embedkit.encoders.depth import at_depth, at_depths
from embedkit.encoders.encoder import Encoder
from embedkit.encoders.readout import TokenReadout, read_tokens
from embedkit.errors import InputError

_SPREAD = 0.02


@dataclass(frozen=True)
class LeafVectors:
    """Trees with the vectors of their leaves.

    Attributes:
        trees: One tuple a source.
        vectors: By layer, for each tree the vectors of its leaves.
        left_out: How many sources were not read, since not all of their leaves reach the encoder's window.
    """

    trees: tuple[TreeTuple, ...]
    vectors: Mapping[int, Sequence[Float32[np.ndarray, "leaves dim"]]]
    left_out: int = 0

    def at(self, places: Iterable[int]) -> "LeafVectors":
        """Those of some of the trees, by their places."""
        places = list(places)
        kept = {layer: [vectors[place] for place in places] for layer, vectors in self.vectors.items()}
        return LeafVectors(tuple(self.trees[place] for place in places), kept)


def leaf_vectors(
    encoder: Encoder, sources: Iterable[str], *, num_layers: Sequence[int], language: str = "python"
) -> LeafVectors:
    """Read the leaves of each source's syntax tree at several depths, each layer run once.

    A leaf's vector is the mean state of the tokens of the encoder that share a character with it. A source that
    is longer than the encoder's window, or has a leaf of which the tokenizer makes nothing, is left out as a whole.

    Args:
        encoder: As in `read_tokens`. It reads the sources as they are.
        sources: Such as `Function.code`.
        num_layers: Ascending, each 0 … depth; 0 is the embedding layer.
        language: As in `syntax_tree`.

    Returns:
        Trees in the order of the sources, and their vectors by layer.

    Raises:
        InputError: A source does not parse, the encoder reads no text, or `num_layers` are none, or out of order or
            range.

    Example:
        >>> import embedkit as ek
        >>> found = leaf_vectors(ek.load(), ["def one(): return 1"], num_layers=[0, 3])
        >>> len(found.trees[0].leaves), found.vectors[3][0].shape
        (7, (7, 384))
    """
    if not num_layers or list(num_layers) != sorted(set(num_layers)):
        raise InputError(f"num_layers must be ascending numbers, at least one; received {list(num_layers)}")
    views = at_depths(encoder, num_layers)
    trees: list[TreeTuple] = []
    vectors: dict[int, list[Float32[np.ndarray, "leaves dim"]]] = {layer: [] for layer in num_layers}
    left_out = 0
    for source in sources:
        tree = tree_tuple(syntax_tree(source, language=language))
        # one text at a time: a view goes on where the one before stopped, on the same batch
        readouts = [read_tokens(view, [source])[0] for view in views]
        if not _holds(readouts[0], tree):
            left_out += 1
            continue
        trees.append(tree)
        for layer, readout in zip(num_layers, readouts, strict=True):
            vectors[layer].append(readout.pool(tree.leaves))
    return LeafVectors(tuple(trees), vectors, left_out)


def _holds(readout: TokenReadout, tree: TreeTuple) -> bool:
    """Whether each leaf has a token, and the last one is whole."""
    starts, ends = readout.offsets.T
    leaves = np.array(tree.leaves)
    share = np.maximum(starts, leaves[:, :1]) < np.minimum(ends, leaves[:, 1:])
    return bool(share.any(axis=1).all() and ends[share[-1]].max() == leaves[-1, 1])


def random_layers(encoder: Encoder, *, seed: int = 0) -> Encoder:
    """A copy of an encoder with its own embeddings and layers that learned nothing: the control of AST-Probe.

    Weights are drawn from a normal distribution of deviation 0.02, biases are 0 and the gains of norms 1, as before
    BERT's training.

    Args:
        encoder: Must have one stack of transformer layers.
        seed: Of the weights.

    Returns:
        The copy, in which layer 0 gives what it gives in `encoder`.

    Raises:
        InputError: The encoder has no single stack, or does not run without a layer.

    Example:
        >>> import embedkit as ek
        >>> encoder = ek.load()
        >>> control = random_layers(encoder)
        >>> same = [(control.encode("a", num_layers=k) == encoder.encode("a", num_layers=k)).all() for k in (0, 1)]
        >>> [bool(each) for each in same]
        [True, False]

    Reference:
        J. A. Hernández López, M. Weyssow, J. S. Cuadrado, H. Sahraoui, "AST-Probe: Recovering Abstract Syntax Trees
        from Hidden Representations of Pre-Trained Language Models", ASE 2022, whose CodeBERTrand it is.
    """
    control = copy.deepcopy(encoder)
    kept = {id(parameter) for parameter in at_depth(control, 0).parameters()}
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in control.named_parameters():
            if id(parameter) in kept:
                continue
            if parameter.dim() > 1:
                parameter.copy_(torch.normal(0.0, _SPREAD, parameter.shape, generator=random))
            else:
                parameter.fill_(float(name.endswith("weight")))
    return control
