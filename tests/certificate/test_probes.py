"""Probes see codes alone, and never the rows that they score."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from skvae.certificate import SoftmaxProbe, probe_in_turn


def soft_targets(codes, weights, bias):
    logits = codes @ weights + bias
    return np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))


def test_recovers_a_linear_softmax_exactly():
    rng = np.random.default_rng(0)
    codes = rng.normal([5.0, -100.0], [1.0, 30.0], size=(300, 2))
    T = soft_targets(codes, rng.normal(size=(2, 4)) / [[1], [30]], rng.normal(size=4))
    log_q = SoftmaxProbe(penalty=0.0, max_iter=2000).fit(codes, T).predict_log_proba(codes)
    np.testing.assert_allclose(np.exp(log_q), T, atol=1e-3)


def test_agrees_with_logistic_regression_on_hard_targets():
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((200, 3))
    codes = (codes - codes.mean(axis=0)) / codes.std(axis=0)
    labels = rng.integers(0, 3, 200)
    penalty = 0.05
    reference = LogisticRegression(C=1 / (penalty * 200), tol=1e-10, max_iter=1000)
    reference.fit(codes, labels)
    probe = SoftmaxProbe(penalty=penalty, max_iter=2000).fit(codes, np.eye(3)[labels])
    np.testing.assert_allclose(
        probe.predict_log_proba(codes), reference.predict_log_proba(codes), atol=1e-3
    )


def test_constant_codes_leave_it_on_the_boundary():
    T = np.random.default_rng(0).dirichlet(np.ones(3), size=50)
    log_q = SoftmaxProbe().fit(np.ones((50, 2)), T).predict_log_proba(np.full((4, 2), 7.0))
    np.testing.assert_allclose(np.exp(log_q), np.tile(T.mean(axis=0), (4, 1)), atol=1e-6)


def test_refuses_what_does_not_fit():
    with pytest.raises(NotFittedError):
        SoftmaxProbe().predict_log_proba(np.ones((2, 2)))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        SoftmaxProbe().fit(np.ones((3, 2)), np.full((4, 2), 0.5))
    with pytest.raises(ValueError, match="penalty"):
        SoftmaxProbe(penalty=-1).fit(np.ones((3, 2)), np.full((3, 2), 0.5))


class Spy(BaseEstimator):
    """Refuses to score what it was fitted to."""

    def fit(self, codes, T):
        self.seen_ = set(codes[:, 0])
        return self

    def predict_log_proba(self, codes):
        assert not self.seen_ & set(codes[:, 0])
        return np.log(np.full((len(codes), 2), 0.5))


def test_rows_after_the_first_block_are_scored_by_probes_that_have_not_seen_them():
    codes = np.arange(23.0)[:, None]
    T = np.full((23, 2), 0.5)
    T[:, 0] = np.linspace(0, 1, 23)
    T[:, 1] = 1 - T[:, 0]
    rows, log_q, reference = probe_in_turn(Spy(), codes, T, random_state=0)
    assert len(rows) == len(set(rows)) == len(log_q) == 18
    unscored = sorted(set(range(23)) - set(rows))
    np.testing.assert_allclose(reference, T[unscored].mean(axis=0))
    again, *_ = probe_in_turn(Spy(), codes, T, random_state=0)
    np.testing.assert_array_equal(rows, again)
    with pytest.raises(ValueError, match="at least 10 rows"):
        probe_in_turn(Spy(), codes[:9], T[:9], random_state=0)
