"""CodePrompt: fine-tune a prompt encoder and a linear classifier on what stands at the mask."""

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from embedkit.encoders.encoder import Encoder
from embedkit.encoders.inputs import checked_texts
from embedkit.encoders.text.prompt import DEFAULT_TEMPLATE, prompt_encoder
from embedkit.encoders.text.verbaliser import MaskedWordHead, Verbaliser
from embedkit.errors import CorruptFileError, InputError
from embedkit.io import read_json, replacing_folder, seal_folder, verify_folder, write_json
from embedkit.losses.arguments import positive
from embedkit.losses.softmax import SoftmaxLoss
from embedkit.training.fit import Training, fit

_NEW = r"^loss\.|^model\.1\."
"""Names, within the trainer's objective, of what starts untrained: the classifier and the attention over layers."""


class PromptClassifier:
    """An encoder and a linear classifier on its vectors: texts to named classes.

    Args:
        encoder: Makes the vectors.
        classes: Names of the classes, each once.
        weights: (classes, dim).
        bias: (classes,).
        training: What was done to train it, if that is known.

    Raises:
        InputError: The numbers of classes differ, a name is no text or comes twice, or the width is not the encoder's.

    Example:
        >>> import embedkit as ek
        >>> encoder = ek.load()
        >>> weights = torch.from_numpy(encoder.encode(["a small cat", "the law on taxes"]))
        >>> classifier = PromptClassifier(encoder, ["animal", "law"], weights, torch.zeros(2))
        >>> classifier.predict(["two kittens", "a court of justice"]).tolist()
        ['animal', 'law']
    """

    def __init__(
        self,
        encoder: Encoder,
        classes: Sequence[str],
        weights: torch.Tensor,
        bias: torch.Tensor,
        *,
        training: Training | None = None,
    ) -> None:
        self.encoder, self.classes, self.training = encoder, tuple(classes), training
        named = len(set(self.classes)) == len(self.classes) and all(isinstance(name, str) for name in self.classes)
        shapes = [tuple(weights.shape), tuple(bias.shape)]
        wanted = [(len(self.classes), encoder.get_embedding_dimension()), (len(self.classes),)]
        if not named or shapes != wanted:
            message = (
                f"different names of classes, weights and bias must go together, of shapes {wanted}; received names "
                f"{list(self.classes)!r:.100} and shapes {shapes}"
            )
            raise InputError(message)
        self.weights, self.bias = weights.detach().float().cpu(), bias.detach().float().cpu()

    def predict(self, texts: Iterable[str], **options: Any) -> NDArray[np.str_]:
        """The name of the likeliest class of each text, (n,).

        Args:
            texts: What to classify.
            **options: As in `Encoder.encode`: `batch_size`, `show_progress_bar`, …

        Raises:
            InputError: `texts` holds something else.
        """
        likeliest = self.predict_proba(texts, **options).argmax(axis=1)
        named: NDArray[np.str_] = np.array(self.classes)[likeliest]
        return named

    def predict_proba(self, texts: Iterable[str], **options: Any) -> Float32[np.ndarray, "n classes"]:
        """Probability of each class, in the order of `classes`; arguments as in `predict`."""
        vectors = torch.from_numpy(self.encoder.encode(checked_texts(texts), **options))
        return (vectors @ self.weights.T + self.bias).softmax(dim=1).numpy()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the encoder's folder, the names and the classifier's weights; whole or not at all.

        Raises:
            StorageError: The disk refused; a folder that was there is unchanged.
        """
        with replacing_folder(Path(path)) as folder:
            self.encoder.save(folder / "encoder")
            write_json(folder / "config.json", {"class": type(self).__name__, "classes": list(self.classes)})
            tensors = {"weights": self.weights.contiguous(), "bias": self.bias.contiguous()}
            save_file(tensors, folder / "model.safetensors")
            seal_folder(folder)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: str | None = None) -> Self:
        """Open what `save` wrote; what `training` said is not kept.

        Raises:
            CorruptFileError: A file is missing or damaged, or the folder holds something else.
            ModelError: The encoder in it cannot be opened.
        """
        folder = Path(path)
        verify_folder(folder)
        config = read_json(folder / "config.json")
        if config.get("class") != cls.__name__:
            message = f"{folder} must hold a {cls.__name__}; its config.json names {config.get('class')!r}"
            raise CorruptFileError(message)
        try:
            tensors, classes = load_file(folder / "model.safetensors"), list(config["classes"])
            weights, bias = tensors["weights"], tensors["bias"]
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            message = f"{folder} must hold a {cls.__name__}: {error}"
            raise CorruptFileError(message) from error
        return cls(Encoder.load(folder / "encoder", device=device), classes, weights, bias)


def code_prompt(  # noqa: PLR0913 (what the recipe is made of)
    encoder: Encoder,
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    template: str = DEFAULT_TEMPLATE,
    first_layer: int = 1,
    validation: tuple[Sequence[str], Sequence[str]] | None = None,
    words: Mapping[str, str | Sequence[str]] | None = None,
    head: MaskedWordHead | None = None,
    epochs: float = 20,
    learning_rate: float = 5e-5,
    new_learning_rate: float | None = None,
    weight_decay: float = 0.01,
    **options: Any,
) -> PromptClassifier:
    """Train a classifier of texts by a prompt: the encoder, its attention over layers and a linear map together.

        logits = weights · out + bias          out: what `prompt_encoder` gives          loss: cross-entropy

    Args:
        encoder: As `prompt_encoder` takes it; it is copied and stays as it is.
        texts: Training texts, such as source code.
        labels: The class of each.
        template: Holds {mask} once and {text} once.
        first_layer: The shallowest layer that is read at the mask.
        validation: Texts and labels, other than those of training and never those of a test; the weights with the best
            accuracy on them are kept. None keeps the last.
        words: For each class one word or several: the classifier starts as their `Verbaliser`. None starts it at
            random.
        head: For the verbaliser; see `masked_word_head`.
        epochs: As in `fit`.
        learning_rate: As in `fit`, of the transformer or of its adapters.
        new_learning_rate: Of what starts untrained: the classifier and the attention over layers. None is the same.
        weight_decay: As in `fit`.
        **options: As in `fit`: `lora`, `batch_size`, `max_steps`, `patience`, `evaluations`, `folder`, `seed`, …

    Returns:
        The classifier; its `training` says what was done.

    Raises:
        InputError: Texts and labels do not go together, there are fewer than two classes, a label of the validation or
            a class of `words` is unknown, or as in `fit`, `prompt_encoder` and `Verbaliser`.

    Example:
        >>> import embedkit as ek
        >>> classifier = code_prompt(ek.load(), ["x + 1", "open(path)"], ["sum", "file"], max_steps=1)
        >>> classifier.classes, classifier.predict_proba(["y - 2"]).shape
        (('file', 'sum'), (1, 2))

    Reference:
        CodePrompt: Improving Source Code-Related Classification with Knowledge Features through Prompt Learning.
        arXiv 2401.05544, 2024.

    Deviations:
        The published scripts validate on the test set and choose the template there too; here a validation set is
        another set, and the template is an argument. Their verbaliser is built and not used. Epochs, learning rate,
        decay, warm-up and the clipping of gradients at 1 are theirs; their batches are of 30 or 48. `words` and
        `new_learning_rate` are ours.
    """
    texts, labels = _checked_pairs("texts and labels", texts, labels)
    classes = sorted(set(labels))
    if len(classes) < 2:
        message = f"labels must name two classes or more; received {classes}"
        raise InputError(message)
    if words is not None and (not isinstance(words, Mapping) or set(words) != set(classes)):
        message = f"words must have an entry for each of the classes {classes}; received {words!r:.100}"
        raise InputError(message)
    if new_learning_rate is not None:
        positive("new_learning_rate", new_learning_rate)
        options["learning_rate_mapping"] = {_NEW: new_learning_rate}
    prompted = prompt_encoder(copy.deepcopy(encoder), template, first_layer=first_layer)
    dim = prompted.get_embedding_dimension()
    loss = SoftmaxLoss(int(dim or 0), len(classes), seed=options.get("seed", 0)).to(prompted.device)
    if words is not None:
        start = Verbaliser(prompted, {name: words[name] for name in classes}, head=head)
        with torch.no_grad():
            loss.weights.copy_(start.weights)
            loss.bias.copy_(start.bias)
    codes = {name: code for code, name in enumerate(classes)}
    if validation is not None:
        options["score"] = _Accuracy(loss, *_checked_validation(validation, codes))
    training = fit(
        prompted,
        {"text": texts, "label": [codes[label] for label in labels]},
        loss,
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        **options,
    )
    return PromptClassifier(prompted, classes, loss.weights, loss.bias, training=training)


class _Accuracy:
    """Share of texts whose class an encoder and the classifier that is trained with it get right."""

    def __init__(self, loss: SoftmaxLoss, texts: list[str], codes: list[int]) -> None:
        self.loss, self.texts, self.codes = loss, texts, torch.tensor(codes)

    def __call__(self, encoder: Encoder) -> float:
        vectors = torch.from_numpy(encoder.encode(self.texts, show_progress_bar=False))
        with torch.no_grad():
            found = self.loss.logits(vectors.to(self.loss.weights.device)).argmax(dim=1).cpu()
        return float((found == self.codes).float().mean())


def _checked_validation(validation: Any, codes: Mapping[str, int]) -> tuple[list[str], list[int]]:
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        message = f"validation must be a pair of texts and labels; received {validation!r:.100}"
        raise InputError(message)
    texts, labels = _checked_pairs("validation's texts and labels", *validation)
    if unknown := sorted(set(labels) - set(codes)):
        message = f"validation must have labels of the training, {list(codes)}; received {unknown}: leave those out"
        raise InputError(message)
    return texts, [codes[label] for label in labels]


def _checked_pairs(what: str, texts: Any, labels: Any) -> tuple[list[str], list[str]]:
    texts = checked_texts(texts)
    labels = [labels] if isinstance(labels, str) or not isinstance(labels, Iterable) else list(labels)
    if odd := [label for label in labels if not isinstance(label, str)]:
        message = f"labels must be text (str); received {odd[0]!r}"
        raise InputError(message)
    if not texts or len(texts) != len(labels):
        message = f"{what} must be one label for each of one or more texts; received {len(texts)} and {len(labels)}"
        raise InputError(message)
    return texts, [str(label) for label in labels]
