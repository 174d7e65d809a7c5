"""Known data sets read from the folder that EMBEDKIT_DATA names, without the hub.

Where mteb has a task on exactly these data, its own task is used, so that scores compare with published ones; the
others are built like people's own data. The revision of either is a hash of what was read.

| task | texts | compares with |
|:--|:--|:--|
| STSBenchmark, STS12, STS13, STS14 | test pairs that have a score | mteb's tasks of these names |
| STSBenchmarkMultilingualSTS | English and German | mteb's subsets en and de |
| Banking77Classification | train and test | mteb's task |
| SIB200Classification | 12 languages; train, validation and test | mteb's subsets, which lack arb_Arab and zho_Hans |
| STS12WithoutMSRvid | test pairs without those of videos | – |
| TRECQuestions | six coarse classes; train and test | – |
| AGNewsTopics | test split, cross-validated | –; mteb's NewsClassification trains on the training split |
| MedicalAbstracts | test split, cross-validated | – |
| CLINC150Intents | 150 intents without out-of-scope queries; train and test | – |
| StanfordSentiment | two classes; train and test | – |
| MovieReviews, Subjectivity, CustomerReviews, OpinionPolarity | all, cross-validated | – |
| NLUppBanking, NLUppHotels | folds 0 … 9 to train, 10 … 19 to test | – |
| CranfieldRetrieval | see `cranfield` | – |
"""

import csv
import difflib
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mteb
import mteb.tasks
from datasets import DatasetDict
from mteb.abstasks import AbsTask

from embedkit.errors import InputError
from embedkit.evaluation.tasks import building, cranfield
from embedkit.evaluation.tasks.building import About
from embedkit.evaluation.tasks.metadata import data_folder, existing

_FOLDS = 20
_LANGUAGES = (
    "arb_Arab",
    "deu_Latn",
    "eng_Latn",
    "fra_Latn",
    "hin_Deva",
    "ita_Latn",
    "por_Latn",
    "rus_Cyrl",
    "spa_Latn",
    "swh_Latn",
    "tur_Latn",
    "zho_Hans",
)
_STS = {
    "STS12": (2012, ("MSRpar", "MSRvid", "OnWN", "SMTeuroparl", "SMTnews")),
    "STS13": (2013, ("FNWN", "OnWN", "headlines")),
    "STS14": (2014, ("OnWN", "deft-forum", "deft-news", "headlines", "images", "tweet-news")),
}


@dataclass(frozen=True, slots=True)
class Known:
    """A data set that can be read from disk.

    Attributes:
        folder: Its folder, below that of all texts.
        files: What must be in it.
        load: Reads the folder into a loaded task.
    """

    folder: str
    files: tuple[str, ...]
    load: Callable[[Path], AbsTask]


def known_tasks(folder: Path | None = None) -> list[str]:
    """Names of the known tasks whose files are there, sorted.

    Args:
        folder: Where the data sets are; None takes EMBEDKIT_DATA.
    """
    texts = data_folder(folder) / "text"
    return sorted(
        name for name, known in KNOWN.items() if all((texts / known.folder / file).is_file() for file in known.files)
    )


def known_task(name: str, folder: Path | None = None) -> AbsTask:
    """A known task, loaded.

    Args:
        name: One of `KNOWN`.
        folder: Where the data sets are; None takes EMBEDKIT_DATA.

    Raises:
        InputError: An unknown name, for which the nearest are suggested, or a file that is missing or damaged.
    """
    if name not in KNOWN:
        near = difflib.get_close_matches(name, {*KNOWN, *names_in_mteb()}, 3, 0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(sorted(KNOWN))}"
        message = f"task must be a data set that is known; received {name!r}: {hint}"
        raise InputError(message)
    known = KNOWN[name]
    place = data_folder(folder) / "text" / known.folder
    for file in known.files:
        existing(place / file)
    try:
        return known.load(place)
    except InputError:
        raise
    except (ValueError, LookupError, TypeError, csv.Error) as error:
        message = f"{place} must hold the data set of {name}; it cannot be read as such ({error}): fetch it again"
        raise InputError(message) from None


def names_in_mteb() -> set[str]:
    """Names of mteb's tasks, from its classes: `mteb.get_tasks` makes and seeds every one, which takes seconds."""
    classes = (held for held in vars(mteb.tasks).values() if isinstance(held, type) and issubclass(held, AbsTask))
    return {made.metadata.name for made in classes if hasattr(made, "metadata")}


# -- data sets that mteb has ---------------------------------------------------------------------------


def _as_mteb(
    name: str, place: Path, subsets: Mapping[str, Mapping[str, dict[str, list[Any]]]], names: tuple[str, ...] = ()
) -> AbsTask:
    """The task of mteb's on these data. Subsets it does not list are added, those that are not here are left out."""
    task = mteb.get_task(name)
    content = json.dumps([subsets, names], sort_keys=True).encode()
    update: dict[str, Any] = {
        "dataset": {**task.metadata.dataset, "revision": f"local-{hashlib.sha256(content).hexdigest()[:40]}"}
    }
    loaded = {
        subset: DatasetDict({split: building.labelled(columns, names) for split, columns in splits.items()})
        for subset, splits in subsets.items()
    }
    if task.metadata.is_multilingual:
        listed = task.metadata.hf_subsets_to_langscripts
        update["eval_langs"] = {subset: listed.get(subset, [subset.replace("_", "-")]) for subset in subsets}
    task.metadata = task.metadata.model_copy(update=update)
    task.hf_subsets = list(subsets)
    task.dataset, task.data_loaded = (loaded if task.metadata.is_multilingual else loaded["default"]), True
    task.source, task.modality = str(place), "text"  # type: ignore[attr-defined]  # what is kept beside a result
    return task


def _sts_benchmark(place: Path) -> AbsTask:
    return _as_mteb("STSBenchmark", place, {"default": {"test": _stsb(place, "en", "test")}})


def _sts_benchmark_multilingual(place: Path) -> AbsTask:
    subsets = {
        language: {split: _stsb(place, language, split) for split in ("dev", "test")} for language in ("de", "en")
    }
    return _as_mteb("STSBenchmarkMultilingualSTS", place, subsets)


def _stsb(place: Path, language: str, split: str) -> dict[str, list[Any]]:
    rows = _delimited(place / f"stsb-{language}-{split}.csv", ",")
    return {
        "sentence1": [row[0] for row in rows],
        "sentence2": [row[1] for row in rows],
        "score": [float(row[2]) for row in rows],
    }


def _semeval(name: str, place: Path) -> AbsTask:
    return _as_mteb(name, place, {"default": {"test": _scored(place, _STS[name][1])}})


def _without_videos(place: Path) -> AbsTask:
    about = About("STS12WithoutMSRvid", str(place), "SemEval-2012 Task 6 without the pairs that describe videos.")
    columns = _scored(place, tuple(part for part in _STS["STS12"][1] if part != "MSRvid"))
    return building.sts(about, columns["sentence1"], columns["sentence2"], columns["score"])


def _scored(place: Path, parts: tuple[str, ...]) -> dict[str, list[Any]]:
    """The pairs that have a score: the organisers left the others out of the evaluation. Quotes are part of texts."""
    columns: dict[str, list[Any]] = {"sentence1": [], "sentence2": [], "score": []}
    for part in parts:
        for line in _lines(place / f"{part}.test.tsv", "utf-8"):
            score, first, second = line.rstrip("\r").split("\t")
            if score.strip():
                columns["sentence1"].append(first)
                columns["sentence2"].append(second)
                columns["score"].append(float(score))
    return columns


def _banking77(place: Path) -> AbsTask:
    rows = {split: _delimited(place / f"{split}.csv", ",")[1:] for split in ("train", "test")}
    names = tuple(sorted({label for split in rows.values() for _, label in split}, key=str.lower))  # as the hub has it
    return _as_mteb("Banking77Classification", place, {"default": _numbered(rows, names)}, names)


def _sib200(place: Path) -> AbsTask:
    files = {"train": "train", "validation": "dev", "test": "test"}
    subsets = {
        language: {
            split: [(row[2], row[1]) for row in _delimited(place / language / f"{file}.tsv", "\t")[1:]]
            for split, file in files.items()
        }
        for language in _LANGUAGES
    }
    names = tuple(sorted({label for splits in subsets.values() for rows in splits.values() for _, label in rows}))
    numbered = {language: _numbered(splits, names) for language, splits in subsets.items()}
    return _as_mteb("SIB200Classification", place, numbered, names)


def _numbered(rows: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, dict[str, list[Any]]]:
    return {
        split: {"text": [text for text, _ in pairs], "label": [names.index(label) for _, label in pairs]}
        for split, pairs in rows.items()
    }


# -- data sets that mteb does not have -----------------------------------------------------------------


def _trec(place: Path) -> AbsTask:
    about = About("TRECQuestions", str(place), "What kind of thing a question asks for, of six kinds (Li & Roth 2002).")
    splits = {
        split: _unzipped(
            (text, label.split(":")[0]) for label, text in _marked(place / f"TREC.{split}", encoding="latin-1")
        )
        for split in ("train", "test")
    }
    return building.classification(about, splits)


def _ag_news(place: Path) -> AbsTask:
    about = About("AGNewsTopics", str(place), "The topic of a news item, of four (Zhang, Zhao & LeCun 2015).")
    names = _lines(place / "classes.txt", "utf-8")
    rows = _delimited(place / "test.csv", ",")
    pairs = ((f"{title} {text}", names[int(label) - 1]) for label, title, text in rows)
    return building.classification(about, {"test": _unzipped(pairs)})


def _medical_abstracts(place: Path) -> AbsTask:
    about = About(
        "MedicalAbstracts", str(place), "The condition that an abstract is about, of five (Schopf et al. 2022)."
    )
    names = dict(_delimited(place / "medical_tc_labels.csv", ",")[1:])
    pairs = ((text, names[label]) for label, text in _delimited(place / "medical_tc_test.csv", ",")[1:])
    return building.classification(about, {"test": _unzipped(pairs)})


def _clinc150(place: Path) -> AbsTask:
    about = About("CLINC150Intents", str(place), "What a query wants, of 150 intents (Larson et al. 2019).")
    held = json.loads((place / "data_full.json").read_text("utf-8"))
    return building.classification(about, {split: _unzipped(held[split]) for split in ("train", "test")})


def _stanford_sentiment(place: Path) -> AbsTask:
    about = About("StanfordSentiment", str(place), "Whether a sentence about a film is positive (Socher et al. 2013).")
    splits = {
        split: _unzipped((text, label) for label, text in _marked(place / f"stsa.binary.{split}", encoding="utf-8"))
        for split in ("train", "test")
    }
    return building.classification(about, splits)


def _two_classes(name: str, file: str, description: str, place: Path) -> AbsTask:
    """One of the files of two classes, in Latin-1. Lines without a text are left out: four of CR, three of MPQA."""
    about = About(name, str(place), description)
    pairs = ((text, label) for label, text in _marked(place / file, encoding="latin-1") if text.strip())
    return building.classification(about, {"test": _unzipped(pairs)})


def _nlupp(name: str, place: Path) -> AbsTask:
    """Half of the folds to train, half to test; an utterance without intents has none."""
    about = About(name, str(place), "The intents of an utterance, any number of them (Casanueva et al. 2022).")
    halves = {"train": range(_FOLDS // 2), "test": range(_FOLDS // 2, _FOLDS)}
    splits = {
        split: _unzipped(
            (example["text"], example.get("intents", []))
            for fold in folds
            for example in json.loads((place / f"fold{fold}.json").read_text("utf-8"))
        )
        for split, folds in halves.items()
    }
    return building.multilabel(about, splits)


def _cranfield(place: Path) -> AbsTask:
    about = About(
        "CranfieldRetrieval", str(place), "Abstracts that answer a question on aerodynamics (Cleverdon 1967)."
    )
    found = cranfield.read_cranfield(place)
    return building.retrieval(about, found.documents, found.queries, found.relevant)


# -- formats -------------------------------------------------------------------------------------------


def _lines(path: Path, encoding: str) -> list[str]:
    r"""Lines that are not blank. Split at \n only: Latin-1 has the byte 0x85, which `splitlines` takes for an end."""
    return [line for line in path.read_bytes().decode(encoding).split("\n") if line.strip()]


def _marked(path: Path, encoding: str) -> Iterator[tuple[str, str]]:
    """(label, text) of lines whose first word is the label."""
    for line in _lines(path, encoding):
        label, _, text = line.partition(" ")
        yield label, text


def _delimited(path: Path, delimiter: str) -> list[list[str]]:
    text = path.read_bytes().decode("utf-8-sig")
    return [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row]


def _unzipped(pairs: Any) -> tuple[list[str], list[Any]]:
    held = list(pairs)
    return [text for text, _ in held], [label for _, label in held]


KNOWN: Mapping[str, Known] = {
    "STSBenchmark": Known("stsb", ("stsb-en-test.csv",), _sts_benchmark),
    "STSBenchmarkMultilingualSTS": Known(
        "stsb",
        tuple(f"stsb-{language}-{split}.csv" for language in ("de", "en") for split in ("dev", "test")),
        _sts_benchmark_multilingual,
    ),
    **{
        name: Known(f"semeval_sts/{year}", tuple(f"{part}.test.tsv" for part in parts), partial(_semeval, name))
        for name, (year, parts) in _STS.items()
    },
    "STS12WithoutMSRvid": Known(
        "semeval_sts/2012",
        tuple(f"{part}.test.tsv" for part in _STS["STS12"][1] if part != "MSRvid"),
        _without_videos,
    ),
    "Banking77Classification": Known("banking77", ("train.csv", "test.csv"), _banking77),
    "SIB200Classification": Known(
        "sib200",
        tuple(f"{language}/{split}.tsv" for language in _LANGUAGES for split in ("train", "dev", "test")),
        _sib200,
    ),
    "TRECQuestions": Known("trec", ("TREC.train", "TREC.test"), _trec),
    "AGNewsTopics": Known("ag_news", ("classes.txt", "test.csv"), _ag_news),
    "MedicalAbstracts": Known(
        "medical_abstracts", ("medical_tc_labels.csv", "medical_tc_test.csv"), _medical_abstracts
    ),
    "CLINC150Intents": Known("clinc150", ("data_full.json",), _clinc150),
    "StanfordSentiment": Known("sentconv", ("stsa.binary.train", "stsa.binary.test"), _stanford_sentiment),
    **{
        name: Known("sentconv", (file,), partial(_two_classes, name, file, description))
        for name, file, description in (
            ("MovieReviews", "rt-polarity.all", "Whether a sentence of a film review is positive (Pang & Lee 2005)."),
            ("Subjectivity", "subj.all", "Whether a sentence is an opinion or a fact (Pang & Lee 2004)."),
            ("CustomerReviews", "custrev.all", "Whether a product review is positive (Hu & Liu 2004)."),
            ("OpinionPolarity", "mpqa.all", "Whether a phrase is a positive opinion (Wiebe, Wilson & Cardie 2005)."),
        )
    },
    **{
        name: Known(f"nlupp/{domain}", tuple(f"fold{fold}.json" for fold in range(_FOLDS)), partial(_nlupp, name))
        for name, domain in (("NLUppBanking", "banking"), ("NLUppHotels", "hotels"))
    },
    "CranfieldRetrieval": Known("ir_cranfield", cranfield.FILES, _cranfield),
}
"""Name → where the data are and how they are read."""
