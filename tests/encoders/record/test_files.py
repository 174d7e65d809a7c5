"""Click logs from files."""

import numpy as np
import pandas as pd
import pytest

from embedkit.encoders.record import read_clicks, sample_clicks
from embedkit.errors import InputError


def test_csv_tsv_and_parquet_agree(tmp_path):
    frame = pd.DataFrame({"clicked": [1, 0], "user": ["ann", ""], "item": ["7", "9"]})
    frame.to_csv(tmp_path / "log.csv", index=False)
    frame.to_csv(tmp_path / "log.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "log.parquet")
    for suffix in ("csv", "tsv", "parquet"):
        columns, labels = read_clicks(tmp_path / f"log.{suffix}", label="clicked")
        assert {name: list(column) for name, column in columns.items()} == {"user": ["ann", ""], "item": ["7", "9"]}
        assert labels.tolist() == [1, 0]
        assert labels.dtype == np.float32


def test_libfm_and_libffm(tmp_path):
    (tmp_path / "log.libfm").write_text("-1 204:1 4798:1\n\n1 42:1 1572:1\n")
    columns, labels = read_clicks(tmp_path / "log.libfm")
    assert columns == {"field 0": ["204", "42"], "field 1": ["4798", "1572"]}
    assert labels.tolist() == [0, 1]
    (tmp_path / "log.ffm").write_text("0 3:204:1 1:7:1\n1 1:8:1 3:42:1\n")
    assert read_clicks(tmp_path / "log.ffm").columns == {"field 3": ["204", "42"], "field 1": ["7", "8"]}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("log.csv", "", "it is empty"),
        ("log.csv", "label,user\n", "it is empty"),
        ("log.csv", "click,user\n1,ann\n", "must have a column 'label'; it has click, user"),
        ("log.csv", "label,user\n1,ann\n2,bob\n", "labels must be 0 and 1, or -1 and 1; received '2'"),
        ("log.csv", "label,user\n1,ann\nyes,bob\n", "labels must be 0 and 1.*received 'yes'"),
        ("log.csv", "label,user\n1,ann\n0,bob\n-1,eve\n", "received -1 and 0"),
        ("log.libfm", "", "it is empty"),
        ("log.libfm", "1 7:1 9:1\n1 7:1\n", "same fields, 2; line 2 has 1"),
        ("log.libfm", "1 7:0.5\n", "entries must be index:1.*line 1 has '7:0.5'"),
        ("log.libfm", "1 seven\n", "line 1 has 'seven'"),
        ("log.ffm", "1 3:7:1 3:8:1\n", "name a field once; line 1 does not: '1 3:7:1 3:8:1'"),
        ("log.txt", "1", "a click log must end in one of .csv .tsv .parquet"),
    ],
)
def test_files_that_are_none_are_refused(tmp_path, name, text, says):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=says):
        read_clicks(tmp_path / name)


def test_the_sample_has_both_labels_and_all_its_fields():
    columns, labels = sample_clicks()
    assert list(columns) == ["user", "item", "tags", "hour", "device", "price"]
    assert 0.3 < labels.mean() < 0.7
