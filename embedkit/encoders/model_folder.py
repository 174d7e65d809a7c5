"""Reading a model's folder without running any code of it: what it may name, and what must be there."""

import importlib
import inspect
import json
import logging
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sentence_transformers.base.modules import Module, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.util import SimilarityFunction
from torch import nn
from transformers.utils import logging as hf_logging

from embedkit.errors import ModelError

_SETTINGS = "config_sentence_transformers.json"
_MODULE_HOMES = ("embedkit.", "sentence_transformers.")
_ACTIVATION_HOMES = ("torch.nn.modules.",)
_KERNEL_SWITCHES = ("use_kernels", "allow_all_kernels")


def read_modules(folder: Path) -> list[Any]:
    """The modules that a folder lists, or transformer and mean pooling for a plain checkpoint.

    Raises:
        ModelError: A file is missing or damaged, weights are pickled or incomplete, or the folder names a
            class that is neither embedkit's nor sentence-transformers' own.
    """
    listed = folder / "modules.json"
    if not listed.is_file() and not (folder / "config.json").is_file():
        message = f"{folder} holds no model: neither modules.json nor config.json is there"
        raise ModelError(message)
    _refuse_pickles(folder)
    _refuse_foreign_code(folder)
    if not listed.is_file():
        return _plain_modules(folder)
    entries = _read_json(listed)
    if not isinstance(entries, list) or not entries or not all(map(_is_entry, entries)):
        message = f"{listed} must list modules, each with a path inside the folder and a type"
        raise ModelError(message)
    return [_load(_trusted_class(entry["type"]), folder, entry["path"]) for entry in entries]


def as_transformer(model: Any, tokenizer: Any) -> Any:
    """A transformers model and its tokenizer as sentence-transformers' `Transformer`, by way of a temporary folder.

    Args:
        model: Is copied.
        tokenizer: Is copied. Its `model_max_length`, at most the model's, is the window.
    """
    with tempfile.TemporaryDirectory() as folder, without_bars(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is a plain transformer", category=UserWarning)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return read_modules(Path(folder))[0]


def read_options(folder: Path) -> dict[str, Any]:
    """Prompts, similarity and width that were saved with the modules, as `Encoder` takes them.

    Raises:
        ModelError: The file is damaged.
    """
    path = folder / _SETTINGS
    if not path.is_file():
        return {}
    settings = _read_json(path)
    names = ("prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim")
    options = {name: settings.get(name) for name in names} if isinstance(settings, dict) else {"prompts": 0}
    if not _are_options(**options):
        message = f"{path} must hold prompts (text by name), the name of a default prompt, a similarity and a width"
        raise ModelError(message)
    return {name: value for name, value in options.items() if value is not None}


def _are_options(
    prompts: Any, default_prompt_name: Any = None, similarity_fn_name: Any = None, truncate_dim: Any = None
) -> bool:
    texts = {} if prompts is None else prompts
    return (
        isinstance(texts, dict)
        and all(value is None or isinstance(value, str) for value in texts.values())
        and (default_prompt_name is None or default_prompt_name in texts)
        and (similarity_fn_name is None or similarity_fn_name in SimilarityFunction.possible_values())
        and (truncate_dim is None or (type(truncate_dim) is int and truncate_dim > 0))
    )


def _is_entry(entry: Any) -> bool:
    path = entry.get("path") if isinstance(entry, dict) else None
    if not isinstance(path, str) or "\0" in path or "type" not in entry:
        return False
    return not Path(path).is_absolute() and ".." not in Path(path).parts


def _files_of(folder: Path, pattern: str) -> Iterator[Path]:
    """Files of the model itself: a trainer's checkpoints beside it are other models."""
    for path in folder.rglob(pattern):
        if not path.relative_to(folder).parts[0].startswith("checkpoint-"):
            yield path


def _refuse_pickles(folder: Path) -> None:
    for path in _files_of(folder, "*_model*.bin"):
        weights = (path.parent / name for name in ("model.safetensors", "model.safetensors.index.json"))
        if not any(map(Path.is_file, weights)):
            message = f"the weights in {path.parent} are pickled ({path.name}); embedkit reads safetensors only"
            raise ModelError(message)


def _refuse_foreign_code(folder: Path) -> None:
    """Settings may name code too: the class of an activation, and kernels that transformers would fetch."""
    for path in _files_of(folder, "*config.json"):
        for name, value in _settings_in(_read_json(path)):
            if name == "activation_function" and isinstance(value, str) and "." in value:
                _imported(value, _ACTIVATION_HOMES, nn.Module)
            is_kernel = name.endswith("attn_implementation") and "/" in str(value)
            if is_kernel or name in _KERNEL_SWITCHES:
                message = f"{path} asks for code from the hub ({name}: {value!r}); embedkit never fetches any"
                raise ModelError(message)


def _settings_in(value: Any) -> Iterator[tuple[str, Any]]:
    """All names and values of a JSON value, however deep."""
    if isinstance(value, dict):
        yield from value.items()
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _settings_in(inner)


def _trusted_class(reference: Any) -> Any:
    found = _imported(reference, _MODULE_HOMES, Module)
    if inspect.isabstract(found):
        message = f"the model names {reference!r}, which is abstract"
        raise ModelError(message)
    return found


def _imported(reference: Any, homes: tuple[str, ...], parent: type) -> Any:
    """The class that a folder names, if it lives in one of `homes`; nothing else is imported."""
    if not isinstance(reference, str) or not reference.startswith(homes):
        message = f"the model names the class {reference!r}; only those of {' and '.join(homes)} are loaded"
        raise ModelError(message)
    module, _, name = reference.rpartition(".")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old folders name classes where they used to live
            found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        message = f"the model needs the class {reference!r}, which this version does not have: update embedkit"
        raise ModelError(message) from None
    if not (isinstance(found, type) and issubclass(found, parent)):
        message = f"the model names {reference!r}, which is no {parent.__name__}"
        raise ModelError(message)
    return found


def _plain_modules(folder: Path) -> list[Any]:
    """A plain transformers checkpoint: of pictures what it was trained for, else mean pooling over its last layer."""
    from embedkit.encoders.image.checkpoint import (
        image_modules,
    )  # which reads folders of modules itself, through towers

    try:
        with _watched_loading() as missing:
            modules = image_modules(folder, _read_json(folder / "config.json"))
    except ModelError:
        raise
    except Exception as error:  # damaged files make their readers raise anything at all
        raise ModelError(f"cannot load the pictures' network from {folder}: {str(error).splitlines()[0]}") from error
    if modules is not None:
        _refuse_missing(missing, folder)
        return modules
    warnings.warn(
        f"{folder} is a plain transformer: its tokens are averaged, which nobody trained it for",
        UserWarning,
        stacklevel=4,
    )
    transformer = _load(Transformer, folder, "")
    return [transformer, Pooling(transformer.get_embedding_dimension(), "mean")]


def _load(module_class: Any, folder: Path, subfolder: str) -> Any:
    options: dict[str, Any] = {"local_files_only": True, "model_kwargs": {"use_safetensors": True}}
    routes = folder / subfolder / "router_config.json"
    if routes.is_file():
        options["module_classes"] = _routed_classes(routes)
    try:
        with _watched_loading() as missing:
            loaded = module_class.load(str(folder), subfolder=subfolder, **options)
    except Exception as error:  # damaged files make their readers raise anything at all
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"cannot load {module_class.__name__} from {folder / subfolder}: {reason}"
        raise ModelError(message) from error
    _refuse_missing(missing, folder / subfolder)
    return loaded


def _refuse_missing(missing: list[str], folder: Path) -> None:
    if missing:
        message = f"the weights in {folder} lack {', '.join(missing[:3])}: they would be drawn at random"
        raise ModelError(message)


def _routed_classes(path: Path) -> dict[str, Any]:
    config = _read_json(path)
    types = config.get("types") if isinstance(config, dict) else None
    if not isinstance(types, dict) or not types:
        message = f"{path} must name the types of the modules it routes to"
        raise ModelError(message)
    return {reference: _trusted_class(reference) for reference in types.values()}


@contextmanager
def _watched_loading() -> Iterator[list[str]]:
    """Load without bars, and collect the weights that are reported missing.

    transformers draws what a checkpoint lacks at random and says so only in its log. A pooler is no loss: vectors
    are pooled from the tokens.
    """
    missing: list[str] = []

    def collect(record: logging.LogRecord) -> bool:
        lines = re.sub(r"\x1b\[[0-9;]*m", "", record.getMessage()).splitlines()
        names = [line.split("|")[0].strip() for line in lines if re.search(r"\|\s*MISSING", line)]
        missing.extend(name for name in names if not name.startswith("pooler."))
        return not names and record.levelno >= level

    logger = logging.getLogger("transformers.modeling_utils")
    level, own_level = logger.getEffectiveLevel(), logger.level
    logger.addFilter(collect)
    if level > logging.WARNING:
        logger.setLevel(logging.WARNING)
    try:
        with without_bars():
            yield missing
    finally:
        logger.removeFilter(collect)
        logger.setLevel(own_level)


@contextmanager
def without_bars() -> Iterator[None]:
    """Meanwhile transformers draws no bars, which it would even into a pipe."""
    were_shown = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if were_shown:
            hf_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        message = f"{path} is not JSON: {error}"
        raise ModelError(message) from None
