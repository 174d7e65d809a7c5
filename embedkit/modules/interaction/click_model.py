"""From ids of fields to one logit a record: a lookup and an interaction."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from embedkit.errors import InputError, ModelError
from embedkit.io import read_config
from embedkit.modules.folder import load_weights, save_module
from embedkit.modules.interaction.interaction import Interaction
from embedkit.modules.lookup import FieldEmbedding, Lookup, PlainLookup


class ClickModel(nn.Module):
    """Predicts a click: field vectors of a record, and an interaction that scores them.

    Args:
        embedding: Ids to field vectors.
        interaction: Field vectors to a logit.

    Raises:
        InputError: The interaction is for another number of fields or another width than the embedding gives.

    Example:
        >>> import torch
        >>> from embedkit.modules.interaction import DNN
        >>> model = ClickModel(FieldEmbedding(PlainLookup([3, 5], dim=4)), DNN(2, 4, hidden=[8]))
        >>> model(torch.tensor([[2, 0], [0, 4]])).shape
        torch.Size([2])
    """

    def __init__(self, embedding: FieldEmbedding, interaction: Interaction) -> None:
        super().__init__()
        given = (len(embedding.lookup.sizes), embedding.lookup.dim)
        if given != (interaction.fields, interaction.dim):
            message = (
                f"interaction must be for the {given[0]} fields of width {given[1]} that embedding gives; "
                f"received one for {interaction.fields} of width {interaction.dim}"
            )
            raise InputError(message)
        self.embedding, self.interaction = embedding, interaction

    def forward(self, ids: Tensor, weights: Tensor | None = None) -> Tensor:
        """Logits of a batch of records.

        Args:
            ids: (batch, columns).
            weights: (batch, columns); None for 1.

        Returns:
            (batch,).

        Raises:
            InputError: The lookup refuses the ids.
        """
        logits: Tensor = self.interaction(self.embedding(ids, weights), ids, weights)
        return logits

    def loss(self, ids: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """What training minimises for a batch: the interaction's loss, a scalar.

        Args:
            ids: As in `forward`.
            labels: (batch,), 0 or 1, floating.
            weights: As in `forward`.

        Returns:
            A scalar; what lookups add to it is theirs to say (`Lookup.penalty`).
        """
        return self.interaction.loss(self.embedding(ids, weights), labels, ids, weights)

    def lookups(self) -> list[Lookup]:
        """Every lookup of the model, those of the interaction included."""
        return [module for module in self.modules() if isinstance(module, Lookup)]

    def table_parameters(self) -> list[nn.Parameter]:
        """Weights of all lookups, each once."""
        return list({id(each): each for lookup in self.lookups() for each in lookup.parameters()}.values())

    def save(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors, whole or not at all.

        Raises:
            StorageError: The disk refused; what was there is unchanged.
        """
        save_module(self, Path(folder), {"model": repr(self)})

    def load(self, folder: str | Path) -> None:
        """Take the weights that `save` wrote of a model composed as this one is.

        A model is composed in code, so the code that composed it makes the one to load into.

        Raises:
            ModelError: The folder holds a model that is composed differently.
            CorruptFileError: A file is missing or damaged.
        """
        folder = Path(folder)
        config = read_config(folder)
        if config != {"class": type(self).__name__, "model": repr(self)}:
            message = (
                f"{folder} must hold a model composed as this one, {self!r}; it holds {config.get('class')!r}, "
                f"{config.get('model')}: compose the model as the saved one was"
            )
            raise ModelError(message)
        load_weights(self, folder)


def field_embedding(
    sizes: Sequence[int],
    dim: int,
    *,
    columns: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    lookup: Lookup | None = None,
) -> FieldEmbedding:
    """One vector a field, from `lookup` or else from a plain table.

    Raises:
        InputError: `lookup` is for other sizes or of another width, or `columns` are not those of the fields.
    """
    if lookup is None:
        return FieldEmbedding(PlainLookup(sizes, dim, names=names), columns)
    if lookup.sizes != tuple(sizes) or lookup.dim != dim:
        message = (
            f"lookup must be for sizes {list(sizes)} and dim {dim}; "
            f"received one for sizes {list(lookup.sizes)} and dim {lookup.dim}"
        )
        raise InputError(message)
    return FieldEmbedding(lookup, columns)
