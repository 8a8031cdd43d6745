"""What a file holds of objects, and what it refuses to make of its values."""

import sys
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae.files import foreign
from skvae.files.values import Packer, Unpacker, with_state
from skvae.rows import RowFingerprint


def tripped(value, trusted=()):
    packer = Packer(list(trusted))
    packed = packer.pack(value, "it")
    return Unpacker(packer.arrays, list(trusted)).unpack(packed)


@pytest.mark.parametrize(
    "value",
    [
        {"is": "a word that files have a use for", 3: "a number", (1, None): [2.5]},
        {"a": {"$float": 1}},
        b"bytes\x00",
        Path("some") / "where",
        torch.optim.SGD,
        timedelta(days=-1, seconds=3, microseconds=5),
        [(), [], {}],
    ],
)
def test_values_come_back(value):
    assert tripped(value) == value


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_keep_their_order_in_memory(order):
    array = np.asarray(np.arange(6.0).reshape(2, 3), order=order)
    found = tripped(array)
    np.testing.assert_array_equal(found, array)
    assert found.flags.c_contiguous == array.flags.c_contiguous
    products = tripped(array[:, ::2]) @ np.ones(2)
    np.testing.assert_array_equal(products, array[:, ::2] @ np.ones(2))


def test_optimisers_with_settings_come_back():
    found = tripped(partial(torch.optim.SGD, momentum=np.float64(0.5), nesterov=True))
    assert found.func is torch.optim.SGD
    assert found.keywords == {"momentum": 0.5, "nesterov": True}
    for other in (partial(int, base=2), partial(torch.optim.SGD, [1])):
        with pytest.raises(TypeError, match=r"it(\.of)? is (the type int|a functools.partial)"):
            tripped(other)


@pytest.mark.parametrize("dtype", [object, "U9"])
def test_texts_come_back(dtype):
    texts = np.array([["a", "é"], ["", "long"]], dtype=dtype)
    found = tripped(texts)
    np.testing.assert_array_equal(found, texts)
    assert found.dtype.kind == texts.dtype.kind


def test_what_is_shared_stays_shared():
    array, mixture = np.ones(3), GaussianMixture(2)
    found = tripped({"a": [array, array], "b": (mixture, FrozenEstimator(mixture))})
    assert found["a"][0] is found["a"][1]
    assert found["b"][1].estimator is found["b"][0]


def test_generators_go_on_where_they_were():
    state = np.random.RandomState(3)
    state.standard_normal(5)
    found = tripped(state)
    np.testing.assert_array_equal(found.standard_normal(9), state.standard_normal(9))


def test_parts_of_our_teachers_need_no_skops(monkeypatch, clusters):
    monkeypatch.setitem(sys.modules, "skops", None)
    pipeline = make_pipeline(StandardScaler(), PCA(2), GaussianMixture(3, random_state=0))
    found = tripped(pipeline.fit(clusters))
    np.testing.assert_array_equal(
        found.predict_proba(clusters), pipeline.predict_proba(clusters)
    )
    fingerprint = tripped(RowFingerprint.of(clusters))
    assert fingerprint.share_of(clusters) == 1.0
    with pytest.raises(ImportError, match=r"it is a LogisticRegression.*pip install 'skvae\[f"):
        tripped(LogisticRegression())


class Odd:
    pass


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Odd(), r"it is a .*Odd, which a file does not hold"),
        ({"a": [len]}, r"it\.a\[0\] is the builtin_function_or_method len"),
        (np.array([None]), "it is an array of object"),
        (np.zeros(2, dtype="M8[s]"), r"it is an array of datetime64"),
        (np.random.default_rng(0), "it is a .*Generator"),
        (int, "it is the type int"),
        (torch.nn.Linear, "it is the type Linear"),
        (make_pipeline(StandardScaler(), Odd()), r"steps\[1\]\[1\] is a .*Odd"),
    ],
)
def test_what_a_file_does_not_hold_is_refused_by_name(value, message):
    with pytest.raises(TypeError, match=message):
        tripped(value)


@pytest.mark.parametrize(
    "value",
    [
        {"is": "os.system", "number": 0, "state": {}},
        {"is": "optimizer", "name": "Optimizer.step"},
        {"is": "optimizer", "name": "lr_scheduler"},
        {"is": "same", "number": 3},
        {"is": "partial", "of": {"is": "path", "path": "x"}, "with": {}},
        {"is": "array", "array": "none", "number": 0},
        {"is": "bytes", "array": "floats"},
        {"is": "PCA", "number": 0, "state": {"transform": 1}},
        {"is": "PCA", "number": 0, "state": {"a b": 1}},
        {"is": "RowFingerprint", "number": 0, "state": {"keys": 1, "sieve": 2}},
        {"is": "foreign", "array": "bytes", "number": 0},
        {"is": []},
    ],
)
def test_what_is_none_of_ours_is_not_made(value):
    arrays = {"floats": np.ones(3), "bytes": np.arange(9, dtype=np.uint8)}
    with pytest.raises(
        (ValueError, LookupError, TypeError, AttributeError, OSError, Exception)
    ):
        Unpacker(arrays, []).unpack(value)


def test_no_method_is_hidden_by_a_value():
    with pytest.raises(ValueError, match="'fit' is no attribute of a PCA"):
        with_state(PCA, {"n_components": 2, "fit": 3})


def test_what_skops_cannot_write_is_refused_by_name():
    endless = LogisticRegression()
    endless.C = endless.C, (number for number in range(3))
    with pytest.raises(TypeError, match="it is a LogisticRegression that skops cannot write"):
        foreign.dumped(endless, "it", [])
