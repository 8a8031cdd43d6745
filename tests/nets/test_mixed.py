"""Rows of several kinds of columns: one density, and draws of it."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from skvae import TeacherGuidedVAE
from skvae.nets.counts import RowSizes
from skvae.nets.likelihoods import LIKELIHOODS, WITH_VARIANCE
from skvae.nets.mixed import KINDS, CategoricalLikelihood, MixedLikelihood
from skvae.nets.shown import logs_for
from skvae.training.criterion import Criterion
from skvae.training.steps import step_for
from skvae.training.steps.closed_form import ClosedFormStep

KINDS_OF_ROW = (
    ("categorical", 3, None),
    ("gaussian", 1, None),
    ("bernoulli", 1, None),
    ("categorical", 3, "unseen"),
    ("student_t", 1, 5.0),
    ("poisson", 1, None),
    ("laplace", 1, None),
)
WIDTH = sum(width for _, width, _ in KINDS_OF_ROW)


def mixed(kinds=KINDS_OF_ROW, floor=None):
    width = sum(each for _, each, _ in kinds)
    return MixedLikelihood(kinds, np.linspace(-1, 1, width), floor)


def rows_and_parameters(n_samples=6):
    generator = torch.Generator().manual_seed(0)
    parameters = torch.randn(n_samples, WIDTH, generator=generator)
    return mixed().draw(parameters, generator), parameters


def by_itself(kind, log_variance):
    """Likelihood of one column alone."""
    name, width, option = kind
    if name == "categorical":
        return CategoricalLikelihood(widths=[width], has_unseen=[option == "unseen"])
    given = (log_variance, None) if name in WITH_VARIANCE else (None, None)
    settings = {"degrees": option} if option is not None else {}
    return LIKELIHOODS[name](*given, **settings)


def test_the_density_is_the_product_over_columns_wherever_they_stand():
    x, parameters = rows_and_parameters()
    expected, start = 0.0, 0
    for kind in KINDS_OF_ROW:
        block = slice(start, start + kind[1])
        one = by_itself(kind, np.linspace(-1, 1, WIDTH)[block])
        expected = expected + one.reconstruction(x[:, block], parameters[:, block])
        torch.testing.assert_close(
            mixed().expectation(parameters)[:, block], one.expectation(parameters[:, block])
        )
        start = block.stop
    torch.testing.assert_close(mixed().reconstruction(x, parameters), expected)


def test_a_mixed_density_sums_and_integrates_to_one():
    """Enumerated where columns are discrete, by quadrature where they are not."""
    kinds = (("categorical", 2, None), ("gaussian", 1, None), ("bernoulli", 1, None))
    likelihood = MixedLikelihood(kinds, np.zeros(4)).double()
    grid = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    parameters = torch.tensor([[0.4, -0.3, 0.7, 1.1]], dtype=torch.float64)
    total = 0.0
    for level, truth in itertools.product((0, 1), (0.0, 1.0)):
        x = torch.zeros(len(grid), 4, dtype=torch.float64)
        x[:, level], x[:, 2], x[:, 3] = 1.0, grid, truth
        density = torch.exp(-likelihood.reconstruction(x, parameters.expand(len(grid), -1)))
        total += torch.trapezoid(density, grid).item()
    assert total == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("hidden", range(len(KINDS_OF_ROW)))
def test_what_is_not_observed_leaves_the_sum(hidden):
    kinds = [kind for kind in KINDS_OF_ROW if kind[0] in ("categorical", "student_t")]
    hidden %= len(kinds)
    width = sum(each for _, each, _ in kinds)
    generator = torch.Generator().manual_seed(1)
    parameters = torch.randn(5, width, generator=generator)
    likelihood = mixed(kinds)
    x = likelihood.draw(parameters, generator)
    starts = np.cumsum([0, *(each for _, each, _ in kinds)])
    observed = torch.ones(5, width)
    observed[:, starts[hidden] : starts[hidden + 1]] = 0.0
    found = likelihood.reconstruction(x, parameters, observed)
    changed = torch.where(observed.bool(), x, torch.nan)
    torch.testing.assert_close(likelihood.reconstruction(changed, parameters, observed), found)
    alone = by_itself(
        kinds[hidden], np.linspace(-1, 1, width)[starts[hidden] : starts[hidden + 1]]
    )
    block = slice(starts[hidden], starts[hidden + 1])
    whole = likelihood.reconstruction(x, parameters)
    torch.testing.assert_close(
        whole - found, alone.reconstruction(x[:, block], parameters[:, block])
    )


def test_draws_are_of_the_kinds_and_have_the_means():
    parameters = torch.tensor([[0.5, -0.5, 1.0, 0.3, 0.8, -0.2, 0.6, 2.0, 0.1, 0.9, -0.4]])
    many = parameters.expand(60_000, -1)
    drawn = mixed().draw(many, torch.Generator().manual_seed(2))
    first, second = drawn[:, :3], drawn[:, 5:8]
    for block in (first, second):
        assert torch.equal(block.sum(dim=1), torch.ones(len(block)))
    assert set(drawn[:, [0, 1, 2, 4, 5, 6, 7]].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(drawn[:, 9], drawn[:, 9].round())
    expected = mixed().expectation(parameters)[0]
    deviation = drawn.std(dim=0) / len(drawn) ** 0.5
    assert ((drawn.mean(dim=0) - expected).abs() <= 4.5 * deviation).all()


def test_the_level_of_what_was_not_seen_is_scored_and_never_made():
    parameters = torch.zeros(1000, 5)
    # However likely the net has it, as a few rows of `partial_fit` may teach it to.
    parameters[:, 2] = parameters[:, 4] = 50.0
    likelihood = mixed((("categorical", 3, "unseen"), ("categorical", 2, None)))
    expected = torch.tensor([0.5, 0.5, 0.0, 0.0, 1.0])
    torch.testing.assert_close(likelihood.expectation(parameters)[0], expected)
    drawn = likelihood.draw(parameters, torch.Generator().manual_seed(0))
    assert drawn.sum(dim=0)[2:].tolist() == [0.0, 0.0, 1000.0]
    x = torch.tensor([[0.0, 0.0, 1.0, 0.0, 1.0]])
    assert likelihood.reconstruction(x, parameters[:1]).item() == pytest.approx(0.0)


def test_student_draws_are_distributed_as_they_are_scored():
    likelihood = KINDS["student_t"]([0.4], None, degrees=3.0)
    drawn = likelihood.draw(torch.full((200_000, 1), 1.5), torch.Generator().manual_seed(3))
    scale = math.exp(0.2) * math.sqrt(1 / 3)
    standard = (drawn[:, 0].double() - 1.5) / scale
    for quantile in (0.01, 0.25, 0.5, 0.9, 0.999):
        share = (standard < stats.t.ppf(quantile, 3)).double().mean().item()
        assert share == pytest.approx(
            quantile, abs=4.5 * (quantile * (1 - quantile) / 2e5) ** 0.5
        )


def test_degrees_of_freedom_are_learned_of_heavy_tails():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.standard_t(3, 4000), rng.standard_normal(4000)])
    vae = TeacherGuidedVAE(
        likelihood="student_t",
        latent_dim=1,
        hidden_layer_sizes=(),
        alignment_weight=0,
        max_epochs=60,
        batch_size=200,
        early_stopping=False,
        random_state=0,
    ).fit(X)
    heavy, light = vae.net_.module_.decoder.likelihood.degrees.detach().tolist()
    assert 2.2 < heavy < 5 < 8 < light


def test_each_name_joins_the_mixture():
    for name in KINDS:
        width = 3 if name == "categorical" else 1
        likelihood = mixed(((name, width, None), ("gaussian", 1, None)))
        assert likelihood.expectation(torch.zeros(2, width + 1)).shape == (2, width + 1)


def test_encoder_sees_logarithms_of_counts_alone():
    assert isinstance(logs_for("poisson", None), RowSizes)
    assert logs_for("gaussian", None) is None
    assert logs_for((("gaussian", 1, None),), None) is None
    assert logs_for(KINDS_OF_ROW, None).are_counts.tolist() == [False] * 9 + [True, False]


def test_rows_below_zero_beside_counts_have_gradients(small_vae, clusters):
    X = clusters.copy()
    X[:, 1] = np.maximum(X[:, 1].round(), 0)
    vae = small_vae(likelihood={1: "poisson"}).fit(X)
    rows = torch.tensor(X[:5], dtype=torch.float32).requires_grad_()
    mean, _ = vae.encoder_(rows)
    mean.sum().backward()
    assert torch.isfinite(rows.grad).all()
    assert (rows.grad != 0).any()
    module = vae.net_.module_.encoder
    seen = module.seen(torch.tensor([[-2.0, 7.0, 0.5, 20.0]]))
    torch.testing.assert_close(seen, torch.tensor([[-2.0, math.log(8.0), 0.5, 10.0]]))


def test_the_closed_form_declines_and_the_direct_step_is_autograd(small_vae, clusters):
    X = np.column_stack([clusters, clusters[:, 0] > 2])
    likelihood = {0: "student_t", 1: "gaussian", 2: "laplace", 3: "auto", 4: "categorical"}
    module = small_vae(likelihood=likelihood).fit(X).net_.module_.train()
    criterion = Criterion(beta=1.0, alignment_weight=10.0)
    step = step_for(module, criterion)
    assert not isinstance(step, ClosedFormStep)
    x = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    x[:, 4:] = torch.eye(2)[torch.arange(20) % 2]
    T = torch.softmax(torch.randn(20, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    noise = torch.randn(20, 3, generator=torch.Generator().manual_seed(2))
    module.zero_grad()
    loss, _ = criterion(x, T, module(x, noise), module)
    loss.backward()
    expected = {name: weight.grad.clone() for name, weight in module.named_parameters()}
    module.zero_grad()
    step.take(x, T, noise)
    assert any("excess_degrees" in name for name in expected)
    for name, weight in module.named_parameters():
        torch.testing.assert_close(weight.grad, expected[name], rtol=1e-4, atol=1e-5)
