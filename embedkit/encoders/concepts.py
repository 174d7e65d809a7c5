"""`ConceptEncoder`: vectors whose dimensions have names, and scores that say which of them they come from."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from embedkit.encoders.encoder import Encoder
from embedkit.errors import InputError, ModelError
from embedkit.modules.projection.concepts import Concepts, PrototypeConcepts
from embedkit.ops.centroids import nearest_centroids
from embedkit.ops.vectors import normalize
from embedkit.types import Vector


class Contribution(NamedTuple):
    """What one concept adds to a score.

    Attributes:
        name: The concept.
        value: query × document.
        query: How much of it the query holds, its vector scaled to length 1.
        document: How much of it the document holds, likewise.
    """

    name: str
    value: float
    query: float
    document: float


@dataclass(frozen=True)
class Explanation:
    """Why a document scores what it does for a query.

    Attributes:
        score: The cosine of both vectors: exactly `math.fsum` of the contributions' values; 0 where one holds nothing.
        contributions: The concepts that both hold, largest first.
    """

    score: float
    contributions: tuple[Contribution, ...]


class ConceptEncoder:
    """An encoder whose dimensions are named concepts, so that every score can be taken apart.

    The score of a query and a document is the cosine of their vectors, a sum over concepts of what both hold. Vectors
    are not of length 1, and their plain inner product favours documents that hold a little of everything: on banking77
    it finds next to nothing. A member of `SupportsEncode`; `encoder` is an ordinary `Encoder` that ends in the
    concepts, for trainers and whatever asks for one.

    Args:
        encoder: Gives the vectors; its modules are shared.
        concepts: From vectors to concepts: `PrototypeConcepts` or `LinearConcepts`.

    Attributes:
        encoder: The encoder with the concepts as its last module.
        base: The encoder without them.

    Raises:
        InputError: The concepts read vectors of another width.

    Example:
        >>> import embedkit as ek
        >>> weather, food = ["rain and wind", "sun"], ["cake", "soup and bread"]
        >>> encoder = ConceptEncoder.from_keywords(ek.load(), {"weather": weather, "food": food})
        >>> found = encoder.explain("weather forecast", "It will pour down today.")
        >>> found.contributions[0].name, math.fsum(part.value for part in found.contributions) == found.score
        ('weather', True)

    Reference:
        D. Bogdanova and M. Yazdani, "SESA: Supervised Explicit Semantic Analysis", 2017. With `PrototypeConcepts` and
        no training it is explicit semantic analysis: vectors are the scores of Lbl2TransformerVec, cut off at 0.
    """

    def __init__(self, encoder: Encoder, concepts: Concepts) -> None:
        width = encoder.get_embedding_dimension()
        if concepts.in_dim != width:
            message = f"the concepts must read the encoder's vectors of width {width}; they read {concepts.in_dim}"
            raise InputError(message)
        self.base, self.concepts = encoder, concepts
        self.encoder = _of([*encoder, concepts], encoder)

    @classmethod
    def from_keywords(cls, encoder: Encoder, keywords: Mapping[str, Any]) -> Self:
        """Each concept's prototype is the mean vector of what describes it; no training.

        Args:
            encoder: Reads the descriptions.
            keywords: Name → one input that describes the concept, or a list of them, such as keywords.

        Raises:
            InputError: There is no concept, or one without a description.
        """
        described = {
            name: list(inputs) if isinstance(inputs, list | tuple) else [inputs] for name, inputs in keywords.items()
        }
        labels = [name for name, inputs in described.items() for _ in inputs]
        if not described or not all(described.values()):
            message = f"keywords must name at least one concept and describe each; received {keywords!r:.80}"
            raise InputError(message)
        return cls.from_examples(encoder, [value for inputs in described.values() for value in inputs], labels)

    @classmethod
    def from_examples(
        cls, encoder: Encoder, inputs: Sequence[Any], labels: Iterable[str], *, show_progress_bar: bool | None = None
    ) -> Self:
        """Each concept's prototype is the mean vector of the inputs that carry its label; no training.

        Args:
            encoder: Reads the inputs.
            inputs: Labelled examples.
            labels: Names of concepts, one an input; concepts come in the order in which they first appear.
            show_progress_bar: As in `Encoder.encode`.

        Raises:
            InputError: There is no example, or lengths differ.
        """
        names = list(labels)
        if not names or len(names) != len(inputs):
            message = f"there must be one label for each input, at least one; received {len(names)} for {len(inputs)}"
            raise InputError(message)
        vectors = encoder.encode(inputs, show_progress_bar=show_progress_bar)
        distinct = {name: row for row, name in enumerate(dict.fromkeys(names))}
        rows = np.array([distinct[name] for name in names])
        prototypes = [vectors[rows == row].mean(axis=0) for row in range(len(distinct))]
        return cls(encoder, PrototypeConcepts(list(distinct), prototypes))

    def refined(
        self, documents: Sequence[Any], *, max_num_docs: int | None = 20, min_similarity: float = -1.0
    ) -> "ConceptEncoder":
        """The same concepts, each moved to the mean of the unlabelled documents nearest to it (Lbl2TransformerVec).

        It has seen `documents`: a score on these very documents is transductive.

        Args:
            documents: What the encoder reads, at least one.
            max_num_docs: The most documents of a mean; None takes all above the threshold.
            min_similarity: Cosine that a document must exceed; the nearest always counts.

        Raises:
            InputError: The concepts have no prototypes, or an argument is out of range.
        """
        if not isinstance(self.concepts, PrototypeConcepts):
            message = f"only prototypes can be moved; these are {type(self.concepts).__name__}"
            raise InputError(message)
        vectors = self.base.encode_document(list(documents))
        prototypes = self.concepts.prototypes.detach().cpu().numpy()
        moved = nearest_centroids(prototypes, vectors, max_num_docs=max_num_docs, min_similarity=min_similarity)
        return ConceptEncoder(self.base, PrototypeConcepts(self.names, moved))

    # -- encoding ------------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """One name a dimension."""
        return list(self.concepts.names)

    @property
    def prompts(self) -> dict[str, str | None]:
        """The encoder's."""
        return dict(self.encoder.prompts)

    @property
    def fingerprint(self) -> str:
        """As `Encoder.fingerprint`; the names count."""
        return self.encoder.fingerprint

    def encode(self, inputs: Any, **options: Any) -> Any:
        """How much of each concept inputs hold, at least 0: as `Encoder.encode`, (n, concepts)."""
        return self.encoder.encode(inputs, **options)

    def encode_query(self, inputs: Any, **options: Any) -> Any:
        """`encode` in the role of a query."""
        return self.encoder.encode_query(inputs, **options)

    def encode_document(self, inputs: Any, **options: Any) -> Any:
        """`encode` in the role of a document."""
        return self.encoder.encode_document(inputs, **options)

    def get_embedding_dimension(self) -> int:
        """Number of concepts."""
        return len(self.concepts.names)

    def explain(self, query: Any, document: Any) -> Explanation:
        """Which concepts the score of a document for a query comes from.

            score = Σ_j query_j · document_j      both vectors scaled to length 1

        Args:
            query: One input, read as a query.
            document: One input, read as a document.

        Returns:
            The score, and what each concept that both hold adds to it, largest first.

        Raises:
            InputError: Not one input each.
        """
        asked, found = self.encode_query(query), self.encode_document(document)
        if asked.ndim != 1 or found.ndim != 1:
            message = f"explain takes one query and one document; received {len(asked)} and {len(found)} vectors"
            raise InputError(message)
        return explanation(self.names, *normalize(np.stack([asked, found])))

    # -- saving --------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an encoder's folder, which `Encoder.load` opens too; whole or not at all.

        Raises:
            StorageError: The disk refused; a folder that was there is unchanged.
        """
        self.encoder.save(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: str | None = None) -> Self:
        """Open what `save` wrote.

        Raises:
            ModelError: No model there, a damaged file, or its dimensions have no names.
        """
        encoder = Encoder.load(path, device=device)
        *modules, last = list(encoder)
        if not isinstance(last, Concepts):
            message = f"{path} is no concept encoder: it ends in {type(last).__name__}; open it with embedkit.load"
            raise ModelError(message)
        return cls(_of(modules, encoder), last)


def _of(modules: Sequence[Any], encoder: Encoder) -> Encoder:
    """An encoder of other modules that shares some with `encoder`, and so its prompts and its lock."""
    options: dict[str, Any] = {"prompts": dict(encoder.prompts), "default_prompt_name": encoder.default_prompt_name}
    made = Encoder(modules, device=str(encoder.device), **options).eval()
    made.forward_lock = encoder.forward_lock
    return made


def explanation(names: Sequence[str], query: Vector, document: Vector) -> Explanation:
    """The inner product of two vectors, by dimension.

    Args:
        names: One name a dimension.
        query: (dim,), at least 0.
        document: (dim,), at least 0.

    Example:
        >>> explanation(["a", "b", "c"], np.float32([1, 2, 0]), np.float32([3, 2, 5])).contributions
        (Contribution(name='b', value=4.0, query=2.0, document=2.0),
         Contribution(name='a', value=3.0, query=1.0, document=3.0))
    """
    pairs = zip(names, query.tolist(), document.tolist(), strict=True)
    parts = [Contribution(name, asked * found, asked, found) for name, asked, found in pairs if asked * found]
    parts.sort(key=lambda part: -part.value)
    return Explanation(math.fsum(part.value for part in parts), tuple(parts))
