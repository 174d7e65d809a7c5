"""Click models learn, stop, go on where they were cut short bit for bit, and say what is wrong with their data."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from embedkit.errors import CorruptFileError, InputError
from embedkit.modules.interaction import ClickModel, LinearInteraction, deepfm, finalnet, logistic_regression
from embedkit.modules.lookup import (
    AutoDimLookup,
    AutoSrhLookup,
    DeepLightLookup,
    FieldEmbedding,
    LearnedStepLookup,
    MGQELookup,
    OptEmbedLookup,
    PlainLookup,
    QuantizedTrainingLookup,
    SoftThresholdLookup,
)
from embedkit.training import click
from embedkit.training.click import ClickData, click_metrics, fit_clicks, predict_clicks

SIZES = (12, 20, 5)


def records(count=600, seed=0, **changes):
    """Clicks that follow from user and item, with noise."""
    generator = np.random.default_rng(seed)
    ids = np.stack([generator.integers(0, size, count) for size in SIZES], axis=1)
    score = (ids[:, 0] % 3 == 0) * 3.0 + (ids[:, 1] < 8) * 2.0 - 2.0
    labels = generator.random(count) < 1 / (1 + np.exp(-score))
    return ClickData(**{"ids": ids, "labels": labels.astype(np.int8), **changes})


TRAIN, VALIDATION = records(), records(200, seed=1)


def make(lookup=None, seed=0, dropout=0.3):
    torch.manual_seed(seed)
    return deepfm(SIZES, 4, [16, 8], batch_norm=True, dropout=dropout, names=["user", "item", "hour"], lookup=lookup)


def settings(**changes):
    return {"epochs": 4, "batch_size": 64, "learning_rate": 0.01, "show_progress_bar": False, **changes}


def same_weights(first, second):
    return all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def follow(monkeypatch, aucs):
    """Let the validation data say these AUCs, epoch by epoch."""
    said = iter(aucs)
    monkeypatch.setattr(click, "click_metrics", lambda *_: click.ClickMetrics(next(said), 0.5))


# -- training ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_training_finds_what_is_clicked(optimizer):
    model = make()
    done = fit_clicks(model, TRAIN, VALIDATION, **settings(epochs=12, patience=None, optimizer=optimizer))
    assert len(done.history) == 12
    assert done.history[-1].loss < done.history[0].loss
    best = done.history[done.best_epoch - 1]
    assert best.auc == max(epoch.auc for epoch in done.history) > 0.75
    found = click_metrics(predict_clicks(model, VALIDATION), VALIDATION.labels)
    assert found == pytest.approx((best.auc, best.logloss), abs=1e-6)  # the best weights are put back
    assert done.samples_per_second > 0
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_seed_repeats_it_and_leaves_the_generator_alone():
    models = [make(), make(), make()]
    before = torch.get_rng_state()
    done = [
        fit_clicks(model, TRAIN, VALIDATION, **settings(seed=seed))
        for model, seed in zip(models, (0, 0, 1), strict=True)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    assert done[0] == done[1] != done[2]
    assert same_weights(models[0], models[1])
    assert not same_weights(models[0], models[2])


def test_a_step_is_adam_on_the_mean_loss():
    model, other = logistic_regression(SIZES), logistic_regression(SIZES)
    other.load_state_dict(model.state_dict())
    fit_clicks(model, TRAIN, VALIDATION, **settings(epochs=1, batch_size=1000, max_grad_norm=None))
    optimizer = torch.optim.Adam(other.parameters(), lr=0.01)
    logits = other(torch.from_numpy(TRAIN.ids))
    nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(TRAIN.labels).float()).backward()
    optimizer.step()
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_each_record_is_seen_once_an_epoch_in_another_order():
    first, second = (click._batches(10, 3, [0, epoch]) for epoch in (0, 1))
    for batches in (first, second):
        assert [len(batch) for batch in batches] == [3, 3, 4]  # the tenth is not left alone
        assert sorted(np.concatenate(batches)) == list(range(10))
    assert [batch.tolist() for batch in first] != [batch.tolist() for batch in second]
    assert [len(batch) for batch in click._batches(3, 1, [0])] == [1, 1, 1]
    assert [len(batch) for batch in click._batches(5, 8, [0])] == [5]


def test_weights_of_columns_reach_the_model():
    model = logistic_regression(SIZES)
    weights = np.zeros(TRAIN.ids.shape, dtype=np.float64)
    np.testing.assert_allclose(predict_clicks(model, ClickData(TRAIN.ids, weights=weights)), 0.5)
    before = copy.deepcopy(model.embedding.state_dict())
    fit_clicks(model, records(weights=weights), VALIDATION, **settings(epochs=1))
    assert all(torch.equal(a, before[name]) for name, a in model.embedding.state_dict().items())


def test_a_method_may_add_to_its_loss():
    torch.manual_seed(0)
    done = fit_clicks(finalnet(SIZES, 4, first=[8], second=[8]), TRAIN, VALIDATION, **settings(epochs=1))
    assert done.history[0].loss > 1.5  # three cross-entropies: one each block, and theirs together


# -- rate and end ----------------------------------------------------------------------------------------------


def test_the_rate_falls_at_the_first_epoch_that_is_no_better_and_patience_ends_it(monkeypatch):
    follow(monkeypatch, [0.6, 0.7, 0.7, 0.8, 0.75, 0.79, 0.9])
    done = fit_clicks(make(), TRAIN, VALIDATION, **settings(epochs=9))
    assert [epoch.auc for epoch in done.history] == [0.6, 0.7, 0.7, 0.8, 0.75, 0.79]
    assert done.best_epoch == 4
    rates = [epoch.learning_rate for epoch in done.history]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-2, 1e-3, 1e-3, 1e-4])


def test_without_patience_all_epochs_run_and_a_factor_of_one_keeps_the_rate(monkeypatch):
    follow(monkeypatch, [0.6, 0.5, 0.4, 0.3])
    done = fit_clicks(make(), TRAIN, VALIDATION, **settings(patience=None, plateau_factor=1))
    assert [epoch.learning_rate for epoch in done.history] == [0.01] * 4
    assert done.best_epoch == 1


def test_the_best_weights_are_put_back(monkeypatch):
    follow(monkeypatch, [0.6])
    once = make()
    fit_clicks(once, TRAIN, VALIDATION, **settings(epochs=1))
    follow(monkeypatch, [0.6, 0.5, 0.4])
    longer = make()
    assert fit_clicks(longer, TRAIN, VALIDATION, **settings()).best_epoch == 1
    assert same_weights(once, longer)


# -- penalties -------------------------------------------------------------------------------------------------


def gradients(l2, table_l2=0.3):
    """What one step of plain descent without clipping changes, and the model before it."""
    torch.manual_seed(0)
    model = deepfm(SIZES, 3, [6], lookup=PlainLookup(SIZES, 3, std=1.0))
    before = copy.deepcopy(model)
    data = ClickData(TRAIN.ids[:40], TRAIN.labels[:40])
    run = click._Run(
        model,
        data,
        VALIDATION,
        {"learning_rate": 0.1, "optimizer": "adam", "table_l2": table_l2, "l2": l2, "max_grad_norm": None},
        show=False,
    )
    run._step(np.arange(40))
    return {name: parameter.grad for name, parameter in model.named_parameters()}, before, data


def test_the_dense_penalty_is_half_the_squares_of_the_whole_tables():
    found, model, data = gradients("dense")
    loss = model.loss(torch.from_numpy(data.ids), torch.from_numpy(data.labels).float())
    squares = sum(parameter.square().sum() for parameter in model.table_parameters())
    (loss + 0.3 / 2 * squares).backward()
    assert len(model.table_parameters()) == 2
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-5, atol=1e-6)


def test_the_sparse_penalty_is_that_of_each_row_of_the_batch_once():
    found, model, data = gradients("sparse")
    loss = model.loss(torch.from_numpy(data.ids), torch.from_numpy(data.labels).float())
    offsets = model.embedding.lookup.offsets.numpy()
    rows = sorted(set((data.ids + offsets).ravel().tolist()))
    assert len(rows) < sum(SIZES)
    for lookup in model.lookups():
        loss = loss + 0.3 / 2 * lookup.weight[rows].square().sum()
    loss.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-5, atol=1e-6)


def test_both_penalties_are_one_where_a_batch_has_every_row():
    ids = np.stack([np.arange(20) % size for size in SIZES], axis=1)
    data, models = ClickData(ids, np.arange(20) % 2), [logistic_regression(SIZES) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    for model, l2 in zip(models, ("dense", "sparse"), strict=True):
        fit_clicks(model, data, data, **settings(epochs=2, table_l2=0.1, l2=l2, patience=None))
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("given", [{}, {"fields": None}, {"fields": torch.arange(3)}])
def test_the_sparse_penalty_sees_lookups_however_they_are_called(given):
    class Direct(LinearInteraction):
        def __init__(self):
            super().__init__(3)
            self.lookup = PlainLookup(SIZES, 1, std=1.0)

        def logits(self, vectors, ids, weights):
            return super().logits(vectors + self.lookup(ids, **given), ids, weights)

    model = ClickModel(FieldEmbedding(PlainLookup(SIZES, 1)), Direct())
    before = model.interaction.lookup.weight.square().sum().item()
    fit_clicks(model, TRAIN, VALIDATION, **settings(table_l2=10.0))
    assert model.interaction.lookup.weight.square().sum().item() < before


def test_the_gradient_is_clipped():
    changed = []
    for norm in (None, 1e-9):
        model = logistic_regression(SIZES)
        before = model.interaction.bias.item()
        fit_clicks(model, TRAIN, VALIDATION, **settings(epochs=1, batch_size=1000, max_grad_norm=norm))
        changed.append(abs(model.interaction.bias.item() - before))
    assert changed[1] < 0.9 * changed[0]  # Adam's epsilon of 1e-8 tells the tiny gradient from any other


# -- lookups that train themselves ---------------------------------------------------------------------------------


class Hooked(PlainLookup):
    """Counts what it is asked, and has a scale of its own and a shift that is searched."""

    def __init__(self, sizes, dim, **options):
        super().__init__(sizes, dim, **options)
        self.scale, self.shift = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))
        self.progress, self.penalties = [], 0

    def vectors(self, rows, fields):
        return super().vectors(rows, fields) * self.scale + self.shift

    def penalty(self):
        self.penalties += 1
        return self.scale.square().sum() * 0.5

    def own_optimizer(self):
        return torch.optim.SGD([self.scale], lr=0.1, momentum=0.9)

    def search_optimizer(self):
        return torch.optim.Adam([self.shift], lr=0.01)

    def after_step(self, progress):
        self.progress.append(progress)


def make_hooked():
    torch.manual_seed(0)
    return make(Hooked(SIZES, 4))


def test_the_hooks_of_lookups_are_called():
    lookup = Hooked(SIZES, 4)
    fit_clicks(make(lookup), TRAIN, VALIDATION, **settings(epochs=2, patience=None))
    steps = 2 * math.ceil(600 / 64)
    assert lookup.progress == pytest.approx([step / steps for step in range(1, steps + 1)])
    assert lookup.penalties == 2 * steps  # of the batch of training data, and of the one of validation data


def test_own_weights_are_left_to_own_optimisers():
    lookup = Hooked(SIZES, 4)
    model = make(lookup)
    before = copy.deepcopy(model)
    options = {"learning_rate": 0.1, "optimizer": "adam", "table_l2": 0.0, "l2": "dense", "max_grad_norm": None}
    run = click._Run(model, TRAIN, VALIDATION, options, show=False)
    own = {id(lookup.scale), id(lookup.shift)}
    assert own.isdisjoint(id(weight) for weight in run.tables + run.rest)
    model.train()
    run._step(np.arange(30))
    torch.testing.assert_close(lookup.scale.detach(), 1 - 0.1 * lookup.scale.grad)  # one step of SGD
    assert torch.equal(lookup.shift, before.embedding.lookup.shift)
    after = copy.deepcopy(model.state_dict())
    run._search_step(np.arange(30))
    searched = {name for name, value in model.named_parameters() if not torch.equal(value, after[name])}
    assert searched == {"embedding.lookup.shift"}


@pytest.mark.parametrize("kind", [DeepLightLookup, AutoSrhLookup])
def test_what_prunes_step_by_step_is_trained_to_its_end(kind, monkeypatch):
    nbytes = 4 * 4 * sum(SIZES) * 2 // 3
    lookup = kind.for_budget(SIZES, 4, nbytes, counts=torch.arange(sum(SIZES)))
    model = make(lookup)
    follow(monkeypatch, [0.9, 0.8, 0.7, 0.6, 0.65])
    done = fit_clicks(model, TRAIN, VALIDATION, **settings(epochs=5, patience=2))
    assert done.best_epoch == len(done.history) == 5
    assert {epoch.learning_rate for epoch in done.history} == {0.01}
    assert lookup.serving().nbytes <= nbytes


# -- going on ------------------------------------------------------------------------------------------------------


def lookups_that_train():
    counts = torch.arange(sum(SIZES))
    return {
        "ALPT": lambda: LearnedStepLookup(SIZES, 4, bits=4),
        "AutoDim": lambda: AutoDimLookup(SIZES, 4),
        "AutoSrh": lambda: AutoSrhLookup(SIZES, 4, counts, sparsity=0.5),
        "DeepLight": lambda: DeepLightLookup(SIZES, 4, sparsity=0.5, every=7),
        "int, stochastic": lambda: QuantizedTrainingLookup(SIZES, 4, bits=4),
        "MGQE": lambda: MGQELookup(SIZES, 4, counts, parts=2, num_codes=8, cold_codes=4),
        "OptEmbed": lambda: OptEmbedLookup(SIZES, 4),
        "PEP": lambda: SoftThresholdLookup(SIZES, 4),
    }


@pytest.mark.parametrize("name", lookups_that_train())
def test_every_lookup_goes_on_bit_for_bit(name, tmp_path, monkeypatch):
    def made():
        torch.manual_seed(0)
        return make(lookups_that_train()[name]())

    options, epoch = settings(epochs=3, patience=None), click._Run.epoch
    whole = made()
    expected = fit_clicks(whole, TRAIN, VALIDATION, **options)

    def killed(run):
        if len(run.history) == 1:
            raise KeyboardInterrupt
        epoch(run)

    monkeypatch.setattr(click._Run, "epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        fit_clicks(made(), TRAIN, VALIDATION, **options, folder=tmp_path / "run")
    monkeypatch.undo()
    parts = made()
    assert fit_clicks(parts, TRAIN, VALIDATION, **options, folder=tmp_path / "run") == expected
    assert same_weights(parts, whole)


@pytest.mark.parametrize("cut", [1, 3])
@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_a_run_cut_short_ends_bit_for_bit_as_the_whole_one(cut, optimizer, tmp_path, monkeypatch):
    options = settings(epochs=5, patience=3, optimizer=optimizer, table_l2=0.01, learning_rate=0.05, seed=3)
    whole, parts = make_hooked(), make_hooked()
    expected = fit_clicks(whole, TRAIN, VALIDATION, **options)
    assert min(epoch.learning_rate for epoch in expected.history) < 0.05  # a plateau is part of what is gone on from

    epoch = click._Run.epoch

    def killed(run):
        if len(run.history) == cut:
            raise KeyboardInterrupt
        epoch(run)

    monkeypatch.setattr(click._Run, "epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        fit_clicks(parts, TRAIN, VALIDATION, **options, folder=tmp_path / "run")
    monkeypatch.undo()
    parts = make_hooked()
    torch.manual_seed(99)  # what the process drew before is of no account
    found = fit_clicks(parts, TRAIN, VALIDATION, **options, folder=tmp_path / "run")
    assert found == expected
    assert same_weights(parts, whole)
    np.testing.assert_array_equal(predict_clicks(parts, VALIDATION), predict_clicks(whole, VALIDATION))
    assert not any(path.suffix in {".pt", ".pkl", ".bin"} for path in (tmp_path / "run").iterdir())


def test_a_run_that_is_over_is_not_trained_again(tmp_path):
    first, again = make(), make()
    expected = fit_clicks(first, TRAIN, VALIDATION, **settings(), folder=tmp_path)
    found = fit_clicks(again, TRAIN, VALIDATION, **settings(), folder=tmp_path)
    assert found == expected
    assert math.isnan(found.samples_per_second)
    assert same_weights(first, again)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": lambda: make(seed=1)}, "model"),
        ({"train": records(seed=5)}, "train"),
        ({"validation": records(seed=5)}, "validation"),
        ({"options": {"learning_rate": 0.02}}, "options"),
        ({"options": {"seed": 1}}, "options"),
        ({"model": lambda: make(dropout=0.2)}, "model"),
    ],
)
def test_the_run_of_another_is_refused(changes, says, tmp_path):
    fit_clicks(make(), TRAIN, VALIDATION, **settings(epochs=1), folder=tmp_path)
    model = changes.get("model", make)()
    before = copy.deepcopy(model)
    with pytest.raises(InputError, match=rf"they differ in {says}\): give another folder"):
        fit_clicks(
            model,
            changes.get("train", TRAIN),
            changes.get("validation", VALIDATION),
            **settings(epochs=1, **changes.get("options", {})),
            folder=tmp_path,
        )
    assert same_weights(model, before)


def test_a_damaged_checkpoint_is_told(tmp_path):
    fit_clicks(make(), TRAIN, VALIDATION, **settings(epochs=1), folder=tmp_path)
    (path,) = tmp_path.glob("training-*.safetensors")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CorruptFileError):
        fit_clicks(make(), TRAIN, VALIDATION, **settings(epochs=1), folder=tmp_path)


# -- measures ------------------------------------------------------------------------------------------------------


def test_measures_by_hand_and_against_a_library():
    from sklearn.metrics import log_loss, roc_auc_score

    found = click_metrics([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0])
    assert found.auc == (1 + 1 + 1 + 0.5) / 4
    assert found.logloss == pytest.approx(-(2 * math.log(0.9) + 2 * math.log(0.5)) / 4)
    generator = np.random.default_rng(0)
    labels, chances = generator.integers(0, 2, 500), generator.integers(0, 30, 500).astype(np.float32) / 30
    found = click_metrics(chances, labels)
    assert found.auc == pytest.approx(roc_auc_score(labels, chances), abs=1e-12)
    assert found.logloss == pytest.approx(log_loss(labels, np.clip(chances.astype(float), 1e-7, 1 - 1e-7)), abs=1e-9)


def test_certainty_that_is_wrong_costs_much_and_not_without_end():
    assert click_metrics([1.0, 0.0], [0, 1]) == pytest.approx((0, -math.log(1e-7)))


@pytest.mark.parametrize(
    ("probabilities", "labels", "says"),
    [
        ([0.5, 0.6], [1, 1], "both classes, 0 and 1, for an AUC; all 2 are 1"),
        ([0.5, float("nan")], [1, 0], "did the training diverge"),
        ([0.5, 1.5], [1, 0], "within 0 … 1"),
        ([0.5, 0.6], [1, 2], "labels must be 0 or 1; received 2"),
        ([0.5], [1, 0], r"received \(1,\) and \(2,\)"),
        ([], [], r"n ≥ 1; received \(0,\) and \(0,\)"),
    ],
)
def test_measures_of_what_is_none_are_refused(probabilities, labels, says):
    with pytest.raises(InputError, match=says):
        click_metrics(probabilities, labels)


def test_predictions_do_not_depend_on_the_batch_and_keep_the_mode():
    model = make().train()
    found = predict_clicks(model, VALIDATION, batch_size=7)
    np.testing.assert_allclose(found, predict_clicks(model, VALIDATION), rtol=1e-5)
    assert found.dtype == np.float32
    assert model.training


# -- data ----------------------------------------------------------------------------------------------------------


def test_memory_maps_are_read_in_place(tmp_path):
    ids = np.lib.format.open_memmap(tmp_path / "ids.npy", mode="w+", dtype=np.uint16, shape=TRAIN.ids.shape)
    ids[:] = TRAIN.ids
    ids.flush()
    data = ClickData(np.load(tmp_path / "ids.npy", mmap_mode="r"), TRAIN.labels)
    assert isinstance(data.ids.base, np.memmap)
    model, other = make(), make()
    assert fit_clicks(model, data, VALIDATION, **settings()) == fit_clicks(other, TRAIN, VALIDATION, **settings())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ids": np.zeros((4, 3))}, r"ids must be whole numbers, \(n, columns\); received float64"),
        ({"ids": np.zeros(4, dtype=int)}, r"of shape \(4,\)"),
        ({"ids": np.zeros((4, 3), dtype=bool)}, "received bool"),
        ({"ids": np.zeros((0, 3), dtype=int), "labels": np.zeros(0)}, "a record at least; received none"),
        ({"labels": np.array([0, 1, 2, 0])}, "labels must be 0 or 1; received 2 in row 2"),
        ({"labels": np.array([0, 1, np.nan, 0])}, "received nan in row 2"),
        ({"labels": np.array(["0"] * 4)}, "labels must be numbers"),
        ({"labels": np.zeros(3)}, r"labels must be numbers, \(4,\) as ids; received float64 of shape \(3,\)"),
        ({"weights": np.ones((4, 2))}, r"weights must be floating, \(4, 3\) as ids"),
        ({"weights": np.ones((4, 3), dtype=int)}, "weights must be floating"),
        ({"weights": np.where(np.eye(4, 3) == 1, np.nan, 1)}, "received nan in row 0, column 0"),
    ],
)
def test_arrays_that_are_no_records_are_refused(changes, says):
    arrays = {"ids": np.zeros((4, 3), dtype=int), "labels": np.array([0, 1, 0, 1]), **changes}
    with pytest.raises(InputError, match=says):
        ClickData(**arrays)


def test_rows_are_named_across_parts(monkeypatch):
    monkeypatch.setattr(click, "_ROWS_AT_A_TIME", 3)
    with pytest.raises(InputError, match="received 7 in row 7"):
        ClickData(np.zeros((9, 1), dtype=int), np.arange(9) * (np.arange(9) == 7))
    ids = TRAIN.ids.copy()
    ids[100, 1] = 20
    said = "ids of field 'item' must be 0 … 19, its vocabulary has 20 values; received 20 in row 100 of train"
    with pytest.raises(InputError, match=said):
        fit_clicks(make(), ClickData(ids, TRAIN.labels), VALIDATION, **settings())


@pytest.mark.parametrize(
    ("train", "validation", "says"),
    [
        (ClickData(TRAIN.ids[:, :2], TRAIN.labels), VALIDATION, "ids of train must have 3 columns.*received 2"),
        (TRAIN, ClickData(VALIDATION.ids, np.ones(200)), "labels of validation must be of both classes.*all 200 are 1"),
        (TRAIN, ClickData(VALIDATION.ids), "data must have labels"),
        (ClickData(TRAIN.ids), VALIDATION, "data must have labels"),
        (ClickData(TRAIN.ids - 1, TRAIN.labels), VALIDATION, "received -1 in row .* of train"),
        ((TRAIN.ids, TRAIN.labels), VALIDATION, "train must be ClickData; received tuple"),
    ],
)
def test_data_that_do_not_fit_the_model_are_refused(train, validation, says):
    model = make()
    before = copy.deepcopy(model)
    with pytest.raises(InputError, match=says):
        fit_clicks(model, train, validation, **settings())
    assert same_weights(model, before)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"epochs": 0}, "epochs must be"),
        ({"batch_size": 1.5}, "batch_size must be"),
        ({"learning_rate": 0}, "learning_rate must be"),
        ({"optimizer": "sgd"}, "optimizer must be one of 'adam', 'adamw'"),
        ({"l2": "both"}, "l2 must be one of"),
        ({"table_l2": -1}, "table_l2 must be"),
        ({"patience": 0}, "patience must be"),
        ({"plateau_factor": 2}, "plateau_factor must be at most 1"),
        ({"max_grad_norm": 0}, "max_grad_norm must be"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_options_out_of_range_are_refused(changes, says):
    with pytest.raises(InputError, match=says):
        fit_clicks(make(), TRAIN, VALIDATION, **settings(**changes))


@pytest.mark.parametrize(
    ("train", "changes"), [(ClickData(TRAIN.ids[:1], TRAIN.labels[:1]), {}), (TRAIN, {"batch_size": 1})]
)
def test_one_record_a_step_is_refused_where_batches_are_normalised(train, changes):
    with pytest.raises(InputError, match="two records a step or more; received one: raise batch_size"):
        fit_clicks(make(), train, VALIDATION, **settings(**changes))
    fit_clicks(
        logistic_regression(SIZES), ClickData(TRAIN.ids[:9], TRAIN.labels[:9]), VALIDATION, **settings(**changes)
    )


def test_another_kind_of_model_is_refused():
    with pytest.raises(InputError, match="model must be a ClickModel; received Linear"):
        fit_clicks(nn.Linear(3, 1), TRAIN, VALIDATION, **settings())


def test_a_loss_that_is_no_number_is_told_with_the_epoch():
    model = make()
    with torch.no_grad():
        model.embedding.lookup.weight.fill_(float("nan"))
    with pytest.raises(InputError, match="the loss of epoch 1 must be finite; it is nan: lower learning_rate"):
        fit_clicks(model, TRAIN, VALIDATION, **settings())


def test_a_lookup_may_stand_in_two_places(tmp_path):
    lookup = PlainLookup(SIZES, 4)

    def twice():
        model = make(lookup)
        model.again = FieldEmbedding(lookup)
        return model

    model = twice()
    assert len(model.lookups()) == 2
    fit_clicks(model, TRAIN, VALIDATION, **settings(epochs=1), folder=tmp_path / "run")
    model.save(tmp_path / "model")
    assert isinstance(model, ClickModel)
