"""Codes of hashes through a network: even codes, and a vector that depends on its value alone."""

import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules.lookup import DeepHashLookup
from embedkit.modules.lookup.universal_hash import PRIME

SIZES = [50, 3, 400]


def small(**options):
    torch.manual_seed(0)
    return DeepHashLookup(SIZES, 8, **{"width": 16, "num_hashes": 12, **options})


def codes(lookup, rows):
    return lookup._codes(rows)


def naive(lookup, field, value):
    """The formula with loops, for one value."""
    hidden = [(a * value + b) % PRIME % 10**6 / (10**6 - 1) * 2 - 1 for a, b in lookup.coefficients[field].tolist()]
    hidden = torch.tensor(hidden, dtype=torch.double)
    layers = list(lookup.network.double())
    for linear, norm, _ in zip(layers[:-1:3], layers[1::3], layers[2::3], strict=True):
        hidden = (
            torch.stack([sum(w * x for w, x in zip(row, hidden, strict=True)) for row in linear.weight]) + linear.bias
        )
        hidden = (hidden - hidden.mean()) / (hidden.var(correction=0) + 1e-5).sqrt() * norm.weight + norm.bias
        hidden = hidden * torch.tanh(torch.log1p(hidden.exp()))
    return layers[-1].weight @ hidden + layers[-1].bias


@pytest.mark.parametrize("num_layers", [1, 3])
def test_it_is_the_formula(num_layers):
    lookup = small(num_layers=num_layers)
    ids = torch.tensor([[0, 2, 399], [49, 0, 7], [0, 2, 8]])
    found = lookup(ids)
    for record, vectors in zip(ids.tolist(), found, strict=True):
        for field, value in enumerate(record):
            torch.testing.assert_close(vectors[field].double(), naive(lookup, field, value), rtol=0, atol=1e-5)


def test_a_code_by_hand():
    lookup = small()
    lookup.coefficients[1, :2] = torch.tensor([[249_999, 1], [1, 0]])
    code = codes(lookup, torch.tensor([52]))[0]  # value 2 of field 1
    assert code[0] == pytest.approx(2 * 499_999 / 999_999 - 1, abs=1e-7)
    assert code[1] == pytest.approx(2 * 2 / 999_999 - 1, abs=1e-7)


def test_codes_are_even():
    lookup = DeepHashLookup([20_000], 4, width=4, num_hashes=32)
    code = codes(lookup, torch.arange(20_000))
    assert code.min() >= -1
    assert code.max() <= 1
    assert code.mean().abs() < 0.01
    assert (code.var(0) * 3 - 1).abs().max() < 0.05  # of a uniform number in [-1, 1]: 1/3


def test_codes_are_uncorrelated():
    lookup = DeepHashLookup([10**9], 4, width=4, num_hashes=32)
    rows = torch.randint(10**9, (20_000,), generator=torch.Generator().manual_seed(0)).unique()
    correlation = torch.corrcoef(codes(lookup, rows).T) - torch.eye(32)
    assert correlation.abs().max() < 4 / 20_000**0.5
    # Of rows that follow each other most pairs of linear maps are far less correlated than by chance, a few are more.
    correlation = torch.corrcoef(codes(lookup, torch.arange(20_000)).T) - torch.eye(32)
    assert correlation.square().mean() < 1 / 20_000
    assert correlation.abs().max() < 0.1


def test_codes_of_fields_differ_and_a_further_field_moves_none():
    few, many = small(), DeepHashLookup([*SIZES, 60], 8, width=16, num_hashes=12)
    rows = torch.arange(453)
    assert torch.equal(codes(many, rows), codes(few, rows))
    code = codes(few, rows)
    assert not (code[:3] == code[50:53]).any()


def test_a_vector_is_the_same_in_any_batch_and_in_training():
    lookup = small().train()
    ids = torch.stack([torch.randint(size, (64,)) for size in SIZES], dim=1)
    together = lookup(ids)
    for part in (ids[:1], ids[:7], ids[:1].expand(50, -1)):
        torch.testing.assert_close(lookup(part)[0], together[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(lookup.eval()(ids), together, rtol=0, atol=0)


def test_a_value_is_computed_once():
    lookup, seen = small(), []
    lookup.network.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    lookup(torch.tensor([[3, 1, 5], [3, 1, 5], [3, 2, 5]]))
    assert seen == [4]


def test_repeated_values_add_up_in_the_gradient():
    once, twice = small(), small()
    (once(torch.tensor([[3, 1, 5]])).sum() * 2).backward()
    twice(torch.tensor([[3, 1, 5], [3, 1, 5]])).sum().backward()
    for first, second in zip(once.parameters(), twice.parameters(), strict=True):
        torch.testing.assert_close(first.grad, second.grad, rtol=1e-5, atol=1e-6)


def test_its_size_does_not_grow_with_values():
    assert DeepHashLookup([10**9], 8, width=16).nbytes == DeepHashLookup([10], 8, width=16).nbytes


@pytest.mark.parametrize("num_layers", [1, 2, 5])
def test_a_budget_is_kept_to_a_unit_of_width(num_layers):
    lookup = DeepHashLookup.for_budget(SIZES, 8, 60_000, num_hashes=20, num_layers=num_layers)
    wider = DeepHashLookup(SIZES, 8, width=lookup.width + 1, num_hashes=20, num_layers=num_layers)
    assert lookup.nbytes <= 60_000 < wider.nbytes


def test_a_budget_below_a_width_of_1_is_refused():
    least = DeepHashLookup(SIZES, 8, width=1).nbytes
    with pytest.raises(InputError, match=rf"nbytes must be at least {least}, the smallest Deep.*received {least - 1}"):
        DeepHashLookup.for_budget(SIZES, 8, least - 1)
    assert DeepHashLookup.for_budget(SIZES, 8, least).width == 1


@pytest.mark.parametrize("name", ["width", "num_hashes", "num_layers"])
@pytest.mark.parametrize("value", [0, 2.5])
def test_options_out_of_range_are_refused(name, value):
    with pytest.raises(InputError, match=f"{name} must be an integer from 1; received {value}"):
        small(**{name: value})
