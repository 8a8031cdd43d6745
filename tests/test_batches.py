"""Large tables: read block by block, whatever they lie in, in memory that does not grow."""

import tracemalloc

import numpy as np
import pytest
import torch

from skvae import ConstantCollapseCertificate, batches, information, scaling, teachers, vae
from skvae.batches import StreamedBatches, TrainingRows
from skvae.information import best_constant_student, teacher_information
from skvae.scaling import Standardization


@pytest.fixture
def small_blocks(monkeypatch):
    """Take every table for a large one."""
    monkeypatch.setattr(batches, "MAX_BYTES", 0)
    monkeypatch.setattr(batches, "BLOCK_BYTES", 2048)
    monkeypatch.setattr(scaling, "MOMENT_ROWS", 50)
    monkeypatch.setattr(teachers, "BLOCK_ROWS", 50)
    monkeypatch.setattr(vae, "BLOCK_ROWS", 50)
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


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"early_stopping": True, "validation_fraction": 0.2},
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
        (teachers, "BLOCK_ROWS"),
        (vae, "BLOCK_ROWS"),
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
