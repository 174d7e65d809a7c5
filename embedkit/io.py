"""Files that are whole or absent: atomic writes, checksums, and folders with a generation kept back.

Order of every write: temporary file, fsync, rename, fsync of the folder. A reader therefore sees the
old file or the new one; a file that was damaged later is told by its checksum before it is parsed.
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock, Timeout

from embedkit.errors import (
    CorruptFileError,
    EmbedkitError,
    IncompatibleIndexError,
    LockedIndexError,
    ModelError,
    StorageError,
)

FORMAT_VERSION = 1
"""Version of the folder formats written here; a newer one is refused, never guessed at."""

CHECKSUMS = "embedkit.json"
MANIFEST = "manifest.json"
PREVIOUS = "manifest.previous.json"
COMMIT_LOCK = "manifest.lock"


def raise_storage_error(error: OSError, doing: str) -> NoReturn:
    """Turn the operating system's refusal into a `StorageError` that says what to do."""
    remedies = {
        errno.ENOSPC: "the disk is full: free space and call again",
        errno.EDQUOT: "the disk quota is used up: free space and call again",
        errno.EFBIG: "the file would be larger than this process may write",
        errno.EROFS: "the disk is read-only: choose another folder",
        errno.EACCES: "permission is denied: choose another folder",
        errno.EPERM: "permission is denied: choose another folder",
    }
    remedy = remedies.get(error.errno or 0, error.strerror or str(error))
    message = f"{doing}: {remedy}; what was there before is unchanged"
    raise StorageError(error.errno, message) from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable (a no-op where folders cannot be opened)."""
    with suppress(PermissionError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _fsync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place durably.

    Args:
        path: Where the file shall be; an existing one is replaced.
        write: Is given the temporary path and writes the whole content there.

    Raises:
        StorageError: The disk refused; `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        write(temporary)
        _fsync_file(temporary)
        temporary.replace(path)
        fsync_folder(path.parent)
    except StorageError:
        raise
    except OSError as error:
        raise_storage_error(error, f"cannot write {path}")
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, atomically and durably."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomic(path, lambda temporary: _write_text(temporary, text))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; on success it takes the place of `folder`.

    Yields:
        The temporary folder.

    Raises:
        StorageError: The disk refused; `folder` is as it was.
    """
    try:
        folder = folder.resolve()  # a link stays a link: what it points to is replaced
        if folder.exists() and not folder.is_dir():
            raise FileExistsError(errno.EEXIST, "a file is in its place")
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    except OSError as error:
        raise_storage_error(error, f"cannot write {folder}")
    try:
        yield temporary
        _fsync_tree(temporary)
        _swap(temporary, folder)
    except EmbedkitError:
        raise
    except OSError as error:
        raise_storage_error(error, f"cannot write {folder}")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def seal_folder(folder: Path) -> None:
    """Record the size and checksum of every file in `folder`, for `verify_folder`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    records = {path.relative_to(folder).as_posix(): _record(path) for path in files}
    _write_manifest(folder / CHECKSUMS, {"format": FORMAT_VERSION, "files": records})


def _fsync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            _fsync_file(path)
        elif path.is_dir():
            fsync_folder(path)
    fsync_folder(folder)


def _swap(temporary: Path, folder: Path) -> None:
    """Rename `temporary` to `folder`; of a folder that is in the way, only what was written here is removed."""
    temporary.chmod(0o755)
    if not folder.exists():
        temporary.rename(folder)
    else:
        aside = temporary.with_suffix(".old")
        folder.rename(aside)
        try:
            temporary.rename(folder)
        except OSError:
            aside.rename(folder)
            raise
        _bring_back_foreign(aside, folder)
        shutil.rmtree(aside, ignore_errors=True)
    fsync_folder(folder.parent)


def _bring_back_foreign(aside: Path, folder: Path) -> None:
    """Move what somebody else kept in the former folder, such as a trainer's checkpoints, into the new one."""
    own = {CHECKSUMS}
    with suppress(EmbedkitError):
        own |= {Path(name).parts[0] for name in read_json(aside / CHECKSUMS)["files"]}
    for path in aside.iterdir():
        if path.name not in own and not (folder / path.name).exists():
            path.rename(folder / path.name)


def _record(path: Path) -> dict[str, Any]:
    return {"sha256": sha256_of(path), "size": path.stat().st_size}


def _check_record(path: Path, record: Mapping[str, Any]) -> None:
    try:
        found = _record(path)
    except (FileNotFoundError, IsADirectoryError):
        message = f"{path} is missing"
        raise CorruptFileError(message) from None
    except OSError as error:
        raise_storage_error(error, f"cannot read {path}")
    if found["size"] != record["size"]:
        message = f"{path} has {found['size']} bytes and was written with {record['size']}"
        raise CorruptFileError(message)
    if found["sha256"] != record["sha256"]:
        message = f"{path} differs from its checksum"
        raise CorruptFileError(message)


def verify_folder(folder: Path) -> None:
    """Check every file that `seal_folder` recorded; a folder without a record passes.

    Raises:
        CorruptFileError: A file is missing, truncated or changed.
        IncompatibleIndexError: The folder was written by a newer format.
    """
    if (folder / CHECKSUMS).is_file():
        record = _read_manifest(folder / CHECKSUMS)
        for name, expected in record["files"].items():
            _check_record(folder / name, expected)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CorruptFileError: The file is missing or holds something else.
        StorageError: It cannot be read.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        message = f"{path} is missing"
        raise CorruptFileError(message) from None
    except OSError as error:
        raise_storage_error(error, f"cannot read {path}")
    except (ValueError, RecursionError) as error:
        message = f"{path} cannot be read: {error}"
        raise CorruptFileError(message) from None
    if not isinstance(value, dict):
        message = f"{path} does not hold a JSON object"
        raise CorruptFileError(message)
    return value


def read_config(folder: Path, kind: str | None = None) -> dict[str, Any]:
    """What a folder's config.json says, once checksums hold.

    Args:
        folder: Whose files `seal_folder` recorded.
        kind: The class that it must hold, whose name is then left out; None takes any.

    Raises:
        ModelError: The folder holds another class.
        CorruptFileError: A file is missing or damaged.
    """
    verify_folder(folder)
    config = read_json(folder / "config.json")
    if kind is not None and (found := config.pop("class", None)) != kind:
        message = f"{folder} must hold a {kind}; it holds {found!r}: load it with that class"
        raise ModelError(message)
    return config


def _check_format(path: Path, record: Mapping[str, Any]) -> None:
    version = record.get("format")
    if not isinstance(version, int):
        message = f"{path} names no format version"
        raise CorruptFileError(message)
    if version > FORMAT_VERSION:
        message = f"{path} has format {version}; this embedkit reads up to {FORMAT_VERSION}: update embedkit"
        raise IncompatibleIndexError(message)


@dataclass(frozen=True)
class Generation:
    """One verified set of files.

    Attributes:
        number: Counts commits, from 1.
        info: What the writer recorded beside the files.
        files: Where each named file lies.
        is_current: False when this is the generation before, because the current one is damaged.
    """

    number: int
    info: dict[str, Any]
    files: dict[str, Path]
    is_current: bool


def commit_generation(folder: Path, info: Mapping[str, Any], files: Mapping[str, Callable[[Path], None]]) -> None:
    """Write a new generation of immutable files into `folder` and make it the current one.

    The manifest is replaced last, so a kill at any moment leaves the former generation current. The
    former generation stays on disk as the last good one; older files are removed.

    Args:
        folder: An existing folder.
        info: JSON values to record.
        files: For each name, a function that writes the whole file at the path it is given.

    Raises:
        IncompatibleIndexError: The folder holds a newer format, which is not overwritten.
        LockedIndexError: Another process or thread is writing a generation there.
        StorageError: The disk refused; the former generation is still current.
    """
    with _alone_in(folder):
        numbers = [_number(folder / name) for name in (MANIFEST, PREVIOUS)]
        try:
            _write_generation(folder, max(numbers) + 1, info, files)
        finally:
            _remove_unreferenced(folder, files)


def _write_generation(
    folder: Path, number: int, info: Mapping[str, Any], files: Mapping[str, Callable[[Path], None]]
) -> None:
    records = {}
    for name, write in files.items():
        path = folder / _generation_name(name, number)
        write_atomic(path, write)
        records[name] = {"file": path.name, **_record(path)}
    if _is_good(folder):
        write_atomic(folder / PREVIOUS, lambda temporary: _copy(folder / MANIFEST, temporary))
    manifest = {"format": FORMAT_VERSION, "generation": number, "info": dict(info), "files": records}
    _write_manifest(folder / MANIFEST, manifest)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other writers out: two that take turns file by file would leave a mixture that looks whole."""
    lock = FileLock(folder / COMMIT_LOCK, thread_local=False)
    try:
        with lock.acquire(timeout=0):
            yield
    except Timeout:
        message = f"{folder} is being saved by another process or thread: save again when it has finished"
        raise LockedIndexError(message) from None
    except StorageError:
        raise
    except OSError as error:
        raise_storage_error(error, f"cannot write {folder}")


def open_generation(folder: Path) -> Generation:
    """The current generation of `folder`, or, with a warning, the one before it when the current one is damaged.

    Raises:
        CorruptFileError: Neither can be read.
        IncompatibleIndexError: Written by a newer format.
    """
    try:
        return _read_generation(folder, MANIFEST)
    except CorruptFileError as error:
        try:
            previous = _read_generation(folder, PREVIOUS)
        except CorruptFileError:
            raise error from None
        warnings.warn(f"opening the generation before the current one, which is damaged: {error}", stacklevel=3)
        return previous


def read_info(folder: Path) -> dict[str, Any]:
    """What the current generation recorded, without reading its files."""
    info: dict[str, Any] = _read_manifest(folder / MANIFEST)["info"]
    return info


def quarantine(folder: Path) -> None:
    """Rename the damaged files of the current generation to *.corrupt, out of every reader's way.

    Raises:
        StorageError: The disk refused.
    """
    for path in [folder / MANIFEST, *_files_named(folder)]:
        try:
            if path.exists():
                path.replace(path.with_name(path.name + ".corrupt"))
        except OSError as error:
            raise_storage_error(error, f"cannot set {path} aside")


def _files_named(folder: Path) -> list[Path]:
    with suppress(EmbedkitError):
        return [folder / Path(record["file"]).name for record in _read_manifest(folder / MANIFEST)["files"].values()]
    return []


def _read_generation(folder: Path, name: str) -> Generation:
    manifest = _read_manifest(folder / name)
    files = {}
    for label, record in manifest["files"].items():
        files[label] = folder / Path(record["file"]).name
        _check_record(files[label], record)
    return Generation(manifest["generation"], manifest["info"], files, is_current=name == MANIFEST)


def _read_manifest(path: Path) -> dict[str, Any]:
    """A manifest that is what was written; whatever the format, its checksum is over all the rest."""
    manifest = read_json(path)
    checksum = manifest.pop("checksum", None)
    if checksum != _checksum(manifest):
        message = f"{path} differs from its checksum"
        raise CorruptFileError(message)
    _check_format(path, manifest)
    return manifest


def _write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    write_json(path, {**manifest, "checksum": _checksum(manifest)})


def _is_good(folder: Path) -> bool:
    """Whether the current generation may become the last good one."""
    try:
        _read_generation(folder, MANIFEST)
    except EmbedkitError:
        return False
    return True


def _checksum(manifest: Mapping[str, Any]) -> str:
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _number(manifest: Path) -> int:
    with suppress(CorruptFileError):
        return int(_read_manifest(manifest)["generation"])
    return 0


def _generation_name(name: str, number: int) -> str:
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}-{number:06d}{dot}{suffix}"


def _copy(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())


def _remove_unreferenced(folder: Path, names: Iterable[str]) -> None:
    """Delete files that neither manifest names, and what a killed writer left half written."""
    keep = set()
    for manifest in (MANIFEST, PREVIOUS):
        try:
            keep |= {record["file"] for record in _read_manifest(folder / manifest)["files"].values()}
        except CorruptFileError:
            continue
        except EmbedkitError:
            return  # what it names is not known, and may be whole
    for name in names:
        numbered = _generation_name(name, 0).replace("000000", "*")
        for path in [*folder.glob(numbered), *folder.glob(f".{numbered}.*.tmp"), *folder.glob(".manifest.*.tmp")]:
            if path.name not in keep:
                with suppress(OSError):
                    path.unlink()
