"""The net: batches, stopping, interruption, divergence, devices."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skvae.exceptions import DivergenceError, InterruptedFitWarning, SlowPrecisionWarning
from skvae.nets.likelihoods import GaussianLikelihood
from skvae.nets.networks import Decoder, Outputs
from skvae.training import VAENet, criterion
from skvae.training.batches import InMemoryBatches
from skvae.training.criterion import Criterion
from skvae.training.steps.closed_form import ClosedFormStep
from skvae.training.steps.direct_step import DirectStep
from skvae.vae.held_out import split_rows

FIELDS = {"loss", "elbo", "reconstruction", "rate", "alignment", "margin"}


def test_shuffled_batches_hold_every_row_once_beside_its_target():
    rows = torch.arange(10.0)[:, None]
    targets = torch.stack([rows[:, 0] / 10, 1 - rows[:, 0] / 10], dim=1)
    batches = InMemoryBatches(rows, targets, batch_size=4)
    seen = list(batches.shuffled(torch.Generator().manual_seed(0)))
    assert [len(x) for x, _ in seen] == [4, 4, 2]
    order = torch.cat([x for x, _ in seen])[:, 0]
    assert sorted(order.tolist()) == list(range(10))
    assert order.tolist() != list(range(10))
    for x, T in seen:
        torch.testing.assert_close(T[:, 0], x[:, 0] / 10)


def test_criterion_weighs_the_mean_of_each_term():
    decoder = Decoder(
        1, 1, (), GaussianLikelihood([0.0], None), torch.Generator().manual_seed(0)
    )
    x, T = torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    outputs = Outputs(
        mean=torch.tensor([[2.0], [0.0]]),
        log_variance=torch.zeros(2, 1),
        parameters=torch.tensor([[0.0], [3.0]]),
        log_witness=torch.log(torch.full((2, 2), 0.5)),
        latent=torch.zeros(2, 1),
    )
    module = SimpleNamespace(decoder=decoder)
    loss, terms = Criterion(beta=3.0, alignment_weight=5.0)(x, T, outputs, module)
    log_2pi, log_2 = np.log(2 * np.pi), np.log(2)
    np.testing.assert_allclose(terms, [0.5 + log_2pi, 2.0, 2 * log_2], rtol=1e-6)
    assert loss.item() == pytest.approx((0.5 + log_2pi) / 2 + 3 * 1.0 + 5 * log_2, rel=1e-6)


def test_a_term_of_weight_zero_cannot_spoil_the_loss():
    decoder = Decoder(
        1, 1, (), GaussianLikelihood([0.0], None), torch.Generator().manual_seed(0)
    )
    zero = torch.zeros(1, 1)
    outputs = Outputs(zero, zero, zero, torch.tensor([[-np.inf, 0.0]]), zero)
    T = torch.tensor([[0.5, 0.5]])
    module = SimpleNamespace(decoder=decoder)
    loss, _ = Criterion(beta=1.0, alignment_weight=0.0)(torch.zeros(1, 1), T, outputs, module)
    assert torch.isfinite(loss)


def test_history_is_plain_and_consistent(small_vae, clusters):
    vae = small_vae(beta=2.0, alignment_weight=7.0).fit(clusters)
    assert [record["epoch"] for record in vae.history_] == [1, 2, 3, 4, 5]
    for record in vae.history_:
        assert set(record) == FIELDS | {"beta", "epoch", "seconds"}
        assert {type(value) for value in record.values()} <= {int, float}
        elbo = -record["reconstruction"] - record["rate"]
        assert record["elbo"] == pytest.approx(elbo)
        weighted = record["reconstruction"] + 2 * record["rate"] + 7 * record["alignment"]
        assert record["loss"] == pytest.approx(weighted)
        margin = vae.teacher_information_ - record["alignment"]
        assert record["margin"] == pytest.approx(margin, abs=1e-6)


def test_history_starts_on_the_boundary(small_vae, clusters):
    vae = small_vae(alignment_weight=0, max_epochs=1).fit(clusters)
    assert vae.history_[0]["margin"] == pytest.approx(0.0, abs=1e-6)
    assert vae.margin_ == pytest.approx(0.0, abs=1e-6)


def test_early_stopping_restores_the_best_weights_from_memory(small_vae, clusters):
    vae = small_vae(
        early_stopping=True, max_epochs=400, n_iter_no_change=5, validation_fraction=0.2
    ).fit(clusters)
    # A judge counts the alignment, of weight 10 in the loss, with a weight of three.
    losses = [each["valid_loss"] - 7 * each["valid_alignment"] for each in vae.history_]
    assert 6 <= vae.n_iter_ < 400
    assert len(losses) == vae.n_iter_ == int(np.argmin(losses)) + 1 + 5
    held_out = {f"valid_{field}" for field in FIELDS} | {"valid_lower_bound"}
    assert set(vae.history_[0]) == FIELDS | held_out | {"beta", "epoch", "seconds"}
    stopped_at_best = small_vae(
        early_stopping=True, max_epochs=int(np.argmin(losses)) + 1, validation_fraction=0.2
    ).fit(clusters)
    np.testing.assert_array_equal(vae.transform(clusters), stopped_at_best.transform(clusters))


@pytest.mark.parametrize("witness_input", ["mean", "sample"])
def test_held_out_bound_is_recorded_and_below_the_held_out_margin(
    small_vae, clusters, witness_input
):
    vae = small_vae(
        early_stopping=True, validation_fraction=0.5, max_epochs=40, witness_input=witness_input
    ).fit(clusters)
    bounds = [record["valid_lower_bound"] for record in vae.history_]
    margins = [record["valid_margin"] for record in vae.history_]
    # The bound is on the mixed witness, whose margin can be above that of a poor one.
    assert all(b < m for b, m in zip(bounds, margins, strict=True) if m > 0.05)
    assert bounds[0] < 0 < bounds[-1]


@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
def test_early_stopping_holds_out_shuffled_rows(small_vae, clusters):
    # The clusters lie one after the other: an unshuffled split would lose one.
    vae = small_vae(early_stopping=True, validation_fraction=0.3).fit(clusters)
    chosen, held_out, is_fresh = split_rows(vae.validation_fraction, np.ones(180, bool), 0)
    assert is_fresh
    assert len(held_out) == 54
    assert sorted([*chosen, *held_out]) == list(range(180))
    assert len(set(held_out // 60)) == 3


def test_too_few_rows_to_hold_any_out(small_vae, clusters):
    with pytest.raises(ValueError, match=r"n_samples=3 .*early_stopping=False"):
        small_vae(early_stopping=True, validation_fraction=0.9).fit(clusters[:3])


@pytest.fixture
def interrupt(monkeypatch):
    """Press Ctrl-C in a step of training."""

    def at_step(number):
        steps = iter(range(1, 10_000))
        step = VAENet.train_step

        def interrupted(self, *args, **kwargs):
            if next(steps) == number:
                raise KeyboardInterrupt
            return step(self, *args, **kwargs)

        monkeypatch.setattr(VAENet, "train_step", interrupted)

    return at_step


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
def test_ctrl_c_keeps_a_usable_model(small_vae, clusters, interrupt, early_stopping):
    interrupt(at := 8)
    vae = small_vae(max_epochs=50, batch_size=60, early_stopping=early_stopping)
    with pytest.warns(InterruptedFitWarning, match=f"after {(at - 1) // 3} whole epochs"):
        vae.fit(clusters)
    assert vae.n_iter_ == len(vae.history_) == 2
    assert np.isfinite(vae.transform(clusters)).all()
    assert np.isfinite(vae.score(clusters))
    assert vae.margin_ <= vae.teacher_information_


@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
def test_ctrl_c_in_the_validation_pass_keeps_the_epochs_before_it(
    small_vae, clusters, monkeypatch
):
    passes = iter(range(1, 100))
    step = VAENet.validation_step

    def interrupted(self, *args, **kwargs):
        if next(passes) == 3:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    monkeypatch.setattr(VAENet, "validation_step", interrupted)
    vae = small_vae(early_stopping=True, max_epochs=50)
    with pytest.warns(InterruptedFitWarning, match="after 2 whole epochs"):
        vae.fit(clusters)
    assert vae.n_iter_ == len(vae.history_) == 2
    assert np.isfinite(vae.score(clusters))


def test_ctrl_c_in_the_first_step_keeps_a_usable_model(small_vae, clusters, interrupt):
    interrupt(1)
    vae = small_vae(alignment_weight=0, early_stopping=True)
    with pytest.warns(InterruptedFitWarning, match="after 0 whole epochs"):
        vae.fit(clusters)
    assert vae.history_ == []
    assert np.isfinite(vae.score(clusters))


def test_ctrl_c_can_be_made_to_stop_the_job_and_change_nothing(small_vae, clusters, interrupt):
    interrupt(3)
    vae = small_vae(batch_size=60)
    before = dict(vars(vae))
    with warnings.catch_warnings():
        warnings.simplefilter("error", InterruptedFitWarning)
        with pytest.raises(InterruptedFitWarning):
            vae.fit(clusters)
    assert vars(vae) == before


def test_not_a_number_stops_at_once_and_names_epoch_term_and_remedy(
    small_vae, clusters, monkeypatch
):
    epochs = iter(range(100))

    def poisoned(T, log_q):
        value = np.nan if next(epochs) == 2 else 1.0
        return torch.full((len(T),), value) + 0 * log_q.sum(dim=1)

    monkeypatch.setattr(criterion, "alignment", poisoned)
    # The closed form of the usual objective asks nobody for its terms.
    vae = small_vae(batch_size=180, witness="simplex")
    with pytest.raises(
        DivergenceError, match=r"epoch 3: the alignment term .* nan.*smaller lr"
    ):
        vae.fit(clusters)
    assert not hasattr(vae, "net_")


def test_divergence_leaves_a_fitted_estimator_as_it_was(small_vae, clusters):
    vae = small_vae().fit(clusters)
    before = vars(vae).copy()
    codes = vae.transform(clusters)
    vae.set_params(lr=1e30)
    with pytest.raises(DivergenceError, match=r"reconstruction|rate"):
        vae.fit(clusters + 1)
    assert {**vars(vae), "lr": 1e-2} == before
    np.testing.assert_array_equal(vae.transform(clusters), codes)


@pytest.mark.parametrize("lr", [1e20, 1e38])
def test_divergence_in_the_very_last_step_is_seen(small_vae, clusters, lr):
    vae = small_vae(max_epochs=1, batch_size=1000, lr=lr, hidden_layer_sizes=())
    with pytest.raises(DivergenceError, match=r"last step of epoch 1.*smaller lr"):
        vae.fit(clusters)
    assert not hasattr(vae, "net_")


@pytest.mark.parametrize("n_rows", [129, 128, 127])
def test_last_batch_of_any_size_trains(small_vae, clusters, n_rows):
    vae = small_vae(batch_size=64).fit(clusters[:n_rows])
    assert np.isfinite(vae.score(clusters))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.filterwarnings("ignore::skvae.exceptions.SlowPrecisionWarning")
def test_half_precision_trains_as_well(small_vae, clusters, precision):
    full, half = (
        small_vae(precision=precision, max_epochs=60).fit(clusters)
        for precision in ("fp32", precision)
    )
    assert {p.dtype for p in half.net_.module_.parameters()} == {torch.float32}
    assert half.margin_ == pytest.approx(full.margin_, abs=0.05)
    assert half.score(clusters) == pytest.approx(full.score(clusters), abs=0.3)
    assert not np.array_equal(half.transform(clusters), full.transform(clusters))
    with pytest.raises(ValueError, match="precision"):
        small_vae(precision="fp8").fit(clusters)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.filterwarnings("ignore::skvae.exceptions.SlowPrecisionWarning")
@pytest.mark.parametrize("supported", [True, False])
def test_precision_that_the_processor_lacks_is_warned_of(
    small_vae, clusters, monkeypatch, precision, supported
):
    monkeypatch.setattr(
        torch.ops.mkldnn, f"_is_mkldnn_{precision}_supported", lambda: supported, raising=False
    )
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    vae = small_vae(precision=precision, max_epochs=1, device="cpu")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        vae.fit(clusters)
        vae.set_params(precision="fp32").fit(clusters)
    slow = [each for each in caught if each.category is SlowPrecisionWarning]
    assert len(slow) == (not supported)
    if slow:
        assert 'pass precision="fp32"' in str(slow[0].message)
        assert slow[0].filename == __file__


class Elsewhere(TorchDispatchMode):
    """Collect the operations whose results are not on the meta device."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if any(leaf.device.type != "meta" for leaf in tree_leaves(result)):
            self.operations.append(str(func))
        return result


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"witness": "simplex"},
        {"witness": "mlp", "alignment_target": 0.5},
        {"likelihood": "bernoulli"},
        {"likelihood": "continuous_bernoulli"},
        {"decoder_variance": 1.0},
        {"likelihood": "laplace", "decoder_variance": "shared"},
        {"mmd_weight": 1.0, "tc_weight": 1.0},
        {"beta": 1.0, "free_bits": 0.1},
        {"beta": 1.0, "kl_capacity": 1.0},
        {"beta": 1.0, "n_importance_samples": 3},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
@pytest.mark.filterwarnings("ignore::skvae.exceptions.WeakAlignmentWarning")
def test_every_tensor_of_a_step_lands_on_the_device_of_the_model(small_vae, clusters, setting):
    X = (clusters - clusters.min()) / np.ptp(clusters)
    net = small_vae(max_epochs=1, alignment_weight=1e-3, **{"beta": 0, **setting}).fit(X).net_
    net.module_.to("meta").train()
    batch = torch.zeros(8, 4, device="meta"), torch.zeros(8, 3, device="meta")
    with Elsewhere() as elsewhere:
        loss, terms = net._evaluate(batch, torch.Generator())
        loss.backward()
    assert loss.device.type == terms.device.type == "meta"
    # Noise is drawn where its generator is: in training on the device, here on the CPU.
    assert set(elsewhere.operations) == {"aten.randn.generator"}

    noise = net._noise(batch[0], torch.Generator())
    for step in (DirectStep, ClosedFormStep):
        if not step.is_for(net.module_, net.criterion_):
            continue
        net.module_.zero_grad()
        step = step(net.module_, net.criterion_)
        with Elsewhere() as elsewhere:
            terms = step.take(*batch, noise)
        assert terms.device.type == "meta"
        assert elsewhere.operations == []


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.filterwarnings("ignore::skvae.exceptions.SlowPrecisionWarning")
def test_small_batches_train_through_partial_fit(small_vae, clusters, precision):
    vae = small_vae(precision=precision).partial_fit(clusters)
    before = vae.transform(clusters)
    for start in range(0, 120, 6):
        vae.partial_fit(clusters[start : start + 6])
    assert np.abs(vae.transform(clusters) - before).max() > 0.05
