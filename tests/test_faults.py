"""A killed worker, a full disk: afterwards an estimator is as it was, or can be used."""

import errno
import os
import sys
import warnings
from concurrent.futures.process import BrokenProcessPool

import joblib
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from skvae import GaussianMixtureTeacher, TeacherSearch

DEADLY = """
import os
from sklearn.base import BaseEstimator


class Deadly(BaseEstimator):
    # A teacher in whose fit a worker is killed, as by a system that is out of memory.

    def fit(self, X, y=None):
        if os.getpid() != int(os.environ["SKVAE_TEST_PARENT"]):
            os.kill(os.getpid(), 9)
        raise ValueError("fitted in the parent")

    def predict_proba(self, X):
        raise AssertionError("never fitted")
"""


@pytest.fixture
def deadly(tmp_path, monkeypatch):
    """Return a teacher that workers can import, and that kills them."""
    (tmp_path / "deadly_teacher.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("SKVAE_TEST_PARENT", str(os.getpid()))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    from deadly_teacher import Deadly

    yield Deadly()
    sys.modules.pop("deadly_teacher", None)
    # Workers that come later are not to know that folder.
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True)


def test_a_search_whose_worker_is_killed_ends_with_an_error_and_is_as_it_was(deadly, clusters):
    search = TeacherSearch([{"n_components": [2, 3]}, deadly], n_jobs=2, random_state=0)
    before = dict(vars(search))
    with pytest.raises(BrokenProcessPool):
        search.fit(clusters)
    assert vars(search) == before
    assert search.set_params(candidates={"n_components": [3]}).fit(clusters).best_index_ == 0


def test_a_grid_search_whose_worker_is_killed_leaves_the_estimator_alone(
    deadly, small_vae, clusters
):
    vae = small_vae()
    grid = {"teacher": [GaussianMixtureTeacher(n_components=3), deadly]}
    search = GridSearchCV(vae, grid, cv=2, n_jobs=2)
    with pytest.raises(BrokenProcessPool):
        search.fit(clusters)
    assert not hasattr(vae, "net_")
    assert not hasattr(search, "best_estimator_")
    assert np.isfinite(vae.fit(clusters).margin_)


@pytest.mark.parametrize("at", ["write", "rename"])
def test_a_disk_that_is_full_keeps_no_teacher_and_costs_no_fit(
    small_vae, clusters, tmp_path, monkeypatch, at
):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    if at == "write":
        monkeypatch.setattr("joblib.numpy_pickle.dump", full)
    else:
        monkeypatch.setattr("joblib._store_backends.concurrency_safe_rename", full)
    plain = small_vae().fit(clusters)
    with warnings.catch_warnings():
        # joblib says that it could not keep the result.
        warnings.simplefilter("ignore")
        vae = small_vae(memory=str(tmp_path)).fit(clusters)
    np.testing.assert_array_equal(vae.transform(clusters), plain.transform(clusters))
    monkeypatch.undo()
    again = small_vae(memory=str(tmp_path)).fit(clusters)
    np.testing.assert_array_equal(again.transform(clusters), plain.transform(clusters))
