"""Verdict and next step of situations whose truth is known in closed form.

Rows are of two kinds, equally often, and the teacher takes one for the other with probability
`flip`. A code is normal about ``reach`` times the kind, -1 or 1: what a draw of it tells of the
teacher's component is an integral over the line, and to second order ``reach ** 2 / 2``.
"""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.special import entr, expit
from sklearn.base import BaseEstimator

from skvae import ConstantCollapseCertificate
from skvae.certificate.verdicts import SITUATIONS, judged
from skvae.exceptions import ConstantTeacherError
from skvae.information import teacher_information
from skvae.rows.fingerprint import RowFingerprint

FLIP = 0.02


def binary_entropy(p):
    return entr(p) + entr(1 - p)


def information_of_draw(reach, flip=FLIP, deviation=1.0):
    """Return I(C; Z) in nats, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    # By symmetry draws of one kind are enough.
    z = reach + deviation * nodes
    of_component = flip + (1 - 2 * flip) * expit(2 * reach * z / deviation**2)
    left = weights @ binary_entropy(of_component) / weights.sum()
    return float(np.log(2) - left)


def rows_of(n_samples=400, seed=0, share=0.5):
    """Kind, nuisance, and numbers that make no two rows alike."""
    rng = np.random.default_rng(seed)
    kinds = np.where(np.arange(n_samples) < share * n_samples, 1.0, -1.0)
    return np.column_stack([rng.permutation(kinds), rng.standard_normal((n_samples, 3))])


def taught(X, flip=FLIP):
    second = np.where(X[:, 0] > 0, 1 - flip, flip)
    return np.column_stack([1 - second, second])


class Teacher:
    """The distributions of the kinds, or of what is not in the rows."""

    def __init__(self, flip=FLIP):
        self.flip = flip

    def predict_proba(self, X):
        return taught(X, self.flip)


def by_kind(reach):
    return lambda X: reach * X[:, :1]


def by_nuisance(X):
    return 2 * X[:, 1:2]


class Encoder(BaseEstimator):
    """Of another library, with a posterior and nothing else."""

    def __init__(self, code, deviation=1.0):
        self.code, self.deviation = code, deviation

    def posterior(self, X):
        mean = self.code(X)
        return mean, np.full_like(mean, 2 * np.log(self.deviation))


class Deterministic(Encoder):
    """The same without its posterior."""

    posterior = property()

    def transform(self, X):
        return self.code(X)


class Guided(Encoder):
    """A model with a witness, which takes `odds` times the first code for log odds."""

    def __init__(self, code, deviation=1.0, *, odds=2.0, flip=FLIP, training_margin=0.5):
        super().__init__(code, deviation)
        self.odds, self.flip, self.training_margin = odds, flip, training_margin
        self.average_teacher_ = np.array([0.5, 0.5])
        self.teacher_information_ = float(np.log(2) - binary_entropy(flip))
        self.margin_ = training_margin

    def transform(self, X):
        return self.posterior(X)[0]

    def posterior_kl(self, X):
        mean, log_variance = self.posterior(X)
        return 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)

    def teacher_proba(self, X):
        return taught(X, self.flip)

    def witness_log_proba(self, X, latent="mean", random_state=None):
        mean, log_variance = self.posterior(X)
        noise = np.random.default_rng(random_state).standard_normal(mean.shape)
        z = mean + np.exp(log_variance / 2) * noise if latent == "sample" else mean
        log_odds = self.odds * z[:, 0]
        return np.column_stack([-np.logaddexp(0, log_odds), -np.logaddexp(0, -log_odds)])


class Decoding(Guided):
    """Its decoder says that the kind is N(slope * z, 1), and so gains slope * reach."""

    def __init__(self, code, *, slope, decodes=None):
        super().__init__(code)
        self.slope, self.decodes = slope, decodes
        if decodes is not None:
            self.inverse_transform = decodes

    def log_likelihood(self, X, codes):
        return -0.5 * (X[:, 0] - self.slope * codes[:, 0]) ** 2

    def read_codes(self, X, random_states):
        mean, log_variance = self.posterior(X)
        return SimpleNamespace(
            mean=mean,
            transformed=mean,
            log_variance=log_variance,
            kl=self.posterior_kl(X),
            log_witness_mean=self.witness_log_proba(X),
            log_witness_samples=[
                self.witness_log_proba(X, "sample", state) for state in random_states
            ],
            rows=X,
        )


class Overfitted(Guided):
    """Its teacher has learnt its training rows by heart, and on others says what comes."""

    def teacher_proba(self, X):
        return taught(np.sign(X[:, 2:3]), self.flip)


class InPairs(Guided):
    """Four kinds, of which the code tells the pair: what it holds is one bit of two."""

    def __init__(self, reach):
        super().__init__(lambda X: reach * (2 * (self.kinds(X) // 2) - 1)[:, None])
        self.average_teacher_ = np.full(4, 0.25)
        self.teacher_information_ = float(np.log(4) - entr(self.teacher_of(0)).sum())

    @staticmethod
    def kinds(X):
        return (2 * (X[:, 0] > 0) + (X[:, 2] > 0)).astype(int)

    @staticmethod
    def teacher_of(kind):
        return np.where(np.arange(4) == kind, 1 - FLIP, FLIP / 3)

    def teacher_proba(self, X):
        return np.stack([self.teacher_of(kind) for kind in self.kinds(X)])

    def witness_log_proba(self, X, latent="mean", random_state=None):
        of_pair = super().witness_log_proba(X, latent, random_state)
        return np.repeat(of_pair, 2, axis=1) - np.log(2)


def with_marks(model, **marks):
    for name, value in marks.items():
        setattr(model, name, value)
    return model


def beside(code, scale):
    """Return a code and, as a second dimension, the nuisance at a scale of its own."""
    return lambda X: np.column_stack([code(X), scale * X[:, 1]])


@dataclass(frozen=True)
class Case:
    """A situation: what is so, and what is to be said of it.

    ``truth`` is I(C; Z): what a draw of the code tells of the teacher's component, in nats, or
    None where nobody said that the code is drawn. ``remark`` is a part of a note.
    """

    model: Any
    truth: float | None
    verdict: str
    situation: str
    rows: np.ndarray = field(default_factory=rows_of)
    setting: dict | None = None
    remark: str | None = None


HEALTHY = by_kind(3.0)
TINY = by_kind(1e-3)
CONSTANT = by_kind(0.0)
GIVEN = {"teacher": Teacher()}
AT_SAMPLE = {"latent": "sample"}
WITH_PROBE = {"probe": True}
SECOND_ORDER = 1e-6 / 2

# A row that all fits of a probe see.
SEEN_FIRST = np.random.default_rng([0, *b"order"]).permutation(400)[0]

CASES = {
    # Codes that are there.
    "a healthy model": Case(
        Guided(HEALTHY), information_of_draw(3.0), "certified", "certified", setting=AT_SAMPLE
    ),
    "partial collapse, one bit of two": Case(
        InPairs(3.0), information_of_draw(3.0, 2 * FLIP / 3), "certified", "certified"
    ),
    "a narrow code of narrow noise": Case(
        Guided(by_kind(3e-3), 1e-3, odds=2e3),
        information_of_draw(3.0),
        "certified",
        "certified",
    ),
    # Codes that are not.
    "collapse by KL weight, to the prior": Case(
        Guided(CONSTANT, odds=0.0, training_margin=0.0), 0.0, "collapsed", "collapsed"
    ),
    "collapse by a strong decoder, witness reading noise": Case(
        Guided(CONSTANT, odds=0.3, training_margin=0.0),
        0.0,
        "collapsed",
        "collapsed",
        setting=AT_SAMPLE,
    ),
    "collapse by noise, the means apart": Case(
        Guided(by_kind(1.0), 100.0, odds=0.0, training_margin=0.0),
        information_of_draw(1.0, deviation=100.0),
        "collapsed",
        "collapsed",
        remark="at most 5e-05 nats",
    ),
    "collapse beside the prior, at a high rate": Case(
        Guided(lambda X: np.full((len(X), 1), 3.0), 0.1, odds=0.0, training_margin=0.0),
        0.0,
        "collapsed",
        "collapsed",
    ),
    "tiny means, a probe that amplifies them": Case(
        Guided(TINY, odds=0.0, training_margin=0.0),
        SECOND_ORDER,
        "collapsed",
        "collapsed",
        setting=WITH_PROBE,
        remark="at most 5e-07 nats",
    ),
    # The two reads.
    "tiny means, certified at the mean": Case(
        Guided(TINY, odds=2e3),
        SECOND_ORDER,
        "certified",
        "mean alone",
        remark="Above the rate, 5e-07 nats: margin at the mean, lower bound at the mean.",
    ),
    "tiny means, decided at the sample": Case(
        Guided(TINY, odds=2e3), SECOND_ORDER, "collapsed", "mean alone", setting=AT_SAMPLE
    ),
    # The witness.
    "a witness that was not trained": Case(
        Guided(HEALTHY, odds=0.0, training_margin=0.0),
        information_of_draw(3.0),
        "uncertified",
        "no probe",
    ),
    "a witness that was not trained, and a probe": Case(
        Guided(HEALTHY, odds=0.0, training_margin=0.0),
        information_of_draw(3.0),
        "uncertified",
        "witness unread",
        setting=WITH_PROBE,
    ),
    "nuisance codes": Case(
        Guided(by_nuisance, odds=0.0, training_margin=0.0),
        0.0,
        "uncertified",
        "other content",
        setting=WITH_PROBE,
    ),
    # The rows.
    "few rows": Case(
        Guided(HEALTHY), information_of_draw(3.0), "uncertified", "few rows", rows_of(12)
    ),
    "few rows, and less information in them than in training": Case(
        Guided(HEALTHY), None, "uncertified", "few rows", rows_of(10, share=0.1)
    ),
    "few rows, and a witness that was hardly trained": Case(
        Guided(HEALTHY, odds=0.05, training_margin=0.1),
        information_of_draw(3.0),
        "uncertified",
        "few rows",
        rows_of(100),
    ),
    "shifted rows, one kind in all but one": Case(
        Guided(HEALTHY), None, "uncertified", "shifted rows", rows_of(200, share=1 / 200)
    ),
    "rows that were in fit": Case(
        with_marks(Guided(HEALTHY), fingerprint_=RowFingerprint.of(rows_of())),
        information_of_draw(3.0),
        "certified",
        "seen rows",
    ),
    "rows that the teacher was fitted to": Case(
        with_marks(Guided(HEALTHY), teacher_fingerprint_=RowFingerprint.of(rows_of())),
        information_of_draw(3.0),
        "certified",
        "seen rows",
    ),
    "copies of rows": Case(
        Guided(HEALTHY),
        information_of_draw(3.0),
        "certified",
        "copies",
        np.repeat(rows_of(80), 5, axis=0),
    ),
    # The teacher.
    "a degenerate teacher": Case(
        Guided(HEALTHY, odds=0.05, flip=0.45, training_margin=0.004),
        information_of_draw(3.0, 0.45),
        "uncertified",
        "poor teacher",
    ),
    "tau above what the teacher sees": Case(
        Guided(HEALTHY),
        information_of_draw(3.0),
        "uncertified",
        "poor teacher",
        setting={"tau": 0.65},
    ),
    "an overfitted teacher": Case(
        Overfitted(HEALTHY), 0.0, "uncertified", "overfitted", setting=WITH_PROBE
    ),
    # The decoder.
    "a blind decoder": Case(
        Decoding(HEALTHY, slope=0.0), information_of_draw(3.0), "certified", "blind decoder"
    ),
    "a decoder that gains a twentieth of a nat": Case(
        Decoding(HEALTHY, slope=0.05 / 3),
        information_of_draw(3.0),
        "certified",
        "blind decoder",
    ),
    "a decoder that gains nine tenths of a nat": Case(
        Decoding(HEALTHY, slope=0.3), information_of_draw(3.0), "certified", "certified"
    ),
    "reconstructions that are alike": Case(
        Decoding(HEALTHY, slope=0.3, decodes=lambda codes: np.ones((len(codes), 4))),
        information_of_draw(3.0),
        "certified",
        "alike to the teacher",
    ),
    # The scale of codes.
    "one dimension ten million times as large": Case(
        Guided(beside(HEALTHY, 1e8)),
        information_of_draw(3.0),
        "certified",
        "dominant dimension",
    ),
    "one row's code a million times as large": Case(
        rows_of()[:, :1] * np.where(np.arange(400) == SEEN_FIRST, 1e6, 1.0)[:, None],
        None,
        "uncertified",
        "outlying code",
        setting=GIVEN,
    ),
    # Models of others.
    "a foreign model": Case(
        Encoder(HEALTHY), information_of_draw(3.0), "certified", "certified", setting=GIVEN
    ),
    "a foreign model, tiny means": Case(
        Encoder(TINY),
        SECOND_ORDER,
        "collapsed",
        "collapsed",
        setting=GIVEN,
        remark="Above the rate, 5e-07 nats: margin at the mean, lower bound at the mean.",
    ),
    "a foreign model, nuisance codes": Case(
        Encoder(by_nuisance), 0.0, "uncertified", "other content", setting=GIVEN
    ),
    "a foreign model, few rows": Case(
        Encoder(HEALTHY),
        information_of_draw(3.0),
        "uncertified",
        "few rows",
        rows_of(20),
        setting=GIVEN,
    ),
    "a foreign model whose posterior is not known": Case(
        Deterministic(HEALTHY),
        None,
        "certified",
        "no posterior",
        setting=GIVEN,
        remark="says nothing of a draw of the code, and the rate is unknown",
    ),
    "the same, tiny means": Case(
        Deterministic(TINY),
        None,
        "certified",
        "no posterior",
        setting=GIVEN,
        remark="would carry at most 5e-07 nats",
    ),
    "codes that are constant": Case(
        np.ones((400, 2)), None, "collapsed", "collapsed", setting=GIVEN
    ),
    "codes in another order than the rows": Case(
        np.random.default_rng(1).permutation(rows_of()),
        None,
        "uncertified",
        "other content",
        setting=GIVEN,
    ),
}


KNOWN = {name: case for name, case in CASES.items() if case.truth is not None}


def certified(case, **changes):
    certificate = ConstantCollapseCertificate(**{**(case.setting or {}), **changes})
    return certificate.certify(case.model, case.rows)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_verdict_and_next_step_are_those_of_the_truth(case):
    report = certified(case)
    assert (report.verdict, report.situation) == (case.verdict, case.situation)
    advice = dict.fromkeys(each.advice for each in SITUATIONS if each.name == case.situation)
    assert report.next_step in [each and each.format(r=report) for each in advice]
    # What is said stands in the report that prints, once.
    printed = " ".join(str(report).split())
    assert ("next: " in printed) == (report.next_step is not None)
    if report.next_step is not None:
        assert printed.endswith(f"next: {report.next_step}")
    for note in report.notes:
        assert printed.count(note) == 1
    if case.remark is not None:
        assert case.remark in " ".join(report.notes)
    fields = report.to_dict()
    assert (fields["situation"], fields["next_step"]) == (report.situation, report.next_step)
    # The word has its narrow meaning alone.
    assert report.certified == ("certified: not constant in x (bound at the" in printed)


@pytest.mark.parametrize("case", KNOWN.values(), ids=KNOWN)
def test_no_number_claims_more_than_the_truth(case):
    report = certified(case)
    assert report.lower_bound_sample <= case.truth
    if report.rows == report.teacher_rows == "unknown" and not isinstance(
        case.model, Overfitted
    ):
        assert case.truth <= report.information_bound + 1e-9
    assert report.information_bound <= report.rate + 1e-9
    if report.witness == "probe":
        assert report.latent == "sample"
    if case.truth < 1e-4:
        # At the mean alone can it be certified that nothing is in a draw.
        assert not report.certified or report.latent == "mean"


def test_every_situation_has_a_case():
    assert {case.situation for case in CASES.values()} == {each.name for each in SITUATIONS}
    assert len(CASES) >= 24


def test_rows_that_were_asked_for_are_enough():
    for name in ("few rows", "a foreign model, few rows"):
        case = CASES[name]
        needed = certified(case).rows_needed
        assert len(case.rows) < needed < 100
        found = []
        for seed in range(20):
            # As many of each kind as come.
            share = np.random.default_rng(seed).binomial(needed, 0.5) / needed
            drawn = replace(case, rows=rows_of(needed, seed, share))
            found.append(certified(drawn).certified)
        # Four samples of five, as far as so few rows told.
        assert np.mean(found) >= 0.7


def test_room_for_a_larger_margin_is_told():
    report = certified(CASES["few rows, and a witness that was hardly trained"])
    assert "or train longer, or align more" in report.next_step
    assert report.rows_needed > 100
    assert "train longer" not in certified(CASES["few rows"]).next_step


def test_gain_of_the_decoder_is_that_of_the_formula():
    """E log p(x|z) less the same for another row's z: slope * reach, for a kind of -1 or 1."""
    for slope, reach in ((0.3, 3.0), (-0.2, 1.5)):
        model = Decoding(by_kind(reach), slope=slope)
        report = ConstantCollapseCertificate().certify(model, rows_of(4000))
        assert report.decoder_gain == pytest.approx(slope * reach, abs=0.15)
    assert certified(CASES["a blind decoder"]).decoder_gain == 0


@pytest.mark.filterwarnings("error")
def test_a_row_without_density_leaves_the_gain_of_the_decoder_out(small_vae, clusters):
    vae = small_vae(max_epochs=30).fit(clusters)
    rows = clusters + 0.1
    rows[0, 0] = 1e30
    assert ConstantCollapseCertificate().certify(vae, rows).decoder_gain is None


def test_information_bound_is_that_of_a_gaussian_channel():
    """Normal means of variance 4 under noise of variance 1: log(5) / 2, which is attained."""
    rows = rows_of(4000)
    report = ConstantCollapseCertificate().certify(Guided(by_nuisance), rows)
    expected = 0.5 * np.log1p(4 * rows[:, 1].var())
    assert report.information_bound == pytest.approx(expected, rel=1e-9)
    assert report.mutual_information == pytest.approx(expected, abs=0.05)
    # The rate has the distance of all draws from the prior beside.
    width = 1 + 4 * rows[:, 1].var()
    mean = 2 * rows[:, 1].mean()
    distance = 0.5 * (width + mean**2 - 1 - np.log(width))
    assert report.rate == pytest.approx(expected + distance, rel=1e-9)


def test_rows_of_weight_two_are_two_rows():
    """In what is said of codes and decoders; a bound takes them for evidence of less."""
    rows = rows_of(300)
    weights = np.random.default_rng(0).integers(0, 3, 300)
    twice = np.repeat(rows, weights, axis=0)
    certificate = ConstantCollapseCertificate()
    for model in (Guided(by_nuisance), Deterministic(beside(HEALTHY, 3.0)), rows[:, 1:]):
        setting = {} if isinstance(model, Guided) else GIVEN
        certificate = ConstantCollapseCertificate(**setting, max_weight=2.0)
        weighted = certificate.certify(model, rows, sample_weight=weights)
        codes = model if not isinstance(model, np.ndarray) else twice[:, 1:]
        repeated = ConstantCollapseCertificate(**setting).certify(codes, twice)
        for name in ("information_bound", "unit_noise_bound", "code_scale", "dimension_ratio"):
            expected = getattr(repeated, name)
            assert getattr(weighted, name) == (expected and pytest.approx(expected))


def test_rate_of_a_posterior_alone_is_from_the_standard_normal():
    foreign = ConstantCollapseCertificate(**GIVEN).certify(Encoder(HEALTHY, 0.5), rows_of())
    expected = 0.5 * (9 + 0.25 - 1 - np.log(0.25))
    assert foreign.rate == pytest.approx(expected)
    assert foreign.active_units == 1


def test_probe_is_scored_at_the_sample_where_there_is_one():
    certificate = ConstantCollapseCertificate(**GIVEN)
    assert certificate.score(Encoder(TINY), rows_of()) <= 0
    assert certificate.score(Deterministic(TINY), rows_of()) > 0.3
    with_bound = ConstantCollapseCertificate(**GIVEN, confidence=0.95)
    report = with_bound.certify(Encoder(HEALTHY), rows_of())
    assert with_bound.score(Encoder(HEALTHY), rows_of()) == report.lower_bound_sample


def test_margin_between_the_rate_and_what_a_draw_can_carry_is_flagged_too():
    # A posterior far from the prior has a rate that is no limit.
    model = Guided(lambda X: 5 + 1e-3 * X[:, :1], odds=0.0)
    model.witness_log_proba = lambda X, **_: np.log(taught(X))
    report = ConstantCollapseCertificate().certify(replace_sample(model), rows_of())
    assert report.rate > 12
    assert "Above the most that a draw can carry" in report.notes[0]


def replace_sample(model):
    at_mean = model.witness_log_proba
    model.witness_log_proba = lambda X, latent="mean", random_state=None: (
        at_mean(X) if latent == "mean" else np.log(np.full((len(X), 2), 0.5))
    )
    return model


def test_a_lucky_margin_at_the_sample_is_called_chance():
    report = certified(CASES["collapse by KL weight, to the prior"])
    lucky = judged(replace(report, margin_sample=0.01, notes=()))
    assert "margin at the sample. No draw of the code carries that" in lucky.notes[0]
    assert "by chance" in lucky.notes[0]


def test_rows_of_one_kind_are_to_blame_and_not_the_teacher():
    with pytest.raises(ConstantTeacherError, match=r"saw 0\.595 nats, so it is these rows"):
        ConstantCollapseCertificate().certify(Guided(HEALTHY), rows_of(share=1.0))
    assert teacher_information(taught(rows_of())) == pytest.approx(0.595, abs=1e-3)


def test_a_teacher_that_said_next_to_nothing_in_training_is_to_blame_and_not_the_rows():
    """So it is where one row is so far out that to the teacher all others are alike."""
    model = with_marks(Guided(HEALTHY), teacher_information_=0.03)
    with pytest.raises(ConstantTeacherError, match=r"saw 0\.03 nats, next to nothing either"):
        ConstantCollapseCertificate().certify(model, rows_of(share=1.0))
    report = ConstantCollapseCertificate().certify(model, rows_of(share=1 / 400))
    assert report.teacher_information < 0.03 / 2
    assert report.situation == "poor teacher"


def test_what_no_codes_are_known_of_is_not_called_collapsed():
    guided = Guided(HEALTHY, odds=0.0, training_margin=0.0)

    class Minimal:
        teacher_proba = guided.teacher_proba
        witness_log_proba = guided.witness_log_proba

    report = ConstantCollapseCertificate().certify(Minimal(), rows_of())
    assert (report.verdict, report.situation) == ("uncertified", "other content")
    assert report.information_bound is report.code_scale is report.decoder_gain is None
