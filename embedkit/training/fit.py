"""`fit`: train an encoder with a loss on tensors, with checkpoints that a killed run goes on from."""

import contextlib
import inspect
import math
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.evaluation import BaseEvaluator
from torch import nn
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback

from embedkit.encoders.encoder import Encoder
from embedkit.encoders.fingerprint import fingerprint
from embedkit.encoders.lora import LoRA, add_lora, merge_lora
from embedkit.encoders.towers import towers_of
from embedkit.errors import CorruptFileError, InputError
from embedkit.io import write_atomic
from embedkit.losses.arguments import not_negative, positive, whole
from embedkit.training.adapter import TensorLoss
from embedkit.training.examples import Examples, as_dataset
from embedkit.training.memory import begin_epoch, with_row_numbers
from embedkit.training.runs import claim, own_random_numbers, settings

Score = Callable[[Encoder], float]
"""How good an encoder is on development data; higher is better."""

_STATE = "training.safetensors"


@dataclass(frozen=True)
class Training:
    """What a call of `fit` did.

    Attributes:
        steps: Optimiser steps, those of the run it went on from included.
        losses: (step, mean loss since the one before).
        terms: The same of what the loss is the sum of, by name, if it has `terms`.
        scores: (step, score on development data).
        best_step: Whose weights the encoder has: the step of the best score, else the last.
    """

    steps: int
    losses: tuple[tuple[int, float], ...]
    terms: dict[str, tuple[tuple[int, float], ...]]
    scores: tuple[tuple[int, float], ...]
    best_step: int


def fit(  # noqa: PLR0913 (what a training run is made of)
    encoder: Encoder,
    examples: Examples,
    loss: nn.Module,
    *,
    epochs: float = 1,
    batch_size: int = 32,
    learning_rate: float = 2e-5,
    warmup: float = 0.1,
    weight_decay: float = 0.0,
    max_steps: int | None = None,
    lora: LoRA | None = None,
    score: Score | None = None,
    patience: int | None = None,
    evaluations: int | None = None,
    folder: str | Path | None = None,
    seed: int = 0,
    show_progress_bar: bool | None = None,
    **options: Any,
) -> Training:
    """Train an encoder in place.

    Optimiser: AdamW, learning rate rising linearly for `warmup` of the steps and falling linearly to 0.

    Args:
        encoder: What is trained. It is as it was when the run fails before its first step.
        examples: Columns of texts in the order of the loss's arguments, and labels or scores if it takes them.
        loss: A loss on tensors of `embedkit.losses` (or pytorch-metric-learning); one whose attribute `by_layer` is
            True gets the vectors behind every layer; one that has `row_labels` the number of each example for a label,
            and `begin_epoch` is told when an epoch begins. One that has an attribute `model`, as sentence-transformers'
            own losses have, encodes the columns itself.
        epochs: Passes over the examples, > 0.
        batch_size: Examples a step, ≥ 1.
        learning_rate: Highest learning rate, > 0.
        warmup: Share of the steps in which it rises, 0 … 1.
        weight_decay: AdamW's.
        max_steps: Stop after this many steps; wins over `epochs`.
        lora: Train low-rank adapters in place of the backbone's weights, and add them to it in the end.
        score: Tells how good the encoder is on development data; asked `evaluations` times. The weights of
            the best score are kept.
        patience: Stop when this many evaluations in a row brought no better score.
        evaluations: How often the score is asked and a checkpoint written; None takes once an epoch, rounded up.
        folder: Where checkpoints are written. A call with the same encoder, examples and options goes on from
            the last one there. None keeps none.
        seed: Of the order of the examples, dropout and new weights.
        show_progress_bar: None shows one on a terminal.
        **options: More of sentence-transformers' training arguments, such as `gradient_checkpointing` or `bf16`:
            products in bfloat16. The weights stay in float32, and so does what the encoder gives to `score` and later.
            Weights of a loss that begin at random want a higher rate than an encoder that is only tuned:
            `learning_rate_mapping={"^loss": 1e-2}`.

    Returns:
        What was done. The encoder is trained in place.

    Raises:
        InputError: An argument is out of range, or `folder` holds the run of another encoder, of other examples
            or with other options.
        CorruptFileError: What `folder` holds of an earlier run cannot be read.
        MissingExtraError: `lora` without peft.

    Example:
        >>> import embedkit as ek
        >>> from embedkit.losses.cosent import CoSENTLoss
        >>> encoder = ek.load()
        >>> done = fit(encoder, [("a cat", "a feline", 1.0), ("a cat", "tax law", 0.0)], CoSENTLoss(), max_steps=1)
        >>> done.steps
        1
    """
    if not isinstance(encoder, Encoder):
        message = f"encoder must be an embedkit.Encoder; received {type(encoder).__name__}: open it with embedkit.load"
        raise InputError(message)
    dataset = as_dataset(examples)
    check_loss(loss, dataset.column_names)
    positive("epochs", epochs)
    whole("batch_size", batch_size)
    positive("learning_rate", learning_rate)
    not_negative("weight_decay", weight_decay)
    for name, count in (("max_steps", max_steps), ("patience", patience), ("evaluations", evaluations)):
        if count is not None:
            whole(name, count)
    if not_negative("warmup", warmup) > 1:
        message = f"warmup must be a share of the steps, 0 … 1; received {warmup}"
        raise InputError(message)
    if patience and not score:
        message = f"patience needs score, which tells what is better; received patience={patience} without one"
        raise InputError(message)
    steps = max_steps or max(1, math.ceil(len(dataset) / batch_size * epochs))
    every = math.ceil(steps / (evaluations or math.ceil(epochs)))
    keep = folder is not None or score is not None
    with contextlib.ExitStack() as stack:
        stack.enter_context(own_random_numbers())
        place = Path(folder) if folder else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if towers := towers_of(encoder):
            # The trainer insists on a mapping; a column whose name is no tower's goes by what is in it.
            named = {name: name for name in dataset.column_names if name in towers}
            options = {"router_mapping": named or dict.fromkeys(dataset.column_names), **options}
        about = {
            "encoder": fingerprint(encoder),
            "examples": dataset._fingerprint,
            "loss": repr(loss) if hasattr(loss, "model") else f"{loss!r} {settings(loss)}",
            "options": repr([steps, every, batch_size, learning_rate, warmup, weight_decay, lora, seed, options]),
        }
        arguments = _arguments(
            output_dir=str(place),
            max_steps=steps,
            per_device_train_batch_size=batch_size,
            learning_rate=learning_rate,
            warmup_steps=int(warmup * steps),
            weight_decay=weight_decay,
            seed=seed,
            eval_strategy="steps" if score else "no",
            eval_steps=every,
            save_strategy="steps" if keep else "no",
            save_steps=every,
            save_total_limit=2 if keep else None,
            load_best_model_at_end=score is not None,
            metric_for_best_model="eval_score" if score else None,
            greater_is_better=True if score else None,
            logging_steps=max(1, steps // 50),
            use_cpu=encoder.device.type == "cpu",
            disable_tqdm=not (sys.stderr.isatty() if show_progress_bar is None else show_progress_bar),
            report_to="none",
            dataloader_pin_memory=encoder.device.type != "cpu",
            **options,
        )
        dataset = with_row_numbers(loss, dataset)
        adapted = TensorLoss(encoder, loss, by_layer=getattr(loss, "by_layer", False), bf16=arguments.bf16)
        if lora:
            torch.manual_seed(seed)
            add_lora(encoder, lora)
        try:
            last = claim(place, about)
            trainer = _Trainer(
                model=encoder,
                args=arguments,
                train_dataset=dataset,
                loss=loss if hasattr(loss, "model") else adapted,
                evaluator=_Evaluator(score) if score else None,
                callbacks=[_Epochs(loss, encoder, dataset), *([EarlyStoppingCallback(patience)] if patience else [])],
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train(resume_from_checkpoint=str(last) if last else None)
        finally:
            _take_autocast(encoder)
            if lora:
                merge_lora(encoder)
            encoder.eval()
    return _done(trainer.state, trainer.accum_loss_components["train"].keys() - {"steps"})


def check_loss(loss: Any, columns: list[str]) -> None:
    """Check that a loss on tensors takes as many arguments as there are columns.

    Raises:
        InputError: It does not, or is no instance of a loss.
    """
    if not isinstance(loss, nn.Module):
        message = f"loss must be an instance of a loss, such as CoSENTLoss(); received {loss!r:.100}"
        raise InputError(message)
    if hasattr(loss, "model"):
        return
    while isinstance(inner := getattr(loss, "loss", None), nn.Module):  # a wrapper takes what the wrapped loss takes
        loss = inner
    signature = inspect.signature(loss.forward)
    try:
        signature.bind(*columns)
    except TypeError:
        wanted = f"{type(loss).__name__}({', '.join(signature.parameters)})"
        message = (
            f"examples must have a column for each argument of {wanted}; "
            f"received {', '.join(columns)}: add what is missing, or take another loss"
        )
        raise InputError(message) from None


def _arguments(**options: Any) -> SentenceTransformerTrainingArguments:
    try:
        return SentenceTransformerTrainingArguments(**options)
    except (TypeError, ValueError) as error:
        message = f"options must be training arguments of sentence-transformers that go together; received {error}"
        raise InputError(message) from error


def _take_autocast(encoder: Any) -> dict[str, Any]:
    """Take off what accelerate puts around an encoder's forward for mixed precision, and leaves there; return it."""
    return {name: vars(encoder).pop(name) for name in ("forward", "_original_forward") if name in vars(encoder)}


@contextlib.contextmanager
def _in_float32(encoder: Any) -> Iterator[None]:
    """Within, the encoder encodes as it will when training has ended."""
    autocast = _take_autocast(encoder)
    try:
        yield
    finally:
        vars(encoder).update(autocast)


class _Trainer(SentenceTransformerTrainer):
    """Checkpoints hold the state of the loss, and of the encoder within it, whatever modules and adapters that has."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        del state_dict
        folder = Path(str(output_dir or self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: tensor.detach().cpu().clone() for name, tensor in self._objective().state_dict().items()}
        write_atomic(folder / _STATE, lambda path: save_file(state, path))

    def _load_from_checkpoint(self, checkpoint_path: str, model: Any = None) -> None:
        del model
        try:
            state = load_file(Path(checkpoint_path) / _STATE)
            self._objective().load_state_dict(state)
        except Exception as error:
            message = f"{checkpoint_path} cannot be read ({error}): remove it to go on from the one before"
            raise CorruptFileError(message) from error

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(str(self.state.best_model_checkpoint))

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None: it encodes examples for a card that nobody asked for."""

    def _objective(self) -> nn.Module:
        objective: Any = self.loss
        return objective  # type: ignore[no-any-return]


class _Epochs(TrainerCallback):
    """Tells the loss when an epoch begins."""

    def __init__(self, loss: nn.Module, encoder: Encoder, dataset: Dataset) -> None:
        self.loss, self.encoder, self.dataset = loss, encoder, dataset

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        del args, control
        begin_epoch(self.loss, int(state.epoch or 0), self._embed)

    def _embed(self) -> Any:
        training = self.encoder.training
        with _in_float32(self.encoder):
            embeddings = self.encoder.encode(self.dataset[self.dataset.column_names[0]][:])
        self.encoder.train(training)
        return embeddings


class _Evaluator(BaseEvaluator):
    """`score` in the form that the trainer asks."""

    def __init__(self, score: Score) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.score, self.primary_metric = score, "score"

    def __call__(self, model: Any, *_: Any, **__: Any) -> dict[str, float]:
        with _in_float32(model):
            value = float(self.score(model))
        if not math.isfinite(value):
            message = f"score must give a finite number; it gave {value}: did the training diverge?"
            raise InputError(message)
        return {"score": value}


def _done(state: Any, names: Iterable[str]) -> Training:
    losses = tuple((entry["step"], entry["loss"]) for entry in state.log_history if "loss" in entry)
    scores = tuple((entry["step"], entry["eval_score"]) for entry in state.log_history if "eval_score" in entry)
    best = max(scores, key=lambda entry: entry[1])[0] if scores else state.global_step
    terms = {
        name: tuple((entry["step"], entry[name]) for entry in state.log_history if name in entry)
        for name in sorted(names)
    }
    return Training(state.global_step, losses, terms, scores, best)
