"""What every lookup is: ids of fields in, vectors out, with every byte it stores counted."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from embedkit.errors import InputError, ModelError
from embedkit.io import read_config, read_json
from embedkit.modules.folder import load_weights, save_module


class Lookup(nn.Module, ABC):
    """Turns ids of categorical fields into vectors.

    All fields share one space of ids: value i of field f is row `offsets[f] + i`. How rows are stored is what
    subclasses differ in. What is stored is the state dict: whatever a lookup needs to answer is a parameter or a
    persistent buffer of it (codes, scales, remaps, hash seeds, projections), so `nbytes` counts everything.

    Args:
        sizes: Vocabulary size of each field, (fields,).
        dim: Width of the vectors.
        names: What messages call the fields; None counts them.

    Attributes:
        offsets: Row at which each field begins, (fields,); follows from `sizes` and is not stored.
        options: Names of the constructor's further arguments, which are kept as attributes of the same name.

    Raises:
        InputError: `sizes` is empty or has a number below 1, `dim` is below 1, or there is not one name a field.
    """

    options: ClassVar[tuple[str, ...]] = ()
    offsets: Tensor
    bounds: Tensor

    def __init__(self, sizes: Sequence[int], dim: int, *, names: Sequence[str] | None = None) -> None:
        super().__init__()
        self.sizes = whole_numbers(sizes)
        self.dim = whole_numbers([dim], name="dim")[0]
        self.names = tuple(names) if names is not None else None
        if self.names is not None and len(self.names) != len(self.sizes):
            message = f"names must be one a field, {len(self.sizes)}; received {len(self.names)}"
            raise InputError(message)
        bounds = torch.tensor(self.sizes)
        self.register_buffer("bounds", bounds, persistent=False)
        self.register_buffer("offsets", bounds.cumsum(0) - bounds, persistent=False)

    @property
    def num_rows(self) -> int:
        """Values of all fields together."""
        return sum(self.sizes)

    @property
    def nbytes(self) -> int:
        """Bytes of all that is stored."""
        return sum(tensor.nbytes for tensor in self.state_dict().values())

    def forward(self, ids: Tensor, fields: Tensor | None = None) -> Tensor:
        """Vectors of a batch of records.

        Args:
            ids: Value in each column, (batch, columns), whole numbers, 0 … size of its field - 1.
            fields: Field of each column, (columns,); None means that columns are the fields, in order.

        Returns:
            (batch, columns, dim).

        Raises:
            InputError: `ids` is of another shape or type, an id is out of range, or there is no such field.
        """
        if fields is None:
            fields = torch.arange(len(self.sizes), device=self.offsets.device)
        elif fields.ndim != 1 or ((fields < 0) | (fields >= len(self.sizes))).any():
            message = f"fields must be (columns,), each 0 … {len(self.sizes) - 1}; received {fields.tolist()}"
            raise InputError(message)
        self._check(ids, fields)
        return self.vectors(ids.long() + self.offsets[fields], fields)

    @abstractmethod
    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """Vectors of checked rows of the common space of ids.

        Args:
            rows: (batch, columns), 0 … num_rows - 1.
            fields: Field of each column, (columns,).

        Returns:
            (batch, columns, dim).
        """

    def table(self, field: int) -> Tensor:
        """Vectors of all values of one field, (size, dim), as in evaluation and without gradient.

        Raises:
            InputError: There is no such field.
        """
        if not 0 <= operator.index(field) < len(self.sizes):
            message = f"field must be between 0 and {len(self.sizes) - 1}; received {field}"
            raise InputError(message)
        column = torch.tensor([field], device=self.offsets.device)
        rows = torch.arange(self.sizes[field], device=self.offsets.device) + self.offsets[field]
        training = self.training
        try:
            self.eval()
            with torch.no_grad():
                parts = [self.vectors(part[:, None], column)[:, 0] for part in torch.split(rows, _ROWS_AT_A_TIME)]
        finally:
            self.train(training)
        return torch.cat(parts)

    def materialize(self) -> Tensor:
        """Vectors of all values of all fields, (num_rows, dim), as in evaluation and without gradient."""
        return torch.cat([self.table(field) for field in range(len(self.sizes))])

    def extra_repr(self) -> str:
        """All that answers follow from but the weights: by it two compositions of models are told apart."""
        return ", ".join(f"{name}={value!r}" for name, value in self.config().items() if name not in ("names", "std"))

    # -- training ------------------------------------------------------------------------------------

    def penalty(self) -> Tensor | None:
        """What is added to the loss of each batch; None for nothing."""
        return None

    def own_optimizer(self) -> torch.optim.Optimizer | None:
        """A new optimiser for weights that the model's must leave alone, stepped with it; None if there are none."""
        return None

    def search_optimizer(self) -> torch.optim.Optimizer | None:
        """A new optimiser for weights that only batches of validation data train, one after each step on training data.

        None if there are none. The model's optimiser must leave these weights alone too.
        """
        return None

    def after_step(self, progress: float) -> None:
        """Called after each step of the optimisers; `progress` is the share of training that is done, 0 < it ≤ 1."""

    def is_final(self) -> bool:
        """Whether `serving` takes the bytes that were asked for; False where that is so at the end of training alone.

        Weights from before that are not what training is for, however well they predict.
        """
        return True

    def serving(self) -> "Lookup":
        """What is kept once training is over: the same vectors, in as few bytes as the method stores them."""
        return self

    # -- storage -------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON can hold them."""
        own = {name: _plain(getattr(self, name)) for name in self.options}
        return {"sizes": list(self.sizes), "dim": self.dim, "names": self.names and list(self.names), **own}

    def save(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors, whole or not at all.

        Raises:
            StorageError: The disk refused; what was there is unchanged.
        """
        save_module(self, Path(folder), self.config())

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ModelError: The folder holds another class.
            CorruptFileError: A file is missing or damaged.
        """
        folder = Path(folder)
        lookup = cls._empty(read_config(folder, cls.__name__))
        load_weights(lookup, folder)
        return lookup

    @classmethod
    def _empty(cls, config: Mapping[str, Any]) -> Self:
        """A lookup of this configuration, whose weights are about to be read."""
        return cls(**config)

    def _check(self, ids: Tensor, fields: Tensor) -> None:
        if ids.ndim != 2 or ids.shape[1] != len(fields):
            message = f"ids must be (batch, {len(fields)}), a column a field; received shape {tuple(ids.shape)}"
            raise InputError(message)
        if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
            message = f"ids must be whole numbers; received {ids.dtype}"
            raise InputError(message)
        ids = ids.long()
        wrong = (ids < 0) | (ids >= self.bounds[fields])
        if wrong.any():
            row, column = wrong.nonzero()[0].tolist()
            field = int(fields[column])
            name = f"field {self.names[field]!r}" if self.names else f"field {field}"
            message = (
                f"ids of {name} must be 0 … {self.sizes[field] - 1}, its vocabulary has {self.sizes[field]} values; "
                f"received {int(ids[row, column])} in row {row}"
            )
            raise InputError(message)


def load_lookup(folder: str | Path) -> Lookup:
    """Read what any lookup's `save` wrote; only embedkit's own classes are made.

    Raises:
        ModelError: The folder holds something else.
        CorruptFileError: A file is missing or damaged.
    """
    kind = read_json(Path(folder) / "config.json").get("class")
    known: dict[str, Any] = {each.__name__: each for each in _below(Lookup) if each.__module__.startswith("embedkit.")}
    if kind not in known:
        message = f"{folder} must hold one of embedkit's lookups, {', '.join(sorted(known))}; it holds {kind!r}"
        raise ModelError(message)
    lookup: Lookup = known[kind].load(folder)
    return lookup


def _plain(value: Any) -> Any:
    """A number of numpy as one of Python, which JSON can hold."""
    return value.item() if isinstance(value, np.generic) else value


def _below(kind: Any) -> Iterator[Any]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


_ROWS_AT_A_TIME = 65536


class PlainLookup(Lookup):
    """One row a value: the table that the others compress. 4 · num_rows · dim bytes.

    Args:
        sizes: As in `Lookup`.
        dim: As in `Lookup`.
        names: As in `Lookup`.
        std: Standard deviation of the normal distribution that rows begin with.

    Example:
        >>> import torch
        >>> lookup = PlainLookup([3, 5], dim=4)
        >>> lookup(torch.tensor([[2, 0], [0, 4]])).shape, lookup.nbytes
        (torch.Size([2, 2, 4]), 128)
    """

    options = ("std",)

    def __init__(
        self, sizes: Sequence[int], dim: int, *, names: Sequence[str] | None = None, std: float = 0.01
    ) -> None:
        super().__init__(sizes, dim, names=names)
        self.std = std
        self.weight = nn.Parameter(torch.empty(self.num_rows, dim).normal_(std=std))

    @classmethod
    def from_weight(cls, weight: Tensor, sizes: Sequence[int], *, names: Sequence[str] | None = None) -> Self:
        """A lookup of known vectors, (num_rows, dim), the fields below each other.

        Raises:
            InputError: `weight` is not (sum of sizes, dim), or not floating point.
        """
        if weight.ndim != 2 or len(weight) != sum(sizes):
            message = f"weight must be ({sum(sizes)}, dim), a row a value; received shape {tuple(weight.shape)}"
            raise InputError(message)
        if not weight.is_floating_point():
            message = f"weight must be floating point; received {weight.dtype}: pass weight.float()"
            raise InputError(message)
        lookup = cls(sizes, weight.shape[1], names=names)
        lookup.weight = nn.Parameter(weight.detach().clone())
        return lookup.to(weight.device)

    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """Rows of the table."""
        return nn.functional.embedding(rows, self.weight)


class FieldEmbedding(nn.Module):
    """One vector a field from the columns of a batch: a weighted sum over the columns of each field.

    A categorical field is one column with weight 1; a numeric field one column with a fixed id and its value as weight;
    a field of several values has as many columns as a record may have values, with weights 0 where there are fewer.

    Args:
        lookup: Vectors of ids.
        columns: Field of each column, ascending; None means that columns are the fields.

    Raises:
        InputError: `columns` leaves out a field, is not ascending or names a field that is not there.

    Example:
        >>> import torch
        >>> embedding = FieldEmbedding(PlainLookup([3, 5], dim=4), columns=[0, 1, 1])
        >>> embedding(torch.tensor([[2, 0, 4]]), torch.tensor([[1.0, 0.5, 0.5]])).shape
        torch.Size([1, 2, 4])
    """

    fields: Tensor

    def __init__(self, lookup: Lookup, columns: Sequence[int] | None = None) -> None:
        super().__init__()
        count = len(lookup.sizes)
        columns = list(range(count)) if columns is None else list(columns)
        if sorted(set(columns)) != list(range(count)) or columns != sorted(columns):
            message = f"columns must name each field 0 … {count - 1}, in ascending order; received {columns}"
            raise InputError(message)
        self.lookup, self.one_each = lookup, len(columns) == count
        self.register_buffer("fields", torch.tensor(columns), persistent=False)

    def extra_repr(self) -> str:
        """The columns."""
        return f"columns={self.fields.tolist()}"

    def forward(self, ids: Tensor, weights: Tensor | None = None) -> Tensor:
        """Field vectors.

        Args:
            ids: (batch, columns).
            weights: (batch, columns); None for 1.

        Returns:
            (batch, fields, dim).

        Raises:
            InputError: As `Lookup.forward` does, or `weights` has not the shape of `ids`.
        """
        vectors: Tensor = self.lookup(ids, self.fields)
        if weights is not None:
            if weights.shape != ids.shape:
                message = f"weights must have the shape of ids, {tuple(ids.shape)}; received {tuple(weights.shape)}"
                raise InputError(message)
            vectors = vectors * weights[..., None].to(vectors.dtype)
        if self.one_each:
            return vectors
        empty = vectors.new_zeros(len(vectors), len(self.lookup.sizes), vectors.shape[-1])
        return empty.index_add(1, self.fields, vectors)


def whole_numbers(values: Iterable[Any], name: str = "sizes") -> tuple[int, ...]:
    """Integers, of which there is at least one and each is at least 1.

    Raises:
        InputError: There is none, or one is not such an integer.
    """
    values = list(values)
    try:
        numbers = tuple(map(operator.index, values))
    except TypeError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        message = f"{name} must be whole numbers of at least 1; received {values}"
        raise InputError(message)
    return numbers
