"""Plots say what they show."""

import pytest

from skvae import ArmComparisonDisplay, MarginHistoryDisplay

pyplot = pytest.importorskip("matplotlib.pyplot")


def test_curves_boundary_and_information_are_drawn_and_labelled(fitted, small_vae, clusters):
    collapsed = small_vae(alignment_weight=0).fit(clusters)
    display = MarginHistoryDisplay.from_estimators({"aligned": fitted, "plain": collapsed})
    margins = [record["margin"] for record in fitted.history_]
    assert list(display.lines_[0].get_ydata()) == margins
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["aligned", "plain", "boundary"]
    assert display.ax_.get_xlabel() == "epoch"
    assert display.figure_ is display.ax_.figure


def test_curves_of_one_label_share_colour_and_legend():
    curve = {"label": "a", "epochs": [1, 2], "margin": [0.0, 1.0]}
    figure, ax = pyplot.subplots()
    display = MarginHistoryDisplay([curve, curve, {**curve, "label": "b"}], 1.5).plot(ax)
    assert display.ax_ is ax
    colors = [line.get_color() for line in display.lines_]
    assert colors[0] == colors[1] != colors[2]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["a", "b", "boundary", "teacher information"]
    assert figure is display.figure_


def point(label, rate, bound, probe_bound, teacher=0):
    information = 2.0 + teacher
    report = {"rate": rate, "lower_bound_sample": bound, "teacher_information": information}
    report["probe"] = None if probe_bound is None else {"lower_bound_sample": probe_bound}
    return {"arm": label, "teacher": teacher, "report": report}


def test_arms_are_drawn_by_rate_and_bound_filled_and_open():
    runs = [point("vae", 9.0, -0.1, 1.5), point("collapse", 0.0, -0.1, None)]
    runs.append(point("vae", 8.0, -0.2, 1.4))
    display = ArmComparisonDisplay.from_runs(runs)
    own, probed, collapsed, unprobed = display.lines_
    assert own.get_xydata().tolist() == [[9.0, -0.1], [8.0, -0.2]]
    assert probed.get_xydata().tolist() == [[9.0, 1.5], [8.0, 1.4]]
    assert (own.get_fillstyle(), probed.get_fillstyle()) == ("full", "none")
    assert own.get_color() == probed.get_color() != collapsed.get_color()
    assert len(unprobed.get_xdata()) == 0
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["vae", "collapse", "boundary", "teacher information"]
    # The rate of a collapsed model is on the plot.
    assert display.ax_.get_xlim()[0] == 0


def test_each_teacher_has_a_line_of_its_information():
    runs = [point("vae", 9.0, -0.1, 1.5, teacher) for teacher in (0, 0, 1)]
    display = ArmComparisonDisplay.from_runs(runs)
    dotted = [line for line in display.ax_.get_lines() if line.get_linestyle() == ":"]
    assert [line.get_ydata()[0] for line in dotted] == [2.0, 3.0]
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels.count("teacher information") == 1


def test_more_arms_than_colours_differ_in_their_markers():
    runs = [point(f"arm {number}", 1.0, 0.0, None) for number in range(11)]
    _, ax = pyplot.subplots()
    display = ArmComparisonDisplay.from_runs(runs, ax)
    assert display.ax_ is ax
    looks = {(line.get_color(), line.get_marker()) for line in display.lines_[::2]}
    assert len(looks) == 11
