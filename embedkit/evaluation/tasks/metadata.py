"""What every task made here tells mteb about itself."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from mteb.abstasks.task_metadata import TaskMetadata

from embedkit.errors import InputError

DATA_VARIABLE = "EMBEDKIT_DATA"
_DEFAULT_DATA = Path("../shared/data")


def data_folder(folder: Path | None = None) -> Path:
    """Where the known data sets are: `folder`, or what EMBEDKIT_DATA names, or beside the project."""
    return folder or Path(os.environ.get(DATA_VARIABLE) or _DEFAULT_DATA)


def existing(path: Path) -> Path:
    """`path`, if it is there.

    Raises:
        InputError: It is not.
    """
    if not path.exists():
        message = f"{path} is not there; {DATA_VARIABLE} names the folder that holds the data sets"
        raise InputError(message)
    return path


def metadata(name: str, kind: str, main_score: str, description: str, content: Any) -> TaskMetadata:
    """Metadata of a task over texts, its data's revision being the hash of the content.

    Args:
        name: Name of the task; also the stem of its result file.
        kind: mteb's word for the kind of task, such as "Retrieval".
        main_score: mteb's name of the main metric.
        description: What is asked of a model, in one sentence.
        content: Everything that decides a score, as JSON can hold it.
    """
    revision = hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()[:40]
    return TaskMetadata(
        name=name,
        description=description,
        type=kind,  # type: ignore[arg-type]  # one of mteb's literals
        category="t2t" if kind in {"Retrieval", "Reranking", "STS", "PairClassification"} else "t2c",
        modalities=["text"],
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score=main_score,
        dataset={"path": "local", "revision": revision},
        reference=None,
        date=None,
        domains=None,
        task_subtypes=None,
        license=None,
        annotations_creators=None,
        dialect=None,
        sample_creation=None,
        bibtex_citation=None,
    )
