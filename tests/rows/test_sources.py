"""Data sets that are no arrays: the rows they hold, and the same bits as from the array."""

import doctest
import gc
import itertools
import os
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

from skvae import ConstantCollapseCertificate
from skvae.rows import as_rows, sources
from skvae.training import batches
from skvae.training.batches import TrainingRows

ROWS = np.arange(21, dtype=np.float32).reshape(7, 3)


class Items(Dataset):
    """A data set of what a list holds, which counts how often each is read."""

    def __init__(self, items):
        self.items = list(items)
        self.reads = [0] * len(self.items)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, number):
        self.reads[number] += 1
        return self.items[number]


class Stream(IterableDataset):
    """A data set of no known length."""

    def __init__(self, items):
        self.items = items

    def __iter__(self):
        return iter(self.items)


class Columns:
    """What a Hugging Face data set offers: columns, a format, items and slices."""

    def __init__(self, columns, kind=None):
        self.columns = columns
        self.format = {"type": kind}
        self.slices = []

    @property
    def column_names(self):
        return list(self.columns)

    def with_format(self, kind):
        return Columns(self.columns, kind)

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key):
        self.slices.append(key)
        convert = {None: lambda v: v, "numpy": np.asarray, "torch": torch.as_tensor}
        return {
            name: convert[self.format["type"]](values[key])
            for name, values in self.columns.items()
        }


LABELS = list(range(7))
DATA_SETS = {
    "rows": Items(ROWS),
    "lists": Items(ROWS.tolist()),
    "tensors": Items(torch.from_numpy(ROWS)),
    "pairs": Items(zip(ROWS, LABELS, strict=True)),
    "mappings": Items({"label": 1, "name": "a", "pixels": row} for row in ROWS),
    "TensorDataset": TensorDataset(torch.from_numpy(ROWS), torch.arange(7)),
    "Subset": Subset(Items([*ROWS, *ROWS]), range(7, 14)),
    "stream": Stream(ROWS),
    "stream of pairs": Stream(list(zip(ROWS, LABELS, strict=True))),
    "loader": DataLoader(Items(ROWS), batch_size=3),
    "shuffling loader of pairs": DataLoader(
        Items(zip(ROWS, LABELS, strict=True)), batch_size=2, shuffle=True, drop_last=True
    ),
    "loader of a stream": DataLoader(Stream(ROWS), batch_size=4),
    "loader of mappings": DataLoader(
        Items({"label": 1, "pixels": row} for row in ROWS), batch_size=4
    ),
    "loader of items": DataLoader(Items(ROWS), batch_size=None, shuffle=True),
    "loader of pairs": DataLoader(
        TensorDataset(torch.from_numpy(ROWS), torch.arange(7)), batch_size=None
    ),
    "loader of a stream of rows": DataLoader(Stream(ROWS), batch_size=None),
    "loader of a stream of pairs": DataLoader(
        Stream([(row, 0) for row in ROWS]), batch_size=None
    ),
    "loader of a stream of mappings": DataLoader(
        Stream([{"label": 1, "pixels": row} for row in ROWS]), batch_size=None
    ),
    "loader of batches": DataLoader(Stream([ROWS[:5], ROWS[5:]]), batch_size=None),
    "columns": Columns({"pixels": ROWS.tolist(), "label": LABELS}),
    "columns of arrays": Columns({"pixels": ROWS, "label": np.arange(7)}, "numpy"),
    "columns of tensors": Columns({"label": LABELS, "pixels": ROWS}, "torch"),
}


@pytest.mark.parametrize("name", DATA_SETS)
@pytest.mark.parametrize("block", [8, 2**24])
def test_rows_are_those_of_the_items_in_their_order(name, block, monkeypatch):
    monkeypatch.setattr(sources, "BLOCK_BYTES", block)
    monkeypatch.setattr(sources, "MAX_ITEMS", 3)
    before = torch.get_rng_state()
    rows = as_rows(DATA_SETS[name])
    np.testing.assert_array_equal(rows, ROWS)
    assert type(rows) is np.ndarray
    assert rows.dtype == (np.float64 if name in ("lists", "columns") else np.float32)
    assert torch.equal(torch.get_rng_state(), before)


def test_each_item_is_read_once():
    data = Items(ROWS)
    as_rows(data)
    assert data.reads == [1] * 7


def test_columns_are_read_by_slices():
    data = Columns({"pixels": ROWS}, "numpy")
    as_rows(data)
    assert data.slices[0] == 0
    assert all(isinstance(key, slice) for key in data.slices[1:])


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [
        ("uint8", "float32"),
        ("bool", "float32"),
        ("int16", "float32"),
        ("float16", "float32"),
        ("bfloat16", "float32"),
        ("float32", "float32"),
        ("int64", "float64"),
        ("float64", "float64"),
    ],
)
def test_numbers_stay_what_they_are(dtype, wanted):
    images = torch.tensor([0, 1, 1, 0]).reshape(2, 1, 2, 1).to(getattr(torch, dtype))
    rows = as_rows(Items(images))
    assert rows.dtype == wanted
    np.testing.assert_array_equal(rows, [[0, 1], [1, 0]])


def test_images_are_flattened_channel_by_channel_and_not_scaled():
    images = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).reshape(2, 3, 4, 5) * 2
    rows = as_rows(TensorDataset(images, torch.zeros(2)))
    np.testing.assert_array_equal(rows, images.reshape(2, 60).numpy())
    assert rows.max() == 238


def test_columns_of_single_numbers_have_one_feature():
    pairs = Items(zip(torch.arange(3.0), LABELS, strict=False))
    np.testing.assert_array_equal(as_rows(pairs), [[0], [1], [2]])
    np.testing.assert_array_equal(as_rows(Columns({"a": [3, 4]})), [[3], [4]])


def test_a_column_is_named_by_key_or_position():
    two = Columns({"left": ROWS, "right": 2 * ROWS})
    np.testing.assert_array_equal(as_rows(two, column="right"), 2 * ROWS)
    pairs = TensorDataset(torch.from_numpy(ROWS), torch.arange(7))
    np.testing.assert_array_equal(as_rows(pairs, column=1)[:, 0], LABELS)
    with pytest.raises(
        ValueError, match=r"columns \['left', 'right'\].*not clear.*column='left'"
    ):
        as_rows(two)
    with pytest.raises(ValueError, match=r"columns \['left', 'right'\], and not 'top'"):
        as_rows(two, column="top")
    with pytest.raises(ValueError, match=r"2 parts, got column=2.*from 0 to 1"):
        as_rows(pairs, column=2)
    with pytest.raises(ValueError, match="no parts to choose from, got column='left'"):
        as_rows(Items(ROWS), column="left")
    with pytest.raises(TypeError, match="ndarray is none"):
        as_rows(ROWS, column=1)


@pytest.mark.parametrize(
    ("items", "match"),
    [
        ([], "empty"),
        ([ROWS[0], ROWS[1], ROWS[2, :2]], r"Item 2 .* shape \(2,\), and item 0 has \(3,\)"),
        ([ROWS[0], "text"], "Item 1 .* holds str"),
        ([ROWS[0], None], "Item 1 .* holds NoneType"),
        ([1j * ROWS[0]], r"Item 0 .* \(complex64\)"),
        ([ROWS[0], [[1.0, 2.0], [3.0]]], "Item 1 .* ragged"),
        ([ROWS[0], {"pixels": ROWS[1]}], "Item 1 .* holds dict"),
        ([(ROWS[0], 0), 7], r"Item 1 has no part 0.*it is a int"),
        ([{"a": ROWS[0]}, {"b": ROWS[0]}], "Item 1 has no part 'a'"),
        ([ROWS[:0]], "Item 0 .* holds no numbers"),
    ],
)
def test_items_that_are_no_rows_are_named(items, match):
    with pytest.raises(ValueError, match=match):
        as_rows(Items(items))


def test_ragged_and_empty_columns_are_named():
    class Ragged(Columns):
        def __getitem__(self, key):
            return {"pixels": self.columns["pixels"][key]}

    with pytest.raises(ValueError, match=r"Item 1 .* shape \(1,\), and item 0 has \(2,\)"):
        as_rows(Ragged({"pixels": [[1.0, 2.0], [3.0]]}, "custom"))
    for kind in (None, "numpy"):
        with pytest.raises(ValueError, match="empty"):
            as_rows(Columns({"pixels": []}, kind))


def test_a_batch_of_another_shape_is_named_by_its_first_item():
    batches = DataLoader(Stream([ROWS[:5], ROWS[5:, :2]]), batch_size=None)
    with pytest.raises(ValueError, match=r"Item 5 .* shape \(2,\)"):
        as_rows(batches)


def test_loaders_that_draw_some_rows_only_are_refused():
    for loader in (
        DataLoader(Items(ROWS), sampler=WeightedRandomSampler([1.0] * 7, 7)),
        DataLoader(Items(ROWS), sampler=torch.utils.data.SubsetRandomSampler([1, 2])),
        DataLoader(Items(ROWS), sampler=torch.utils.data.RandomSampler(ROWS, num_samples=3)),
        DataLoader(Items(ROWS), batch_sampler=[[0, 1], [2]]),
    ):
        with pytest.raises(ValueError, match=r"DataLoader draws its rows by a \w+, .*Subset"):
            as_rows(loader)


def test_a_data_set_without_length_or_iterator_is_refused():
    class Endless(Dataset):
        def __getitem__(self, number):
            return ROWS[0]

    with pytest.raises(TypeError, match="Endless has neither a length"):
        as_rows(Endless())


def test_what_is_no_data_set_comes_back_as_it_is():
    for data in (ROWS, ROWS.tolist(), [], iter(ROWS)):
        assert as_rows(data) is data
    for data in ("text", b"text", None, {"a": 1}, {1.0}, 3, list, Path("X.npy")):
        with pytest.raises(TypeError, match="Rows must be an array, a data frame"):
            as_rows(data)


def test_tensors_become_arrays_of_their_own_shape():
    tensor = torch.ones(2, 3, 4, requires_grad=True)
    assert as_rows(tensor).shape == (2, 3, 4)
    plain = torch.ones(2, 3)
    assert np.shares_memory(as_rows(plain), plain.numpy())
    assert as_rows(plain.bfloat16()).dtype == np.float32


@pytest.mark.parametrize("name", ["rows", "stream", "columns of arrays", "loader"])
def test_large_data_sets_lie_in_a_mapped_file_while_they_are_used(name, monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "MAX_BYTES", 40)
    monkeypatch.setattr(sources, "MAX_ITEMS", 2)
    monkeypatch.setattr(sources.tempfile, "tempdir", str(tmp_path))
    rows = as_rows(DATA_SETS[name])
    assert isinstance(rows, np.memmap)
    assert not rows.flags.writeable
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size == ROWS.nbytes
    part = np.asarray(rows)[2:]
    del rows
    gc.collect()
    np.testing.assert_array_equal(part, ROWS[2:])
    assert path.exists()
    # A worker process finds the file by its name.
    found = joblib.Parallel(n_jobs=2)(joblib.delayed(np.sum)(part) for _ in range(2))
    assert found == [ROWS[2:].sum()] * 2
    del part
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_no_file_stays_behind_when_reading_fails(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "MAX_BYTES", 20)
    monkeypatch.setattr(sources, "MAX_ITEMS", 1)
    monkeypatch.setattr(sources.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ValueError, match="Item 7"):
        as_rows(Items([*ROWS, "text"]))
    assert os.listdir(tmp_path) == []


@pytest.fixture(scope="module")
def reference(small_vae, clusters):
    return small_vae().fit(clusters.astype(np.float32))


def _sources_of(X):
    tensor = torch.tensor(X)
    pairs = TensorDataset(tensor, torch.zeros(len(X)))
    return {
        "tensor with history": tensor.clone().requires_grad_() * 1.0,
        "Dataset": Items(zip(X, itertools.count())),
        "images": TensorDataset(tensor.reshape(-1, 1, 2, 2)),
        "stream": Stream(X),
        "shuffling loader": DataLoader(pairs, batch_size=50, shuffle=True),
        "columns": Columns({"x": X, "label": np.zeros(len(X))}, "numpy"),
    }


@pytest.mark.parametrize("name", _sources_of(np.zeros((1, 4))))
def test_a_data_set_gives_the_bits_of_its_array(small_vae, clusters, reference, name):
    X = clusters.astype(np.float32)
    data = _sources_of(X)[name]
    vae = small_vae().fit(data)
    np.testing.assert_array_equal(vae.transform(data), reference.transform(X))
    np.testing.assert_array_equal(vae.score_samples(data), reference.score_samples(X))
    assert vae.score(data) == reference.score(X)
    np.testing.assert_array_equal(vae.teacher_proba(data), reference.teacher_proba(X))
    certificate = ConstantCollapseCertificate()
    assert certificate.score(vae, data) == certificate.score(reference, X)
    assert str(certificate.certify(vae, data)) == str(certificate.certify(reference, X))
    assert vae.margin_ == reference.margin_
    assert vae.fingerprint_.share_of(X) == 1.0


@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
def test_large_data_sets_are_streamed_from_their_file(
    small_vae, clusters, monkeypatch, tmp_path
):
    X = clusters.astype(np.float32)
    monkeypatch.setattr(batches, "MAX_BYTES", 0)
    monkeypatch.setattr(batches, "BLOCK_BYTES", 1024)
    setting = {"max_teacher_rows": 50, "early_stopping": True}
    expected = small_vae(**setting).fit(X)
    monkeypatch.setattr(sources, "MAX_BYTES", 100)
    monkeypatch.setattr(sources, "MAX_ITEMS", 16)
    monkeypatch.setattr(sources.tempfile, "tempdir", str(tmp_path))
    found = []
    of = TrainingRows.block

    def block(self, start, stop):
        found.append(isinstance(self.rows.base, np.memmap))
        return of(self, start, stop)

    monkeypatch.setattr(TrainingRows, "block", block)
    vae = small_vae(**setting).fit(Items(X))
    assert all(found)
    assert len(found) > 2 * vae.n_iter_
    assert vae.teacher_.pipeline_[0].n_samples_seen_ == 50
    np.testing.assert_array_equal(vae.transform(Items(X)), expected.transform(X))
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_batches_of_a_loader_train_one_by_one(small_vae, clusters):
    X = torch.tensor(clusters, dtype=torch.float32)
    loader = DataLoader(TensorDataset(X), batch_size=60)
    from_tensors, from_arrays, from_data_sets = small_vae(), small_vae(), small_vae()
    for (batch,) in loader:
        from_tensors.partial_fit(batch.requires_grad_())
        from_arrays.partial_fit(batch.detach().numpy())
        from_data_sets.partial_fit(TensorDataset(batch.detach()))
    assert from_tensors.n_iter_ == 3
    codes = from_arrays.transform(X.numpy())
    np.testing.assert_array_equal(from_tensors.transform(X), codes)
    np.testing.assert_array_equal(from_data_sets.transform(X), codes)
    decoded = from_arrays.inverse_transform(codes)
    with_history = torch.tensor(codes, requires_grad=True)
    np.testing.assert_array_equal(from_tensors.inverse_transform(with_history), decoded)


def test_a_stream_of_tensors_with_history_is_certified(fitted, clusters):
    X = torch.tensor(clusters, requires_grad=True)
    certificate = ConstantCollapseCertificate()
    assert certificate.score(fitted, iter(X.split(50))) == certificate.score(fitted, clusters)


def test_labels_may_be_a_tensor(small_vae, clusters):
    labels = torch.arange(180) // 60
    teacher = LogisticRegression()
    vae = small_vae(teacher=teacher).fit(clusters, labels.float().requires_grad_())
    plain = small_vae(teacher=teacher).fit(clusters, labels.numpy())
    np.testing.assert_array_equal(vae.transform(clusters), plain.transform(clusters))


def test_bad_data_sets_change_nothing(small_vae, fitted, clusters):
    vae = small_vae()
    before = dict(vars(vae))
    with pytest.raises(ValueError, match="Item 1"):
        vae.fit(Items([clusters[0], "text"]))
    with pytest.raises(ValueError, match="NaN"):
        vae.fit(Items([clusters[0], np.nan * clusters[1]]))
    assert vars(vae) == before
    with pytest.raises(ValueError, match=r"3 features.*4 features"):
        fitted.transform(Items(clusters[:, :3]))


def test_examples_of_the_documentation_hold():
    page = Path(__file__).parents[2] / "docs" / "data.rst"
    found = doctest.testfile(str(page), module_relative=False)
    assert found.attempted > 0
    assert found.failed == 0


def test_importing_sources_imports_no_torch():
    code = "import sys\nimport numpy as np\n" + (
        "import importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('sources', {sources.__file__!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "rows = np.ones((2, 2))\n"
        "assert module.as_rows(rows) is rows\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_other_view_may_be_a_tensor(small_vae, clusters):
    plain = small_vae().fit(clusters, X_teacher=clusters)
    vae = small_vae().fit(clusters, X_teacher=torch.tensor(clusters))
    np.testing.assert_array_equal(vae.transform(clusters), plain.transform(clusters))
    np.testing.assert_array_equal(
        vae.teacher_proba(torch.tensor(clusters)), plain.teacher_proba(clusters)
    )
