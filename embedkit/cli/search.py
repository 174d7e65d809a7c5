"""Commands about an index of files: index, add, remove, search, info, demo."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from embedkit.cli.app import AsJson, Quiet, app
from embedkit.console import as_dict, print_hits, print_json, print_report, sync_with_bar
from embedkit.errors import InputError

if TYPE_CHECKING:
    from embedkit.index.retriever import Retriever

Index = Annotated[Path, typer.Argument(metavar="INDEX", help="Folder of the index.")]
Paths = Annotated[list[str], typer.Argument(metavar="PATH...", help="Files and folders.")]
Model = Annotated[
    str | None,
    typer.Option(envvar="EMBEDKIT_MODEL", help="Folder or hub name; default: all-MiniLM-L6-v2, bundled."),
]
Comments = Annotated[
    Literal["keep", "drop"], typer.Option(envvar="EMBEDKIT_COMMENTS", help="Comments in code documents.")
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        envvar="EMBEDKIT_EXCLUDE", help="Leave out files and folders of such a name, e.g. 'test' or '*.min.js'."
    ),
]
PublicOnly = Annotated[
    bool, typer.Option("--public-only", envvar="EMBEDKIT_PUBLIC_ONLY", help="Leave out code named _like_this.")
]
MaxBytes = Annotated[int, typer.Option(envvar="EMBEDKIT_MAX_BYTES", min=1, help="Skip larger text and code files.")]


@app.command()
def index(
    paths: Paths,
    out: Annotated[Path, typer.Option("--out", "-o", envvar="EMBEDKIT_OUT", help="Folder of the index.")],
    model: Model = None,
    exclude: Exclude = None,
    comments: Comments = "keep",
    public_only: PublicOnly = False,
    max_bytes: MaxBytes = 10_000_000,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make INDEX hold exactly what the paths hold: text, Markdown, reStructuredText, code, tables.

    Run it again after changes: files that did not change are not read, and what is gone is dropped.
    """
    options = _Options(model, tuple(exclude or ()), comments, public_only, max_bytes)
    _sync(out, paths, options, keep_others=False, as_json=as_json, quiet=quiet)


@app.command()
def add(
    index: Index,
    paths: Paths,
    model: Model = None,
    exclude: Exclude = None,
    comments: Comments = "keep",
    public_only: PublicOnly = False,
    max_bytes: MaxBytes = 10_000_000,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Add files and folders to INDEX, or bring them up to date; what else it holds stays."""
    _existing(index)
    options = _Options(model, tuple(exclude or ()), comments, public_only, max_bytes)
    _sync(index, paths, options, keep_others=True, as_json=as_json, quiet=quiet)


@app.command()
def remove(
    index: Index,
    targets: Annotated[list[str], typer.Argument(metavar="TARGET...", help="Files, folders or document ids.")],
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Drop files, folders or single documents from INDEX."""
    from embedkit.corpus.sync import Sync
    from embedkit.index.retriever import Retriever

    removed = 0
    with Retriever.load(_existing(index)) as retriever:
        for target in targets:
            if target in retriever:
                retriever.remove([target])
                removed += 1
            else:
                removed += Sync(retriever, count_tokens=len).remove(target).removed
    if as_json:
        print_json({"removed": removed})
    elif not quiet:
        typer.echo(f"removed {removed:,} documents")


@app.command()
def search(
    index: Index,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="A question or a few words.")],
    k: Annotated[int, typer.Option("-k", envvar="EMBEDKIT_K", min=1, help="Number of answers.")] = 10,
    kind: Annotated[
        Literal["text", "code", "table"] | None,
        typer.Option(envvar="EMBEDKIT_KIND", help="Only documents of this kind."),
    ] = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Print the documents nearest to QUERY: score, kind, place and name, best first."""
    if not query.strip():
        raise typer.BadParameter("must not be blank", param_hint="QUERY")
    folder = _existing(index)
    with _open(folder, model, read_only=True) as retriever:
        hits = retriever.search(query, k, where={"kind": kind} if kind else None)
    if as_json:
        print_json([as_dict(hit) for hit in hits])
    elif not hits:
        typer.echo(f"no documents{f' of kind {kind}' if kind else ''} in {folder}", err=True)
    else:
        print_hits(hits)


@app.command()
def info(index: Index, as_json: AsJson = False) -> None:
    """Say what INDEX holds and what made it."""
    from embedkit.index.store import STORE, DocumentStore

    folder = _existing(index)
    store = DocumentStore(folder / STORE, read_only=True)
    settings, notes = store.settings(), store.notes()
    facts = {
        "index": str(folder),
        "documents": len(store),
        "kinds": {str(kind): count for kind, count in store.count_by("kind").items()},
        "files": sum(name.startswith("file:") and not note.get("skipped") for name, note in notes.items()),
        "skipped": sum(name.startswith("file:") and bool(note.get("skipped")) for name, note in notes.items()),
        "model": notes.get("model") or "default (all-MiniLM-L6-v2)",
        "encoder": settings.get("encoder"),
        "dim": settings.get("dim"),
        "metric": settings.get("metric"),
        "search": settings.get("kind"),
        "format": settings.get("format"),
        "bytes": sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
    }
    store.close()
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        shown = ", ".join(f"{key} {count:,}" for key, count in value.items()) if isinstance(value, dict) else value
        typer.echo(f"{name:>10}  {shown:,}" if isinstance(shown, int) else f"{name:>10}  {shown}")


@app.command()
def demo(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", envvar="EMBEDKIT_OUT", help="Keep the index in this folder.")
    ] = None,
) -> None:
    """Index the standard library of this Python and answer five questions about it."""
    from embedkit.demo import run

    run(out)


# -- what the commands share ---------------------------------------------------------------------------


class _Options(NamedTuple):
    """What `index` and `add` let a user choose."""

    model: str | None
    exclude: tuple[str, ...]
    comments: Literal["keep", "drop"]
    public_only: bool
    max_bytes: int


def _sync(folder: Path, paths: list[str], options: _Options, *, keep_others: bool, as_json: bool, quiet: bool) -> None:
    missing = next((path for path in paths if not Path(path).exists()), None)
    if missing is not None:
        raise typer.BadParameter(f"{missing} does not exist", param_hint="PATH")
    from embedkit.corpus.documents import Cutting

    with _open(folder, options.model, read_only=False) as retriever:
        cutting = Cutting(_window(retriever), options.comments, options.public_only, options.max_bytes)
        silent = quiet or as_json
        report = sync_with_bar(
            retriever, paths, cutting, exclude=options.exclude, keep_others=keep_others, quiet=silent
        )
        total = len(retriever)
    if as_json:
        print_json({**vars(report), "documents": total})
    elif not quiet:
        print_report(report, folder, total)


def _open(folder: Path, model: str | None, *, read_only: bool) -> "Retriever":
    """The index with the model it was made with; a new one is made unless `read_only`."""
    from embedkit.encoders.loading import load
    from embedkit.index.retriever import Retriever
    from embedkit.index.store import STORE, DocumentStore

    if read_only or (folder / STORE).is_file():
        with_model = model
        if model is None:
            store = DocumentStore(folder / STORE, read_only=True)
            with_model = store.notes().get("model")
            store.close()
        return Retriever.load(folder, load(with_model), read_only=read_only)
    retriever = Retriever(load(model), folder=folder)
    # Remembered so that later commands need no --model; a folder is named so that it is found from anywhere.
    retriever.write_notes({"model": str(Path(model).resolve()) if model and Path(model).is_dir() else model})
    return retriever


def _existing(folder: Path) -> Path:
    from embedkit.index.store import STORE

    if not (folder / STORE).is_file():
        message = f"{folder} holds no index: make one with 'embedkit index PATH --out {folder}'"
        raise InputError(message)
    return folder


def _window(retriever: "Retriever") -> int:
    """Tokens of a document that the encoder reads; the special ones are its own."""
    encoder: Any = retriever.encoder
    window = encoder.max_seq_length or 512
    return int(window) - int(encoder.tokenizer.num_special_tokens_to_add())
