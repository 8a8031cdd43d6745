"""Where rows lie while they are trained on; large tables in memory that does not grow."""

import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from skvae import ConstantCollapseCertificate, information
from skvae.information import best_constant_student, teacher_information
from skvae.rows import scaling
from skvae.rows.scaling import Standardization
from skvae.teachers import fits
from skvae.training import batches
from skvae.training.batches import (
    InMemoryBatches,
    StreamedBatches,
    TrainingRows,
    copied_ahead,
    free_bytes,
)
from skvae.vae import course


@pytest.fixture
def small_blocks(monkeypatch):
    """Take every table for a large one."""
    monkeypatch.setattr(batches, "MAX_BYTES", 0)
    monkeypatch.setattr(batches, "BLOCK_BYTES", 2048)
    monkeypatch.setattr(scaling, "MOMENT_ROWS", 50)
    monkeypatch.setattr(fits, "BLOCK_ROWS", 50)
    monkeypatch.setattr(course, "BLOCK_ROWS", 50)
    monkeypatch.setattr(information.boundary, "_BLOCK_ROWS", 50)


def rows_and_targets(n_rows=103):
    rows = np.arange(n_rows, dtype=np.float64)[:, None] * [1.0, -1.0]
    return rows, np.stack([rows[:, 0], 1 - rows[:, 0]], axis=1)


@pytest.mark.parametrize("chosen", [None, np.arange(1, 103, 2)])
def test_streamed_batches_hold_every_row_once_beside_its_target(monkeypatch, chosen):
    monkeypatch.setattr(batches, "MAX_BYTES", 0)
    monkeypatch.setattr(batches, "BLOCK_BYTES", 160)
    rows, targets = rows_and_targets()
    wanted = np.arange(103) if chosen is None else chosen
    source = TrainingRows(rows, targets[wanted], Standardization.identity(2), chosen)
    stream = source.batches(4, "cpu")
    assert isinstance(stream, StreamedBatches)
    assert stream.block_rows == 20
    assert len(stream) == len(wanted)
    shuffled = list(stream.shuffled(torch.Generator().manual_seed(0)))
    for seen in (shuffled, list(stream)):
        assert sum(len(x) < 4 for x, _ in seen) <= 1
        for x, T in seen:
            torch.testing.assert_close(x[:, 0], T[:, 0])
        found = torch.cat([x for x, _ in seen])[:, 0]
        assert sorted(found.tolist()) == wanted.tolist()
    order = torch.cat([x for x, _ in shuffled])[:, 0].tolist()
    again = torch.cat([x for x, _ in stream.shuffled(torch.Generator().manual_seed(0))])
    other = torch.cat([x for x, _ in stream.shuffled(torch.Generator().manual_seed(1))])
    assert order == again[:, 0].tolist()
    assert order != other[:, 0].tolist()


@pytest.fixture
def accelerator(monkeypatch):
    """Give the meta device this many bytes of free memory, and count how often it is asked."""
    asked = []

    def with_free(n_bytes):
        monkeypatch.setattr(
            batches, "free_bytes", lambda device: asked.append(device.type) or n_bytes
        )
        return asked

    return with_free


# 103 rows of 2 columns beside 2 targets, in float32.
NEEDED = 4 * 103 * (2 + 2)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    ("on_device", "free", "resident"),
    [
        ("auto", 2 * NEEDED, True),
        ("auto", 2 * NEEDED - 1, False),
        (True, 0, True),
        (False, 2**40, False),
        (np.False_, 2**40, False),
    ],
)
def test_where_rows_are_on_an_accelerator(
    accelerator, monkeypatch, on_device, free, resident, large
):
    asked = accelerator(free)
    monkeypatch.setattr(batches, "BLOCK_BYTES", 160)
    if large:
        monkeypatch.setattr(batches, "MAX_BYTES", 0)
    rows, targets = rows_and_targets()
    source = TrainingRows(rows, targets, Standardization.identity(2), on_device=on_device)
    fed = source.batches(4, "meta")
    assert fed.device.type == "meta"
    if resident:
        assert type(fed) is InMemoryBatches
        assert fed.rows.device.type == fed.targets.device.type == "meta"
        assert fed.rows.shape == rows.shape
        # Put there once, whoever asks.
        assert source.batches(8, "meta").rows is fed.rows
    elif large:
        assert type(fed) is StreamedBatches
    else:
        assert type(fed) is InMemoryBatches
        assert fed.rows.device.type == fed.targets.device.type == "cpu"
    assert asked == (["meta"] if on_device == "auto" else [])
    for passed in (fed, fed.shuffled(torch.Generator())):
        sizes = []
        for x, T in passed:
            assert x.device.type == T.device.type == "meta"
            assert len(x) == len(T)
            sizes.append(len(x))
        assert sum(sizes) == 103
        assert set(sizes[:-1]) == {4} or large


@pytest.mark.parametrize("large", [False, True])
def test_unknown_free_memory_takes_up_to_the_size_that_is_held_anyway(monkeypatch, large):
    if large:
        monkeypatch.setattr(batches, "MAX_BYTES", 0)
    assert free_bytes(torch.device("meta")) is None
    rows, targets = rows_and_targets()
    fed = TrainingRows(rows, targets, Standardization.identity(2)).batches(4, "meta")
    assert type(fed) is (StreamedBatches if large else InMemoryBatches)
    assert large or fed.rows.device.type == "meta"


@pytest.mark.parametrize("on_device", [True, False, "auto"])
def test_the_processor_is_no_accelerator(on_device):
    rows, targets = rows_and_targets()
    source = TrainingRows(rows, targets, Standardization.identity(2), on_device=on_device)
    fed = source.batches(4, "cpu")
    assert fed.rows.device.type == fed.device.type == "cpu"
    order = torch.cat([x for x, _ in fed.shuffled(torch.Generator().manual_seed(0))])
    expected = torch.randperm(103, generator=torch.Generator().manual_seed(0))
    assert order[:, 0].tolist() == expected.tolist()


def test_free_memory_counts_what_torch_holds_and_does_not_use(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 20)
    assert free_bytes(torch.device("cuda")) == 130
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 70)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 30)
    assert free_bytes(torch.device("mps")) == 40
    assert free_bytes(torch.device("cpu")) is None


@pytest.mark.parametrize("n_batches", [0, 1, 5])
def test_batches_are_copied_one_ahead_and_in_order(n_batches):
    asked = []

    def host():
        for number in range(n_batches):
            asked.append(number)
            yield torch.full((2, 1), float(number)), torch.full((2,), float(number))

    seen = []
    for x, T in copied_ahead(host(), torch.device("cpu")):
        assert len(asked) == min(len(seen) + 2, n_batches)
        assert x.shape == (2, 1)
        assert torch.equal(x[:, 0], T)
        seen.append(x[0, 0].item())
    assert seen == list(range(n_batches))


@pytest.mark.parametrize("chosen", [None, np.arange(1, 103, 2)])
def test_host_batches_are_those_of_resident_ones(chosen):
    rows, targets = rows_and_targets()
    targets = targets if chosen is None else targets[chosen]
    source = TrainingRows(rows, targets, Standardization.of(rows), chosen)
    resident = source.batches(4, "cpu")
    host = InMemoryBatches(resident.rows, resident.targets, 4, torch.device("cpu"))
    for passes in (iter, lambda fed: fed.shuffled(torch.Generator().manual_seed(3))):
        for wanted, found in zip(passes(resident), passes(host), strict=True):
            assert all(map(torch.equal, wanted, found))


class Reads(TorchDispatchMode):
    """Collect the operations that a device would have to be waited for."""

    WAITING = ("aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.equal")

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if str(func).startswith(self.WAITING):
            self.operations.append(str(func))
        return func(*args, **(kwargs or {}))


def test_no_step_of_an_epoch_reads_a_number(small_vae, clusters):
    net = small_vae().fit(clusters).net_
    T = np.repeat(np.eye(3), 60, axis=0)
    fed = TrainingRows(clusters, T, Standardization.of(clusters)).batches(16, "cpu")
    totals = torch.zeros(3, dtype=torch.float64)
    with Reads() as reads:
        for batch in fed.shuffled(torch.Generator().manual_seed(0)):
            totals += net.train_step(batch, generator=torch.Generator())
    assert reads.operations == []
    with Reads() as reads:
        totals[0].item()
    assert reads.operations == ["aten._local_scalar_dense.default"]


def test_rows_that_are_as_wanted_are_not_copied():
    rows = np.random.default_rng(0).random((50, 3), dtype=np.float32)
    T = np.full((50, 2), 0.5)
    identity = Standardization.identity(3)
    assert identity.is_identity
    assert not Standardization.of(rows).is_identity
    fed = TrainingRows(rows, T, identity).batches(8, "cpu")
    assert fed.rows.data_ptr() == rows.ctypes.data
    part = TrainingRows(rows, T, identity).block(10, 20)
    assert part.data_ptr() == rows[10:].ctypes.data
    read_only = rows.copy()
    read_only.setflags(write=False)
    for other in (rows.astype(np.float64), np.asfortranarray(rows), rows[::-1], read_only):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            block = TrainingRows(other, T, identity).block(0, 50)
        assert block.dtype == torch.float32
        assert block.data_ptr() != other.ctypes.data
        np.testing.assert_array_equal(block, other.astype(np.float32))
    moved = TrainingRows(rows, T, Standardization.of(rows)).block(0, 50)
    assert moved.data_ptr() != rows.ctypes.data


def test_bernoulli_training_reads_the_array_it_was_given(small_vae, monkeypatch):
    X = np.random.default_rng(0).random((60, 4), dtype=np.float32)
    before = X.copy()
    found = []
    feed = TrainingRows.batches

    def batches(self, *args, **kwargs):
        fed = feed(self, *args, **kwargs)
        found.append(fed.rows.data_ptr())
        return fed

    monkeypatch.setattr(TrainingRows, "batches", batches)
    small_vae(likelihood="bernoulli").fit(X)
    assert found == [X.ctypes.data]
    np.testing.assert_array_equal(X, before)


def test_where_rows_are_is_checked_and_changes_nothing_on_the_cpu(small_vae, clusters):
    codes = small_vae().fit(clusters).transform(clusters)
    for on_device in (True, False):
        vae = small_vae(data_on_device=on_device).fit(clusters)
        np.testing.assert_array_equal(vae.transform(clusters), codes)
    with pytest.raises(ValueError, match="data_on_device"):
        small_vae(data_on_device="gpu").fit(clusters)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
def test_the_estimator_passes_on_where_rows_are(
    small_vae, clusters, monkeypatch, early_stopping
):
    found = set()
    feed = TrainingRows.batches

    def batches(self, *args, **kwargs):
        found.add((len(self), self.on_device))
        return feed(self, *args, **kwargs)

    monkeypatch.setattr(TrainingRows, "batches", batches)
    small_vae(data_on_device=False, early_stopping=early_stopping, validation_fraction=0.5).fit(
        clusters
    )
    assert found == ({(90, False)} if early_stopping else {(180, False)})


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"early_stopping": True, "validation_fraction": 0.2, "n_iter_no_change": 30},
        {"witness": "simplex", "prefit_epochs": 5, "guard": 0.1},
    ],
)
def test_large_tables_train_as_well_as_small_ones(small_vae, clusters, request, setting):
    setting = {"max_epochs": 60, "batch_size": 16, **setting}
    small = small_vae(**setting).fit(clusters)
    request.getfixturevalue("small_blocks")
    large = small_vae(**setting).fit(clusters)
    assert large.teacher_information_ == pytest.approx(small.teacher_information_, abs=1e-6)
    np.testing.assert_allclose(large.average_teacher_, small.average_teacher_, atol=1e-6)
    assert large.margin_ == pytest.approx(small.margin_, abs=0.03)
    assert large.score(clusters) == pytest.approx(small.score(clusters), abs=0.5)
    again = small_vae(**setting).fit(clusters)
    np.testing.assert_array_equal(again.transform(clusters), large.transform(clusters))


def test_file_and_memory_give_the_same_bits(small_vae, clusters, small_blocks, tmp_path):
    np.save(tmp_path / "rows.npy", clusters.astype(np.float32))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    one = small_vae().fit(mapped)
    other = small_vae().fit(np.array(mapped))
    np.testing.assert_array_equal(one.transform(mapped), other.transform(mapped))


def test_memory_does_not_grow_with_a_mapped_file(small_vae, tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "MAX_BYTES", 2**20)
    monkeypatch.setattr(batches, "BLOCK_BYTES", 2**19)
    for module, name in (
        (scaling, "MOMENT_ROWS"),
        (fits, "BLOCK_ROWS"),
        (course, "BLOCK_ROWS"),
        (information.boundary, "_BLOCK_ROWS"),
    ):
        monkeypatch.setattr(module, name, 4096)
    n_rows = 60_000
    mapped = np.lib.format.open_memmap(
        tmp_path / "rows.npy", "w+", dtype=np.float32, shape=(n_rows, 64)
    )
    rng = np.random.default_rng(0)
    centers = 4 * rng.standard_normal((3, 64))
    for start in range(0, n_rows, 10_000):
        noise = rng.standard_normal((10_000, 64))
        mapped[start : start + 10_000] = centers[rng.integers(0, 3, 10_000)] + noise
    mapped.flush()
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    model = small_vae(max_epochs=1, max_teacher_rows=2000, witness="simplex")
    tracemalloc.start()
    try:
        model.fit(mapped)
        margin = ConstantCollapseCertificate().score(model, mapped)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert margin > 0
    # A fraction of the 15 MB of the file, and of the 31 MB of a float64 copy.
    assert peak < 12 * 2**20


@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
def test_teacher_is_fitted_to_no_more_rows_than_allowed(small_vae, clusters):
    vae = small_vae(max_teacher_rows=50, max_epochs=1)
    X = clusters.copy()
    seen = vae.fit(X).teacher_.pipeline_[0].n_samples_seen_
    assert seen == 50
    assert vae.teacher_proba(X).shape == (180, 3)
    stopped = small_vae(
        max_teacher_rows=50, max_epochs=1, early_stopping=True, validation_fraction=0.5
    ).fit(X)
    assert stopped.teacher_.pipeline_[0].n_samples_seen_ == 50
    whole = small_vae(max_teacher_rows=180, max_epochs=1).fit(X)
    assert whole.teacher_.pipeline_[0].n_samples_seen_ == 180
    with pytest.raises(ValueError, match="max_teacher_rows"):
        small_vae(max_teacher_rows=1).fit(X)


@pytest.mark.parametrize("n_rows", [49, 50, 51, 130])
def test_information_of_large_tables_is_that_of_their_rows(n_rows, monkeypatch):
    T = np.random.default_rng(0).dirichlet([0.5, 1.0, 2.0], n_rows)
    expected = teacher_information(T), best_constant_student(T)
    monkeypatch.setattr(information.boundary, "_BLOCK_ROWS", 50)
    assert teacher_information(T) == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(best_constant_student(T), expected[1], rtol=1e-12)
    if n_rows > 50:
        T[50] = 7.0
        with pytest.raises(ValueError, match=r"Counting rows from row 50: Row \d+ of T"):
            teacher_information(T)
