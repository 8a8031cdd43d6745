"""Pictures say what they show: their artists, labels and data, whatever their pixels."""

import sys
from itertools import pairwise
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from skvae import ConstantCollapseCertificate, SimultaneousReport
from skvae import displays as shown
from skvae.displays.drawing import line_look, marker_look
from skvae.information import SequentialMargin

pyplot = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(scope="module")
def collapsed(small_vae, clusters):
    return small_vae(alignment_weight=0, decoder_variance=100.0).fit(clusters)


@pytest.fixture(scope="module")
def report(fitted, clusters):
    return ConstantCollapseCertificate(latent="sample", probe=True).certify(fitted, clusters)


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_labels_have_looks_of_their_own():
    assert len({tuple(marker_look(number).items()) for number in range(49)}) == 49
    assert len({tuple(line_look(number).items()) for number in range(42)}) == 42


def test_curves_boundary_and_information_are_drawn_and_labelled(fitted, collapsed):
    models = {"aligned": fitted, "plain": collapsed}
    display = shown.MarginHistoryDisplay.from_estimator(models, linewidth=3)
    margins = [record["margin"] for record in fitted.history_]
    assert list(display.lines_[0].get_ydata()) == margins
    assert display.lines_[0].get_linewidth() == 3
    assert legend_of(display.ax_) == ["aligned", "plain", "boundary", "teacher information"]
    assert display.ax_.get_xlabel() == "epoch"
    assert display.figure_ is display.ax_.figure
    heights = {
        line.get_ydata()[0] for line in display.ax_.get_lines() if len(line.get_ydata()) == 2
    }
    assert {0.0, round(fitted.teacher_information_, 6)} <= heights


def test_curves_of_one_label_share_colour_and_legend_and_bounds_are_dashed():
    curve = {"label": "a", "epochs": [1, 2, 3], "margin": [0.0, 1.0, 1.1]}
    bounded = {**curve, "label": "b", "lower_bound": [None, 0.5, float("nan")]}
    figure, ax = pyplot.subplots()
    display = shown.MarginHistoryDisplay([curve, curve, bounded], 1.5).plot(ax)
    assert display.ax_ is ax
    colors = [line.get_color() for line in display.lines_]
    assert colors[0] == colors[1] != colors[2]
    (bound,) = display.bounds_
    assert bound.get_xydata().tolist() == [[2.0, 0.5]]
    assert bound.get_color() == colors[2]
    further = ["lower bound, held out", "boundary", "teacher information"]
    assert legend_of(ax) == ["a", "b", *further]
    assert figure is display.figure_


def test_history_of_a_rescue_goes_on_where_collapse_ended():
    history = [{"epoch": 1, "margin": 0.1}, {"epoch": 2, "margin": 0.2, "valid_lower_bound": 0}]
    report = {"teacher_information": 2.0}
    runs = [{"arm": arm, "history": history, "report": report} for arm in ("vae", "rescue")]
    display = shown.MarginHistoryDisplay.from_protocol(runs)
    assert [list(line.get_xdata()) for line in display.lines_] == [[1, 2], [3, 4]]
    assert [list(line.get_xdata()) for line in display.bounds_] == [[2], [4]]
    (only,) = shown.MarginHistoryDisplay.from_protocol(runs, arms=["rescue"]).lines_
    assert list(only.get_ydata()) == [0.1, 0.2]
    display = shown.MarginHistoryDisplay.from_history({"a": history})
    assert legend_of(display.ax_) == ["a", "lower bound, held out", "boundary"]


def test_terms_of_the_loss_have_a_panel_each():
    record = {"epoch": 1, "loss": 9.0, "elbo": -8.0, "reconstruction": 5.0, "rate": 3.0}
    record |= {"alignment": 1.0, "margin": 0.1, "seconds": 1.0, "valid_rate": 4.0, "mmd": 0.2}
    history = [{**record, "beta": 0.5}, {**record, "epoch": 2, "beta": 1.0}]
    _, ax = pyplot.subplots()
    estimator = SimpleNamespace(history_=history)
    display = shown.LossHistoryDisplay.from_estimator(estimator, ax=ax)
    terms = ["loss", "reconstruction", "rate", "alignment", "mmd", "beta"]
    assert list(display.lines_) == terms
    training, held_out = display.lines_["rate"]
    assert training.get_xydata().tolist() == [[1, 3.0], [2, 3.0]]
    assert held_out.get_ydata().tolist() == [4.0, 4.0]
    assert display.axes_[-1].get_ylabel() == ""
    assert {panel.get_ylabel() for panel in display.axes_[:-1]} == {"nats a row"}
    assert display.figure_ is ax.figure


def point(label, rate, bound, probe_bound, teacher=0):
    information = 2.0 + teacher
    report = {"rate": rate, "lower_bound_sample": bound, "teacher_information": information}
    report["probe"] = None if probe_bound is None else {"lower_bound_sample": probe_bound}
    return {"arm": label, "teacher": teacher, "report": report}


def test_arms_have_a_line_each_with_filled_and_open_markers_and_their_rate():
    runs = [point("vae", 9.0, -0.1, 1.5), point("collapse", 0.0, -0.2, None)]
    runs.append(point("vae", 8.0, -0.3, 1.4))
    own, probed = shown.ArmComparisonDisplay.from_protocol(runs).lines_
    assert own.get_xdata().tolist() == [-0.1, -0.2, -0.3]
    assert own.get_ydata().round().tolist() == [0, 1, 0]
    assert probed.get_xdata().tolist() == [1.5, 1.4]
    assert (own.get_fillstyle(), probed.get_fillstyle()) == ("full", "none")
    display = shown.ArmComparisonDisplay.from_protocol(runs)
    labels = [
        [text.get_text() for text in ax.get_yticklabels()]
        for ax in (display.ax_, display.rate_ax_)
    ]
    assert labels == [["vae", "collapse"], ["8.5", "0"]]
    assert legend_of(display.ax_) == ["own witness", "probe", "boundary", "teacher information"]


@pytest.mark.parametrize("n_arms", [2, 40])
def test_labels_of_many_arms_do_not_overlap(n_arms):
    names = [f"teacher-guided, weight {number}" for number in range(n_arms)]
    points = [
        {"label": name, "rate": 1.0, "lower_bound": 0.1, "probe_lower_bound": 0.2}
        for name in names
    ]
    display = shown.ArmComparisonDisplay(points).plot()
    display.figure_.draw_without_rendering()
    for ax in (display.ax_, display.rate_ax_):
        boxes = [text.get_window_extent() for text in ax.get_yticklabels()]
        assert len(boxes) == n_arms
        assert all(above.y0 > below.y1 for above, below in pairwise(boxes))
    plane = shown.RateBoundDisplay(points).plot()
    plane.figure_.draw_without_rendering()
    inside = plane.ax_.get_window_extent()
    assert plane.ax_.get_legend().get_window_extent().x0 > inside.x1
    assert inside.width > 200


def test_plane_has_points_by_rate_and_bound_and_a_line_for_each_teacher(report):
    runs = [point("vae", 9.0, -0.1, 1.5, teacher) for teacher in (0, 0, 1)]
    runs.append(point("collapse", 0.0, -0.1, None))
    display = shown.RateBoundDisplay.from_protocol(runs)
    own, probed, collapsed, unprobed = display.lines_
    assert own.get_xydata().tolist() == [[9.0, -0.1]] * 3
    assert probed.get_xydata().tolist() == [[9.0, 1.5]] * 3
    assert own.get_color() == probed.get_color() != collapsed.get_color()
    assert len(unprobed.get_xdata()) == 0
    dotted = [line for line in display.ax_.get_lines() if line.get_linestyle() == ":"]
    assert [line.get_ydata()[0] for line in dotted] == [2.0, 3.0]
    assert legend_of(display.ax_).count("teacher information") == 1
    # The rate of a collapsed model is on the plot.
    assert display.ax_.get_xlim()[0] == 0
    own, probed = shown.RateBoundDisplay.from_report(report).lines_
    assert own.get_xydata().tolist() == [[report.rate, report.lower_bound_sample]]
    assert probed.get_ydata().tolist() == [report.probe.lower_bound_sample]


def test_rates_are_those_of_the_model_and_active_dimensions_are_marked(
    fitted, clusters, report
):
    display = shown.LatentRateDisplay.from_estimator(fitted, clusters)
    rates = fitted.posterior_kl(clusters).mean(axis=0)
    assert [bar.get_height() for bar in display.bars_] == pytest.approx(rates, rel=1e-6)
    title = display.ax_.get_title(loc="left")
    assert title.startswith(f"{report.active_units} of 3 dimensions active")
    display = shown.LatentRateDisplay([2.0, 0.0], [True, False]).plot()
    assert [bar.get_hatch() or "" for bar in display.bars_] == ["", "////"]
    assert legend_of(display.ax_) == ["active", "not active"]
    of_report = shown.LatentRateDisplay.from_report(report)
    assert [bar.get_height() for bar in of_report.bars_] == pytest.approx(rates, rel=1e-6)
    assert of_report.ax_.get_title(loc="left") == title


def test_codes_are_on_their_principal_axes_and_coloured_by_the_teacher(fitted, clusters):
    display = shown.LatentCodeDisplay.from_estimator(fitted, clusters)
    codes = fitted.transform(clusters).astype(float)
    points = np.vstack([np.asarray(each.get_offsets()) for each in display.scatters_])
    variances = np.sort(np.linalg.eigvalsh(np.cov(codes.T, bias=True)))[::-1]
    assert np.sort(points.var(axis=0))[::-1] == pytest.approx(variances[:2])
    components = fitted.teacher_proba(clusters).argmax(axis=1)
    sizes = [len(each.get_offsets()) for each in display.scatters_]
    assert sizes == np.bincount(components).tolist()
    assert display.ax_.get_legend().get_title().get_text() == "component of the teacher"


def test_codes_are_coloured_by_labels_or_numbers_and_drawn_in_one_two_or_no_dimension():
    encoder = SimpleNamespace(transform=lambda X: X)
    codes = np.arange(120.0).reshape(60, 2)
    by_number = shown.LatentCodeDisplay.from_estimator(encoder, codes, np.arange(60))
    (scatter,) = by_number.scatters_
    assert scatter.get_offsets().tolist() == codes.tolist()
    assert scatter.get_array().tolist() == list(range(60))
    by_label = shown.LatentCodeDisplay.from_estimator(encoder, codes, ["a", "b"] * 30)
    assert legend_of(by_label.ax_) == ["a", "b"]
    line = shown.LatentCodeDisplay.from_estimator(encoder, codes[:, :1])
    assert line.scatters_[0].get_offsets()[:, 0].tolist() == codes[:, 0].tolist()
    constant = shown.LatentCodeDisplay.from_estimator(encoder, np.ones((9, 3)))
    assert "(0% of its variance)" in constant.ax_.get_xlabel()


def test_umap_projects_where_it_is_installed(monkeypatch):
    module = ModuleType("umap")

    class UMAP:
        def __init__(self, n_components, random_state):
            self.seed = random_state

        def fit_transform(self, codes):
            return codes[:, :2] + self.seed

    encoder = SimpleNamespace(transform=lambda X: X)
    codes = np.arange(9.0).reshape(3, 3)
    draw = shown.LatentCodeDisplay.from_estimator
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match="pip install umap-learn"):
        draw(encoder, codes, projection="umap")
    monkeypatch.setitem(sys.modules, "umap", module)
    module.UMAP = UMAP
    display = draw(encoder, codes, projection="umap", random_state=5)
    assert display.scatters_[0].get_offsets().tolist() == (codes[:, :2] + 5).tolist()
    assert display.ax_.get_xlabel() == "UMAP 1"
    with pytest.raises(ValueError, match="must be 'pca' or 'umap'"):
        draw(encoder, codes, projection="tsne")


class Model:
    """Codes are the first two columns, rows are codes beside zeros, samples are ones."""

    image_shape_ = (1, 2, 2)

    def transform(self, X):
        return np.asarray(X, dtype=float)[:, :2]

    def inverse_transform(self, codes):
        return np.column_stack([codes, np.zeros((len(codes), 2))])

    def sample(self, n_samples, random_state=None):
        return np.ones((n_samples, 4))

    def posterior_kl(self, X):
        return np.tile([1.0, 2.0], (len(X), 1))


@pytest.mark.parametrize("kind", ["reconstruction", "sample"])
def test_images_of_the_model_stand_below_the_data(kind):
    X = np.tile([0.0, 1.0, 0.5, 0.25], (3, 1))
    display = shown.ImageGridDisplay.from_estimator(Model(), X, kind=kind, n_images=2)
    grid = display.image_.get_array()
    assert grid.shape == (5, 5)
    assert grid[:2, :2].tolist() == [[0.0, 1.0], [0.5, 0.25]]
    below = {"reconstruction": [[0, 1], [0, 0]], "sample": [[1, 1], [1, 1]]}
    assert grid[3:, 3:].tolist() == below[kind]
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == ["data", f"{kind}s"]


def test_colours_have_three_channels_and_lines_are_broken():
    images = {"a": np.zeros((3, 3, 2, 2)), "b": np.ones((1, 3, 2, 2))}
    display = shown.ImageGridDisplay(images, n_columns=2).plot()
    assert display.image_.get_array().shape == (8, 5, 3)
    assert display.ax_.get_yticks().tolist() == [0.5, 6.5]


def test_what_is_no_image_or_no_kind_is_refused():
    model = Model()
    model.image_shape_ = None
    with pytest.raises(ValueError, match="pass image_shape"):
        shown.ImageGridDisplay.from_estimator(model, np.ones((2, 4)))
    with pytest.raises(ValueError, match="kind must be one of"):
        shown.QuantileDisplay.from_estimator(model, np.ones((2, 4)), kind="prior")


def test_quantiles_are_in_deviations_of_the_data():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(5, 3, (400, 4)), columns=list("abcd"))
    frame.loc[0, "a"] = None
    display = shown.QuantileDisplay.from_estimator(Model(), frame, kind="reconstruction")
    data, model = display.boxes_
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == list("abcd")
    # The middle half of a normal distribution.
    assert [bar.get_width() for bar in data] == pytest.approx([1.349] * 4, abs=0.2)
    widths = [bar.get_width() for bar in model]
    assert widths[1] == data[1].get_width()
    assert widths[2:] == [0, 0]
    assert model[3].get_x() == pytest.approx(-frame.d.mean() / frame.d.std(ddof=0))
    frame = frame.assign(e="text")[["e", "b"]]
    model = SimpleNamespace(sample=lambda n, random_state: frame[:n])
    same = shown.QuantileDisplay.from_estimator(model, frame)
    assert same.names == ["b"]
    np.testing.assert_array_equal(same.data, same.model)


def test_traversals_move_one_dimension_at_a_time_the_dearest_first():
    X = np.tile([0.0, 2.0, 0.0, 0.0], (4, 1))
    display = shown.TraversalDisplay.from_estimator(Model(), X, values=(0.0, 1.0, 2.0))
    grid = display.image_.get_array()
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == [
        "dimension 2",
        "dimension 1",
    ]
    # Top left pixel is of the first dimension, the one beside it of the second.
    assert grid[0, [1, 4, 7]].tolist() == [0.0, 0.5, 1.0]
    assert grid[3, [0, 3, 6]].tolist() == [0.0, 0.5, 1.0]
    assert grid[3, [1, 4, 7]].tolist() == [0.0, 0.0, 0.0]
    table = Model()
    table.image_shape_ = None
    X = np.random.default_rng(0).normal(0, 2, (50, 4))
    display = shown.TraversalDisplay.from_estimator(table, X, n_dimensions=1)
    rises = display.image_.get_array()
    assert rises.tolist() == [[0.0, pytest.approx(4 / X[:, 1].std()), 0.0, 0.0]]


def test_witness_is_set_against_the_teacher(fitted, clusters):
    display = shown.TeacherWitnessDisplay.from_estimator(fitted, clusters)
    shares = np.asarray(display.image_.get_array())
    assert shares.sum(axis=1) == pytest.approx(np.ones(3))
    T = fitted.teacher_proba(clusters)
    q = np.exp(fitted.witness_log_proba(clusters))
    assert shares[1, 2] == pytest.approx((T[:, 1] * q[:, 2]).sum() / T[:, 1].sum())
    assert len(display.texts_) == 9
    display = shown.TeacherWitnessDisplay(np.eye(13)).plot()
    assert display.texts_ == []


def test_calibration_sets_means_of_groups_against_each_other():
    T = np.array([[0.9, 0.1], [0.5, 0.5]])
    model = SimpleNamespace(
        teacher_proba=lambda X: T,
        witness_log_proba=lambda X, latent: np.log([[0.95, 0.05], [0.85, 0.15]]),
    )
    display = shown.WitnessCalibrationDisplay.from_estimator(model, [0, 1], n_groups=2)
    assert display.line_.get_xydata().round(12).tolist() == [[0.1, 0.3], [0.9, 0.7]]
    assert display.expected_error_ == pytest.approx(0.2)


def test_report_has_bars_of_its_own_witness_and_of_the_probe(report):
    display = shown.CertificateDisplay.from_report({"a": report})
    margins = [bar.get_width() for bar in display.bars_]
    probe = report.probe
    assert margins == [
        report.margin_mean,
        report.margin_sample,
        probe.margin_mean,
        probe.margin_sample,
    ]
    assert display.bounds_.get_xdata()[1] == report.lower_bound_sample
    labels = display.ax_.get_yticklabels()
    assert labels[2].get_text() == "a, by probe, at the mean"
    assert [label.get_fontweight() for label in labels] == [
        "normal",
        "bold",
        "normal",
        "normal",
    ]


def test_margins_far_below_zero_are_cut_off_and_written():
    bar = {"label": "a", "teacher_information": 2.0, "decides": True}
    far, near = {**bar, "margin": -23.0, "lower_bound": -3.0}, {**bar, "margin": 1.0}
    display = shown.CertificateDisplay([far, {**near, "lower_bound": 0.5}], tau=0.1).plot()
    assert display.ax_.get_xlim() == pytest.approx((-1.2, 2.06))
    (text,) = display.ax_.texts
    assert text.get_text() == "◂ margin -23, bound -3"
    assert legend_of(display.ax_)[-1] == "margin"


def test_mark_of_a_bound_below_zero_is_clear_of_the_axis():
    bar = {"label": "a", "teacher_information": 2.0, "decides": True}
    below = {**bar, "margin": -0.02, "lower_bound": -0.06}
    display = shown.CertificateDisplay([below]).plot()
    (mark, _), (edge, _) = display.ax_.transData.transform(
        [(-0.06, 0), (display.ax_.get_xlim()[0], 0)]
    )
    points = (mark - edge) * 72 / display.figure_.dpi
    assert points > display.bounds_.get_markeredgewidth()


def test_report_draws_the_panels_of_what_it_knows(report):
    display = report.plot()
    titles = [ax.get_title(loc="left") for ax in display.axes_]
    assert titles[0] == f"certified (not constant in x), by {report.n_samples} rows"
    assert titles[1] == "a draw of the code"
    assert titles[3] == "what the decoder makes of the code"
    written = [text.get_text() for text in display.axes_[1].texts]
    assert written[0] == f"{report.rate:.3g}"
    assert written[-1] == f"{report.lower_bound_sample:.3g}"
    widths = [bar.get_width() for bar in display.axes_[3].patches]
    assert widths == [report.decoder_gain, report.margin_reconstruction]
    both = SimultaneousReport((report, report), 0.9).plot()
    assert both.ax_.get_yticklabels()[-1].get_text() == "teacher 2, by probe, at the sample"


def test_path_and_escape_are_drawn_with_the_design(small_vae, clusters):
    vae = small_vae(witness="simplex", max_epochs=2).fit(clusters)
    display = shown.MarginEnergyDisplay.from_estimator(vae, clusters)
    margins = display.line_.get_ydata()
    assert margins[0] == pytest.approx(0, abs=1e-9)
    assert margins[-1] == pytest.approx(vae.teacher_information_, rel=1e-6)
    expected = [[each["rate"], each["margin"]] for each in vae.history_]
    assert display.trajectory_.get_xydata().tolist() == expected
    assert "designed, noise included" in legend_of(display.ax_)


def test_course_of_a_stream_ends_where_its_evidence_stands():
    T = np.tile([[0.9, 0.1], [0.1, 0.9]], (50, 1))
    strong, weak = SequentialMargin([0.5, 0.5]), SequentialMargin([0.5, 0.5])
    for part in np.array_split(T, 4):
        strong.update(part, np.log(part))
        weak.update(part, np.log(np.full_like(part, 0.5)))
    display = shown.StreamDisplay.from_monitor({"s": strong, "w": weak}, n_points=11)
    line = display.lines_[0]
    assert line.get_xdata().tolist() == list(range(0, 101, 10))
    assert line.get_ydata()[-1] == strong.log_e_value
    # What it was when so many rows had come.
    first = SequentialMargin([0.5, 0.5]).update(T[:20], np.log(T[:20]))
    assert line.get_ydata()[2] == pytest.approx(first.log_e_value, rel=1e-12)
    beyond = line.get_xdata()[line.get_ydata() >= np.log(20)]
    assert display.reached_ == {"s": beyond[0], "w": None}
