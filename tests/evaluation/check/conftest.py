import pytest
import torch

from embedkit.evaluation.check import CHECKS, check, suite


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Models this small spend their time waiting for a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def run(monkeypatch):
    """A function running one check alone."""

    def run(name, encoder, **options):
        monkeypatch.setattr(suite, "CHECKS", tuple(one for one in CHECKS if one.name == name))
        (finding,) = check(encoder, **options)
        assert finding.name == name
        return finding

    return run
