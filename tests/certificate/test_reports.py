"""The report: frozen, plain, readable."""

import copy
import dataclasses
import html
import json
import math
import pickle
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from skvae import ConstantCollapseCertificate, SimultaneousReport
from skvae.certificate import forms
from skvae.certificate.given import certify_given
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
    assert lines[-3].startswith("  By probe, certified (not constant in x): bound at the mean")
    assert lines[-1] == f"  next: {report.next_step}"


def test_html_holds_the_same(report):
    shown = report._repr_html_()
    assert shown.count("<table>") == 1
    assert "bound at the sample &gt; tau = 0" in shown
    assert f"{report.margin_sample:.4f}" in shown
    text = readable(shown)
    for line in str(report).splitlines()[-3:]:
        assert line.strip() in text


def readable(page):
    """Return the text of a page."""
    return html.unescape(
        re.sub(r"<[^>]*>", "", re.sub(r"<style>.*?</style>", "", page, flags=16))
    )


class Outline(HTMLParser):
    """What stands in a page, and whether its elements are closed in order."""

    VOID: ClassVar = {"meta", "rect", "line"}

    def __init__(self, page):
        super().__init__()
        self.open, self.elements = [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def hand_made(report):
    """Make a report whose bars have places that can be reckoned by hand."""
    return dataclasses.replace(
        report,
        probe=None,
        teacher_information=2.0,
        margin_sample=1.0,
        lower_bound_sample=0.5,
        margin_mean=-0.4,
        lower_bound_mean=-9.0,
        tau=0.25,
    )


def test_page_stands_by_itself_and_explains_each_line(report, tmp_path):
    path = tmp_path / "report.html"
    page = report.to_html(path)
    assert path.read_text(encoding="utf-8") == page
    assert page.startswith("<!DOCTYPE html>")
    outline = Outline(page)
    for tag in ("script", "link", "img", "iframe"):
        assert outline.of(tag) == []
    assert not re.search(r"https?:|url\(|@import", page)
    assert "prefers-color-scheme: dark" in page
    lines = [label for label, *_ in report._table()]
    assert page.count('<th scope="row">') == page.count("<small>") - 1 == len(lines) + 1
    for label in lines:
        assert f'<th scope="row">{html.escape(label)}<small>' in page
    text = readable(page)
    assert "not constant in x, with the confidence stated. It means no more" in text
    for remark in report._remarks():
        assert remark.replace("`", "") in text


def test_bars_are_drawn_to_scale(hand_made):
    outline = Outline(hand_made.to_html())
    at_sample, at_mean = (each["aria-label"] for each in outline.of("svg"))
    assert at_sample == (
        "at the sample, which decides: margin 1.0000, lower bound 0.5000, of at most I_T "
        "2.0000 nats"
    )
    assert at_mean.startswith("at the mean: margin -0.4000")
    track, margin, other_track, other_margin = outline.of("rect")
    assert (track["x"], track["width"]) == ("0.00%", "100.00%")
    assert (margin["x"], margin["width"]) == ("0.00%", "50.00%")
    # From -0.6, three tenths of I_T below zero, to 2.
    assert other_track["x"] == f"{100 * 0.6 / 2.6:.2f}%"
    assert other_margin["x"] == f"{100 * 0.2 / 2.6:.2f}%"
    assert other_margin["width"] == f"{100 * 0.4 / 2.6:.2f}%"
    zero, bound, tau, *_, far_below, _ = [line["x1"] for line in outline.of("line")]
    assert (zero, bound, tau, far_below) == ("0.00%", "25.00%", "12.50%", "0.00%")
    text = readable(hand_made.to_html())
    assert "lower bound ◂ -9.0000" in text
    assert text.count("(dashed: tau, 0.25)") == 2


def test_report_of_bare_codes_has_no_column_of_draws():
    labels = np.arange(60) % 3
    report = certify_given(np.eye(3)[labels], labels)
    assert "sample" not in str(report)
    shown = report.to_html()
    assert '<th scope="col">mean</th>' in shown
    assert '<th scope="col">sample</th>' not in shown
    assert "<code>posterior</code>" in shown


def test_names_of_a_page_are_escaped(report):
    shown = dataclasses.replace(report, notes=("<script>alert(1)</script> & more",)).to_html()
    assert "<script>" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in shown


def kinds(value):
    """Return the types of JSON that a value is of."""
    if isinstance(value, bool):
        return {"boolean"}
    names = {int: {"integer", "number"}, float: {"number"}, str: {"string"}, list: {"array"}}
    return names.get(type(value), {"null"} if value is None else {"object"})


def complaints(value, schema, whole):
    """Yield what of a value is not as its schema says: as much of JSON Schema as ours uses."""
    known = {"type", "enum", "const", "properties", "required", "additionalProperties", "items"}
    known |= {"minimum", "exclusiveMinimum", "exclusiveMaximum", "anyOf", "$ref"}
    assert schema.keys() - known <= {"$schema", "title", "description"}
    if "$ref" in schema:
        yield from complaints(value, whole, whole)
        return
    if "anyOf" in schema:
        if all([*complaints(value, each, whole)] for each in schema["anyOf"]):
            yield value, "none of", schema["anyOf"]
        return
    wanted = schema.get("type", [])
    wanted = {wanted} if isinstance(wanted, str) else set(wanted)
    if wanted and not wanted & kinds(value):
        yield value, "is no", wanted
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        yield value, "is not one of", schema
    if "number" in kinds(value):
        if value < schema.get("minimum", value):
            yield value, "is less than", schema["minimum"]
        above = value > schema.get("exclusiveMinimum", -math.inf)
        if not (above and value < schema.get("exclusiveMaximum", math.inf)):
            yield value, "is outside", schema
    for each in value if isinstance(value, list) else []:
        yield from complaints(each, schema["items"], whole)
    if isinstance(value, dict) and "properties" in schema:
        yield from (("lacks", name) for name in set(schema["required"]) - set(value))
        yield from (("has", name) for name in set(value) - set(schema["properties"]))
        for name in set(value) & set(schema["properties"]):
            for found in complaints(value[name], schema["properties"][name], whole):
                yield name, *found


def test_json_is_as_its_schema_says(report, tmp_path):
    schema = json.loads((Path(forms.__file__).parent / "report.schema.json").read_text())
    path = tmp_path / "report.json"
    text = report.to_json(path)
    assert path.read_text() == text
    labels = np.arange(60) % 3
    bare = certify_given(np.eye(3)[labels], labels)
    odd = dataclasses.replace(report, dimension_ratio=float("inf"), rate=float("nan"))
    for each in (report, bare, odd):
        values = json.loads(each.to_json())
        assert [*complaints(values, schema, schema)] == []
        assert values["version"] == forms.JSON_VERSION == 1
        kept = {"format", "version", *each.to_dict()}
        assert values.keys() == kept == schema["properties"].keys()
    values = json.loads(odd.to_json())
    assert values["dimension_ratio"] is values["rate"] is None
    assert json.loads(text) == {
        **report.to_dict(),
        "format": "skvae.CertificateReport",
        "version": 1,
        "probe": json.loads(report.probe.to_json()),
    }
    # The schema refuses what it should.
    for changed in ({"verdict": "sound"}, {"n_samples": 1.5}, {"tau": -1}, {"probe": {}}):
        assert [*complaints({**values, **changed}, schema, schema)]
    assert [*complaints({**values, "more": 1}, schema, schema)]


def test_line_for_a_log(hand_made):
    assert hand_made.line() == (
        "certified (not constant in x): 0.95 lower bound 0.5000 > tau 0.25 nats at the sample, "
        "margin 1.0000, I_T 2.0000, own witness, 180 rows that were in fit"
    )
    at_mean = dataclasses.replace(hand_made, latent="mean", verdict="uncertified", tau=0.0)
    assert at_mean.line().startswith("uncertified: 0.95 lower bound -9.0000 <= tau 0 nats")


def test_family_of_reports_shows_each(report):
    family = SimultaneousReport((report, report), 0.9)
    assert family._repr_html_().count("<table>") == 2
    assert "Certified (not constant in x) by 2 of 2 teachers" in family._repr_html_()
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
