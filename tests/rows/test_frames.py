"""Frames of every library: told, named, cut, joined, and made again."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher, rescue
from skvae.rows.frames import columns_of, frame_like, is_frame, joined_frames

X = np.arange(8.0).reshape(4, 2)
NAMES = ["a", "b"]


def pandas_frame(values, names):
    return pd.DataFrame(values, columns=names)


def polars_frame(values, names):
    return pytest.importorskip("polars").DataFrame(values, schema=names)


def arrow_table(values, names):
    columns = dict(zip(names, np.asarray(values).T, strict=True))
    return pytest.importorskip("pyarrow").table(columns)


each_library = pytest.mark.parametrize("make", [pandas_frame, polars_frame, arrow_table])


@each_library
def test_a_frame_is_told_named_joined_and_made_again(make):
    frame = make(X, NAMES)
    assert is_frame(frame)
    assert columns_of(frame) == NAMES
    again = frame_like(frame, 2 * X)
    assert type(again) is type(frame)
    assert columns_of(again) == NAMES
    np.testing.assert_array_equal(np.asarray(again), 2 * X)
    np.testing.assert_array_equal(
        np.asarray(joined_frames([frame, again])), np.concatenate([X, 2 * X])
    )


@pytest.mark.parametrize("other", [X, X.tolist(), pd.Series([1.0]), None, "ab", {"a": [1]}])
def test_what_is_no_frame_is_told(other):
    assert not is_frame(other)


def test_names_that_stand_twice_are_refused(small_vae):
    with pytest.raises(ValueError, match="a name of its own for each column"):
        small_vae().fit(pd.DataFrame(X, columns=["a", "a"]))


@each_library
@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
def test_names_reach_the_teacher_also_of_reconstructions_and_streams(small_vae, clusters, make):
    names = list("abcd")
    mixture = GaussianMixtureTeacher(n_components=3)
    # scikit-learn's transformers take no tables of pyarrow.
    columns = make_column_transformer(("passthrough", names[:3]))
    teacher = mixture if make is arrow_table else make_pipeline(columns, mixture)
    frame = make(clusters, names)
    vae = small_vae(teacher=teacher).fit(frame)
    report = ConstantCollapseCertificate().certify(vae, frame)
    assert report.rows == "training"
    assert report.margin_reconstruction is not None
    taught = vae.teacher_.predict_proba(frame)
    np.testing.assert_allclose(taught, vae.teacher_proba(frame), atol=1e-12)
    streamed = ConstantCollapseCertificate().certify(
        vae, iter([make(clusters[:70], names), make(clusters[70:], names)])
    )
    assert streamed.margin_sample == report.margin_sample


KINDS = np.arange(180) % 3
MIXED = {
    "bool": lambda frame: frame.assign(flag=KINDS == 1),
    "nullable": lambda frame: frame.convert_dtypes(),
    "Int64": lambda frame: frame.assign(count=pd.array(KINDS, dtype="Int64")),
    "object": lambda frame: frame.astype(object),
    "arrow": lambda frame: frame.convert_dtypes(dtype_backend="pyarrow"),
}


@pytest.mark.parametrize("kind", MIXED)
@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
def test_mixed_columns_are_taken_everywhere_as_floats_are(small_vae, clusters, kind):
    if kind == "arrow":
        pytest.importorskip("pyarrow")
    frame = MIXED[kind](pd.DataFrame(clusters, columns=list("abcd")))
    plain = frame.astype(float)
    vae = small_vae().fit(frame)
    certificate = ConstantCollapseCertificate()
    one, other = (certificate.certify(vae, each) for each in (frame, plain))
    assert one == other
    assert one.rows == one.teacher_rows == "training"
    assert certificate.score(vae, frame) == certificate.score(vae, plain)
    assert rescue(vae, frame, max_epochs=1).after is not None
