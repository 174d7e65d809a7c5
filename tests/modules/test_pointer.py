"""The pointer head: its formula, what counts as a candidate, and its folder."""

import math

import pytest
import torch

from embedkit.errors import InputError, ModelError
from embedkit.modules.pointer import PointerHead, candidate_logits

DIM = 6


@pytest.fixture
def head():
    torch.manual_seed(0)
    return PointerHead(DIM)


def states(*, n=3, tokens=5, seed=0):
    return torch.randn(n, tokens, DIM, generator=torch.Generator().manual_seed(seed))


def by_loops(head, row):
    """M = tanh(Y W_y + 1 (h W_h)), then M w, number by number."""
    w_y, w_h, w = (part.weight.T.tolist() for part in (head.tokens, head.first, head.pointers))
    first = row[0].tolist()
    scores = []
    for state in row.tolist():
        mixed = [math.tanh(sum(state[i] * w_y[i][j] + first[i] * w_h[i][j] for i in range(DIM))) for j in range(DIM)]
        scores.append([sum(mixed[j] * w[j][k] for j in range(DIM)) for k in range(2)])
    return torch.tensor(scores)


def test_the_formula_in_loops_gives_the_same(head):
    given = states()

    expected = torch.stack([by_loops(head, row) for row in given])

    torch.testing.assert_close(head.logits(given), expected)


def test_worked_by_hand():
    head = PointerHead(1)
    for part, weight in ((head.tokens, [[2.0]]), (head.first, [[1.0]]), (head.pointers, [[3.0], [-1.0]])):
        part.weight.data = torch.tensor(weight)

    found = head.logits(torch.tensor([[[0.5], [1.0]]]))[0]

    one, other = math.tanh(2 * 0.5 + 0.5), math.tanh(2 * 1.0 + 0.5)
    torch.testing.assert_close(found, torch.tensor([[3 * one, -one], [3 * other, -other]]))


def test_a_token_changes_its_own_score_only_and_the_first_changes_all(head):
    given = states()
    moved = given.clone()
    moved[:, 2] += 1
    changed = (head.logits(moved) != head.logits(given)).any(dim=-1).any(dim=0)
    assert changed.tolist() == [False, False, True, False, False]
    moved = given.clone()
    moved[:, 0] += 1
    assert (head.logits(moved) != head.logits(given)).all()


def test_it_adds_scores_to_the_features_and_keeps_the_rest(head):
    features = {"token_embeddings": states(), "sentence_embedding": torch.ones(3, DIM)}

    given = head({**features})

    assert given["pointer_logits"].shape == (3, 5, 2)
    assert all(given[name] is value for name, value in features.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_states_of_any_precision_are_read(head, dtype):
    exact = head.logits(states())

    torch.testing.assert_close(head.logits(states().to(dtype)), exact, atol=2e-2, rtol=0)


def test_one_token_and_no_row(head):
    assert head.logits(states(tokens=1)).shape == (3, 1, 2)
    assert head.logits(states(n=0)).shape == (0, 5, 2)


def test_zero_weights_point_everywhere_alike(head):
    head.pointers.weight.data.zero_()

    assert (head.logits(states()) == 0).all()


@pytest.mark.parametrize("given", [torch.zeros(2, 3), torch.zeros(2, 3, DIM + 1), None])
def test_other_states_are_refused(head, given):
    with pytest.raises(InputError, match=r"token_embeddings must have shape \(n, tokens, 6\); received"):
        head({"token_embeddings": given})


def test_arguments_are_checked():
    with pytest.raises(InputError, match="dim must be"):
        PointerHead(0)
    with pytest.raises(InputError, match="form must be"):
        PointerHead(4, form="sum")


def test_a_saved_head_is_the_same_head(tmp_path):
    head = PointerHead(DIM, form="original").half()
    head.save(str(tmp_path))

    again = PointerHead.load(str(tmp_path))

    assert (again.dim, again.form) == (DIM, "original")
    assert all(torch.equal(one, again.state_dict()[name]) for name, one in head.state_dict().items())
    with pytest.raises(InputError, match="writes safetensors"):
        head.save(str(tmp_path), safe_serialization=False)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="lacks model"):
        PointerHead.load(str(tmp_path))


LOGITS = torch.tensor([[[1.0, -1.0], [2.0, 3.0], [4.0, 5.0]]])
CANDIDATES = torch.tensor([[[False, False], [True, True], [False, True]]])
ATTENTION = torch.tensor([[1, 1, 0]])


def test_what_is_no_candidate_has_no_weight_but_there_may_always_be_no_bug():
    found = candidate_logits(LOGITS, CANDIDATES, ATTENTION, form="log_sum")

    assert found.tolist() == [[[1.0, -math.inf], [2.0, 3.0], [-math.inf, 5.0]]]


def test_in_the_original_what_is_no_candidate_has_the_weight_of_zero():
    found = candidate_logits(LOGITS, CANDIDATES, ATTENTION, form="original")

    assert found.tolist() == [[[0.0, 0.0], [2.0, 3.0], [-math.inf, -math.inf]]]


@pytest.mark.parametrize("form", ["log_sum", "original"])
def test_half_precision_becomes_single(form):
    assert candidate_logits(LOGITS.half(), CANDIDATES, ATTENTION, form=form).dtype == torch.float32
