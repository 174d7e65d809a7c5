import pytest

from embedkit.encoders.table.vectors import table_vectors
from embedkit.probes.observatory import variants as variants_module


@pytest.fixture
def text_encoder(make_encoder):
    return make_encoder()


@pytest.fixture
def asked(monkeypatch):
    """What the encoder is asked to read: original and variants of each table."""
    calls = []

    def spy(encoder, tables, **options):
        if tables:
            calls.append(tables)
        return table_vectors(encoder, tables, **options)

    monkeypatch.setattr(variants_module, "table_vectors", spy)
    return calls
