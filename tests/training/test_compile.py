"""Compiled steps: one shape of batch, the same training, nothing left behind."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from shared import SETTINGS, rows_for
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skvae.exceptions import UncertifiedWarning
from skvae.training.batches import InMemoryBatches, filled_up
from skvae.training.net import batch_sums


@pytest.fixture
def watched(monkeypatch):
    """Stand in for the compiler, and note what would be compiled."""
    calls = {"shapes": [], "settings": []}

    def compile_(function, **settings):
        calls["settings"].append(settings)

        def compiled(module, criterion, *tensors):
            calls["shapes"].append(tuple(tuple(tensor.shape) for tensor in tensors))
            return function(module, criterion, *tensors)

        return compiled

    monkeypatch.setattr(torch, "compile", compile_)
    return calls


def test_short_batches_are_filled_from_the_first():
    rows = torch.arange(10.0)[:, None]
    batches = list(filled_up(InMemoryBatches(rows, -rows, 4), 4))
    assert [x[:, 0].tolist() for x, _ in batches] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 0, 1],
    ]
    assert all(torch.equal(target, -x) for x, target in batches)


@pytest.mark.parametrize("batch_size", [64, 60, 500])
@pytest.mark.parametrize(
    "setting",
    [{}, {"kl_warmup": 0.5}, {"kl_capacity": 1.0, "kl_warmup": 0.5}, {"guard": 0.1}],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
def test_every_compiled_batch_has_one_shape(small_vae, clusters, watched, setting, batch_size):
    vae = small_vae(compile=True, early_stopping=True, batch_size=batch_size, **setting).fit(
        clusters
    )
    assert watched["settings"] == [{"dynamic": False, "mode": "default"}]
    (shapes,) = set(watched["shapes"])
    n_rows = min(batch_size, 162)
    assert shapes == ((n_rows, 4), (n_rows, 3), (n_rows, 3))
    assert np.isfinite([record["loss"] for record in vae.history_]).all()


def test_without_a_short_batch_the_training_is_the_same(small_vae, clusters, watched):
    plain, compiled = (
        small_vae(compile=choice, batch_size=60).fit(clusters)
        for choice in (False, "reduce-overhead")
    )
    assert watched["settings"][0]["mode"] == "reduce-overhead"
    # But for rounding: a step that is not compiled adds up its gradients in another order.
    np.testing.assert_allclose(
        compiled.transform(clusters), plain.transform(clusters), rtol=1e-4, atol=1e-5
    )
    for one, other in zip(compiled.history_, plain.history_, strict=True):
        assert {**one, "seconds": 0} == pytest.approx({**other, "seconds": 0}, rel=1e-4)


def test_rows_met_twice_count_twice_in_the_history(small_vae, clusters, watched):
    # The loss of the first step is that of the start, whatever the rows: cross-entropies of
    # one witness. Sums over 192 rows divided by 180 would be above the information.
    vae = small_vae(compile=True, batch_size=64, max_epochs=1, alignment_weight=0).fit(clusters)
    assert vae.history_[0]["alignment"] == pytest.approx(vae.teacher_information_, abs=0.02)


def test_what_is_compiled_is_not_kept(small_vae, clusters, watched):
    vae = small_vae(compile=True, max_epochs=1).fit(clusters)
    assert vae.net_._compiled is None
    pickle.dumps(vae)


def test_other_modes_are_refused(small_vae, clusters):
    with pytest.raises(ValueError, match="compile"):
        small_vae(compile="fastest").fit(clusters)


def test_compiled_for_good_it_trains_alike_and_compiles_once(small_vae, clusters):
    from torch._dynamo.utils import counters

    setting = {"batch_size": 60, "max_epochs": 3, "kl_warmup": 0.5}
    try:
        counters.clear()
        compiled = small_vae(compile=True, **setting).fit(clusters)
    except RuntimeError as error:
        if "compiler" not in str(error).lower():
            raise
        pytest.skip("there is no compiler here")
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
    plain = small_vae(**setting).fit(clusters)
    np.testing.assert_allclose(
        compiled.transform(clusters), plain.transform(clusters), atol=1e-3
    )


class Devices(TorchDispatchMode):
    """Collect the devices of all tensors that come up, and what was called with them."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for each in tree_leaves((args, kwargs, result)):
            if isinstance(each, torch.Tensor):
                self.found.add((each.device.type, function.name()))
        return result


@pytest.mark.parametrize(
    "name",
    ["default", "conv", "mean read", "simplex witness", "importance", "laplace", "poisson"],
)
def test_no_tensor_of_a_captured_step_lives_on_the_host(name, small_vae, clusters):
    """A graph of CUDA would read it where it lay at the capture, or wait for it."""
    setting = {**SETTINGS[name], "max_epochs": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UncertifiedWarning)
        net = copy.deepcopy(small_vae(**setting).fit(rows_for(setting, clusters)).net_)
    module, criterion = net.module_.to("meta"), net.criterion_.to("meta")
    x = torch.empty(16, 4, device="meta")
    T = torch.empty(16, 3, device="meta")
    shape = (16, module.latent_dim)
    if criterion.n_importance_samples > 1:
        shape = (criterion.n_importance_samples, *shape)
    with Devices() as devices:
        sums = batch_sums(module, criterion, x, T, torch.empty(shape, device="meta"))
        loss, _ = criterion.total(sums, 16)
        loss.backward()
    assert {device for device, _ in devices.found} == {"meta"}, devices.found
