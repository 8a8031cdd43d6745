"""What a newcomer sees: the smallest tables of scikit-learn, with nothing set."""

import math

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits, load_iris, load_linnerud, load_wine
from sklearn.model_selection import train_test_split

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE


def fitted_and_certified(X):
    X_train, X_test = train_test_split(X, test_size=0.5, random_state=0)
    vae = TeacherGuidedVAE(device="cpu", random_state=0).fit(X_train)
    return vae, ConstantCollapseCertificate().certify(vae, X_test)


@pytest.mark.parametrize("load", [load_iris, load_wine, load_diabetes])
def test_small_tables_are_certified(load):
    _, report = fitted_and_certified(load().data)
    assert report.certified


def linnerud():
    """Twenty athletes, and others much like them."""
    bunch = load_linnerud()
    X = np.hstack([bunch.data, bunch.target])
    rng = np.random.default_rng(0)
    like = X[rng.integers(len(X), size=400)]
    return X, like + 0.2 * X.std(axis=0) * rng.standard_normal(like.shape)


def fifty_digits():
    """Fifty digits, and digits that were written later."""
    X = load_digits().data
    return X[:50], X[100:500]


@pytest.mark.parametrize("rows", [linnerud, fifty_digits])
def test_the_smallest_are_told_what_to_do_and_it_works(rows):
    X, more = rows()
    vae, report = fitted_and_certified(X)
    assert not report.certified
    assert f"certify {report.rows_needed} rows of this kind or more" in report.next_step
    # What few rows say of how many are needed is itself uncertain.
    enough = more[: math.ceil(1.5 * report.rows_needed)]
    assert ConstantCollapseCertificate().certify(vae, enough).certified
