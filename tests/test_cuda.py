"""What only a CUDA device can show; skipped where there is none."""

import gc
import pickle
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skvae._common.randomness import torch_generator
from skvae.exceptions import DeviceMemoryError
from skvae.rows.scaling import Standardization
from skvae.training import batches
from skvae.training.batches import InMemoryBatches, StreamedBatches, TrainingRows

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

# Where the rows of a fit lie.


@contextmanager
def no_synchronisation():
    """Turn each wait of the host for the device into an error."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def source_of(clusters, on_device):
    T = np.repeat(np.eye(3), 60, axis=0)
    return TrainingRows(clusters, T, Standardization.of(clusters), on_device=on_device)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("on_device", [True, False])
def test_no_step_of_an_epoch_waits_for_the_device(
    small_vae, clusters, monkeypatch, on_device, large
):
    if large:
        monkeypatch.setattr(batches, "MAX_BYTES", 0)
        monkeypatch.setattr(batches, "BLOCK_BYTES", 1024)
    net = small_vae(device="cuda", alignment_target=0.5).fit(clusters).net_
    fed = source_of(clusters, on_device).batches(16, "cuda")
    net._set_training(True)
    noise = torch_generator(0, "noise", 1, device=fed.device)
    for batch in fed.shuffled(torch_generator(0, "shuffle", 1)):
        # The first epoch loads kernels, which may wait.
        net.train_step(batch, generator=noise)
    shuffle = torch_generator(0, "shuffle", 2)
    with no_synchronisation():
        totals = torch.zeros(3, dtype=torch.float64, device=fed.device)
        for batch in fed.shuffled(shuffle):
            totals += net.train_step(batch, generator=noise)
    assert np.isfinite(totals.tolist()).all()


@pytest.mark.parametrize("on_device", [True, False])
def test_weighted_rows_are_trained_on(small_vae, clusters, on_device):
    weights = np.random.default_rng(0).exponential(size=180)
    setting = {"mmd_weight": 1.0, "tc_weight": 1.0, "early_stopping": True}
    here, there = (
        small_vae(device=device, data_on_device=on_device, **setting).fit(
            clusters, sample_weight=weights
        )
        for device in ("cpu", "cuda")
    )
    # What no noise has a part in.
    assert there.teacher_information_ == pytest.approx(here.teacher_information_, rel=1e-6)
    assert np.isfinite([record["valid_loss"] for record in there.history_]).all()


@pytest.mark.parametrize("large", [False, True])
def test_batches_from_the_host_are_those_of_the_device(clusters, monkeypatch, large):
    resident = source_of(clusters, True).batches(16, "cuda")
    host = source_of(clusters, False)
    if large:
        monkeypatch.setattr(batches, "MAX_BYTES", 0)
        monkeypatch.setattr(batches, "BLOCK_BYTES", 1024)
    fed = host.batches(16, "cuda")
    assert type(fed) is (StreamedBatches if large else InMemoryBatches)
    assert resident.rows.is_cuda
    passes = [(list(resident), list(fed))]
    if not large:
        passes.append(
            tuple(list(each.shuffled(torch_generator(0, "order"))) for each in (resident, fed))
        )
    for one, other in passes:
        for wanted, found in zip(one, other, strict=True):
            assert all(tensor.is_cuda for tensor in found)
            assert all(map(torch.equal, wanted, found))


def test_copies_ahead_are_not_overwritten_while_a_step_is_busy():
    rows = torch.arange(2.0**20).reshape(-1, 2**10)
    fed = InMemoryBatches(rows, rows[:, :1], 16, torch.device("cuda"))
    busy = torch.rand(2048, 2048, device="cuda")
    sums = []
    for x, _ in fed:
        for _ in range(20):
            busy = busy @ busy / 1024
        sums.append(x.sum(dtype=torch.float64))
    wanted = [part.sum(dtype=torch.float64).item() for part in rows.split(16)]
    assert torch.stack(sums).tolist() == wanted


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_fit_is_the_same_wherever_the_rows_are(small_vae, clusters, early_stopping):
    setting = {"device": "cuda", "early_stopping": early_stopping}
    one, other = (
        small_vae(data_on_device=on_device, **setting).fit(clusters)
        for on_device in (True, False)
    )
    np.testing.assert_allclose(one.transform(clusters), other.transform(clusters), atol=1e-4)


def test_full_devices_leave_the_rows_on_the_host(clusters, monkeypatch):
    assert source_of(clusters, "auto").batches(16, "cuda").rows.is_cuda
    monkeypatch.setattr(batches, "RESIDENT_SHARE", 0.0)
    assert not source_of(clusters, "auto").batches(16, "cuda").rows.is_cuda


def test_tensors_of_the_device_are_read(small_vae, clusters):
    vae = small_vae().fit(clusters)
    X = torch.tensor(clusters, device="cuda", requires_grad=True)
    again = small_vae().fit(X)
    np.testing.assert_array_equal(again.transform(X), vae.transform(clusters))
    assert again.score(X) == vae.score(clusters)


# Fitted models.


def test_one_step_agrees_with_the_cpu(small_vae, clusters):
    vae = small_vae(device="cuda", max_epochs=1).fit(clusters)
    x = torch.from_numpy(vae._fitted.units.apply(clusters))
    T = torch.from_numpy(vae.teacher_proba(clusters)).float()
    net = vae.net_
    found = {}
    for device in ("cuda", "cpu"):
        net.module_.to(device).zero_grad(set_to_none=True)
        # The generator is on the CPU: the same noise on both.
        noise = torch_generator(0, "noise")
        loss, terms = net._evaluate((x.to(device), T.to(device)), noise)
        loss.backward()
        gradients = [parameter.grad.cpu() for parameter in net.module_.parameters()]
        found[device] = [loss.detach().cpu(), terms.cpu(), *gradients]
    for on_gpu, on_cpu in zip(found["cuda"], found["cpu"], strict=True):
        torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-3, atol=1e-5)


def test_fits_on_the_gpu_certify_and_repeat(small_vae, clusters):
    one, other = (small_vae(device="cuda", max_epochs=60).fit(clusters) for _ in range(2))
    assert one.margin_ > 0
    np.testing.assert_allclose(one.transform(clusters), other.transform(clusters), atol=1e-2)
    on_cpu = small_vae(device="cpu", max_epochs=60).fit(clusters)
    assert one.margin_ == pytest.approx(on_cpu.margin_, abs=0.1)
    assert one.score(clusters) == pytest.approx(on_cpu.score(clusters), abs=0.3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_on_the_gpu(small_vae, clusters, precision):
    vae = small_vae(device="cuda", max_epochs=60, precision=precision).fit(clusters)
    assert vae.margin_ > 0
    assert {p.dtype for p in vae.net_.module_.parameters()} == {torch.float32}


def test_a_model_from_the_gpu_is_pickled_with_its_device(small_vae, clusters):
    vae = small_vae(device="cuda").fit(clusters)
    loaded = pickle.loads(pickle.dumps(vae))
    assert loaded.device_ == vae.device_ == "cuda"
    np.testing.assert_array_equal(loaded.transform(clusters), vae.transform(clusters))


def test_device_memory_is_flat_over_clones_and_fits(small_vae, clusters):
    vae = small_vae(device="cuda", max_epochs=1, alignment_weight=0)
    held = []
    for _ in range(20):
        vae = clone(vae).fit(clusters)
        gc.collect()
        held.append(torch.cuda.memory_allocated())
    assert held[1] == held[-1] == max(held[1:])


def test_a_batch_too_large_is_refused_with_one_to_try(small_vae):
    free, _ = torch.cuda.mem_get_info()
    rows = np.random.default_rng(0).normal(size=(50_000, 4))
    # Hidden layers whose outputs for all rows are more than there is.
    vae = small_vae(
        device="cuda",
        batch_size=50_000,
        hidden_layer_sizes=(max(1, free // (4 * 50_000)), 1),
        alignment_weight=0,
    )
    with pytest.raises(DeviceMemoryError, match="try batch_size=25000"):
        vae.fit(rows)
    assert not hasattr(vae, "net_")


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_the_second_gpu_is_used_when_named(small_vae, clusters):
    vae = small_vae(device="cuda:1").fit(clusters)
    assert vae.device_ == "cuda:1"
    assert {p.device.index for p in vae.net_.module_.parameters()} == {1}
    assert np.isfinite(vae.score(clusters))
