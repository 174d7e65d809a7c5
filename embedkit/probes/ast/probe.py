"""How well syntax trees can be read from the vectors of their tokens, by layer, beside what knows nothing of syntax."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from embedkit.encoders.code.syntax_tree import Constituent, TreeTuple, constituents
from embedkit.encoders.depth import num_layers_of
from embedkit.encoders.encoder import Encoder
from embedkit.errors import InputError
from embedkit.optional import require
from embedkit.probes.ast.subspace import fit_subspace
from embedkit.probes.ast.vectors import LeafVectors, leaf_vectors, random_layers
from embedkit.probes.observatory.finding import Estimate, estimate

ENOUGH_STEPS = 1000
"""Fewer leave the probe so unfit that layers of chance can look as good as trained ones."""

_HEAD = ("vectors", "precision", "recall", "F1", "label accuracy")


@dataclass(frozen=True)
class AstScore:
    """How well the trees of the test sources were read from one kind of vectors.

    Attributes:
        name: Such as "layer 3".
        precision: Share of the nodes read that are in the tree, mean over trees.
        recall: Share of the nodes of the tree that were read, mean over trees.
        f1: Their harmonic mean of each tree, mean over trees.
        label_accuracy: Share of the gaps between leaves whose label is right, "" being one label.
    """

    name: str
    precision: Estimate
    recall: Estimate
    f1: Estimate
    label_accuracy: float


@dataclass(frozen=True)
class AstProbe:
    """What was measured. Printed it is a table.

    Attributes:
        rank: Dimensions of the subspace.
        num_steps: Steps each probe was trained.
        num_layers: Which layers were probed.
        scores: One a layer.
        random: The best layer's number of layers, but of `random_layers`, at least one.
        floors: What is reached without any vector: a tree that branches to the right, and the right tree, both with
            the commonest label.
        left_out: Sources left out, longer than the encoder's window.
        notes: What was left out or is too small to say anything.
    """

    rank: int
    num_steps: int
    num_layers: tuple[int, ...]
    scores: tuple[AstScore, ...]
    random: AstScore
    floors: tuple[AstScore, ...]
    left_out: int
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> AstScore:
        """The layer of highest F1, the first of equal ones."""
        return max(self.scores, key=lambda score: score.f1.value)

    def plot(self) -> Any:
        """Draw F1 by layer, with the controls as lines.

        Returns:
            A matplotlib figure.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        figure = require("matplotlib.figure", extra="plots").Figure(figsize=(7, 4.5), layout="constrained")
        axis = figure.subplots()
        found = [score.f1 for score in self.scores]
        below = [each.value - each.low for each in found]
        above = [each.high - each.value for each in found]
        values = [each.value for each in found]
        axis.errorbar(self.num_layers, values, [below, above], marker="o", capsize=3, label=f"rank {self.rank}")
        for number, score in enumerate((self.random, *self.floors), start=1):
            axis.axhline(score.f1.value, color=f"C{number}", linestyle="--", label=score.name)
        axis.set(xlabel="layer", ylabel="F1 of the nodes", xticks=self.num_layers)
        axis.set_ylim(bottom=0)
        axis.legend()
        return figure

    def __str__(self) -> str:
        rows = [_HEAD, *(_cells(score) for score in (*self.scores, self.random, *self.floors))]
        widths = [max(len(row[at]) for row in rows) for at in range(len(_HEAD))]
        lines = [f"AST-Probe: rank {self.rank}, {self.num_steps} steps"]
        lines += ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, *(f"- {note}" for note in self.notes)])


def _cells(score: AstScore) -> tuple[str, ...]:
    return score.name, *map(str, (score.precision, score.recall, score.f1)), f"{score.label_accuracy:.3f}"


def ast_probe(
    encoder: Encoder,
    train: Iterable[str],
    test: Iterable[str],
    *,
    num_layers: Sequence[int] | None = None,
    rank: int = 64,
    num_steps: int = 1200,
    language: str = "python",
    seed: int = 0,
) -> AstProbe:
    """Measure how much of the syntax tree of code the vectors of its tokens hold, layer by layer.

    For each layer a probe learns a subspace in which squared distances of neighbouring leaves rank the gaps between
    them like the heights of the training trees, and directions in it give the labels; then the trees of the test
    sources are read from their vectors, and their nodes (label, first leaf, last leaf) compared with the true ones.
    Each node counts as often as it occurs.

    Read each figure beside `random`: the same encoder with layers that learned nothing. What is not above it, is there
    before any layer has read a context. Take test sources from other files than training sources.

    Args:
        encoder: As in `read_tokens`.
        train: Sources to learn from, such as `Function.code` of many functions; hundreds are needed.
        test: Sources to read.
        num_layers: Which layers, ascending, 0 … depth; all when None.
        rank: Dimensions of the subspace, 1 … the encoder's width.
        num_steps: Steps that each probe is trained; below 1,000 a note says that they are too few.
        language: As in `syntax_tree`.
        seed: Of the probes' weights, the order of training and the random layers.

    Returns:
        Scores with intervals over test sources.

    Raises:
        InputError: A source does not parse, none fits the encoder's window, or an argument is out of range.

    Example:
        >>> import embedkit as ek
        >>> train = ["def add(a, b): return a + b", "def one(): return 1", "def f(x): return g(x)[0]"]
        >>> found = ast_probe(ek.load(), train, ["def sub(a, b): return a - b"], num_layers=[0, 2], num_steps=5)
        >>> [score.name for score in found.scores], found.notes[-1]
        (['layer 0', 'layer 2'], '5 steps are too few: from 1,000 on, random layers can be told from trained ones')

    Reference:
        J. A. Hernández López, M. Weyssow, J. S. Cuadrado, H. Sahraoui, "AST-Probe: Recovering Abstract Syntax Trees
        from Hidden Representations of Pre-Trained Language Models", ASE 2022.

    Deviations:
        Those of `syntax_tree` and `fit_subspace`. Nodes are compared as multisets; the paper's code asks of each node
        read whether it is in the tree at all, so that nodes read twice count twice. The floors and the intervals are
        ours.
    """
    layers = list(range(num_layers_of(encoder) + 1)) if num_layers is None else list(num_layers)
    train, test = list(train), list(test)
    learned = leaf_vectors(encoder, train, num_layers=layers, language=language)
    read = leaf_vectors(encoder, test, num_layers=layers, language=language)
    for name, vectors in (("train", learned), ("test", read)):
        if not vectors.trees:
            raise InputError(f"{name} must hold a source that fits the encoder's window; {vectors.left_out} did not")
    options: dict[str, Any] = {"rank": rank, "num_steps": num_steps, "seed": seed}
    scores = [layer_score(learned, read, layer, **options) for layer in layers]
    best = max(zip(scores, layers, strict=True), key=lambda pair: pair[0].f1.value)[1]
    control = random_layers(encoder, seed=seed)
    depth = max(best, 1)
    drawn = [leaf_vectors(control, each, num_layers=[depth], language=language) for each in (train, test)]
    random = layer_score(drawn[0], drawn[1], depth, name=f"random, layer {depth}", **options)
    left_out = learned.left_out + read.left_out
    notes = [f"{left_out} of {len(train) + len(test)} sources are longer than the window: left out"] if left_out else []
    if num_steps < ENOUGH_STEPS:
        few = f"{num_steps} steps are too few: from {ENOUGH_STEPS:,} on,"
        notes.append(f"{few} random layers can be told from trained ones")
    floors = floor_scores(learned.trees, read.trees)
    return AstProbe(rank, num_steps, tuple(layers), tuple(scores), random, floors, left_out, tuple(notes))


def layer_score(train: LeafVectors, test: LeafVectors, layer: int, *, name: str = "", **options: Any) -> AstScore:
    """Learn from some trees' vectors at one layer, and read others.

    Args:
        train: What to learn from.
        test: What to read.
        layer: A key of both `vectors`.
        name: Of the score; "layer k" without one.
        options: As in `fit_subspace`.

    Raises:
        InputError: As in `fit_subspace`.
    """
    reader = fit_subspace(train.vectors[layer], train.trees, **options)
    found = [reader.read(vectors) for vectors in test.vectors[layer]]
    return score_trees(name or f"layer {layer}", found, test.trees)


def score_trees(
    name: str, found: Sequence[tuple[Sequence[float], Sequence[str], Sequence[str]]], trees: Sequence[TreeTuple]
) -> AstScore:
    """Compare tuples that were read with those of the trees.

    Args:
        name: Of the score.
        found: Distances, labels and unary labels of each tree.
        trees: The true ones.

    Example:
        >>> tree = TreeTuple(((0, 1), (2, 3), (4, 5)), (2, 1), ("Call", "Name"), ("", "", ""))
        >>> score = score_trees("flat", [([2, 1], ["Call", ""], ["", "", ""])], [tree])
        >>> score.precision.value, score.recall.value, score.label_accuracy
        (1.0, 0.5, 0.5)
    """
    rates = [
        _rates(constituents(*given), constituents(tree.distances, tree.labels, tree.unary))
        for given, tree in zip(found, trees, strict=True)
    ]
    hits = [
        one == other
        for (_, labels, _), tree in zip(found, trees, strict=True)
        for one, other in zip(labels, tree.labels, strict=True)
    ]
    precision, recall, f1 = (estimate(each) for each in zip(*rates, strict=True))
    return AstScore(name, precision, recall, f1, sum(hits) / max(len(hits), 1))


def _rates(found: list[Constituent], wanted: list[Constituent]) -> tuple[float, float, float]:
    shared = (Counter(found) & Counter(wanted)).total()
    rates = shared / max(len(found), 1), shared / max(len(wanted), 1)
    return *rates, 2 * shared / max(len(found) + len(wanted), 1)


def floor_scores(train: Sequence[TreeTuple], test: Sequence[TreeTuple]) -> tuple[AstScore, ...]:
    """What is reached without any vector.

    Every gap gets the label that is commonest in training, "" not counted, and no leaf has one; only for the accuracy
    of labels "" counts as well, which is commonest as a rule.

    Args:
        train: Where the commonest label is looked up.
        test: What is read.

    Returns:
        Two scores: of trees that branch to the right, and of trees with the right structure.
    """
    counts = Counter(label for tree in train for label in tree.labels)
    common = max(counts, key=counts.__getitem__, default="")
    named = max((label for label in counts if label), key=counts.__getitem__, default="")
    labels = [label for tree in test for label in tree.labels]
    accuracy = labels.count(common) / max(len(labels), 1)

    def guessed(tree: TreeTuple, distances: Sequence[float]) -> tuple[Sequence[float], list[str], list[str]]:
        return distances, [named] * len(distances), [""] * len(tree.leaves)

    def score(name: str, found: Iterable[tuple[Sequence[float], list[str], list[str]]]) -> AstScore:
        plain = score_trees(name, list(found), test)
        return AstScore(name, plain.precision, plain.recall, plain.f1, accuracy)

    return (
        score("right-branching", (guessed(tree, range(len(tree.distances), 0, -1)) for tree in test)),
        score("right structure, one label", (guessed(tree, tree.distances) for tree in test)),
    )
