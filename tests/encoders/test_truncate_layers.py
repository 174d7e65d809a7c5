"""A copy with fewer layers gives the vectors of that depth, also after it was saved, here and elsewhere."""

import numpy as np
import pytest

import embedkit as ek
from embedkit.encoders.depth import truncate_layers
from embedkit.errors import InputError

TEXTS = ["a cat sat on the mat", "the dog barks", ""]


@pytest.mark.parametrize("kind", ["bert", "modernbert", "llama", "distilbert"])
def test_the_copy_gives_the_vectors_of_its_depth_and_keeps_them_in_a_folder(make_encoder, tmp_path, kind):
    from sentence_transformers import SentenceTransformer

    encoder = make_encoder(kind)
    wanted = encoder.encode(TEXTS, num_layers=2)
    shorter = truncate_layers(encoder, 2)
    assert np.array_equal(shorter.encode(TEXTS), wanted)
    shorter.save(tmp_path / "model")
    opened = ek.load(tmp_path / "model", device="cpu")
    assert opened.get_num_layers() == 2
    assert np.array_equal(opened.encode(TEXTS), wanted)
    elsewhere = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    np.testing.assert_allclose(elsewhere.encode(TEXTS), wanted, atol=1e-6)


def test_the_copy_shares_nothing_with_the_encoder_and_leaves_it_whole(make_encoder):
    import torch

    encoder = make_encoder()
    before, depth = encoder.encode(TEXTS), encoder.get_num_layers()
    shorter = truncate_layers(encoder, 1)
    with torch.no_grad():
        for parameter in shorter.parameters():
            parameter.zero_()
    assert np.array_equal(encoder.encode(TEXTS), before)
    assert encoder.get_num_layers() == depth
    assert sum(p.numel() for p in shorter.parameters()) < sum(p.numel() for p in encoder.parameters())


def test_the_full_depth_is_a_copy_too(make_encoder):
    encoder = make_encoder()
    assert np.array_equal(truncate_layers(encoder, 4).encode(TEXTS), encoder.encode(TEXTS))


@pytest.mark.parametrize("depth", [0, 5, -1, "two"])
def test_depths_that_there_are_not_are_refused(make_encoder, depth):
    with pytest.raises(InputError, match="num_layers must be"):
        truncate_layers(make_encoder(), depth)
