"""`fit_clicks`: train a click model on arrays of ids, with checkpoints that a killed run goes on from."""

import hashlib
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from embedkit.errors import CorruptFileError, InputError
from embedkit.io import MANIFEST, commit_generation, open_generation
from embedkit.losses.arguments import not_negative, one_of, positive, whole
from embedkit.modules.interaction import ClickModel
from embedkit.modules.lookup import Lookup

_ROWS_AT_A_TIME = 1 << 18  # of what is checked and hashed; of a memory map no more than this is read at once
_STATE = "training.safetensors"
_LEAST = 1e-7  # probabilities are kept this far from 0 and 1 in the log loss; the open benchmark's


@dataclass(frozen=True, eq=False)
class ClickData:
    """Records as arrays: ids of fields, and whether each was clicked. Nothing is copied, so arrays may be memory maps.

    Args:
        ids: (n, columns), whole numbers.
        labels: (n,), each 0 or 1; None for records whose clicks are to be predicted.
        weights: (n, columns), floating, as in `FieldEmbedding`; None for 1.

    Raises:
        InputError: An array has another shape or type, there is no record, a label is not 0 or 1, or a weight is not
            finite.

    Example:
        >>> data = ClickData(np.array([[0, 3], [1, 2]]), np.array([1, 0]))
        >>> len(data)
        2
    """

    ids: npt.NDArray[Any]
    labels: npt.NDArray[Any] | None = None
    weights: npt.NDArray[Any] | None = None

    def __post_init__(self) -> None:
        for name in ("ids", "labels", "weights"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, np.asarray(value))
        ids, labels, weights = self.ids, self.labels, self.weights
        if ids.ndim != 2 or ids.dtype.kind not in "iu":
            message = f"ids must be whole numbers, (n, columns); received {ids.dtype} of shape {ids.shape}"
            raise InputError(message)
        if not len(ids):
            message = "data must have a record at least; received none"
            raise InputError(message)
        if labels is not None and (labels.shape != ids.shape[:1] or labels.dtype.kind not in "biuf"):
            message = f"labels must be numbers, ({len(ids)},) as ids; received {labels.dtype} of shape {labels.shape}"
            raise InputError(message)
        if weights is not None and (weights.shape != ids.shape or weights.dtype.kind != "f"):
            message = f"weights must be floating, {ids.shape} as ids; received {weights.dtype} of shape {weights.shape}"
            raise InputError(message)
        for start in range(0, len(ids), _ROWS_AT_A_TIME):
            self._check(start)

    def _check(self, start: int) -> None:
        """Check labels and weights of some rows."""
        part = slice(start, start + _ROWS_AT_A_TIME)
        if self.labels is not None and (wrong := (self.labels[part] != 0) & (self.labels[part] != 1)).any():
            row = start + int(wrong.argmax())
            message = f"labels must be 0 or 1; received {self.labels[row]} in row {row}"
            raise InputError(message)
        if self.weights is not None and not (finite := np.isfinite(self.weights[part])).all():
            row, column = np.argwhere(~finite)[0].tolist()
            message = (
                f"weights must be finite; received {self.weights[start + row, column]} in row {start + row}, "
                f"column {column}: give a missing value an id of its own and weight 1"
            )
            raise InputError(message)

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, rows: npt.NDArray[np.int64] | slice, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Ids (batch, columns) of int64, and weights of float32 if there are any, of some rows."""
        ids = torch.from_numpy(self.ids[rows].astype(np.int64)).to(device)
        if self.weights is None:
            return ids, None
        return ids, torch.from_numpy(self.weights[rows].astype(np.float32)).to(device)


@dataclass(frozen=True)
class ClickEpoch:
    """One pass over the training data.

    Attributes:
        loss: Mean loss of its records, without what the tables are penalised by.
        auc: Area under the ROC curve on the validation data behind it.
        logloss: Mean cross-entropy there.
        learning_rate: Rate it was trained with.
    """

    loss: float
    auc: float
    logloss: float
    learning_rate: float


@dataclass(frozen=True)
class ClickTraining:
    """What a call of `fit_clicks` did.

    Attributes:
        history: Its epochs, those of the run it went on from included.
        best_epoch: Whose weights the model has, from 1: of those whose lookups were final the one of the best AUC.
        samples_per_second: Records trained on a second, without validation; NaN if nothing was left to do.
    """

    history: tuple[ClickEpoch, ...]
    best_epoch: int
    samples_per_second: float = field(compare=False)


class ClickMetrics(NamedTuple):
    """How well clicks are predicted.

    Attributes:
        auc: Chance that a click is scored above a record that was not clicked, ties half.
        logloss: Mean cross-entropy.
    """

    auc: float
    logloss: float


def fit_clicks(  # noqa: PLR0913 (what a training run is made of)
    model: ClickModel,
    train: ClickData,
    validation: ClickData,
    *,
    epochs: int,
    batch_size: int = 4096,
    learning_rate: float = 1e-3,
    optimizer: Literal["adam", "adamw"] = "adam",
    table_l2: float = 0.0,
    l2: Literal["sparse", "dense"] = "sparse",
    patience: int | None = 2,
    plateau_factor: float = 0.1,
    max_grad_norm: float | None = 10.0,
    folder: str | Path | None = None,
    seed: int = 0,
    show_progress_bar: bool | None = None,
) -> ClickTraining:
    """Train a click model in place, on shuffled batches, and give it the weights of its best epoch.

    After each epoch the AUC on the validation data is taken. An epoch that brings no better one multiplies the learning
    rate by `plateau_factor`; `patience` of them in a row end the training. Weights that a lookup keeps for itself are
    left to the optimisers it brings: `own_optimizer` steps on training data, `search_optimizer` then on a batch of
    validation data. What a lookup's `penalty` says is added to both losses.

    A lookup that comes to its size in training (`Lookup.is_final`), since it prunes step by step, is trained to the
    end: until it has that size no epoch is the best, lowers the rate or ends the training.

    Args:
        model: What is trained.
        train: Records to learn from.
        validation: Records that tell which epoch was best, and that searches train on.
        epochs: Most passes over `train`, ≥ 1.
        batch_size: Records a step, ≥ 1. A last batch of one record joins the one before, as nothing can be normalised
            over one record.
        learning_rate: Of the first epochs, > 0.
        optimizer: "adam", or "adamw", which decays weights outside the tables by PyTorch's default of 0.01.
        table_l2: λ of an L2 penalty on the tables of all lookups, ≥ 0.
        l2: "sparse" adds (λ/2) ‖vector‖² of each different row that a batch looks up, whatever form the table has.
            "dense" adds (λ/2) ‖weights‖² of the whole tables to each batch, as the open benchmark does; it costs a pass
            over the tables a step.
        patience: Epochs in a row without a better AUC that end the training; None ends it by `epochs` alone.
        plateau_factor: What the rate is multiplied by after an epoch without a better AUC, 0 … 1; 1 leaves it.
        max_grad_norm: Largest norm of the gradient of all weights together, but for those that lookups' own optimisers
            step, which are left as they are; None for any.
        folder: Where a checkpoint is written after each epoch. A call with the same model, data and options goes on
            from it and on a CPU ends bit for bit where the whole run would have. None keeps none.
        seed: Of the order of records, of dropout and of what lookups draw.
        show_progress_bar: None shows one on a terminal.

    Returns:
        What was done.

    Raises:
        InputError: An argument is out of range; the data have ids that the model has not, no labels, or in the case of
            `validation` one class only; a model with batch normalisation gets
            one record a step; `folder` holds another run; or the loss is no longer finite.
        CorruptFileError: What `folder` holds cannot be read.
        StorageError: The disk refused a checkpoint.

    Example:
        >>> from embedkit.modules.interaction import logistic_regression
        >>> ids = np.array([[0, 1], [1, 0], [0, 0], [1, 1]])
        >>> data = ClickData(ids, ids[:, 0])
        >>> done = fit_clicks(logistic_regression([2, 2]), data, data, epochs=5, learning_rate=0.1)
        >>> done.history[-1].auc
        1.0
    """
    _check_model(model)
    options = {
        "epochs": whole("epochs", epochs),
        "batch_size": whole("batch_size", batch_size),
        "learning_rate": positive("learning_rate", learning_rate),
        "optimizer": optimizer,
        "table_l2": not_negative("table_l2", table_l2),
        "l2": l2,
        "patience": patience if patience is None else whole("patience", patience),
        "plateau_factor": positive("plateau_factor", plateau_factor),
        "max_grad_norm": max_grad_norm if max_grad_norm is None else positive("max_grad_norm", max_grad_norm),
        "seed": whole("seed", seed, least=0),
    }
    one_of("optimizer", optimizer, ("adam", "adamw"))
    one_of("l2", l2, ("sparse", "dense"))
    if plateau_factor > 1:
        message = f"plateau_factor must be at most 1; received {plateau_factor}"
        raise InputError(message)
    _check_data(model, train=train, validation=validation)
    _check_classes(_labels(validation), "labels of validation")
    _labels(train)
    _check_steps(model, min(batch_size, len(train)))
    show = sys.stderr.isatty() if show_progress_bar is None else show_progress_bar
    with torch.random.fork_rng():  # others find the generators of the process as they were
        torch.manual_seed(seed)
        run = _Run(model, train, validation, options, show=show)
        try:
            about = _about(model, train, validation, options) if folder is not None else {}
            if folder is not None:
                run.resume(Path(folder), about)
            while not run.is_over():
                run.epoch()
                if folder is not None:
                    run.save(Path(folder), about)
        finally:
            run.close()
    return run.result()


def predict_clicks(model: ClickModel, data: ClickData, batch_size: int = 8192) -> npt.NDArray[np.float32]:
    """Probability that each record is clicked.

    Args:
        model: A click model; it is put into evaluation mode for the call.
        data: Records; labels are not read.
        batch_size: Records at a time, ≥ 1.

    Returns:
        (n,), float32, in the order of the records.

    Raises:
        InputError: The data have ids that the model has not, or `batch_size` is below 1.

    Example:
        >>> from embedkit.modules.interaction import logistic_regression
        >>> predict_clicks(logistic_regression([2, 2]), ClickData(np.array([[0, 1]]))).shape
        (1,)
    """
    _check_model(model)
    whole("batch_size", batch_size)
    _check_data(model, data=data)
    return _predict(model, data, batch_size)


def click_metrics(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> ClickMetrics:
    """AUC and log loss of predictions.

        auc     = mean over pairs of a click i and another j of [p_i > p_j] + ½ [p_i = p_j]
        logloss = −mean(y log p + (1 − y) log(1 − p)),   p kept within 1e-7 … 1 − 1e-7

    Args:
        probabilities: (n,), 0 … 1.
        labels: (n,), each 0 or 1.

    Returns:
        Both.

    Raises:
        InputError: The shapes differ or there is nothing, a probability is not within 0 … 1, a label is not 0 or 1, or
            there is one class.

    Example:
        >>> click_metrics([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0]).auc
        0.875
    """
    chances, truths = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if chances.ndim != 1 or chances.shape != truths.shape or not len(chances):
        message = (
            f"probabilities and labels must be of one shape (n,), n ≥ 1; received {chances.shape} and {truths.shape}"
        )
        raise InputError(message)
    if not ((chances >= 0) & (chances <= 1)).all():
        message = "probabilities must be within 0 … 1; received others or NaN: did the training diverge?"
        raise InputError(message)
    if not ((truths == 0) | (truths == 1)).all():
        message = f"labels must be 0 or 1; received {truths[(truths != 0) & (truths != 1)][0]}"
        raise InputError(message)
    _check_classes(truths, "labels")
    clicked = truths == 1
    others = np.sort(chances[~clicked])
    below = np.searchsorted(others, chances[clicked], side="left") + np.searchsorted(
        others, chances[clicked], side="right"
    )
    auc = below.sum(dtype=np.float64) / (2 * len(others) * clicked.sum(dtype=np.float64))
    chances = np.clip(chances, _LEAST, 1 - _LEAST)
    logloss = -np.where(clicked, np.log(chances), np.log1p(-chances)).mean()
    return ClickMetrics(float(auc), float(logloss))


class _Run:
    """A training run: where it is, and what one more epoch does."""

    def __init__(
        self, model: ClickModel, train: ClickData, validation: ClickData, options: dict[str, Any], *, show: bool
    ) -> None:
        self.model, self.train, self.validation, self.options = model, train, validation, options
        self.show = show
        self.lookups = model.lookups()
        self.own = [each for lookup in self.lookups if (each := lookup.own_optimizer())]
        self.search = [each for lookup in self.lookups if (each := lookup.search_optimizer())]
        self.searched = _weights_of(self.search)
        apart = {id(each) for each in _weights_of(self.own) + self.searched}
        tables = {id(each) for each in model.table_parameters()}
        mine = [each for each in model.parameters() if each.requires_grad and id(each) not in apart]
        self.tables = [each for each in mine if id(each) in tables]
        self.rest = [each for each in mine if id(each) not in tables]
        self.main = self._optimizer()
        self.history: list[ClickEpoch] = []
        self.best_epoch = 0
        self.best: dict[str, Tensor] = {}
        self.trained, self.seconds = 0, 0.0
        self.looked_up: list[tuple[Lookup, Tensor, Tensor, Tensor]] = []
        watched = self.lookups if options["table_l2"] and options["l2"] == "sparse" else []
        self.hooks = [lookup.register_forward_hook(self._note, with_kwargs=True) for lookup in watched]

    def _optimizer(self) -> torch.optim.Optimizer:
        groups = [{"params": each} for each in (self.tables, self.rest)]
        rate = self.options["learning_rate"]
        if self.options["optimizer"] == "adam":
            return torch.optim.Adam(groups, lr=rate, fused=True)
        groups[0]["weight_decay"] = 0.0  # type: ignore[assignment]
        return torch.optim.AdamW(groups, lr=rate, fused=True)

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.main, *self.own, *self.search]

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def fruitless(self) -> int:
        """Epochs since the best."""
        return len(self.history) - self.best_epoch

    def is_over(self) -> bool:
        """Whether the last epoch is done, or nothing got better for too long."""
        patience = self.options["patience"]
        in_vain = patience is not None and self.best_epoch > 0 and self.fruitless >= patience
        return len(self.history) >= self.options["epochs"] or in_vain

    def epoch(self) -> None:
        """Train on all records once, then look how good the model is."""
        number, began = len(self.history), time.perf_counter()
        batches = _batches(len(self.train), self.options["batch_size"], [self.options["seed"], number])
        to_search = _repeated(len(self.validation), self.options["batch_size"], [self.options["seed"], number, 1])
        total = len(batches) * self.options["epochs"]
        loss = 0.0
        self.model.train()
        with tqdm(batches, desc=f"epoch {number + 1}", disable=not self.show) as bar:
            for done, rows in enumerate(bar, number * len(batches) + 1):
                loss += self._step(rows) * len(rows)
                if self.search:
                    self._search_step(next(to_search))
                for lookup in self.lookups:
                    lookup.after_step(done / total)
        self.trained, self.seconds = self.trained + len(self.train), self.seconds + time.perf_counter() - began
        loss /= len(self.train)
        if not math.isfinite(loss):
            message = f"the loss of epoch {number + 1} must be finite; it is {loss}: lower learning_rate"
            raise InputError(message)
        rate = self.main.param_groups[0]["lr"]
        metrics = click_metrics(
            _predict(self.model, self.validation, self.options["batch_size"]), _labels(self.validation)
        )
        best = self.history[self.best_epoch - 1].auc if self.best_epoch else -math.inf
        self.history.append(ClickEpoch(loss, *metrics, rate))
        if not all(lookup.is_final() for lookup in self.lookups):
            return
        if metrics.auc > best:
            self.best_epoch, self.best = len(self.history), _copied(self.model.state_dict())
        else:
            for group in self.main.param_groups:
                group["lr"] = rate * self.options["plateau_factor"]

    def _step(self, rows: npt.NDArray[np.int64]) -> float:
        """One step on training data; gives the loss without penalties."""
        loss = self._loss(self.train, rows)
        total = self._with_penalties(loss)
        decay = self.options["table_l2"]
        if self.looked_up:
            total = total + decay / 2 * self._squares_looked_up()
        for optimizer in (self.main, *self.own):
            optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        if decay and self.options["l2"] == "dense":
            for weight in self.tables:
                if weight.grad is None:
                    weight.grad = decay * weight.detach()
                else:
                    weight.grad.add_(weight.detach(), alpha=decay)
        if self.options["max_grad_norm"] is not None:
            nn.utils.clip_grad_norm_(self.tables + self.rest, self.options["max_grad_norm"])
        for optimizer in (self.main, *self.own):
            optimizer.step()
        return float(loss.item())

    def _search_step(self, rows: npt.NDArray[np.int64]) -> None:
        """One step of the lookups' searches on validation data; other weights get no gradient."""
        loss = self._with_penalties(self._loss(self.validation, rows))
        self.looked_up.clear()
        gradients = torch.autograd.grad(loss, self.searched, allow_unused=True)
        for weight, gradient in zip(self.searched, gradients, strict=True):
            weight.grad = gradient
        for optimizer in self.search:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def _loss(self, data: ClickData, rows: npt.NDArray[np.int64]) -> Tensor:
        ids, weights = data.batch(rows, self.device)
        labels = torch.from_numpy(_labels(data)[rows].astype(np.float32)).to(self.device)
        return self.model.loss(ids, labels, weights)

    def _with_penalties(self, loss: Tensor) -> Tensor:
        for lookup in self.lookups:
            if (penalty := lookup.penalty()) is not None:
                loss = loss + penalty
        return loss

    def _note(self, lookup: nn.Module, given: tuple[Tensor, ...], named: dict[str, Tensor], vectors: Tensor) -> None:
        """A hook: remember what a lookup gave in training."""
        if lookup.training:
            arguments = dict(zip(("ids", "fields"), given, strict=False)) | named
            fields = arguments.get("fields")
            if fields is None:
                fields = torch.arange(vectors.shape[1], device=vectors.device)
            self.looked_up.append((cast(Lookup, lookup), arguments["ids"], fields, vectors))

    def _squares_looked_up(self) -> Tensor:
        """Sum of ‖vector‖² over the rows that were looked up, each once however often it occurs."""
        total = torch.zeros((), device=self.device)
        for lookup, ids, fields, vectors in self.looked_up:
            rows = ids + lookup.offsets[fields]
            _, places, counts = torch.unique(rows, return_inverse=True, return_counts=True)
            total = total + (vectors.square().sum(-1) / counts[places]).sum()
        self.looked_up.clear()
        return total

    # -- checkpoints -----------------------------------------------------------------------------------------

    def save(self, folder: Path, about: dict[str, str]) -> None:
        """Write all that the rest of the run depends on."""
        states = [_split_state(optimizer) for optimizer in self.optimizers]
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for index, (held, _) in enumerate(states):
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in held.items()}
        tensors["random"] = torch.get_rng_state()
        info = {
            "about": about,
            "history": [asdict(epoch) for epoch in self.history],
            "best_epoch": self.best_epoch,
            "optimizers": [plain for _, plain in states],
        }
        folder.mkdir(parents=True, exist_ok=True)
        commit_generation(folder, info, {_STATE: lambda path: save_file(_copied(tensors), path)})

    def resume(self, folder: Path, about: dict[str, str]) -> None:
        """Take up the run that a folder holds, if it holds this one."""
        if not (folder / MANIFEST).is_file():
            return
        generation = open_generation(folder)
        info = generation.info
        before = info.get("about", {})
        if different := [name for name in about if before.get(name) != about[name]]:
            message = (
                f"{folder} holds the run of another model, of other data or with other options (they differ in "
                f"{', '.join(different)}): give another folder, or the model as it was before that run"
            )
            raise InputError(message)
        try:
            tensors = load_file(generation.files[_STATE])
            self.model.load_state_dict(_below("model.", tensors))
            self.best = _below("best.", tensors)
            for index, (optimizer, plain) in enumerate(zip(self.optimizers, info["optimizers"], strict=True)):
                _join_state(optimizer, _below(f"optimizer.{index}.", tensors), plain)
            torch.set_rng_state(tensors["random"])
            self.history = [ClickEpoch(**epoch) for epoch in info["history"]]
            self.best_epoch = info["best_epoch"]
        except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
            message = f"{folder} cannot be read ({error}): remove it to begin again"
            raise CorruptFileError(message) from error

    def close(self) -> None:
        """Leave the model as a model: evaluated, with its best weights, watched by nobody."""
        for hook in self.hooks:
            hook.remove()
        if self.best:
            self.model.load_state_dict(self.best)
        for weight in self.model.parameters():
            weight.grad = None
        self.model.eval()

    def result(self) -> ClickTraining:
        """What was done."""
        speed = self.trained / self.seconds if self.seconds else math.nan
        return ClickTraining(tuple(self.history), self.best_epoch, speed)


def _predict(model: ClickModel, data: ClickData, batch_size: int) -> npt.NDArray[np.float32]:
    """Probabilities of checked data."""
    device, training = next(model.parameters()).device, model.training
    probabilities = np.empty(len(data), dtype=np.float32)
    model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(data), batch_size):
                part = slice(start, start + batch_size)
                logits = model(*data.batch(part, device))
                probabilities[part] = torch.sigmoid(logits.float()).cpu().numpy()
    finally:
        model.train(training)
    return probabilities


def _batches(count: int, size: int, seed: Sequence[int]) -> list[npt.NDArray[np.int64]]:
    """Shuffled rows in batches; rows of a batch ascend, which is kinder to memory maps and changes nothing else."""
    order = np.random.default_rng(seed).permutation(count)
    stops = [stop for stop in range(size, count, size) if count - stop > 1 or size == 1]
    return [np.sort(part) for part in np.split(order, stops)]


def _repeated(count: int, size: int, seed: Sequence[int]) -> Iterator[npt.NDArray[np.int64]]:
    """Batches of shuffled rows, over and over."""
    while True:
        yield from _batches(count, size, seed)


def _labels(data: ClickData) -> npt.NDArray[Any]:
    if data.labels is None:
        message = "data must have labels to train on or to measure; received none: give labels to ClickData"
        raise InputError(message)
    return data.labels


def _check_model(model: Any) -> None:
    if not isinstance(model, ClickModel):
        message = f"model must be a ClickModel; received {type(model).__name__}: compose one, such as deepfm(sizes)"
        raise InputError(message)


def _check_classes(labels: npt.NDArray[Any], what: str) -> None:
    if labels.min() == labels.max():
        message = f"{what} must be of both classes, 0 and 1, for an AUC; all {len(labels)} are {int(labels[0])}"
        raise InputError(message)


def _check_steps(model: ClickModel, records: int) -> None:
    """Check that a step of this many records can be normalised over them."""
    if records == 1 and any(isinstance(module, nn.BatchNorm1d) for module in model.modules()):
        message = (
            "a model with batch normalisation must have two records a step or more; received one: raise batch_size, "
            "give more records, or compose the model without batch_norm"
        )
        raise InputError(message)


def _check_data(model: ClickModel, **data: ClickData) -> None:
    """Check that the model has every id; records are named by their row in the whole data."""
    lookup, fields = model.embedding.lookup, model.embedding.fields.cpu()
    bounds = np.array(lookup.sizes)[fields.numpy()]
    for name, each in data.items():
        if not isinstance(each, ClickData):
            message = f"{name} must be ClickData; received {type(each).__name__}: wrap the arrays in it"
            raise InputError(message)
        if each.ids.shape[1] != len(bounds):
            message = f"ids of {name} must have {len(bounds)} columns, as the model has; received {each.ids.shape[1]}"
            raise InputError(message)
        for start in range(0, len(each), _ROWS_AT_A_TIME):
            part = each.ids[start : start + _ROWS_AT_A_TIME]
            wrong = (part < 0) | (part >= bounds)
            if wrong.any():
                row, column = np.argwhere(wrong)[0].tolist()
                index = int(fields[column])
                called = f"field {lookup.names[index]!r}" if lookup.names else f"field {index}"
                message = (
                    f"ids of {called} must be 0 … {bounds[column] - 1}, its vocabulary has {bounds[column]} values; "
                    f"received {part[row, column]} in row {start + row} of {name}"
                )
                raise InputError(message)


def _weights_of(optimizers: Sequence[torch.optim.Optimizer]) -> list[Tensor]:
    return [weight for optimizer in optimizers for group in optimizer.param_groups for weight in group["params"]]


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _split_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state as tensors, and as what JSON holds."""
    state = optimizer.state_dict()
    tensors, plain = {}, []
    for index, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                plain.append([index, name, value])
    return tensors, {"groups": state["param_groups"], "state": plain}


def _join_state(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    """Put back what `_split_state` gave."""
    state: dict[int, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    for index, name, value in plain["state"]:
        state.setdefault(index, {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": plain["groups"]})


def _about(model: ClickModel, train: ClickData, validation: ClickData, options: dict[str, Any]) -> dict[str, str]:
    """What a run must share with the one whose checkpoint it goes on from."""
    weights = hashlib.sha256(repr(model).encode())
    for name, tensor in model.state_dict().items():
        weights.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        weights.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return {
        "model": weights.hexdigest(),
        "train": _digest(train),
        "validation": _digest(validation),
        "options": repr(options),
    }


def _digest(data: ClickData) -> str:
    digest = hashlib.sha256()
    for array in (data.ids, data.labels, data.weights):
        if array is not None:
            digest.update(f"{array.dtype} {array.shape}".encode())
            for start in range(0, len(array), _ROWS_AT_A_TIME):
                digest.update(np.ascontiguousarray(array[start : start + _ROWS_AT_A_TIME]).data)
    return digest.hexdigest()


__all__ = [
    "ClickData",
    "ClickEpoch",
    "ClickMetrics",
    "ClickTraining",
    "click_metrics",
    "fit_clicks",
    "predict_clicks",
]
