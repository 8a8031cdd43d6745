"""The report: frozen, plain, readable."""

import copy
import dataclasses
import html
import json
import pickle
import re
from pathlib import Path

import pytest

from skvae import ConstantCollapseCertificate, SimultaneousReport
from skvae.certificate.verdicts import SITUATIONS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def report(fitted, clusters):
    return ConstantCollapseCertificate(latent="sample", probe=True).certify(fitted, clusters)


def test_is_frozen_equal_to_its_copies_and_hashable(report):
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.verdict = "collapsed"
    assert pickle.loads(pickle.dumps(report)) == copy.deepcopy(report) == report
    assert hash(report) == hash(copy.deepcopy(report))
    assert dataclasses.replace(report, tau=1.0) != report


def test_dictionary_is_plain(report):
    fields = report.to_dict()
    assert json.loads(json.dumps(fields)) == fields
    assert fields["certified"] is True
    assert fields["probe"]["witness"] == "probe"
    assert sum(fields["kl_per_dimension"]) == pytest.approx(report.rate)


def test_prints_as_a_short_table(report):
    lines = str(report).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "Constant-collapse certificate: 180 rows that were in fit"
    assert f"{report.margin_sample:12.4f}" in lines[4]
    assert lines[4].strip().startswith("margin")
    assert "  certified: not constant in x (bound at the sample > tau = 0)" in lines
    assert lines[-2].startswith("  By probe, certified: bound at the mean")
    assert lines[-1] == f"  next: {report.next_step}"


def test_html_holds_the_same(report):
    page = report._repr_html_()
    assert page.startswith("<table>")
    assert "bound at the sample &gt; tau = 0" in page
    assert f"{report.margin_sample:.4f}" in page
    for line in str(report).splitlines()[-3:]:
        assert html.escape(line.strip()) in page


def test_family_of_reports_shows_each(report):
    family = SimultaneousReport((report, report), 0.9)
    assert family._repr_html_().count("<table>") == 2
    assert "Certified by 2 of 2 teachers" in family._repr_html_()
    assert str(family).count("Constant-collapse certificate") == 2
    assert pickle.loads(pickle.dumps(family)) == family


def test_quantities_of_one_model_fit_together(report):
    assert 0 < report.margin_sample < report.mutual_information < report.rate + 0.1
    assert report.lower_bound_sample < report.margin_sample
    assert report.lower_bound == report.lower_bound_sample
    assert report.log_e_value_mean > report.log_e_value_sample > 3


def test_every_situation_has_a_line_in_the_documentation():
    page = (DOCS / "certificate.rst").read_text(encoding="utf-8")
    table = re.findall(r"^   \* - (.+)$", page, flags=re.MULTILINE)
    names = dict.fromkeys(each.name for each in SITUATIONS)
    assert table[1:] == [name for name in names if name != "certified"]
