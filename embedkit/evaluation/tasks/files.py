"""People's own data as tasks of mteb: the columns of a file say what it is, mteb's evaluators score it.

What each kind needs, and the headers that are understood (upper case, spaces and hyphens make no difference):

| kind | columns | measured by |
|:--|:--|:--|
| sts | sentence1, sentence2, score | Spearman's correlation |
| pair_classification | sentence1, sentence2, label (0 and 1, false and true, or no and yes) | average precision |
| classification | text, label | accuracy of logistic regression |
| multilabel | text, labels (a list; may be empty) | exact matches of nearest neighbours |
| clustering | text, cluster | V-measure |
| retrieval | query, document; may have title, grade, distractors (a list) | nDCG@10 |
| reranking | query, positive (a list), negative (a list) | MAP |

| column | also called |
|:--|:--|
| sentence1 | s1, text1, sentence_1, text_1, sentence_a, text_a, premise, question1 |
| sentence2 | s2, text2, sentence_2, text_2, sentence_b, text_b, hypothesis, question2 |
| score | similarity, similarity_score |
| text | sentence, utterance, content |
| label | category, intent, class, topic |
| labels | categories, intents, classes, topics, tags |
| cluster | cluster_id |
| query | question |
| document | passage, answer, text |
| positive | positives, pos |
| negative | negatives, neg |
| grade | relevance, score, label |

A list is a list in JSON and Parquet; in CSV a JSON list, or items split by `|`. Of a retrieval file each row is a
query and a document that answers it, or, with a column `grade`, is graded 0 (does not) or more; documents are the
distinct ones of all rows and the distractors.

A data set is one file, a BEIR folder, or files named alike that end in train, dev (valid, val) or test, such as
`mine-train.csv` and `mine-test.csv`, or `train.csv` and `test.csv` in a folder. A file `mine-distractors.csv` has
a column `document` with more documents to search among. The test file is evaluated, without one the dev file; the
training file is read by the kinds that train, which are classification and multilabel. A column `split` in one file
does the same. Without training texts, classification is cross-validated in five folds as mteb does it, and half of
a multilabel file, seeded, is taken for training.
"""

import itertools
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mteb.abstasks import AbsTask

from embedkit.errors import InputError
from embedkit.evaluation.tasks import building
from embedkit.evaluation.tasks.beir import beside, is_beir, read_beir
from embedkit.evaluation.tasks.building import About
from embedkit.evaluation.tasks.columns import FIELDS, MAY, NEEDS, Columns, Options, kind_of, read_columns
from embedkit.evaluation.tasks.reading import SUFFIXES, read_rows

T = TypeVar("T")

_ROLES = {
    "train": ("train", "training"),
    "dev": ("dev", "valid", "validation", "val"),
    "test": ("test", "testing"),
    "distractors": ("distractors",),
}
_ROLE_OF = {word: role for role, words in _ROLES.items() for word in words}
_STEM = re.compile(rf"(?:(?P<name>.*)[-_. ])?(?P<role>{'|'.join(_ROLE_OF)})", re.IGNORECASE | re.DOTALL)
_TRUTH = {"0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
_LANGUAGE = re.compile(r"[a-z]{3}-[A-Z][a-z]{3}")


def tasks_from(
    path: Path,
    *,
    kind: str | None = None,
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
    language: str = "eng-Latn",
    drop_blank: bool = False,
) -> list[AbsTask]:
    """Loaded tasks of mteb's from a file or folder; the module says which columns and names are understood.

    `mteb.evaluate` runs them without the network. The revision of a task's data is a hash of what was read and how it
    is sampled, so that no result of other data is ever taken for it. Ids of queries and documents are numbers in the
    alphabetical order of their texts, whatever the order of the rows.

    Args:
        path: A CSV, TSV, JSONL, JSON or Parquet file, a BEIR folder, or a folder with any of these in it or in its
            sub-folders.
        kind: Which kind of task, where columns could mean several; None takes the only one that they fit.
        columns: The names in the module's table → the names your columns have.
        seed: Of everything that mteb draws: training samples, folds, clustering samples.
        language: ISO 639-3 and script of the texts.
        drop_blank: Leave out rows without a text, score or label, and warn how many; else they are an error.

    Returns:
        One task a data set, by name; each has the attributes `source` and `modality`.

    Raises:
        InputError: Nothing to read, columns that fit no kind or several, or bad data; file and line are named.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "pairs.csv"
        >>> rows = "s1,s2,similarity", "a cat,a dog,2", "a cat,a kitten,4"
        >>> _ = file.write_text(chr(10).join(rows))
        >>> task = tasks_from(file)[0]
        >>> task.metadata.name, task.metadata.type, task.metadata.main_score
        ('pairs', 'STS', 'cosine_spearman')
    """
    options = Options(kind, dict(columns or {}), seed, language, drop_blank)
    _check_options(options)
    sources = sorted(_sources(path), key=lambda source: (source.name.casefold(), source.name))
    for before, after in itertools.pairwise(sources):
        if before.name.casefold() == after.name.casefold():
            message = (
                f"{path}: data sets must have different names; {before.place} and {after.place} have {after.name!r}"
            )
            raise InputError(message)
    return [_task(source, options) for source in sources]


@dataclass(frozen=True, slots=True)
class _Source:
    """A data set: a BEIR folder where `files` is empty, else role → file."""

    name: str
    place: Path
    files: Mapping[str, Path]


def _check_options(options: Options) -> None:
    unknown = sorted(set(options.columns) - set(FIELDS))
    if options.kind is not None and options.kind not in NEEDS:
        message = f"kind must be one of {', '.join(NEEDS)}; received {options.kind!r}"
    elif unknown:
        message = f"columns must map {', '.join(FIELDS)} to the names your columns have; received {unknown[0]!r}"
    elif not _LANGUAGE.fullmatch(options.language):
        message = f"language must be like 'eng-Latn', ISO 639-3 and script; received {options.language!r}"
    else:
        return
    raise InputError(message)


# -- which files make a data set -----------------------------------------------------------------------


def _sources(path: Path) -> list[_Source]:
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            message = f"{path} must end in {', '.join(sorted(SUFFIXES))}; convert it, or name the folder it is in"
            raise InputError(message)
        return [_Source(_safe(path.stem), path, {"test": path})]
    if not path.is_dir():
        message = f"{path} must be a file or folder of data; it is not there"
        raise InputError(message)
    folders = [path] if is_beir(path) else [path, *sorted(below for below in path.iterdir() if below.is_dir())]
    found = [source for folder in folders if not _is_hidden(folder, path) for source in _in_folder(folder)]
    if not found:
        message = f"{path} must hold a BEIR data set, or files ending in {', '.join(sorted(SUFFIXES))}; it holds none"
        raise InputError(message)
    return found


def _in_folder(folder: Path) -> Iterator[_Source]:
    name = _safe(folder.resolve().name)
    if is_beir(folder):
        yield _Source(name, folder, {})
        return
    groups: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.suffix.lower() not in SUFFIXES or _is_hidden(path, folder):
            continue
        match = _STEM.fullmatch(path.stem)
        stem, role = (match["name"] or "", _ROLE_OF[match["role"].lower()]) if match else (path.stem, "test")
        group = groups.setdefault(stem, {})
        if role in group:
            message = f"{folder}: a data set must have one {role} file; {group[role].name} and {path.name} both are"
            raise InputError(message)
        group[role] = path
    for stem, files in groups.items():
        yield _Source(_safe(stem) if stem else name, folder, files)


def _is_hidden(path: Path, root: Path) -> bool:
    return path != root and path.name.startswith((".", "_"))


def _safe(name: str) -> str:
    """A name that a file can have anywhere."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"


def _settled(parts: Mapping[str, T]) -> dict[str, T]:
    """`test`: what is evaluated, which is the test part, else the dev part, else all there is; and `train`."""
    if "test" in parts or "dev" in parts:
        rest = {"train": parts["train"]} if "train" in parts else {}
        return {"test": parts["test" if "test" in parts else "dev"], **rest}
    return {"test": parts["train"]} if "train" in parts else {}


# -- one data set --------------------------------------------------------------------------------------


def _task(source: _Source, options: Options) -> AbsTask:
    place = next(iter(source.files.values())) if len(source.files) == 1 else source.place
    about = About(source.name, str(place), f"Own data: {source.name}.", options.language, options.seed)
    if not source.files:
        if options.kind not in {None, "retrieval"}:
            message = f"{place} is a BEIR folder, whose kind is 'retrieval'; received {options.kind!r}"
            raise InputError(message)
        found = read_beir(place)
        if others := [path.name for path in beside(place) if path.suffix.lower() in SUFFIXES]:
            warnings.warn(f"{place} is a BEIR folder; left out {', '.join(others)}", stacklevel=2)
        return building.retrieval(about, found.documents, found.queries, found.relevant)
    files = _settled(source.files)
    if "test" not in files:
        message = f"{place} must stand beside a file of queries and documents; it is alone"
        raise InputError(message)
    rows = read_rows(files["test"])
    kind = options.kind or kind_of(rows, options)
    table = read_columns(rows, kind, NEEDS[kind], MAY.get(kind, ()), options)
    if kind in {"classification", "multilabel"}:
        return _trained(about, kind, table, files, options)
    if kind == "retrieval" and "distractors" in source.files:
        more = read_columns(read_rows(source.files["distractors"]), kind, ("document",), ("title",), options)
        titles = more.get("title", [""] * len(more["document"]))
        return _retrieval(about, table, list(zip(titles, more["document"], strict=True)))
    return _BUILD[kind](about, table)


def _trained(about: About, kind: str, table: Columns, files: Mapping[str, Path], options: Options) -> AbsTask:
    label = NEEDS[kind][1]
    if "train" in files:
        train = read_columns(read_rows(files["train"]), kind, NEEDS[kind], (), options)
        parts = {"test": table, "train": train}
    elif "split" in table:
        parts = _settled(_parts(about.source, table))
    else:
        parts = {"test": table}
    splits = {split: (part["text"], part[label]) for split, part in parts.items()}
    return building.classification(about, splits) if kind == "classification" else building.multilabel(about, splits)


def _parts(source: str, table: Columns) -> dict[str, Columns]:
    parts: dict[str, Columns] = {}
    for row, word in enumerate(table["split"]):
        role = _ROLE_OF.get(word.casefold())
        if role not in {"train", "dev", "test"}:
            message = f"{source}: 'split' must be train, dev or test; received {word!r}"
            raise InputError(message)
        part = parts.setdefault(role, {name: [] for name in table})
        for name, values in table.items():
            part[name].append(values[row])
    return parts


def _sts(about: About, table: Columns) -> AbsTask:
    return building.sts(about, table["sentence1"], table["sentence2"], table["score"])


def _pair_classification(about: About, table: Columns) -> AbsTask:
    wrong = sorted(set(table["label"]) - {label for label in table["label"] if label.casefold() in _TRUTH})
    if wrong:
        message = f"{about.source}: labels of pairs must be 0 and 1, false and true, or no and yes; found {wrong[0]!r}"
        raise InputError(message)
    same = [_TRUTH[label.casefold()] for label in table["label"]]
    return building.pair_classification(about, table["sentence1"], table["sentence2"], same)


def _clustering(about: About, table: Columns) -> AbsTask:
    return building.clustering(about, table["text"], table["cluster"])


def _retrieval(about: About, table: Columns, more: Sequence[tuple[str, str]] = ()) -> AbsTask:
    count = len(table["query"])
    answers = list(zip(table.get("title", [""] * count), table["document"], strict=True))
    listed = [("", text) for texts in table.get("distractors", ()) for text in texts]
    documents, queries = _numbered([*answers, *more, *listed]), _numbered(table["query"])
    relevant: dict[str, dict[str, int]] = {}
    for query, answer, grade in zip(table["query"], answers, table.get("grade", [1] * count), strict=True):
        if relevant.setdefault(queries[query], {}).setdefault(documents[answer], grade) != grade:
            message = f"{about.source}: a query and a document must have one grade; {query!r:.100} has two"
            raise InputError(message)
    return building.retrieval(about, _inverted(documents), _inverted(queries), relevant)


def _reranking(about: About, table: Columns) -> AbsTask:
    documents = _numbered([text for field in ("positive", "negative") for texts in table[field] for text in texts])
    queries = _numbered(table["query"])
    relevant: dict[str, dict[str, int]] = {}
    for query, positive, negative in zip(table["query"], table["positive"], table["negative"], strict=True):
        if queries[query] in relevant or set(positive) & set(negative):
            what = "is there twice" if queries[query] in relevant else "has a document that is both"
            message = (
                f"{about.source}: a query must be in one row, its positive and negative apart; {query!r:.100} {what}"
            )
            raise InputError(message)
        grades = {**dict.fromkeys(negative, 0), **dict.fromkeys(positive, 1)}
        relevant[queries[query]] = {documents[text]: grade for text, grade in grades.items()}
    corpus = {id: ("", text) for text, id in documents.items()}
    return building.retrieval(about, corpus, _inverted(queries), relevant, {id: list(g) for id, g in relevant.items()})


_BUILD: Mapping[str, Callable[[About, Columns], AbsTask]] = {
    "sts": _sts,
    "pair_classification": _pair_classification,
    "clustering": _clustering,
    "retrieval": _retrieval,
    "reranking": _reranking,
}


def _numbered(values: Sequence[T]) -> dict[T, str]:
    """Each distinct value and its number in sorted order."""
    return {value: str(number) for number, value in enumerate(sorted(set(values)))}  # type: ignore[type-var]


def _inverted(ids: Mapping[T, str]) -> dict[str, T]:
    return {id: value for value, id in ids.items()}
