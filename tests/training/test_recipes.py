"""Starbucks and NV-Embed's two stages: what they hand to `fit`, and that their encoders open elsewhere."""

import numpy as np
import pytest
import torch

import embedkit as ek
from embedkit.errors import InputError
from embedkit.losses import CoSENTLoss, StarbucksLoss
from embedkit.training.adapter import TensorLoss
from embedkit.training.negatives import examples_of_classes, examples_of_scores, mine_hard_negatives
from embedkit.training.nv_embed import nv_embed_two_stage
from embedkit.training.starbucks import starbucks, starbucks_pairs

TEXTS = ["a cat sat on the mat", "the dog barks", "red green blue", "one bird sings", "def return if not true"]
GRADED = [(TEXTS[i], TEXTS[j], float(i == j)) for i in range(5) for j in range(5)]
QUICK = {"batch_size": 8, "learning_rate": 1e-3, "show_progress_bar": False}


@pytest.mark.parametrize(
    ("depth", "dim", "pairs"),
    [
        (6, 384, ((1, 24), (2, 48), (3, 96), (4, 192), (5, 288), (6, 384))),
        (12, 768, ((2, 48), (4, 96), (6, 192), (8, 384), (10, 576), (12, 768))),
        (2, 32, ((1, 8), (2, 32))),
        (1, 16, ((1, 16),)),
    ],
)
def test_sizes_ascend_to_the_whole_model(depth, dim, pairs):
    assert starbucks_pairs(depth, dim) == pairs


def test_sizes_of_what_is_too_small_are_refused():
    with pytest.raises(InputError, match="received 0 and 384"):
        starbucks_pairs(0, 384)
    with pytest.raises(InputError, match="received 6 and 8"):
        starbucks_pairs(6, 8)


def test_starbucks_trains_the_small_sizes_and_its_folder_opens_in_sentence_transformers(make_encoder, tmp_path):
    from sentence_transformers import SentenceTransformer

    encoder = make_encoder()
    before = encoder.encode(TEXTS, num_layers=1, truncate_dim=8)
    starbucks(encoder, GRADED, pairs=((1, 8), (4, 32)), epochs=2, **QUICK)
    assert np.abs(encoder.encode(TEXTS, num_layers=1, truncate_dim=8) - before).max() > 1e-3
    encoder.save(tmp_path / "model")
    elsewhere = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    np.testing.assert_allclose(elsewhere.encode(TEXTS), encoder.encode(TEXTS), atol=1e-6)
    again = ek.load(tmp_path / "model", device="cpu")
    assert np.array_equal(
        again.encode(TEXTS, num_layers=1, truncate_dim=8), encoder.encode(TEXTS, num_layers=1, truncate_dim=8)
    )


def test_starbucks_of_the_one_whole_size_is_the_plain_loss_in_value_and_gradient(make_encoder):
    first, second, scores = zip(*GRADED, strict=True)
    found = []
    for loss, by_layer in ((StarbucksLoss(CoSENTLoss(), [(4, 32)]), True), (CoSENTLoss(), False)):
        encoder = make_encoder().eval()
        features = [encoder.preprocess(list(texts)) for texts in (first, second)]
        value = TensorLoss(encoder, loss, by_layer=by_layer)(features, torch.tensor(scores))
        value.backward()
        found.append([value, *(p.grad for name, p in encoder.named_parameters() if "pooler" not in name)])
    torch.testing.assert_close(*found)


def test_starbucks_takes_pairs_without_scores(make_encoder):
    encoder = make_encoder()
    version = encoder.fingerprint
    starbucks(encoder, [(text, text[2:]) for text in TEXTS], **QUICK)
    assert encoder.fingerprint != version


@pytest.mark.parametrize("pairs", [((1, 8), (5, 32)), ((1, 64),), ((2, 8), (1, 32))])
def test_starbucks_refuses_sizes_beyond_the_model_or_out_of_order(make_encoder, pairs):
    with pytest.raises(InputError, match="pairs must"):
        starbucks(make_encoder(), GRADED, pairs=pairs, **QUICK)


def rows(encoder, count=8):
    generator = np.random.default_rng(0)
    return [tuple(generator.choice(TEXTS, size=4, replace=False).tolist()) for _ in range(count)]


def test_two_stages_lower_their_losses_and_go_on_where_they_stopped(make_encoder, tmp_path):
    encoder, options = make_encoder(), {"epochs": 4, "batch_size": 8, "show_progress_bar": False}
    options["learning_rates"] = (1e-3, 1e-3)
    data = rows(encoder)
    done = nv_embed_two_stage(encoder, data, data, folder=tmp_path, **options)
    assert (done.first.steps, done.second.steps) == (4, 8)
    assert done.first.losses[-1][1] < done.first.losses[0][1]
    again = make_encoder()
    nv_embed_two_stage(again, data, data, folder=tmp_path, **options)
    np.testing.assert_allclose(again.encode(TEXTS), encoder.encode(TEXTS), atol=1e-6)


def test_the_second_stage_has_no_negatives_from_the_batch(make_encoder, monkeypatch):
    from embedkit.training import nv_embed

    seen = []
    monkeypatch.setattr(nv_embed, "fit", lambda *_, **options: seen.append((_[2].in_batch, options)))
    encoder = make_encoder()
    nv_embed_two_stage(encoder, rows(encoder, 3), rows(encoder, 5), instruction="Instruct: find\nQuery: ")
    assert [in_batch for in_batch, _ in seen] == [True, False]
    assert [options["learning_rate"] for _, options in seen] == [2e-5, 1.5e-5]
    assert seen[0][1]["prompts"] == {"anchor": "Instruct: find\nQuery: "}


def test_stages_of_unlike_rows_are_refused(make_encoder):
    encoder = make_encoder()
    with pytest.raises(InputError, match="received columns"):
        nv_embed_two_stage(encoder, rows(encoder), [row[:3] for row in rows(encoder)])
    with pytest.raises(InputError, match="mine negatives"):
        nv_embed_two_stage(encoder, [row[:2] for row in rows(encoder)], [row[:2] for row in rows(encoder)])


@pytest.fixture
def placed(make_encoder, monkeypatch):
    """A teacher whose vectors are known: a text is the angle it names, in degrees."""
    teacher = make_encoder()

    def encode(texts, **_):
        angles = np.radians([float(text) for text in texts])
        return torch.tensor(np.stack([np.cos(angles), np.sin(angles)], axis=1))

    for name in ("encode_query", "encode_document"):
        monkeypatch.setattr(teacher, name, encode)
    return teacher


def test_negatives_are_the_nearest_that_are_clearly_less_near_than_the_positive(placed):
    """cos 20° = 0.940; 95 % of that is 0.893, so 25° (0.906) is too near, and 30° (0.866) and 40° are taken."""
    found = mine_hard_negatives(placed, ["0"], ["20"], corpus=["20", "25", "40", "30", "80"], num_negatives=2)
    assert found == [("0", "20", "30", "40")]


@pytest.mark.parametrize(
    ("anchors", "options"),
    [([], {}), (["0", "1"], {}), (["0"], {"relative_margin": 1.0}), (["0"], {"num_negatives": 0})],
)
def test_mining_refuses_what_it_cannot_mine(placed, anchors, options):
    with pytest.raises(InputError, match="mining needs"):
        mine_hard_negatives(placed, anchors, ["20"] if anchors else [], **options)


def test_examples_of_classes_share_the_class_with_their_positive_only():
    texts = [f"{label}{number}" for label in "abc" for number in range(4)] + ["d0"]
    found = examples_of_classes(texts, [text[0] for text in texts], num_negatives=3, seed=1)
    assert [anchor for anchor, *_ in found] == texts[:-1]  # d0 is alone
    for anchor, positive, *negatives in found:
        assert positive[0] == anchor[0]
        assert positive != anchor
        assert len(negatives) == 3
        assert all(negative[0] != anchor[0] for negative in negatives)
    assert found == examples_of_classes(texts, [text[0] for text in texts], num_negatives=3, seed=1)


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [0, 0]])
def test_examples_of_classes_need_two_classes_and_two_of_one(labels):
    with pytest.raises(InputError, match="examples of classes"):
        examples_of_classes(["a", "b", "c"], labels)


def test_examples_of_scores_are_taken_in_both_orders():
    assert examples_of_scores(["a", "b", "c"], ["x", "y", "z"], [4.0, 3.9, 5.0], least=4) == [
        ("a", "x"),
        ("x", "a"),
        ("c", "z"),
        ("z", "c"),
    ]
