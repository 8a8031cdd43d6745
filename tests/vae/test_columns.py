"""A frame with text, categories and truth values, from a fit to a certificate and back."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE, TemperedTeacher
from skvae.rows import Columns
from skvae.vae.encoding import check_kinds

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")

NAMES = ["age", "town", "grade", "well", "visits"]


@pytest.fixture(scope="module")
def people():
    """Three groups that differ in every column."""
    rng = np.random.default_rng(0)
    group = np.arange(180) % 3
    return pd.DataFrame(
        {
            "age": 30 + 12 * group + 2 * rng.standard_normal(180),
            "town": np.array(["Ulm", "Bonn", "Kiel"])[group],
            "grade": pd.Categorical(
                np.array(list("abc"))[(group + (rng.random(180) < 0.1)) % 3]
            ),
            "well": (group > 0) ^ (rng.random(180) < 0.1),
            "visits": rng.poisson(1 + 5 * group),
        }
    )


LIKELIHOOD = {"visits": "poisson"}
CHOSEN = {
    "age": "gaussian",
    "town": "categorical",
    "grade": "categorical",
    "well": "bernoulli",
    "visits": "poisson",
}


@pytest.fixture(scope="module")
def vae(small_vae, people):
    return small_vae(likelihood=LIKELIHOOD, max_epochs=80).fit(people)


def as_frame(people, library):
    if library == "pandas":
        return people
    plain = people.astype({"grade": str})
    return pl.from_pandas(plain) if library == "polars" else pa.table(dict(plain))


def test_what_was_chosen_is_said(vae):
    assert vae.likelihood_ == CHOSEN
    assert vae.n_features_in_ == 5
    assert vae.feature_names_in_.tolist() == NAMES
    assert vae.columns_.n_encoded == 9


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_frame_with_text_goes_all_the_way(small_vae, people, library):
    X = as_frame(people, library)
    vae = small_vae(likelihood=LIKELIHOOD, max_epochs=80, teacher=None).fit(X)
    assert vae.likelihood_ == CHOSEN
    codes = vae.transform(X)
    assert np.isfinite(vae.score_samples(X)).all()
    assert vae.teacher_proba(X).shape == (180, 10)
    means, drawn = vae.inverse_transform(codes), vae.sample(500)
    assert type(means) is type(drawn) is type(X)
    means, drawn = (
        each if library == "pandas" else each.to_pandas() for each in (means, drawn)
    )
    assert (means["town"] == people["town"]).mean() > 0.95
    assert abs(means["age"] - people["age"]).mean() < 4
    for name in NAMES:
        if name not in ("age", "visits"):
            assert set(drawn[name]) <= set(people[name])
    assert drawn["well"].dtype == bool
    assert drawn["visits"].dtype == np.int64
    assert drawn["visits"].min() >= 0
    assert means["visits"].dtype == np.float64
    report = ConstantCollapseCertificate().certify(vae, X)
    assert report.certified
    assert report.rows == report.teacher_rows == "training"
    assert report.decoder_gain > 1
    assert report.margin_reconstruction > 0


def test_the_score_is_a_mixed_density(vae, people):
    """At one code: the sum of the densities and probabilities of the columns."""
    codes = vae.transform(people)
    found = vae.log_likelihood(people, codes)
    rows = torch.from_numpy(vae.columns_.encode(people)).float()
    module, units = vae.net_.module_, vae._fitted.units
    with torch.no_grad():
        made = module.decoder(torch.from_numpy(codes))
        age = vae.net_.module_.decoder.likelihood.likelihoods[0]
    mean = made[:, 0] * units.scale[0] + units.center[0]
    scale = units.scale[0] * torch.exp(0.5 * age.log_variance.detach()[0])
    distributions = torch.distributions
    expected = distributions.Normal(mean, scale).log_prob(rows[:, 0])
    for block in (slice(1, 4), slice(4, 7)):
        kind = distributions.Categorical(logits=made[:, block])
        expected = expected + kind.log_prob(rows[:, block].argmax(1))
    expected = expected + distributions.Bernoulli(logits=made[:, 7]).log_prob(rows[:, 7])
    expected = expected + distributions.Poisson(made[:, 8].exp()).log_prob(rows[:, 8])
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_only_columns_with_a_variance_are_in_units_of_their_own(vae, small_vae, people):
    units = vae._fitted.units
    assert units.scale[0] == pytest.approx(people["age"].std(ddof=0))
    np.testing.assert_array_equal(units.scale[1:], 1.0)
    np.testing.assert_array_equal(units.center[1:], 0.0)
    setting = {"likelihood": LIKELIHOOD, "alignment_weight": 0, "max_epochs": 10}
    for variance, of_scaled in ((4.0, 4e6), ("learned", "learned"), ("shared", "shared")):
        one = small_vae(decoder_variance=variance, **setting).fit(people)
        scaled = people.assign(age=1000 * people["age"])
        other = small_vae(decoder_variance=of_scaled, **setting).fit(scaled)
        assert other.score(scaled) == pytest.approx(one.score(people) - np.log(1000), abs=1e-3)


def test_auto_of_numbers_alone_has_the_bits_of_gaussian(small_vae, clusters):
    plain = small_vae().fit(clusters)
    auto = small_vae(likelihood="auto").fit(clusters)
    assert auto.likelihood_ == plain.likelihood_ == dict.fromkeys(range(4), "gaussian")
    np.testing.assert_array_equal(auto.transform(clusters), plain.transform(clusters))
    np.testing.assert_array_equal(auto.sample(5), plain.sample(5))


def test_text_under_another_likelihood_names_auto(small_vae, people):
    for X in (people, as_frame(people, "polars"), as_frame(people, "pyarrow")):
        with pytest.raises(ValueError, match='likelihood="auto"'):
            small_vae().fit(X)
    with pytest.raises(ValueError, match=r"'town' of X holds 'Ulm', which is no number"):
        small_vae(likelihood={"town": "poisson"}).fit(people)
    with pytest.raises(
        ValueError, match=r"Column 'age' of X: likelihood=\"poisson\" wants counts"
    ):
        small_vae(likelihood={"age": "poisson"}).fit(people)


@pytest.mark.parametrize(
    "likelihood",
    [
        "gauss",
        ("student_t", 2.0),
        ("gaussian", 1),
        {"age": "gauss"},
        {"age": ("categorical", 1)},
    ],
)
def test_what_is_no_likelihood_is_refused(small_vae, people, likelihood):
    with pytest.raises(ValueError, match="likelihood"):
        small_vae(likelihood=likelihood).fit(people)
    if likelihood != "gauss":
        with pytest.raises(ValueError, match=r"must be one of .*'student_t'"):
            check_kinds(likelihood)


def test_settings_that_do_not_go_together_are_refused(small_vae, people):
    with pytest.raises(ValueError, match="categorical column is several"):
        small_vae(likelihood="auto", decoder="autoregressive").fit(people)
    with pytest.raises(ValueError, match="these rows are images"):
        small_vae(likelihood="auto", image_shape=(1, 2, 2)).fit(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="has no variance to set"):
        small_vae(likelihood="categorical", decoder_variance=2.0).fit(people[["town", "well"]])


def test_columns_are_checked_as_scikit_learn_does(vae, people):
    for method in (vae.transform, vae.score_samples, vae.teacher_proba):
        with pytest.raises(ValueError, match="same order"):
            method(people[NAMES[::-1]])
        with pytest.raises(ValueError, match="feature names"):
            method(people.rename(columns={"age": "years"}))
        with pytest.raises(ValueError, match="missing"):
            method(people[NAMES[:4]])
        with pytest.raises(ValueError, match=r"'town' of X has the value 'Jena' in row 0"):
            method(people.assign(town="Jena"))
        with pytest.raises(ValueError, match=r"'age' has a missing value in row 1"):
            method(people.assign(age=[1.0, *([None] * 179)]))
        with pytest.raises(ValueError, match="infinity"):
            method(people.assign(age=np.inf))


def test_a_refused_fit_leaves_the_estimator_as_it_was(vae, people):
    fitted = pickle.loads(pickle.dumps(vae))
    expected = fitted.transform(people)
    for X in (people.assign(town=None), people[NAMES[:2]].assign(when=pd.Timestamp(0))):
        with pytest.raises(ValueError, match="X"):
            fitted.fit(X)
    np.testing.assert_array_equal(fitted.transform(people), expected)
    assert fitted.likelihood_ == CHOSEN


def test_copies_and_files_say_the_same(vae, people, tmp_path):
    vae.save(tmp_path / "model.skvae")
    copies = [TeacherGuidedVAE.load(tmp_path / "model.skvae"), pickle.loads(pickle.dumps(vae))]
    for copied in copies:
        assert copied.columns_ == vae.columns_
        assert copied.likelihood_ == CHOSEN
        np.testing.assert_array_equal(copied.score_samples(people), vae.score_samples(people))
        pd.testing.assert_frame_equal(copied.sample(7), vae.sample(7))
    again = clone(copies[0]).fit(people)
    np.testing.assert_array_equal(again.transform(people), vae.transform(people))


def test_functions_that_chose_columns_are_in_a_file_as_what_they_chose(
    small_vae, people, tmp_path
):
    chosen = {make_column_selector("vis"): "poisson", "town": ("categorical", "unseen")}
    vae = small_vae(likelihood=chosen).fit(people)
    vae.save(tmp_path / "model.skvae")
    loaded = TeacherGuidedVAE.load(tmp_path / "model.skvae")
    assert loaded.likelihood == {**CHOSEN, "town": ("categorical", "unseen")}
    np.testing.assert_array_equal(
        clone(loaded).fit(people).transform(people), vae.transform(people)
    )
    loaded.partial_fit(people[:1].assign(town="Jena"))


def test_what_was_not_seen_has_a_level_where_that_is_asked_for(small_vae, people):
    vae = small_vae(likelihood={"town": ("categorical", "unseen")}).fit(people)
    later = people.assign(town="Jena")
    assert (vae.score_samples(later) < vae.score_samples(people)).all()
    assert np.isfinite(vae.transform(later)).all()
    report = ConstantCollapseCertificate().certify(vae, later)
    assert np.isfinite(report.decoder_gain)
    vae.partial_fit(later)
    codes = vae.transform(later)
    for made in (vae.sample(300), vae.inverse_transform(codes)):
        assert set(made["town"]) <= set(people["town"])


def test_a_report_makes_numbers_of_a_frame_for_the_teacher_and_the_encoder(
    vae, people, monkeypatch
):
    encode, encoded = Columns.encode, []

    def remember(self, X):
        encoded.append(X)
        return encode(self, X)

    monkeypatch.setattr(Columns, "encode", remember)
    report = ConstantCollapseCertificate().certify(vae, people)
    assert report.rows == "training"
    # And of what was decoded, for the teacher.
    assert [each.equals(people) for each in encoded] == [True, True, False]


def test_a_report_compares_rows_as_the_model_reads_them(small_vae, people, monkeypatch):
    """Not as a table of the types of fit would have them: it has no halves of a visit."""
    vae = small_vae(likelihood="auto", max_epochs=20).fit(people)
    assert vae.likelihood_["visits"] == "gaussian"
    log_likelihood, compared = TeacherGuidedVAE.log_likelihood, []

    def remember(self, X, codes):
        compared.append(log_likelihood(self, X, codes))
        return compared[-1]

    monkeypatch.setattr(TeacherGuidedVAE, "log_likelihood", remember)
    halves = people.assign(visits=people["visits"] + 0.5)
    ConstantCollapseCertificate(random_state=3).certify(vae, halves)
    mean, log_variance = vae.posterior(halves)
    noise = np.random.default_rng([3, *b"shuffle"]).standard_normal(mean.shape)
    draws = mean + np.exp(0.5 * log_variance) * noise
    np.testing.assert_allclose(compared[0], log_likelihood(vae, halves, draws), rtol=1e-6)


def test_set_output_chooses_the_library(vae, people):
    copied = pickle.loads(pickle.dumps(vae))
    codes = vae.transform(people)
    for library, kind in (("pandas", pd.DataFrame), ("polars", pl.DataFrame)):
        copied.set_output(transform=library)
        assert isinstance(copied.inverse_transform(codes), kind)
        assert isinstance(copied.sample(3), kind)


def test_training_goes_on_with_rows_that_do_not_have_every_category(small_vae, people):
    vae = small_vae(likelihood="auto").partial_fit(people)
    vae.partial_fit(people[::3])
    assert vae.columns_.n_encoded == 9
    vae.set_params(warm_start=True).fit(people)
    lent = small_vae(likelihood="auto", warm_start=vae).fit(people)
    assert lent.columns_ == vae.columns_
    with pytest.raises(ValueError, match="do not fit"):
        small_vae(likelihood={"visits": "poisson"}, warm_start=vae).fit(people)
    with pytest.raises(ValueError, match="do not fit"):
        vae.set_params(likelihood={"age": "laplace"}).partial_fit(people)


def test_searches_and_cross_validation_take_the_frame(small_vae, people):
    vae = small_vae(likelihood="auto")
    assert np.isfinite(cross_val_score(vae, people, cv=2)).all()
    grid = {"likelihood": ["auto", {"visits": "poisson"}, {"age": "student_t"}]}
    search = GridSearchCV(vae, grid, cv=2).fit(people)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert isinstance(search.best_estimator_.sample(2), pd.DataFrame)


def test_pipelines_see_the_frame_and_other_teachers_see_numbers(small_vae, people):
    y = people["town"].to_numpy()
    by_name = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["grade"]), ("passthrough", ["visits"])),
        LogisticRegression(),
    )
    for teacher in (by_name, TemperedTeacher(by_name), LogisticRegression(max_iter=1000)):
        vae = small_vae(likelihood="auto", teacher=teacher, max_epochs=40).fit(people, y)
        T = vae.teacher_proba(people)
        fitted = vae.teacher_
        shown = (
            vae.columns_.encode(people) if fitted.__class__ is LogisticRegression else people
        )
        np.testing.assert_allclose(T, fitted.predict_proba(shown))
        report = ConstantCollapseCertificate().certify(vae, people)
        assert report.rows == report.teacher_rows == "training"


def test_held_out_frames_are_told_from_training_ones(small_vae, people):
    vae = small_vae(likelihood="auto", early_stopping=True).fit(people[:150])
    assert ConstantCollapseCertificate().certify(vae, people[150:]).rows == "held-out"
    own = ConstantCollapseCertificate(teacher=vae.teacher_)
    encoded = vae.columns_.encode(people[:150])
    assert own.certify(vae, people[:150], encoded).rows == "training"


def test_modules_and_export_are_of_the_encoded_table(vae, people, tmp_path):
    encoded = vae.columns_.encode(people)
    mean, _ = vae.encoder_(torch.from_numpy(encoded))
    np.testing.assert_allclose(mean.detach(), vae.transform(people), atol=1e-5)
    made = vae.decoder_(mean).detach().numpy()
    np.testing.assert_allclose(made[:, 1:4].sum(axis=1), 1.0, rtol=1e-5)
    pd.testing.assert_frame_equal(
        vae.columns_.decode(made, means=True),
        vae.inverse_transform(vae.transform(people)),
        rtol=1e-4,
    )
    for what, given, expected in (("encoder", encoded, mean), ("decoder", mean, made)):
        vae.export(tmp_path / f"{what}.pt2", what, dtype="float64")
        program = torch.export.load(tmp_path / f"{what}.pt2").module()
        found = program(torch.as_tensor(given).double())
        found = found[0] if what == "encoder" else found
        np.testing.assert_allclose(
            found.detach(), torch.as_tensor(expected).detach(), atol=1e-5
        )


def test_arrays_and_tensors_have_columns_too(small_vae, clusters):
    X = np.column_stack([clusters, np.arange(180) % 3])
    vae = small_vae(likelihood={4: "categorical"}).fit(torch.from_numpy(X))
    means = vae.inverse_transform(vae.transform(X))
    assert means.shape == X.shape
    assert set(np.unique(means[:, 4])) <= {0.0, 1.0, 2.0}
    np.testing.assert_array_equal(vae.transform(torch.from_numpy(X)), vae.transform(X))


@pytest.fixture(scope="module")
def holed(people):
    """Leave out a fifth of the entries of every column, in the words of its type."""
    rng = np.random.default_rng(1)
    holed = people.astype({"visits": "Int64", "well": "boolean"})
    for name in NAMES:
        holed.loc[rng.random(180) < 0.2, name] = None
    return holed


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_missing_entries_of_all_kinds_leave_the_density_and_are_filled(
    small_vae, people, holed, library
):
    X = as_frame(holed, library)
    if library == "pandas":
        X = X.set_axis(range(180, 0, -1))
    vae = small_vae(likelihood=LIKELIHOOD, missing="mask", max_epochs=80, teacher=None).fit(X)
    assert vae.likelihood_ == CHOSEN
    assert np.isfinite(vae.score_samples(X)).all()
    assert ConstantCollapseCertificate().certify(vae, X).certified
    for method in ("mean", "draw"):
        filled = vae.impute(X, method, random_state=0)
        assert type(filled) is type(X)
        table = filled if library == "pandas" else filled.to_pandas()
        assert library != "pandas" or table.index.equals(X.index)
        was_there = holed.notna()
        for name in NAMES:
            assert table[name].notna().all()
            there = was_there[name].to_numpy()
            found, given = table[name].to_numpy()[there], people[name].to_numpy()[there]
            assert (found == given).all()
        if method == "mean":
            hidden = ~was_there["town"].to_numpy()
            assert (table["town"].to_numpy() == people["town"])[hidden].mean() > 0.9
    whole = small_vae(likelihood=LIKELIHOOD).fit(people)
    with pytest.raises(ValueError, match='missing="mask"'):
        whole.transform(holed)


def test_a_missing_entry_leaves_a_row_the_density_of_the_others(small_vae, people, holed):
    vae = small_vae(likelihood=LIKELIHOOD, missing="mask").fit(holed)
    codes = vae.transform(people)
    alone = people.astype({"visits": "Int64", "well": "boolean"})
    total = 0.0
    for name in NAMES:
        others = [other for other in NAMES if other != name]
        hidden = alone.copy()
        hidden[others] = None
        total = total + vae.log_likelihood(hidden.astype(alone.dtypes), codes)
    np.testing.assert_allclose(total, vae.log_likelihood(people, codes), rtol=1e-4)


def test_columns_without_any_entry_are_named(small_vae, people):
    empty = people.assign(grade=pd.Categorical([None] * 180, ["a", "b"]))
    with pytest.raises(ValueError, match="'grade=a' of X"):
        small_vae(likelihood="auto", missing="mask").fit(empty)


def test_weights_leave_rows_out_of_frames(small_vae, people):
    weights = np.r_[np.ones(150), np.zeros(30)]
    weighed = small_vae(likelihood="auto").fit(people, sample_weight=weights)
    without = small_vae(likelihood="auto").fit(people[:150])
    np.testing.assert_array_equal(weighed.transform(people), without.transform(people))
