import pytest
import torch
from sentence_transformers.sentence_transformer import losses as theirs
from torch import nn

from embedkit.errors import InputError
from embedkit.losses import CoSENTLoss, InfoNCELoss, MatryoshkaLoss
from embedkit.ops.similarity import dot_product


def pairs(*, count=6, dim=16, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, dim, generator=generator, dtype=dtype, requires_grad=True) for _ in range(2)]


SCORES = torch.linspace(0, 1, 6)


class Table(nn.Module):
    """As much of a model as sentence-transformers' losses ask for: the features are the embeddings."""

    def forward(self, features):
        return {"sentence_embedding": features["sentence_embedding"]}

    def get_embedding_dimension(self):
        return 16


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 0.0]])
@pytest.mark.parametrize("graded", [True, False])
def test_sentence_transformers_gives_the_same_value_and_gradient(weights, graded):
    model = Table()
    their_inner = (theirs.CoSENTLoss if graded else theirs.MultipleNegativesRankingLoss)(model)
    their_loss = theirs.MatryoshkaLoss(model, their_inner, [16, 8, 3], matryoshka_weights=weights)
    our_loss = MatryoshkaLoss(CoSENTLoss() if graded else InfoNCELoss(), [16, 8, 3], weights=weights)
    ours, their = (pairs(dtype=torch.float64) for _ in range(2))  # in float32, gradients of 10 round to 1e-6

    value = our_loss(*ours, *([SCORES] if graded else []))
    expected = their_loss([{"sentence_embedding": each} for each in their], SCORES)
    value.backward()
    expected.backward()

    torch.testing.assert_close(value, expected, atol=1e-9, rtol=1e-9)
    for one, other in zip(ours, their, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-9, rtol=1e-9)


def test_the_formula_in_loops_gives_the_same():
    first, second = pairs()
    inner = CoSENTLoss()

    expected = 0.0
    for dim, weight in ((4, 3.0), (16, 1.0), (9, 0.5)):
        prefixes = (torch.tensor([row[:dim] for row in each.tolist()]) for each in (first, second))
        expected += weight * inner(*prefixes, SCORES).item()

    assert MatryoshkaLoss(inner, (4, 16, 9), weights=(3, 1, 0.5))(first, second, SCORES).item() == pytest.approx(
        expected, rel=1e-6
    )


def test_worked_by_hand():
    def length(embeddings):
        return embeddings.square().sum()

    # 1 + (1 + 4) + 2 · (1 + 4 + 9)
    assert MatryoshkaLoss(length, [1, 2, 3], weights=[1, 1, 2])(torch.tensor([[1.0, 2.0, 3.0]])).item() == 34


def test_at_the_full_width_it_is_the_wrapped_loss():
    tensors = pairs()

    assert torch.equal(MatryoshkaLoss(InfoNCELoss(), [16])(*tensors), InfoNCELoss()(*tensors))


def test_the_order_of_widths_does_not_matter():
    tensors = pairs()

    torch.testing.assert_close(
        MatryoshkaLoss(InfoNCELoss(), [3, 16, 8], weights=[1, 2, 3])(*tensors),
        MatryoshkaLoss(InfoNCELoss(), [16, 8, 3], weights=[2, 3, 1])(*tensors),
    )


def test_one_in_another_sums_over_both():
    first, second = pairs()
    nested = MatryoshkaLoss(MatryoshkaLoss(InfoNCELoss(), [2, 4]), [4, 8])

    inner = MatryoshkaLoss(InfoNCELoss(), [2, 4])(first, second)

    torch.testing.assert_close(nested(first, second), 2 * inner)


def test_all_but_embeddings_is_handed_on_untouched():
    embeddings, labels, scores, matrix = torch.ones(3, 4), torch.arange(3), torch.ones(3), torch.ones(3, 4).long()
    seen = []

    def loss(*tensors):
        seen.append(tensors)
        return tensors[0].sum()

    MatryoshkaLoss(loss, [2])(embeddings, labels, scores, matrix, None)

    cut, *rest = seen[0]
    assert cut.shape == (3, 2)
    assert all(one is other for one, other in zip(rest, (labels, scores, matrix, None), strict=True))


def test_numbers_outside_the_prefix_get_no_gradient():
    first, second = pairs()

    MatryoshkaLoss(InfoNCELoss(), [3, 5])(first, second).backward()

    assert (first.grad[:, :5] != 0).all()
    assert (first.grad[:, 5:] == 0).all()


def test_prefixes_keep_their_lengths():
    first, second = pairs()
    inner = InfoNCELoss(similarity=dot_product, temperature=1.0)

    assert torch.equal(MatryoshkaLoss(inner, [4])(first, second), inner(first[:, :4], second[:, :4]))


def test_weights_of_the_wrapped_loss_are_trained_with_the_rest():
    class Learned(nn.Module):
        def __init__(self):
            super().__init__()
            self.prototypes = nn.Parameter(torch.ones(3, 16))

        def forward(self, embeddings, labels):
            return nn.functional.cross_entropy(embeddings @ self.prototypes[:, : embeddings.shape[1]].T, labels)

    loss = MatryoshkaLoss(Learned(), [4, 8])
    loss(torch.randn(5, 16), torch.tensor([0, 1, 2, 0, 1])).backward()

    assert [name for name, _ in loss.named_parameters()] == ["loss.prototypes"]
    assert (loss.loss.prototypes.grad[:, :8] != 0).all()
    assert (loss.loss.prototypes.grad[:, 8:] == 0).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dims": []}, "dims must be a list of widths"),
        ({"dims": 8}, "dims must be a list of widths"),
        ({"dims": "8"}, "dims must be a list of widths"),
        ({"dims": [8, 0]}, "each of dims must be an integer, 1 or more; received 0"),
        ({"dims": [8, True]}, "each of dims must be an integer"),
        ({"dims": [8, 4.0]}, "each of dims must be an integer"),
        ({"dims": [8, 8]}, "each width once"),
        ({"dims": [4, 8], "weights": [1]}, "one for each of the 2 dims; received 1"),
        ({"dims": [4, 8], "weights": [1, -1]}, "each of weights must be a finite number, 0 or more; received -1"),
        ({"dims": [4], "loss": CoSENTLoss}, "received the class CoSENTLoss; pass an instance"),
        ({"dims": [4], "loss": "cosent"}, "loss must be a loss"),
    ],
)
def test_wrong_settings_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        MatryoshkaLoss(**{"loss": CoSENTLoss(), **options})


def test_a_width_beyond_the_embeddings_is_refused():
    with pytest.raises(InputError, match=r"must not exceed the embeddings' width, 16; received \[8, 17\]"):
        MatryoshkaLoss(InfoNCELoss(), [8, 17])(*pairs())


def test_a_call_without_embeddings_is_refused():
    with pytest.raises(InputError, match=r"must be embeddings.*received \(6,\) of float32"):
        MatryoshkaLoss(InfoNCELoss(), [8])(SCORES)
    with pytest.raises(InputError, match="received nothing"):
        MatryoshkaLoss(InfoNCELoss(), [8])()
