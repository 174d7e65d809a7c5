import numpy as np
import pytest

import embedkit as ek
from embedkit.encoders.image import conv_encoder, dual_encoder
from embedkit.errors import InputError
from embedkit.index.fusion import CONSTANT, FusedRetriever, reciprocal_rank_fusion


class Angles:
    """Reads angles, in degrees: an encoder of the plane."""

    def __init__(self):
        self.calls = 0

    def encode(self, inputs, **_):
        self.calls += 1
        turned = np.radians(np.asarray(inputs, dtype=float))
        return np.stack([np.cos(turned), np.sin(turned)], axis=-1).astype(np.float32)

    def get_embedding_dimension(self):
        return 2


@pytest.fixture
def fused():
    encoder = Angles()
    retrievers = {"even": ek.Retriever(encoder), "odd": ek.Retriever(encoder)}
    retrievers["even"].add([f"e{angle}" for angle in range(0, 90, 10)], list(range(0, 90, 10)))
    retrievers["odd"].add([f"o{angle}" for angle in range(5, 90, 10)], list(range(5, 90, 10)))
    return FusedRetriever(retrievers)


def ids(hits):
    return [hit.id for hit in hits]


# -- reciprocal ranks ----------------------------------------------------------------------------------


def test_by_hand():
    """Ranks (1, 3), (2, 1) and (3, none): 1/61 + 1/63, 1/62 + 1/61, 1/63."""
    found = dict(reciprocal_rank_fusion([["a", "b", "c"], ["b", "d", "a"]]))
    assert found["a"] == pytest.approx(1 / 61 + 1 / 63)
    assert found["b"] == pytest.approx(1 / 62 + 1 / 61)
    assert found["c"] == pytest.approx(1 / 63)
    assert list(found) == ["b", "a", "d", "c"]


def test_one_ranking_stays_as_it_is_and_equal_ones_keep_their_order():
    ranking = list("dacb")
    for rankings in ([ranking], [ranking] * 3, [ranking, []]):
        assert [id for id, _ in reciprocal_rank_fusion(rankings)] == ranking
    assert reciprocal_rank_fusion([]) == []


def test_rankings_of_different_things_take_turns():
    assert [id for id, _ in reciprocal_rank_fusion([["a", "b"], ["x", "y"]])] == ["a", "x", "b", "y"]


def test_a_ranking_of_weight_0_only_adds_at_the_end():
    assert [id for id, _ in reciprocal_rank_fusion([["a", "b"], ["x", "b"]], weights=[0, 1])] == ["x", "b", "a"]


@pytest.mark.parametrize(
    ("rankings", "weights", "message"),
    [
        ([["a"]], [1, 2], "one for each of 1 rankings"),
        ([["a"]], [-1], "0 or more"),
        ([["a"]], [float("nan")], "0 or more"),
        ([["a", "a"]], None, "at most once"),
    ],
)
def test_bad_rankings_are_refused(rankings, weights, message):
    with pytest.raises(InputError, match=message):
        reciprocal_rank_fusion(rankings, weights=weights)


# -- several retrievers --------------------------------------------------------------------------------


def test_answers_take_turns(fused):
    assert ids(fused.search(12, k=4)) == ["e10", "o15", "e20", "o5"]
    assert ids(fused.search(12, k=2, names=["odd"])) == ["o15", "o5"]
    assert fused.retrievers["even"].encoder.calls == 2 + 2  # one call a query beside those that added


def test_a_hit_says_who_found_it(fused):
    (best,) = fused.search(44, k=1, weights={"odd": 2.0})
    assert best.id == "o45"
    assert best.score == pytest.approx(2 / (CONSTANT + 1))
    assert list(best.hits) == ["odd"]
    assert best.hits["odd"].score == pytest.approx(np.cos(np.radians(1)))


def test_what_has_one_id_is_one_answer(fused):
    fused.retrievers["odd"].add(["e10"], [11])
    best, second, *_ = fused.search(12, k=3)
    assert (best.id, set(best.hits), second.id) == ("e10", {"even", "odd"}, "e20")
    assert best.score == pytest.approx(2 / (CONSTANT + 1))


def test_a_query_of_parts_lies_between_them(fused):
    assert ids(fused.search((0, 60), k=2)) == ids(fused.search(30, k=2)) == ["e30", "o25"]
    assert ids(fused.search((20,), k=3)) == ids(fused.search(20, k=3))


def test_conditions_and_depth_go_to_each_retriever(fused):
    fused.retrievers["even"].update(["e40"], [40], [{"good": True}])
    assert ids(fused.search(0, k=5, where={"good": True})) == ["e40"]
    assert len(fused.search(0, k=50, depth=3)) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k must be a positive integer"),
        ({"names": ["even", "prime"]}, r"names must be some of .*; received \['prime'\]"),
        ({"names": []}, "received none"),
        ({"weights": {"prime": 1.0}}, "prime"),
        ({"weights": {"odd": -1.0}}, "0 or more"),
        ({"query": ()}, "empty tuple"),
        ({"query": [1, 2]}, "received a batch of 2"),
        ({"query": (0, 180)}, "cancel each other out"),
    ],
)
def test_bad_searches_are_refused(fused, arguments, message):
    with pytest.raises(InputError, match=message):
        fused.search(**{"query": 12, **arguments})


@pytest.mark.parametrize("retrievers", [{}, [], None])
def test_no_retrievers_are_refused(retrievers):
    with pytest.raises(InputError, match="retrievers must be one or more by name"):
        FusedRetriever(retrievers)


def test_pictures_and_texts(make_encoder, tmp_path):
    image = pytest.importorskip("PIL.Image", reason="the extra image is not installed")
    encoder = dual_encoder(conv_encoder(widths=(4, 8), dim=6, device="cpu"), make_encoder("bert"), dim=10, device="cpu")
    pixels = np.random.default_rng(0).integers(0, 256, size=(3, 8, 8, 3), dtype=np.uint8)
    image.fromarray(pixels[0]).save(tmp_path / "0.png")
    fused = FusedRetriever({"image": ek.Retriever(encoder), "text": ek.Retriever(encoder)})
    fused.retrievers["image"].add(["p0", "p1", "p2"], list(pixels))
    fused.retrievers["text"].add(["cat", "dog"], ["a cat", "a dog"])
    assert ids(fused.search(tmp_path / "0.png", k=1)) == ["p0"]
    assert fused.search("a cat", k=1, names=["text"])[0].hits["text"].document == "a cat"
    both = fused.search((pixels[1], "a dog"), k=5)
    assert {hit.id for hit in both} == {"p0", "p1", "p2", "cat", "dog"}
