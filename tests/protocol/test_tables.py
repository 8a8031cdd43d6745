"""Tables of a few records made by hand."""

import csv
import io

from skvae.protocol import csv_table, markdown_table, measures_of

REPORT = dict.fromkeys(
    (
        *("teacher_information", "alignment_cost_mean", "alignment_cost_sample"),
        *("margin_mean", "margin_sample", "lower_bound_mean", "lower_bound_sample"),
        *("rate", "mutual_information", "margin_reconstruction"),
    ),
    0.5,
)
REPORT |= {"active_units": 2, "n_samples": 10, "rows": "held-out"}
PROBE = {"lower_bound_mean": 0.2, "lower_bound_sample": 0.1}


def record(arm, seed, elbo, certified, probe_certified):
    report = {**REPORT, "certified": certified, "verdict": "word"}
    report["probe"] = None
    if probe_certified is not None:
        report["probe"] = {**PROBE, "verdict": "word", "certified": probe_certified}
    return {
        "arm": arm,
        "seed": seed,
        "teacher": 0,
        "teacher_kind": "per-seed",
        "elbo": elbo,
        "reconstruction_error": 0.01,
        "relative_reconstruction_error": 0.25,
        "accuracy": None,
        "seconds": 3.0,
        "report": report,
    }


RUNS = [
    record("vae", 0, -1.0, False, True),
    record("vae", 1, -2.0, False, True),
    record("teacher-guided", 0, 1 / 3, True, None),
]


def test_csv_has_a_row_a_run_numbers_in_full_and_no_time():
    rows = list(csv.DictReader(io.StringIO(csv_table(RUNS))))
    assert [(row["arm"], row["seed"]) for row in rows] == [
        *(("vae", "0"), ("vae", "1")),
        ("teacher-guided", "0"),
    ]
    assert float(rows[2]["elbo"]) == 1 / 3
    assert rows[0]["probe_certified"] == "True"
    assert rows[2]["probe_lower_bound_sample"] == rows[0]["accuracy"] == ""
    assert "seconds" not in rows[0]
    assert set(rows[0]) == set(measures_of(RUNS[0]))


def test_markdown_has_a_row_an_arm_with_mean_least_and_greatest():
    header, rule, vae, guided = markdown_table(RUNS).splitlines()
    assert header.startswith("| arm | ELBO | MSE |")
    assert rule.count("---") == header.count("|") - 1 == vae.count("|") - 1
    cells = [cell.strip() for cell in vae.split("|")]
    assert cells[1:4] == ["vae", "-1.50 (-2.00 to -1.00)", "0.0100"]
    # No label, so no accuracy.
    assert cells[-4:-1] == ["", "0 of 2", "2 of 2"]
    assert guided.endswith("| 1 of 1 |  |")
