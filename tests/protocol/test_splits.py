"""Rows and labels of the protocol: by the door of `fit`, in its words, before anything."""

import warnings
from collections import deque

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch.utils.data import TensorDataset

from skvae import GaussianMixtureTeacher, TeacherGuidedVAE, protocol
from skvae.protocol import collapse_prone_variance, experiment, informative_variance
from skvae.protocol.splits import table_of

SETTING = {"latent_dim": 2, "hidden_layer_sizes": [4]}
N_TRAIN = 60


@pytest.fixture(scope="module", name="X")
def rows():
    rng = np.random.default_rng(0)
    X = 4 * np.eye(3, 4)[np.arange(68) % 3] + rng.normal(size=(68, 4))
    # What frames may hold as whole numbers and as truth values.
    X[:, 2], X[:, 3] = np.round(X[:, 2]), X[:, 3] > 0
    return X


Y = np.arange(68) % 3


def run(data, y=None, **options):
    setting = {**SETTING, **options.pop("setting", {})}
    options = {"arms": ["collapse", "vae"], "seeds": [0], "epochs": 1, **options}
    return protocol.run(data, y, device="cpu", setting=setting, **options)


def measured(result):
    return [
        (run["elbo"], run["report"], run["reconstruction_error"], run["accuracy"])
        for run in result["runs"]
    ]


class Holder:
    """Rows behind `__array__` alone."""

    def __init__(self, rows):
        self.rows = rows

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.rows, dtype=dtype)


@pytest.mark.parametrize(
    "form",
    [
        np.ndarray.tolist,
        lambda X: deque(X.tolist()),
        Holder,
        torch.tensor,
        lambda X: TensorDataset(torch.tensor(X), torch.zeros(len(X))),
        lambda X: X.astype(object),
    ],
    ids=["list", "deque", "__array__", "tensor", "data set", "objects"],
)
def test_rows_in_any_form_give_what_their_array_gives(X, form):
    wanted = measured(run((X[:N_TRAIN], X[N_TRAIN:]), (Y[:N_TRAIN], Y[N_TRAIN:])))
    halves = form(X[:N_TRAIN]), form(X[N_TRAIN:])
    labels = Y[:N_TRAIN].tolist(), torch.tensor(Y[N_TRAIN:])
    assert measured(run(halves, labels)) == wanted
    for variance in (collapse_prone_variance, informative_variance):
        assert variance(form(X)) == variance(X)


def frames(X):
    frame = pd.DataFrame(X, columns=list("abcd"))
    return {
        "floats": frame,
        "kinds": frame.astype({"c": "int64", "d": bool}),
        "nullable": frame.convert_dtypes(),
        "objects": frame.astype(object),
    }


def other_frames(X):
    polars, pyarrow = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    frame = pd.DataFrame(X, columns=list("abcd")).astype({"d": bool})
    return {"polars": polars.from_pandas(frame), "pyarrow": pyarrow.table(frame)}


@pytest.mark.parametrize("of_a_library", [frames, other_frames])
def test_frames_of_any_kind_give_what_their_floats_give(X, of_a_library):
    wanted = run(X, Y)
    for frame in of_a_library(X).values():
        found = run(frame, Y, teachers="per-seed")
        assert found["n_train"] == wanted["n_train"] == 54
        for ours, theirs in zip(found["runs"], wanted["runs"], strict=True):
            # A frame has its columns one after another, and sums have other last bits.
            assert ours["elbo"] == pytest.approx(theirs["elbo"])
            assert ours["report"]["rows"] == theirs["report"]["rows"] == "held-out"
            assert ours["accuracy"] == theirs["accuracy"]
        assert collapse_prone_variance(frame) == pytest.approx(collapse_prone_variance(X))


def first_columns(X):
    return np.column_stack([np.asarray(X[name]) for name in "ab"])


@pytest.mark.parametrize("of_a_library", [frames, other_frames])
def test_frames_reach_given_teachers_with_their_names(X, of_a_library):
    frame = next(iter(of_a_library(X).values()))

    by_name = make_pipeline(
        FunctionTransformer(first_columns), GaussianMixtureTeacher(n_components=3)
    ).fit(frame)
    own = GaussianMixtureTeacher(n_components=3, random_state=0).fit(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = run(frame, teachers=[by_name, own])
    assert len(result["runs"]) == 4


def test_frames_with_other_names_are_other_set_ups(X, tmp_path):
    frame = frames(X)["floats"]
    for each in (frame, frame.rename(columns={"a": "e"}), X):
        run(each, arms=["vae"], folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_frames_can_be_searched_on_rows_of_their_own(X):
    result = run(frames(X)["nullable"], arms=["vae"], teachers="searched:2")
    assert [run["teacher_kind"] for run in result["runs"]] == ["searched", "searched"]


def test_list_is_rows_and_tuple_is_a_split(X):
    assert run([*X], arms=["vae"])["n_train"] == 54
    with pytest.raises(ValueError, match=r"A split is a tuple \(X_train, X_test\)"):
        run(tuple(X))
    with pytest.raises(ValueError, match="A split is a tuple"):
        run((X, X), Y)
    with pytest.raises(ValueError, match="A split is a tuple"):
        run((X, X), [Y, Y])
    with pytest.raises(ValueError, match="Found array with dim 3"):
        run([X, X])


def missing(X, value):
    X = X.copy()
    X[3, 1] = value
    return X


def as_images(X):
    return X.reshape(len(X), 1, 2, 2)


REFUSED = {
    "NaN": lambda X: missing(X, np.nan),
    "infinite": lambda X: missing(X, -np.inf),
    "NaN in a list": lambda X: missing(X, np.nan).tolist(),
    "NaN in a frame": lambda X: pd.DataFrame(missing(X, np.nan)),
    "NA in a frame": lambda X: pd.DataFrame(missing(X, np.nan)).convert_dtypes(),
    "masked": lambda X: np.ma.masked_array(X, mask=X > 3),
    "times": lambda X: X.astype("int64").astype("datetime64[D]"),
    "spans": lambda X: pd.DataFrame(X.astype("int64").astype("timedelta64[s]")),
    "complex": lambda X: X.astype(complex),
    "text": lambda X: np.full(X.shape, "a"),
    "text in a frame": lambda X: pd.DataFrame(X).assign(word="a"),
    "no rows": lambda X: X[:0],
    "no columns": lambda X: X[:, :0],
    "one dimension": lambda X: X[:, 0],
    "three dimensions": lambda X: X[:, None],
    "four dimensions": as_images,
    "ragged": lambda X: [[1.0, 2.0], [1.0]],
    "NaN in sparse rows": lambda X: sparse.csr_array(missing(X, np.nan)),
    "nothing": lambda X: None,
    "an empty data set": lambda X: TensorDataset(torch.zeros(0, 4)),
}


@pytest.mark.parametrize("spoil", REFUSED.values(), ids=REFUSED)
def test_rows_are_refused_as_fit_refuses_them_before_anything_is_done(
    X, tmp_path, monkeypatch, spoil
):
    with pytest.raises((TypeError, ValueError)) as of_fit:
        TeacherGuidedVAE().fit(spoil(X))
    monkeypatch.setattr(GaussianMixtureTeacher, "fit", None)
    steps = []
    for data, notes in (
        (spoil(X), []),
        ((spoil(X), X), ["This was X_train."]),
        ((X, spoil(X)), ["This was X_test."]),
    ):
        with pytest.raises(of_fit.type) as caught:
            run(data, folder=tmp_path / "runs", on_resume=steps.append)
        # How many rows are the fewest differs.
        fewest = "minimum of" in str(of_fit.value)
        assert fewest or str(caught.value) == str(of_fit.value)
        assert str(caught.value).split(" while")[0] == str(of_fit.value).split(" while")[0]
        assert getattr(caught.value, "__notes__", []) == notes
    assert steps == list(tmp_path.iterdir()) == []
    if spoil is not as_images:
        for variance in (collapse_prone_variance, informative_variance):
            with pytest.raises(of_fit.type) as caught:
                variance(spoil(X))
            assert str(caught.value) == str(of_fit.value)


def test_as_many_rows_as_a_report_needs(X):
    # Each row is told from each.
    given = [GaussianMixtureTeacher(n_components=6, random_state=0).fit(X[:6])]
    for data in (X[:6], (X[:2], X[2:4])):
        result = run(data, teachers=given)
        assert result["runs"][0]["report"]["n_samples"] == result["n_test"] == 2
    for data, message in (
        (X[:5], r"5 sample\(s\).* minimum of 6 is required"),
        ((X[:1], X[2:4]), r"1 sample\(s\).* minimum of 2 is required"),
        ((X[:2], X[2:3]), r"1 sample\(s\).* minimum of 2 is required"),
    ):
        with pytest.raises(ValueError, match=message):
            run(data, teachers=given)


def test_halves_must_have_the_same_columns(X):
    frame = frames(X)["floats"]
    for train, test, message in (
        (X, X[:, :2], "X has 2 features, but TeacherGuidedVAE is expecting 4"),
        (frame, frame[["b", "a", "c", "d"]], "feature names should match"),
        (as_images(X), X[:, :3].reshape(len(X), 1, 1, 3), "must hold images of shape"),
    ):
        setting = {"image_shape": (1, 2, 2)} if np.ndim(train) == 4 else {}
        with pytest.raises(ValueError, match=message):
            run((train, test), setting=setting)


def test_float_maps_stay_maps(X, tmp_path, monkeypatch):
    halves = []
    for name, rows in (("train", X[:N_TRAIN]), ("test", X[N_TRAIN:])):
        np.save(tmp_path / f"{name}.npy", rows.astype(np.float32))
        halves.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    trained = []
    prepared = experiment._prepared

    def remember(parts, parameters):
        trained.append(prepared(parts, parameters)[0])
        return prepared(parts, parameters)

    monkeypatch.setattr(experiment, "_prepared", remember)
    in_images = [as_images(half) for half in halves]
    setting = {"image_shape": (1, 2, 2)}
    found = measured(run(tuple(halves), setting=setting))
    assert measured(run(tuple(in_images), setting=setting)) == found
    for split in trained:
        assert np.shares_memory(split.X_train, halves[0])
        assert np.shares_memory(split.X_test, halves[1])
        assert split.X_train.shape == (N_TRAIN, 4)
    assert np.shares_memory(table_of(halves[0]), halves[0])


def test_images_are_rows_where_an_arm_takes_images(digit_images):
    flat = digit_images[:80]
    images = flat.reshape(-1, 1, 8, 8)
    arms = {
        "conv": {"architecture": "conv", "channels": [2]},
        "dense": {"hidden_layer_sizes": [4]},
    }
    setting = {"latent_dim": 2, "batch_size": 40}
    result = run(images, arms=arms, setting=setting)
    assert result["arms"]["conv"]["image_shape"] == [1, 8, 8]
    assert "image_shape" not in result["arms"]["dense"]
    setting = {**setting, "image_shape": (1, 8, 8)}
    given = run(flat.tolist(), arms=arms, setting=setting)
    assert measured(result)[0] == measured(given)[0]
    wrong = {"conv": {**arms["conv"], "image_shape": (1, 4, 16)}}
    for data, own, message in (
        (images, wrong, r"must hold images of shape \(1, 4, 16\)"),
        (flat, {"conv": arms["conv"]}, "needs the shape of the images"),
        (np.moveaxis(images, 1, -1), {"conv": arms["conv"]}, "channels last"),
        (flat[:, :60], wrong, "have 64 columns"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            run(data, arms=own, setting={"latent_dim": 2})
        assert caught.value.__notes__ == ["This was conv."]


LABELS = {
    "list": Y.tolist(),
    "tensor": torch.tensor(Y),
    "text": [f"kind {kind}" for kind in Y],
    "text as objects": np.array([f"kind {kind}" for kind in Y], dtype=object),
    "numbers as objects": Y.astype(object),
    "whole floats": Y.astype(float),
    "nullable": pd.Series(Y).convert_dtypes(),
    "categories": pd.Series([f"kind {kind}" for kind in Y], dtype="category"),
    "strings": pd.Series([f"kind {kind}" for kind in Y], dtype="string"),
    "one column": pd.DataFrame({"y": Y}),
    "masked nowhere": np.ma.masked_array(Y, mask=False),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_labels_of_any_kind_are_read_off(X, labels):
    result = run(X, labels, arms=["vae"])
    assert result["runs"][0]["accuracy"] == run(X, Y, arms=["vae"])["runs"][0]["accuracy"]


def holed(value, dtype=object):
    y = Y.astype(dtype)
    y[7] = value
    return y


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (Y[:-1], r"inconsistent numbers of samples: \[68, 67\]"),
        (holed(np.nan, float), "Some are missing"),
        (holed(np.nan), "Some are missing"),
        (holed(None), "Some are missing"),
        (["a", None] * 34, "Some are missing"),
        (pd.Series(holed(None)).astype("Int64"), "Some are missing"),
        (pd.Series(["a", None] * 34, dtype="string"), "Some are missing"),
        (pd.Series(["a", None] * 34, dtype="category"), "Some are missing"),
        (holed(np.datetime64("NaT"), "datetime64[ns]"), "Some are missing"),
        (np.ma.masked_array(Y, mask=Y == 1), "Some are missing"),
        (holed(-np.inf, float), "Some are missing"),
        (Y + 0.5, "continuous"),
        (np.column_stack([Y, Y]), r"shape \(68, 2\)"),
        ([[1], [1, 2]] * 34, "inhomogeneous"),
        (np.array(["a", 1] * 34, dtype=object), "'<' not supported"),
        ([b"a", b"b"] * 34, "bytes"),
        (3, "got 3"),
    ],
)
def test_labels_that_no_classifier_learns_are_refused_before_anything(
    X, tmp_path, monkeypatch, labels, message
):
    monkeypatch.setattr(GaussianMixtureTeacher, "fit", None)
    wanted = "y must hold labels for a linear classifier"
    for data, y, notes in (
        (X, labels, []),
        ((X, X), (labels, Y), ["This was y_train."]),
        ((X, X), (Y, labels), ["This was y_test."]),
    ):
        with pytest.raises(ValueError, match=f"{wanted}.*{message}") as caught:
            run(data, y, folder=tmp_path / "runs")
        assert getattr(caught.value, "__notes__", []) == notes
    assert list(tmp_path.iterdir()) == []


def test_halves_of_labels_must_be_of_one_kind(X):
    with pytest.raises(
        ValueError, match="all numbers or all text, got arrays of type int64 and <U"
    ):
        run((X, X), (Y, Y.astype(str)))
    # Half of them are none at all.
    assert run((X[:60], X[60:]), (Y[:60], None), arms=["vae"])["runs"][0]["accuracy"] is None
