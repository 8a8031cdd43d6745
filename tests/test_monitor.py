"""A monitor of any training loop: what it keeps, what it says, and what it refuses."""

import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from sklearn.mixture import GaussianMixture

from skvae import CollapseMonitor, ConstantCollapseCertificate, GaussianMixtureTeacher
from skvae.certificate.given import certify_given
from skvae.exceptions import ConstantTeacherError


def made(n_samples=300, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n_samples)
    return labels, np.eye(3)[labels] + 0.3 * rng.standard_normal((n_samples, 3))


def batches(*arrays, size=32):
    for start in range(0, len(arrays[0]), size):
        yield tuple(values[start : start + size] for values in arrays)


@pytest.mark.parametrize("size", [1, 32, 300])
@pytest.mark.parametrize("kind", ["labels", "text", "distributions"])
def test_report_is_that_of_all_rows_at_once_whatever_the_batches(kind, size):
    labels, codes = made()
    targets = {
        "labels": labels,
        "text": np.array(["a", "bb", "ccc"])[labels],
        "distributions": 0.9 * np.eye(3)[labels] + 0.1 / 3,
    }[kind]
    certificate = ConstantCollapseCertificate(tau=0.01, confidence=0.9)
    monitor = CollapseMonitor(held_out=True, certificate=certificate)
    for batch in batches(targets, codes, size=size):
        monitor.update(*batch)
    assert monitor.n_seen_ == 300
    report = monitor.report()
    assert report == certify_given(codes, targets, held_out=True, certificate=certificate)
    assert report.certified
    assert monitor.reports_ == [report]
    assert monitor.n_seen_ == 0


def test_teacher_is_asked_and_says_whether_it_knew_the_rows(clusters):
    rows = np.random.default_rng(0).permutation(clusters)
    teacher = GaussianMixtureTeacher(n_components=3, random_state=0).fit(rows[:90])
    monitor = CollapseMonitor(teacher, held_out=True)
    for shown, word in ((rows[:90], "training"), (rows[90:], "held-out"), (rows, "mixed")):
        for (batch,) in batches(shown):
            monitor.update(batch, batch[:, :2])
        report = monitor.report()
        assert (report.rows, report.teacher_rows) == ("held-out", word)
        expected = certify_given(
            shown[:, :2], teacher.predict_proba(shown), held_out=True, teacher_rows=word
        )
        assert report == expected
    # One that keeps no fingerprint is as its user says.
    unknown = GaussianMixture(3, random_state=0).fit(rows[:90])
    for held_out, word in ((True, "held-out"), (None, "unknown"), (False, "unknown")):
        report = CollapseMonitor(unknown, held_out=held_out).update(rows, rows).report()
        assert report.teacher_rows == word


def test_rows_that_were_trained_on_are_said_to_be():
    labels, codes = made()
    report = CollapseMonitor(held_out=False).update(labels, codes).report()
    assert report.rows == "training"
    assert report.notes[0].startswith("These rows trained the encoder")
    assert "the bound speaks of no others" in str(report)
    assert CollapseMonitor().update(labels, codes).report().rows == "unknown"


def test_each_row_is_kept_with_the_same_chance_and_no_more_than_max_rows():
    n_rows, most, n_seeds = 60, 20, 400
    counts = np.zeros(n_rows)
    numbers = np.arange(n_rows)
    for seed in range(n_seeds):
        monitor = CollapseMonitor(max_rows=most, random_state=seed)
        for batch in batches(numbers % 2, numbers[:, None].astype(float), size=7):
            monitor.update(*batch)
        kept = monitor._kept["codes"][:, 0].astype(int)
        assert len(set(kept)) == len(kept) == most
        np.testing.assert_array_equal(monitor._kept["targets"], kept % 2)
        counts[kept] += 1
    share = most / n_rows
    statistic = np.sum((counts - n_seeds * share) ** 2) / (n_seeds * share * (1 - share))
    # Drawn without replacement: the counts sum to what is fixed.
    assert statistic * (n_rows - 1) / n_rows < chi2.ppf(0.9999, n_rows - 1)


def test_report_of_a_part_says_so_and_the_same_seed_keeps_the_same():
    labels, codes = made(500)
    reports = []
    for _ in range(2):
        monitor = CollapseMonitor(max_rows=100, random_state=3)
        for _ in range(2):
            for batch in batches(labels, codes):
                monitor.update(*batch)
            monitor.report()
        reports.append(monitor.reports_)
    assert reports[0] == reports[1]
    # Another part each time.
    assert reports[0][0].margin_mean != reports[0][1].margin_mean
    assert reports[0][0].notes[0] == "100 of 500 rows were kept, drawn at random."
    assert reports[0][0].n_samples == 80


class OfAnotherLibrary:
    """An array that NumPy can read, as those of JAX and Keras are."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype=dtype)


class ByDLPack:
    def __init__(self, values):
        self.values = values

    def __dlpack__(self, **options):
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda values: torch.tensor(values, requires_grad=values.dtype.kind == "f"),
        OfAnotherLibrary,
        ByDLPack,
        np.ndarray.tolist,
    ],
    ids=["tensor with a gradient", "__array__", "__dlpack__", "list"],
)
def test_codes_of_any_library_are_taken(wrap):
    labels, codes = made()
    expected = CollapseMonitor().update(labels, codes).report()
    monitor = CollapseMonitor().update(wrap(labels), wrap(codes))
    assert monitor.report() == expected


def test_bfloat16_and_draws():
    labels, codes = made()
    tensor = torch.tensor(codes, dtype=torch.bfloat16)
    monitor = CollapseMonitor().update(labels, tensor, torch.full_like(tensor, -3.0))
    report = monitor.report()
    assert report.latent == "sample"
    assert report == certify_given(
        tensor.float().numpy(), labels, log_variances=np.full((300, 3), -3.0)
    )


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (([0, 1, 2], np.ones((4, 3))), "as many rows, got 4 and 3"),
        (([0, 1, 2, 0], np.ones((4, 2))), "codes must be of one kind and shape"),
        (([0, 1, 2, 0], np.full((4, 3), np.inf)), "infinity"),
        ((["a"] * 4, np.ones((4, 3))), "targets must be of one kind and shape"),
        ((np.eye(4), np.ones((4, 3))), "targets must be of one kind and shape"),
        (([0, 1, 2, 0.5], np.ones((4, 3))), "a class is a whole number or text"),
        (([0, 1, 2, 0], np.ones((4, 3)), np.ones((4, 3))), "with all batches of a report"),
        (([0, 1, 2, 0], np.ones((4, 3)), np.ones((4, 2))), "must have the shape of codes"),
    ],
)
def test_what_does_not_go_with_the_rest_is_refused_and_changes_nothing(batch, message):
    labels, codes = made()
    monitor = CollapseMonitor().update(labels, codes)
    with pytest.raises(ValueError, match=message):
        monitor.update(*batch)
    assert monitor.n_seen_ == 300
    assert monitor.report() == CollapseMonitor().update(labels, codes).report()
    # A new report may be of other codes.
    assert monitor.update(labels, codes[:, :2]).report().n_samples == 240


class Indifferent:
    """A teacher that says the same of every row."""

    def predict_proba(self, X):
        return np.tile([0.3, 0.7], (len(X), 1))


def test_what_cannot_be_certified_stays_for_the_next_batch():
    monitor = CollapseMonitor()
    with pytest.raises(ValueError, match="at least 10 rows, and there were 0"):
        monitor.report()
    labels, codes = made()
    monitor.update(0 * labels, codes)
    with pytest.raises(ValueError, match="of one class"):
        monitor.report()
    assert monitor.update(labels, codes).report().n_samples == 480
    assert monitor.update(labels, codes).reset().n_seen_ == 0
    with pytest.raises(ConstantTeacherError):
        CollapseMonitor(Indifferent()).update(codes, codes).report()


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"teacher": 3}, TypeError, "a fitted estimator with predict_proba"),
        ({"held_out": "yes"}, ValueError, "True, False or None"),
        ({"max_rows": 9}, ValueError, "at least 10"),
        ({"max_rows": True}, ValueError, "at least 10"),
        ({"certificate": "strict"}, TypeError, "a ConstantCollapseCertificate or None"),
    ],
)
def test_parameters_are_checked_at_once(parameters, error, message):
    with pytest.raises(error, match=message):
        CollapseMonitor(**parameters)


def test_imports_no_torch():
    code = (
        "import sys, numpy as np; from skvae import CollapseMonitor; "
        "y = np.arange(60) % 3; CollapseMonitor().update(y, np.eye(3)[y]).report(); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_page_of_the_documentation_runs(set_threads):
    set_threads(1)
    page = Path(__file__).parents[1] / "docs" / "monitor.rst"
    found = doctest.testfile(str(page), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert found.attempted > 10
    assert found.failed == 0


def test_loop_in_plain_torch_is_seen_to_collapse_and_not_to(set_threads):
    """A VAE whose rate is dear loses its code, and one whose rate is cheap keeps it."""
    set_threads(1)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 600)
    X = torch.tensor(4 * np.eye(3)[labels] + 0.5 * rng.standard_normal((600, 3))).float()
    verdicts = {}
    for beta in (0.01, 100.0):
        torch.manual_seed(0)
        encoder, decoder = torch.nn.Linear(3, 4), torch.nn.Linear(2, 3)
        optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=0.05)
        monitor = CollapseMonitor(held_out=True)
        for _ in range(150):
            mean, log_variance = encoder(X[:300]).chunk(2, dim=1)
            z = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
            rate = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1)
            loss = (((decoder(z) - X[:300]) ** 2).sum(dim=1) + beta * rate).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        for x, y in zip(X[300:].split(50), torch.tensor(labels[300:]).split(50), strict=True):
            monitor.update(y, *encoder(x).chunk(2, dim=1))
        verdicts[beta] = monitor.report().verdict
    assert verdicts == {0.01: "certified", 100.0: "collapsed"}
