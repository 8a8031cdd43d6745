"""A saved model is the model, in few bytes, and nothing that is loaded runs."""

import json
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from functools import partial
from pathlib import Path

import cloudpickle
import joblib
import numpy as np
import pytest
import sklearn
import torch
from joblib import Memory
from shared import READS, SETTINGS, rows_for
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

from skvae import (
    CertificateReport,
    ConstantCollapseCertificate,
    GaussianMixtureTeacher,
    PrecomputedTeacher,
    SimultaneousReport,
    TeacherGuidedVAE,
    TeacherSearch,
    TemperedTeacher,
)
from skvae.exceptions import FileFormatError, OtherVersionWarning
from skvae.files.archive import read_archive

pytestmark = [
    pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning"),
    pytest.mark.filterwarnings("ignore::skvae.exceptions.SlowPrecisionWarning"),
]
FORMAT_1 = Path(__file__).parents[1] / "data" / "format_1"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.skvae"


def saved(vae, path, load=None, **settings):
    vae.save(path, **settings)
    settings.pop("teacher", None)
    return type(vae).load(path, **settings, **(load or {}))


def given(setting):
    """Modules of a user's own in a setting."""
    return {
        name: setting[name] for name in ("encoder", "decoder") if callable(setting.get(name))
    }


def assert_same(one, other, X):
    assert vars(one).keys() == vars(other).keys()
    assert one.history_ == other.history_
    assert [dict(epoch) for epoch in one.net_.history] == [
        dict(epoch) for epoch in other.net_.history
    ]
    for name, read in READS.items():
        np.testing.assert_array_equal(read(one, X), read(other, X), err_msg=name)


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_what_is_loaded_is_what_was_saved_and_goes_on_alike(small_vae, clusters, path, setting):
    X = rows_for(setting, clusters)
    vae = small_vae(**setting).fit(X)
    other = saved(vae, path, given(setting))
    assert_same(vae, other, X)
    certificate = ConstantCollapseCertificate()
    assert certificate.certify(vae, X) == certificate.certify(other, X)
    assert repr(vae.get_params()) == repr(other.get_params())
    if hasattr(vae, "partial_fit"):
        vae.partial_fit(X)
        # The moments of the optimiser are in the file too.
        again = saved(vae, path, given(setting))
        for each in (vae, other.partial_fit(X), again):
            each.partial_fit(X)
        for each in (other, again):
            without_seconds(each, vae)
            assert_same(vae, each, X)
    vae.set_params(warm_start=True).fit(X)
    other.set_params(warm_start=True).fit(X)
    without_seconds(other, vae)
    assert_same(vae, other, X)


def without_seconds(*models):
    for model in models:
        for epoch in model.history_:
            epoch["seconds"] = 0.0
        for epoch in model.net_.history:
            epoch["dur"] = 0.0


def size_of_weights(vae):
    return sum(4 * weight.numel() for weight in vae.net_.module_.parameters())


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("n_rows", [180, 1800])
def test_a_file_is_little_more_than_the_weights(
    small_vae, clusters, path, early_stopping, n_rows
):
    X = np.resize(clusters, (n_rows, 4)) + np.arange(n_rows)[:, None] * 1e-4
    vae = small_vae(
        hidden_layer_sizes=(32, 32),
        max_epochs=100,
        early_stopping=early_stopping,
        n_iter_no_change=100,
    ).fit(X)
    weights = size_of_weights(vae)
    assert weights == pytest.approx(10_000, rel=0.1)
    assert len(vae.history_) == 100
    vae.save(path)
    assert path.stat().st_size <= 1.2 * weights + 8000
    for dumped in (pickle.dumps, cloudpickle.dumps):
        assert len(dumped(vae)) <= weights + (12_000 if early_stopping else 10_000)
    # Its optimiser has been stepped, and the file has the moments.
    vae.partial_fit(X).save(path)
    assert path.stat().st_size <= 3.2 * weights + 8000


def test_a_file_holds_no_row(small_vae, clusters, path):
    X = clusters + np.arange(180)[:, None]
    vae = small_vae(early_stopping=True, warm_start=FrozenEstimator(small_vae().fit(X))).fit(X)
    vae.partial_fit(X).save(path)
    with zipfile.ZipFile(path) as opened:
        content = opened.read("record.json")
        arrays = opened.read("arrays.safetensors")
    standardised = vae._fitted.units.apply(X)
    for values in (X, X.astype(np.float32), standardised):
        for value in values.flat:
            assert value.tobytes() not in arrays
            assert repr(float(value)).encode() not in content


def test_a_file_names_no_module_and_is_plain(small_vae, clusters, path):
    vae = small_vae().fit(clusters)
    vae.save(path)
    record, arrays = read_archive(path, "model")
    assert record["class"] == "TeacherGuidedVAE"
    assert "skvae." not in json.dumps(record, default=str)
    assert {array.dtype.kind for array in arrays.values()} <= set("fiub")
    first = path.read_bytes()
    vae.save(path)
    assert path.read_bytes() == first


TEACHERS = {
    "logistic regression": LogisticRegression(),
    "mixture of scikit-learn": GaussianMixture(3, random_state=0),
    "pipeline": make_pipeline(StandardScaler(), FunctionTransformer(), LogisticRegression()),
    "pipeline with ours": make_pipeline(
        StandardScaler(), GaussianMixtureTeacher(n_components=3)
    ),
    "tempered": TemperedTeacher(LogisticRegression(), temperature=2.0),
    "search": TeacherSearch({"n_components": [2, 3]}),
}


@pytest.mark.parametrize("teacher", TEACHERS.values(), ids=TEACHERS)
def test_teachers_are_kept_to_the_bit(small_vae, clusters, path, teacher):
    y = np.repeat(["a", "b", "c"], 60)
    vae = small_vae(teacher=teacher).fit(clusters, y)
    other = saved(vae, path)
    assert_same(vae, other, clusters)
    without = saved(vae, path, teacher="drop")
    assert without.teacher is None
    for name in READS.keys() - {"teacher_proba"}:
        np.testing.assert_array_equal(
            READS[name](vae, clusters), READS[name](without, clusters)
        )
    # Frozen, it is the same object as the model's own, and stays it.
    frozen = clone(vae).set_params(teacher=FrozenEstimator(vae.teacher_)).fit(clusters, y)
    again = saved(frozen, path)
    assert again.teacher.estimator is again.teacher_.estimator
    assert_same(frozen, again, clusters)


def test_types_that_nobody_trusts_are_refused_by_name(small_vae, clusters, path):
    y = np.repeat([0, 1, 2], 60)
    vae = small_vae(teacher=RandomForestClassifier(5, random_state=0)).fit(clusters, y)
    tree = "sklearn.tree._tree.Tree"
    with pytest.raises(TypeError, match=rf"fitted.teacher is a RandomForest.*\['{tree}'\]"):
        vae.save(path)
    assert not path.exists()
    vae.save(path, trusted=[tree])
    with pytest.raises(FileFormatError, match=rf"nobody has said to trust.*\['{tree}'\]"):
        TeacherGuidedVAE.load(path)
    assert_same(vae, TeacherGuidedVAE.load(path, trusted=[tree]), clusters)
    with pytest.raises(TypeError, match="trusted must be a list"):
        vae.save(path, trusted=tree)


class Foreign(BaseEstimator):
    """A teacher of a user's own."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict_proba(self, X):
        p = 1 / (1 + np.exp(-np.asarray(X)[:, 0] + 2))
        return np.column_stack([p, 1 - p])


def test_a_teacher_of_ones_own_is_saved_where_its_class_is_trusted(small_vae, clusters, path):
    vae = small_vae(teacher=Foreign()).fit(clusters)
    with pytest.raises(TypeError, match="Foreign made of types that nobody has said to trust"):
        vae.save(path)
    assert_same(vae, saved(vae, path, trusted=[Foreign]), clusters)


def test_without_its_teacher_a_model_says_what_to_do(small_vae, clusters, path):
    vae = small_vae(max_epochs=60).fit(clusters)
    other = saved(vae, path, teacher="drop")
    for ask in (
        other.teacher_proba,
        partial(ConstantCollapseCertificate().certify, other),
        other.partial_fit,
        other.set_params(warm_start=True).fit,
    ):
        with pytest.raises(ValueError, match='saved with teacher="drop"'):
            ask(clusters)
    certificate = ConstantCollapseCertificate(teacher=vae.teacher_)
    assert certificate.certify(other, clusters) == certificate.certify(vae, clusters)
    assert other.set_params(teacher=vae.teacher).fit(clusters).margin_ > 0
    again = saved(saved(vae, path, teacher="drop"), path)
    with pytest.raises(ValueError, match='saved with teacher="drop"'):
        pickle.loads(pickle.dumps(again)).teacher_proba(clusters)
    with pytest.raises(ValueError, match="teacher must be 'keep' or 'drop'"):
        vae.save(path, teacher="lose")


class OwnEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 6))

    def forward(self, x):
        return self.layers(x)


def lazy_decoder(shape, latent_dim):
    return nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(shape[0]))


def test_modules_of_ones_own_are_given_again_and_get_their_weights(small_vae, clusters, path):
    own = {"encoder": OwnEncoder(), "decoder": lazy_decoder}
    vae = small_vae(**own).fit(clusters)
    vae.save(path)
    fresh = {**own, "encoder": OwnEncoder()}
    state = torch.get_rng_state()
    other = TeacherGuidedVAE.load(path, **fresh)
    assert torch.equal(state, torch.get_rng_state())
    assert other.encoder is fresh["encoder"]
    assert_same(vae, other, clusters)
    np.testing.assert_array_equal(
        vae.partial_fit(clusters).transform(clusters),
        other.partial_fit(clusters).transform(clusters),
    )
    with pytest.raises(
        FileFormatError, match=r"an encoder of your own, OwnEncoder.*pass encoder"
    ):
        TeacherGuidedVAE.load(path)
    with pytest.raises(FileFormatError, match="cannot be loaded"):
        TeacherGuidedVAE.load(path, encoder=nn.Linear(4, 6), decoder=lazy_decoder)


def test_donors_are_kept_with_a_model_and_lend_it_the_same(small_vae, clusters, path):
    donor = small_vae(warm_start=FrozenEstimator(small_vae().fit(clusters))).fit(clusters)
    vae = small_vae(warm_start=FrozenEstimator(donor), teacher=None).fit(clusters)
    other = saved(vae, path)
    assert other.warm_start.estimator.warm_start is False
    assert other.warm_start.estimator.teacher_ is other.teacher_
    assert_same(vae, other, clusters)
    vae.fit(clusters)
    other.fit(clusters)
    without_seconds(other, vae)
    assert_same(vae, other, clusters)


def test_what_is_of_the_run_is_left_out_and_plain_values_are_kept(small_vae, path, tmp_path):
    for memory, kept in (
        (Memory(tmp_path), None),
        (str(tmp_path), str(tmp_path)),
        (tmp_path,) * 2,
    ):
        vae = small_vae(
            memory=memory, random_state=np.random.RandomState(3), lr=np.float32(0.1)
        )
        vae.random_state.randint(9, size=5)
        other = saved(vae, path)
        assert other.memory == kept
        assert type(other.lr) is np.float32
        assert other.random_state.randint(2**30) == vae.random_state.randint(2**30)
        assert not hasattr(other, "net_")


def test_what_would_take_code_is_refused_by_name_and_leaves_the_old_file(
    small_vae, clusters, path
):
    vae = small_vae().fit(clusters)
    vae.save(path)
    before = path.read_bytes()
    vae.lr = lambda epoch: 0.1
    with pytest.raises(TypeError, match=r"TeacherGuidedVAE\.lr is the function .*<lambda>"):
        vae.save(path)
    search = TeacherSearch(scoring=lambda row: 0.0)
    with pytest.raises(TypeError, match=r"TeacherSearch\.scoring is the function"):
        search.save(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_names_of_columns_and_images_are_kept(small_vae, clusters, path):
    import pandas as pd

    frame = pd.DataFrame(clusters, columns=list("abcd"))
    vae = small_vae().fit(frame)
    other = saved(vae, path)
    assert other.feature_names_in_.dtype == object
    np.testing.assert_array_equal(other.feature_names_in_, vae.feature_names_in_)
    assert_same(vae, other, frame)


def test_a_model_is_loaded_on_the_device_that_is_asked_for(small_vae, clusters, path):
    small_vae(device="auto").fit(clusters).save(path)
    other = TeacherGuidedVAE.load(path, device="cpu")
    assert (other.device, other.device_) == ("cpu", "cpu")
    assert TeacherGuidedVAE.load(path).device == "auto"
    with pytest.raises(ValueError, match="device must be"):
        TeacherGuidedVAE.load(path, device="abacus")


def test_what_is_asked_of_metadata_routing_is_kept(small_vae, clusters, path):
    with sklearn.config_context(enable_metadata_routing=True):
        vae = small_vae().set_fit_request(X_teacher=True).fit(clusters)
        other = saved(vae, path)
        assert other.get_metadata_routing().fit.requests["X_teacher"] is True
        assert repr(other.get_metadata_routing()) == repr(vae.get_metadata_routing())
    assert_same(vae, other, clusters)


class Subclass(TeacherGuidedVAE):
    """A model of a user's own."""


def test_a_file_is_read_by_the_class_that_wrote_it(small_vae, clusters, path):
    vae = Subclass(**small_vae().get_params(deep=False)).fit(clusters)
    vae.note_ = "mine"
    vae.save(path)
    other = Subclass.load(path)
    assert type(other) is Subclass
    assert other.note_ == "mine"
    assert_same(vae, other, clusters)
    with pytest.raises(
        FileFormatError, match=r"holds a Subclass, and was read by TeacherGuided"
    ):
        TeacherGuidedVAE.load(path)
    with pytest.raises(FileFormatError, match="holds a model, and a teacher was asked for"):
        TemperedTeacher.load(path)


def test_modes_of_torch_outside_do_not_reach_what_is_loaded(small_vae, clusters, path):
    vae = small_vae().fit(clusters)
    vae.save(path)
    with torch.inference_mode():
        other = TeacherGuidedVAE.load(path)
        pickled = pickle.loads(pickle.dumps(vae))
    for each in (other, pickled):
        assert_same(vae, each, clusters)
        each.partial_fit(clusters)


@pytest.mark.parametrize("teacher", ["mixture", "tempered", "search", "precomputed"])
def test_teachers_and_searches_are_saved_by_themselves(clusters, path, teacher):
    made = {
        "mixture": GaussianMixtureTeacher(n_components=3, covariance_type="full"),
        "tempered": TemperedTeacher(LogisticRegression()),
        "search": TeacherSearch(
            [{"n_components": [2, 3]}, LogisticRegression()], n_teachers=2, random_state=0
        ),
        "precomputed": PrecomputedTeacher(),
    }[teacher]
    unfitted = saved(made, path)
    assert repr(unfitted) == repr(made)
    if teacher == "precomputed":
        assert saved(made.fit(np.full((9, 3), 1 / 3)), path).n_components_ == 3
        return
    y = np.repeat([0, 1, 2], 60)
    other = saved(made.fit(clusters, y), path)
    assert vars(other).keys() == vars(made).keys()
    np.testing.assert_array_equal(other.predict_proba(clusters), made.predict_proba(clusters))
    assert other.fingerprint_.share_of(clusters) == 1.0
    if teacher == "search":
        assert repr(other.results_) == repr(made.results_)


def test_a_teacher_that_remembers_rows_is_saved_with_them(clusters, path):
    y = np.repeat([0, 1, 2], 60)
    trusted = [
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.neighbors._kd_tree.KDTree",
    ]
    made = TemperedTeacher(KNeighborsClassifier(3)).fit(clusters, y)
    other = saved(made, path, trusted=trusted)
    np.testing.assert_array_equal(other.predict_proba(clusters), made.predict_proba(clusters))


def test_reports_are_saved_and_equal(small_vae, clusters, path):
    vae = small_vae(max_epochs=60).fit(clusters)
    report = ConstantCollapseCertificate(probe=True).certify(vae, clusters)
    assert report.probe is not None
    assert saved(report, path) == report
    teachers = [vae.teacher_, TemperedTeacher(vae.teacher_).fit(clusters)]
    family = ConstantCollapseCertificate(teacher=teachers).certify(vae, clusters)
    assert saved(family, path) == family
    assert str(saved(family, path)) == str(family)
    with pytest.raises(FileFormatError, match="holds a SimultaneousReport"):
        CertificateReport.load(path)


def test_reports_are_loaded_without_torch(small_vae, clusters, path):
    ConstantCollapseCertificate().certify(small_vae().fit(clusters), clusters).save(path)
    code = (
        "import sys; from skvae import CertificateReport; "
        f"print(CertificateReport.load({str(path)!r}).n_samples)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "180"


def test_a_pickle_from_another_major_version_is_warned_of(
    small_vae, clusters, path, monkeypatch
):
    vae = small_vae().fit(clusters)
    report = ConstantCollapseCertificate().certify(vae, clusters)
    monkeypatch.setattr("skvae.files.saved.__version__", "7.1.2")
    monkeypatch.setattr("skvae.files.archive.__version__", "7.1.2")
    pickled = [pickle.dumps(each) for each in (vae, vae.teacher_, report)]
    vae.save(path)
    monkeypatch.undo()
    for content in pickled:
        with pytest.warns(OtherVersionWarning, match=r"was pickled by skvae 7\.1\.2"):
            pickle.loads(content)
    # Inner objects say nothing of their own.
    with pytest.warns(OtherVersionWarning, match=r"written by skvae 7\.1\.2") as caught:
        assert_same(TeacherGuidedVAE.load(path), vae, clusters)
    assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pickle.loads(pickle.dumps(vae))


def test_pickles_name_few_modules_of_ours(small_vae, clusters):
    import pickletools

    vae = small_vae(early_stopping=True, guard=0.01, kl_capacity=None).fit(clusters)
    names = {
        argument
        for _, argument, _ in pickletools.genops(pickle.dumps(vae))
        if isinstance(argument, str)
    }
    ours = {name for name in names if name.startswith(("skvae.", "skorch", "torch"))}
    assert ours == {
        "skvae.rows.fingerprint",
        "skvae.teachers.mixture",
        "skvae.vae.estimator",
        "skvae.vae.fitted",
    }


@pytest.mark.parametrize("setting", ["default", "own modules", "early stopping", "conv"])
def test_ways_of_pickling_are_the_model(small_vae, clusters, path, setting):
    X = rows_for(SETTINGS[setting], clusters)
    vae = small_vae(**SETTINGS[setting]).fit(X).partial_fit(X)
    joblib.dump(vae, path)
    copies = [
        joblib.load(path),
        *(pickle.loads(pickle.dumps(vae, protocol)) for protocol in range(6)),
        pickle.loads(cloudpickle.dumps(vae)),
    ]
    for copied in copies:
        assert_same(vae, copied, X)
    expected = vae.partial_fit(X).transform(X)
    for copied in copies[:2]:
        np.testing.assert_array_equal(copied.partial_fit(X).transform(X), expected)


LOADERS = {
    "model": TeacherGuidedVAE,
    "streamed_model": TeacherGuidedVAE,
    "mixture": GaussianMixtureTeacher,
    "tempered": TemperedTeacher,
    "precomputed": PrecomputedTeacher,
    "search": TeacherSearch,
    "report": CertificateReport,
    "simultaneous_report": SimultaneousReport,
}


def of_then(found, expected):
    """Return what was found but for fields that have come since, which are empty."""
    if isinstance(found, list):
        return [of_then(*each) for each in zip(found, expected, strict=True)]
    if not isinstance(found, dict):
        return found
    assert not any(value for name, value in found.items() if name not in expected)
    return {name: of_then(found[name], value) for name, value in expected.items()}


@pytest.mark.filterwarnings("ignore::skvae.exceptions.OtherVersionWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")
@pytest.mark.parametrize("name", LOADERS)
def test_files_of_format_1_are_read(name):
    X = 4 * np.repeat(np.eye(3, 4), 30, axis=0) + 0.5 * np.sin(
        np.arange(90.0)[:, None] * np.array([1.0, 1.7, 2.3, 2.9])
    )
    loaded = LOADERS[name].load(FORMAT_1 / f"{name}.skvae")
    said = json.loads((FORMAT_1 / "said.json").read_text())
    expected = said.get(name.replace("_", " "))
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    if "report" in name:
        assert of_then(json.loads(json.dumps(loaded.to_dict())), expected) == expected
    elif "model" in name:
        close(loaded.transform(X[::10]), expected["codes"])
        close(loaded.score_samples(X[::10]), expected["elbo"])
        close(loaded.witness_log_proba(X[::10]), expected["witness"])
        assert (loaded.margin_, loaded.n_iter_) == (expected["margin"], expected["epochs"])
        assert len(loaded.history_) == loaded.n_iter_
        loaded.partial_fit(X)
    elif name == "precomputed":
        assert loaded.n_components_ == 3
    else:
        close(loaded.predict_proba(X[::10]), expected)
        assert loaded.fingerprint_.share_of(X) == 1.0
