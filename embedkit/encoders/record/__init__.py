"""Records of named fields, such as clicks: vocabularies, ids, and encoders that look vectors up."""

from embedkit.encoders.record.encoder import RecordInput, encode_field, encode_records, record_encoder
from embedkit.encoders.record.fields import FIRST_KNOWN, MISSING, UNSEEN, Field, Vocabulary, as_columns
from embedkit.encoders.record.files import Clicks, read_clicks
from embedkit.encoders.record.records import Records
from embedkit.encoders.record.sample import sample_clicks

__all__ = [
    "FIRST_KNOWN",
    "MISSING",
    "UNSEEN",
    "Clicks",
    "Field",
    "RecordInput",
    "Records",
    "Vocabulary",
    "as_columns",
    "encode_field",
    "encode_records",
    "read_clicks",
    "record_encoder",
    "sample_clicks",
]
