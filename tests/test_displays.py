"""Plots say what they show."""

import pytest

from skvae import MarginHistoryDisplay

pyplot = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


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
