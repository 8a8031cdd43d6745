"""Mutations of the claims: one error at a time, and whether a test sees it.

Each mutation is an error that would make a certificate, a bound or a score say something else
than the documentation does. It is made in a copy of the package, the tests that are meant to
see it run against the copy, and a table says which of them failed first::

    python tests/mutants.py            # all of them, in a few minutes on one core
    python tests/mutants.py reference  # those with this word in their names

Writes docs/experiments/mutants.txt if all were run. The exit status is 1 if one survives. A
text that is to be replaced must stand in its file exactly once: where the code has moved on,
the script stops and says so. So it does where one of the tests fails without a mutation, and
where a mutation is no Python.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "experiments" / "mutants.txt"
PYTEST = ("-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "--hypothesis-seed=0")
PRELOADED = ["torch", "pandas", "sklearn.mixture", "skorch", "hypothesis", "matplotlib.pyplot"]
# What is no name of an exception is an assertion.
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)(?: - (\w+(?:Error|Failed)))?", re.MULTILINE)
TESTS_FAILED = 1

SCORER = "tests/certificate/test_scorer.py"
CLAIMS = "tests/certificate/test_claims.py"
VERDICTS = "tests/certificate/test_verdicts.py"
PROBES = "tests/certificate/test_probes.py"
BOUND = "tests/information/test_bound.py"
WEIGHTS = "tests/information/test_weights.py"
BOUNDARY = "tests/information/test_boundary.py"
NET = "tests/training/test_net.py"
ESTIMATOR = "tests/vae/test_estimator.py"


@dataclass(frozen=True)
class Mutation:
    """An error to make.

    Parameters
    ----------
    name : str
        What is wrong then.
    edits : tuple of (path, old, new)
        Texts to replace, in files of the package; each old text stands there once.
    tests : tuple of str
        Ids of the tests that are meant to see it.
    """

    name: str
    edits: tuple[tuple[str, str, str], ...]
    tests: tuple[str, ...]


def one(name: str, path: str, old: str, new: str, *tests: str) -> Mutation:
    """Return a mutation of one place."""
    return Mutation(name, ((path, old, new),), tests)


MUTATIONS = [
    # The direction of the divergence.
    one(
        "KL of the training objective with the student first",
        "objective/row_terms.py",
        "return (torch.xlogy(T, T) - T * log_q).sum(dim=1)",
        "return (log_q.exp() * (log_q - T.clamp(min=1e-30).log())).sum(dim=1)",
        "tests/objective/test_row_terms.py",
    ),
    one(
        "KL of the step by hand with the student first",
        "training/steps/closed_form.py",
        "alignment = torch.dot(T.view(-1), ratio.view(-1))",
        "alignment = -torch.dot(log_q.exp().view(-1), ratio.view(-1))",
        "tests/training/steps/test_closed_form.py",
    ),
    one(
        "KL of the alignment cost with the student first",
        "information/boundary.py",
        "return max(float(_mean(_expectation(T, _log(T) - log_q), weights)), 0.0)",
        "return max(float(_mean(_expectation(np.exp(log_q), log_q - _log(T)), weights)), 0.0)",
        BOUNDARY,
    ),
    one(
        "KL of the summed statistics with the student first",
        "information/statistics.py",
        'np.einsum("ij,ij->i", T, teacher.logarithm - log_q)',
        'np.einsum("ij,ij->i", np.exp(log_q), log_q - teacher.logarithm)',
        "tests/information/test_statistics.py",
    ),
    # One sample for the average, the information and the cost.
    one(
        "margin of a report against Tbar of the training rows",
        "certificate/readings.py",
        "return float(np.mean([draw.margin for draw in self.statistics]))",
        "return float(np.mean([\n"
        '            np.einsum("ij,ij->i", self.T, q - np.log(self.reference)).mean()\n'
        "            for q in self.log_q\n"
        "        ]))",
        SCORER + "::test_average_and_information_come_from_the_rows_that_are_scored",
    ),
    one(
        "margin of held-out rows with the information of the training rows",
        "vae/course.py",
        "T_held_out, T = T[held_out], T[chosen]",
        "T_held_out, T = T[chosen[: len(held_out)]], T[chosen]",
        CLAIMS + "::test_bound_of_an_epoch_is_that_of_the_held_out_rows",
    ),
    one(
        "margin of a fit: witness and teacher of different rows",
        "vae/outcome.py",
        "taken(self.rows, block if self.chosen is None else self.chosen[block])",
        "taken(self.rows, block)",
        CLAIMS + "::test_what_is_held_out_has_no_part_in_the_fit",
    ),
    one(
        "teacher of other rows in a report",
        "certificate/subjects.py",
        "return check_taught(T, _num_samples(rows), source, n_components)",
        "return np.roll(check_taught(T, _num_samples(rows), source, n_components), 1, axis=0)",
        SCORER + "::test_report_holds_the_quantities_of_these_rows",
    ),
    one(
        "sign of the margin",
        "information/statistics.py",
        "return float(score - average @ _log_or_zero(average))",
        "return float(average @ _log_or_zero(average) - score)",
        "tests/information/test_statistics.py",
    ),
    one(
        "student that is not normalised",
        "information/boundary.py",
        "return log_q - log_total",
        "return log_q",
        BOUNDARY,
    ),
    one(
        "constant teacher that passes",
        "information/boundary.py",
        "if information < MINIMAL_TEACHER_INFORMATION:",
        "if information < 0:",
        SCORER + "::test_constant_teacher_is_an_error_and_never_a_pass",
    ),
    # What the witness sees.
    one(
        "skip from x to the witness in training",
        "nets/networks.py",
        "log_witness = self.witness(self.shown(mean, first))",
        "log_witness = self.witness(self.shown(mean, first) + x.mean(dim=1, keepdim=True))",
        "tests/nets/test_networks.py",
    ),
    Mutation(
        "skip from x to the witness in all that is read",
        (
            (
                "vae/inference.py",
                "(log_q,) = self._witnessed(self.posterior(rows), latents)",
                "mean, log_variance = self.posterior(rows)\n"
                '        mean = mean + rows[:, :1].astype("float32")\n'
                "        (log_q,) = self._witnessed((mean, log_variance), latents)",
            ),
            (
                "vae/inference.py",
                "at_mean, *at_samples = self._witnessed((mean, log_variance), latents)",
                'seen = mean + rows[:, :1].astype("float32")\n'
                "        at_mean, *at_samples = self._witnessed((seen, log_variance), latents)",
            ),
        ),
        (CLAIMS + "::test_a_constant_encoder_leaves_a_witness_nothing",),
    ),
    one(
        "margin above the rate that is let pass",
        "certificate/readings.py",
        "if excess > BREACH * error + 1e-6:",
        "if excess > 1e6:",
        SCORER + "::test_margin_above_the_rate_is_an_internal_error",
    ),
    one(
        "own witness under a teacher that it was not trained on",
        "certificate/subjects.py",
        'self.has_witness = teacher is None and hasattr(model, "witness_log_proba")',
        'self.has_witness = hasattr(model, "witness_log_proba")',
        SCORER + "::test_given_teacher_takes_the_place_of_the_models_own",
    ),
    one(
        "witness that starts off the boundary",
        "nets/witnesses.py",
        "nn.init.zeros_(self.head.weight)",
        "nn.init.normal_(self.head.weight, generator=torch.Generator().manual_seed(0))",
        "tests/nets/test_networks.py",
    ),
    one(
        "witness that moves no code",
        "training/steps/closed_form.py",
        "of_codes.addmm_(of_logits.t(), head.weight)",
        "None",
        "tests/training/steps/test_closed_form.py",
    ),
    # The bound.
    one(
        "bound without mixing",
        "information/betting.py",
        "mixed = (1 - self._mixing) * np.exp(log_q) + self._mixing * self._reference",
        "mixed = np.exp(log_q)",
        BOUND,
    ),
    one(
        "bound without the minimum over averages",
        "information/betting.py",
        "return self.value - self.gap - self.rounding",
        "return self.value",
        BOUND,
    ),
    one(
        "confidence taken for its complement",
        "information/bound.py",
        "threshold = float(np.log(1 / (1 - confidence)))",
        "threshold = float(np.log(1 / confidence))",
        BOUND,
    ),
    one(
        "best draw of a row in place of their average",
        "information/bound.py",
        "self._scores = [np.mean(block, axis=0)",
        "self._scores = [np.max(block, axis=0)",
        BOUND + "::test_draws_of_a_row_are_averaged_and_rows_stay_the_unit",
    ),
    one(
        "several teachers, each at the whole confidence",
        "certificate/scorer.py",
        "confidence = 1 - (1 - confidence) / len(self.teacher)",
        "confidence = float(confidence)",
        SCORER + "::test_several_teachers_hold_together",
    ),
    one(
        "verdict by the margin of the rows",
        "certificate/verdicts.py",
        "bound = report.lower_bound\n",
        "bound = report.margin_sample\n",
        SCORER + "::test_constant_encoder_is_certified_at_the_sample_no_oftener_than_it_may",
    ),
    one(
        "score with a confidence that is the margin",
        "certificate/scorer.py",
        "return reading.bound(self.confidence, self.method).lower_bound - self.tau",
        "return reading.margin - self.tau",
        SCORER + "::test_score_with_a_confidence_is_the_lower_bound_less_tau",
    ),
    one(
        "reference of a report from the rows that are scored",
        "certificate/readings.py",
        'reference = getattr(subject.model, "average_teacher_", uniform)',
        "reference = T.mean(axis=0)",
        SCORER + "::test_report_holds_the_quantities_of_these_rows",
    ),
    one(
        "reference of a model that is ignored",
        "certificate/readings.py",
        'reference = getattr(subject.model, "average_teacher_", uniform)',
        "reference = uniform",
        CLAIMS + "::test_reference_of_a_report_is_the_average_over_the_training_rows",
    ),
    one(
        "reference of a probe from the rows that are scored",
        "certificate/probes.py",
        "reference = np.average(T[first], axis=0, weights=of_first)",
        "reference = T.mean(axis=0)",
        PROBES,
    ),
    one(
        "reference of an epoch from the held-out rows",
        "training/stopping.py",
        "without_zeros(net.module__average_teacher),",
        "without_zeros(dataset_valid.targets.numpy().mean(axis=0)),",
        CLAIMS + "::test_bound_of_an_epoch_is_that_of_the_held_out_rows",
    ),
    # Weights.
    one(
        "claim against weighted rows that no weight enters",
        "information/betting.py",
        "(m if weights is None else m * weights)",
        "m",
        WEIGHTS,
    ),
    one(
        "largest weight at hand for that of the population",
        "information/bound.py",
        "return float(max_weight)",
        "return float(weights.max())",
        WEIGHTS,
    ),
    one(
        "average teacher that no weight enters",
        "information/statistics.py",
        "float(weights @ negative_entropies), weights @ T, products",
        "float(weights @ negative_entropies), T.sum(axis=0), products",
        WEIGHTS,
    ),
    one(
        "batch divided by the sum of its weights",
        "training/criterion.py",
        "return of_rows * weights.view(",
        "return of_rows / weights.mean() * weights.view(",
        "tests/training/test_weights.py",
    ),
    one(
        "rows that weigh nothing in a certificate",
        "certificate/subjects.py",
        "if len(kept) < len(weights):",
        "if len(kept) < 0:",
        "tests/certificate/test_weights.py",
    ),
    # tau.
    one(
        "tau ignored in the score",
        "certificate/scorer.py",
        "return reading.margin - self.tau",
        "return reading.margin",
        SCORER + "::test_score_is_the_margin_at_the_read_less_tau",
    ),
    one(
        "tau ignored in the lower bound",
        "certificate/scorer.py",
        "return reading.bound(self.confidence, self.method).lower_bound - self.tau",
        "return reading.bound(self.confidence, self.method).lower_bound",
        SCORER + "::test_score_with_a_confidence_is_the_lower_bound_less_tau",
    ),
    one(
        "tau ignored in the verdict",
        "certificate/verdicts.py",
        "if bound is not None and bound > report.tau:",
        "if bound is not None and bound > 0:",
        SCORER + "::test_verdict_is_the_bound_at_the_read_against_tau",
    ),
    # Reads and noise.
    one(
        "mean read in a report in place of the sample",
        "certificate/evidence.py",
        "draws = [codes.log_witness_mean] if at_mean else codes.log_witness_samples",
        "draws = [codes.log_witness_mean] * (1 if at_mean else self.subject.n_draws)",
        SCORER + "::test_report_holds_the_quantities_of_these_rows",
    ),
    Mutation(
        "mean read by the estimator in place of the sample",
        (
            (
                "vae/inference.py",
                "return (mean if generator is None else draw_latent("
                "mean, log_variance, generator),)",
                "return (mean,)",
            ),
            (
                "vae/inference.py",
                "return mean, *(draw_latent(mean, log_variance, torch.stack(noise)) "
                "if noise else ())",
                "return mean, *(mean for _ in noise)",
            ),
        ),
        (ESTIMATOR + "::test_draws_of_the_code_repeat_and_can_be_varied",),
    ),
    one(
        "mean read by a witness that is trained on the sample",
        "nets/networks.py",
        'return latent if self.witness_input == "sample" else mean',
        "return mean",
        "tests/nets/test_networks.py",
    ),
    one(
        "mean read by the bound of an epoch in place of the sample",
        "training/stopping.py",
        "latent = draw_latent(mean, log_variance, noise[share.rows])",
        "latent = mean",
        CLAIMS + "::test_bound_of_an_epoch_is_that_of_the_held_out_rows",
    ),
    one(
        "mean read by a probe in place of the sample",
        "certificate/evidence.py",
        "draw.append(mean + np.exp(0.5 * log_variance) * noise)",
        "draw.append(mean)",
        SCORER + "::test_probe_averages_draws_of_the_code_too",
    ),
    one(
        "variance taken for the deviation of a draw",
        "nets/networks.py",
        "return mean + torch.exp(0.5 * log_variance) * noise.to(mean.device)",
        "return mean + torch.exp(log_variance) * noise.to(mean.device)",
        "tests/nets/test_networks.py",
    ),
    one(
        "same noise for every batch of a monitor",
        "certificate/scorer.py",
        'np.random.SeedSequence([self.random_state, monitor.n_samples, *b"monitor"])',
        'np.random.SeedSequence([self.random_state, *b"monitor"])',
        CLAIMS + "::test_no_two_batches_of_a_monitor_share_their_noise",
    ),
    one(
        "same noise for every block of a report",
        "certificate/evidence.py",
        "np.random.SeedSequence(subject.random_state, spawn_key=(number,))",
        "np.random.SeedSequence(subject.random_state, spawn_key=(0,))",
        CLAIMS + "::test_no_two_blocks_of_a_report_share_their_noise",
    ),
    one(
        "same noise for every block of a probe's codes",
        "certificate/evidence.py",
        'np.random.default_rng([self.subject.random_state, number, *b"codes"])',
        'np.random.default_rng([self.subject.random_state, *b"codes"])',
        CLAIMS + "::test_no_two_blocks_of_a_report_share_their_noise",
    ),
    one(
        "same noise for every draw of a row",
        "certificate/evidence.py",
        "seeds = stream.generate_state(subject.n_draws).tolist()",
        "seeds = stream.generate_state(1).tolist() * subject.n_draws",
        SCORER + "::test_sample_read_averages_draws_and_repeats",
    ),
    # What was seen in a fit.
    one(
        "held-out rows trained on",
        "vae/held_out.py",
        "return np.setdiff1d(order, held_out), held_out, is_fresh",
        "return np.sort(order), held_out, is_fresh",
        NET + "::test_early_stopping_holds_out_shuffled_rows",
    ),
    one(
        "held-out rows taught",
        "vae/course.py",
        "taught = rows_to_teach(n_most, len(rows), chosen, seed, by)",
        "taught = rows_to_teach(n_most, len(rows), None, seed, by)",
        CLAIMS + "::test_what_is_held_out_has_no_part_in_the_fit",
    ),
    one(
        "held-out rows standardised by",
        "vae/course.py",
        "Standardization.of(rows, chosen, weights_of(weights, chosen))",
        "Standardization.of(rows)",
        CLAIMS + "::test_what_is_held_out_has_no_part_in_the_fit",
    ),
    one(
        "best epoch that has no margin where others have one",
        "training/stopping.py",
        'record["valid_judged"] = np.inf',
        "pass",
        CLAIMS + "::test_no_epoch_without_a_margin_is_better_than_one_with",
    ),
    one(
        "guard that goes by the rows trained on",
        "training/stopping.py",
        'net.history[-1, "valid_margin"] >= self.guard',
        'net.history[-1, "margin"] >= self.guard',
        CLAIMS + "::test_an_epoch_counts_by_its_held_out_margin",
    ),
    one(
        "fingerprint of the model ignored in a report",
        "certificate/evidence.py",
        "self._of_model.add(numbers)",
        "self._of_model.add(numbers + 1)",
        SCORER + "::test_report_says_whether_the_rows_were_in_fit",
    ),
    one(
        "fingerprint of the teacher ignored in a report",
        "certificate/evidence.py",
        "self._of_teacher.add(numbers if X_teacher is X else X_teacher)",
        "self._of_teacher.add(numbers + 1)",
        CLAIMS + "::test_report_says_whether_the_teacher_has_seen_the_rows",
    ),
    one(
        "fingerprint of a donor ignored by early stopping",
        "vae/course.py",
        "fresh &= donor.trained_on.absent(rows)",
        "fresh &= True",
        CLAIMS + "::test_rows_that_a_donor_was_trained_on_are_not_held_out",
    ),
    one(
        "fingerprint of a teacher ignored by early stopping",
        "vae/course.py",
        "fresh &= _absent(teacher_fingerprint, rows if X_teacher is None else X_teacher)",
        "fresh &= True",
        CLAIMS + "::test_rows_that_a_fitted_teacher_has_seen_are_not_held_out",
    ),
    one(
        "bound of an epoch under a teacher that nothing is known of",
        "vae/course.py",
        "is_fresh &= not came_fitted or teacher_fingerprint is not None",
        "is_fresh &= True",
        CLAIMS + "::test_rows_that_a_fitted_teacher_has_seen_are_not_held_out",
    ),
    one(
        "bound of an epoch on rows that were seen",
        "training/building.py",
        'callbacks += [("bound", HeldOutBound())] if has_bound else []',
        'callbacks += [("bound", HeldOutBound())]',
        CLAIMS + "::test_rows_that_a_donor_was_trained_on_are_not_held_out",
    ),
    one(
        "probe scored on rows that it has seen",
        "certificate/probes.py",
        "before = np.concatenate(blocks[:number])",
        "before = np.concatenate(blocks[: number + 1])",
        PROBES,
    ),
    one(
        "probe scored on copies of rows that it has seen",
        "certificate/probes.py",
        "if groups is not None:",
        "if groups is not None and n_blocks < 2:",
        CLAIMS + "::test_no_probe_is_scored_on_a_copy_of_a_row_that_it_has_seen",
    ),
    one(
        "rescue certified on the rows that it was trained on",
        "vae/rescues.py",
        "rows, view = (X, X_teacher) if X_test is None else (X_test, X_teacher_test)",
        "rows, view = X, X_teacher",
        "tests/vae/test_rescues.py::test_rescue_certifies_and_leaves_the_old_model_as_it_was",
    ),
    one(
        "protocol certified on the rows that were trained on",
        "protocol/runs.py",
        '"report": _certify(model, split.X_test),',
        '"report": _certify(model, split.X_train),',
        "tests/protocol/test_runs.py::test_record_has_what_the_fitted_model_says",
    ),
    # Scores and rates.
    one(
        "score at the beta of training",
        "vae/inference.py",
        "return -(reconstruction + kl(mean, log_variance)) - self.log_scales(x)",
        "rate = self.net.criterion_.beta * kl(mean, log_variance)\n"
        "            return -(reconstruction + rate) - self.log_scales(x)",
        CLAIMS + "::test_score_is_the_elbo_in_closed_form",
    ),
    one(
        "score without the units of the rows",
        "vae/inference.py",
        "return -(reconstruction + kl(mean, log_variance)) - self.log_scales(x)",
        "return -(reconstruction + kl(mean, log_variance))",
        CLAIMS + "::test_score_is_the_elbo_in_closed_form",
    ),
    one(
        "importance-weighted bound without the units of the rows",
        "vae/inference.py",
        "return log_sum - math.log(n_draws) - self.log_scales(x)",
        "return log_sum - math.log(n_draws)",
        "tests/vae/test_inference.py"
        "::test_with_the_true_posterior_every_draw_gives_the_log_density",
    ),
    one(
        "rate averaged over dimensions in the objective",
        "objective/row_terms.py",
        "return kl_per_dimension(mean, log_variance).sum(dim=1)",
        "return kl_per_dimension(mean, log_variance).mean(dim=1)",
        "tests/objective/test_row_terms.py",
    ),
    one(
        "rate averaged over dimensions in a report",
        "certificate/evidence.py",
        "return float(np.sum(self._kl)) / self.n_samples if self.subject.has_rate else None",
        "return float(np.mean(self._kl)) / self.n_samples if self.subject.has_rate else None",
        SCORER + "::test_report_holds_the_quantities_of_these_rows",
    ),
    one(
        "reconstruction margin of the rows themselves",
        "certificate/decoders.py",
        "of_decoded = self._subject.teach(decoded, T.shape[1])",
        "of_decoded = T",
        SCORER + "::test_reconstruction_margin_tells_a_decoder_that_ignores_the_code",
    ),
    one(
        "gain of a decoder with a row's own code both times",
        "certificate/decoders.py",
        "others[order] = draws[np.roll(order, 1)]",
        "others[order] = draws[order]",
        VERDICTS + "::test_gain_of_the_decoder_is_that_of_the_formula",
    ),
    # Verdicts.
    one(
        "probe that is judged at the mean beside a posterior",
        "certificate/subjects.py",
        'return "sample" if not self.has_witness and self.has_posterior else latent',
        "return latent",
        VERDICTS,
    ),
    one(
        "what a draw can carry without its noise",
        "certificate/spread.py",
        "widths = self._variances / self._n_samples + self.variance",
        "widths = self.variance",
        VERDICTS,
    ),
    one(
        "margin above the rate that is not told",
        "certificate/verdicts.py",
        "above = [each for each, value in margins if value is not None and value > limit]",
        "above = []",
        VERDICTS,
    ),
    one(
        "rows needed by the rows at hand alone, without the price of their average",
        "information/sample_size.py",
        "taken *= n_samples / (n_samples - 1)",
        "taken = 0.0",
        "tests/information/test_sample_size.py",
    ),
    one(
        "rows needed in one sample of two",
        "information/sample_size.py",
        "log_capital -= quantile * np.sqrt(n) * gains.std(axis=1, ddof=1)",
        "pass",
        "tests/information/test_sample_size.py",
    ),
    one(
        "warning of a fit by the training margin beside held-out rows",
        "vae/advice.py",
        "if held_out is not None and held_out.lower_bound <= 0:",
        "if held_out is not None and estimator.margin_ <= 0:",
        "tests/vae/test_advice.py",
    ),
    one(
        "view gap with its sign turned",
        "certificate/evidence.py",
        'return self.statistics["mean"][0].margin - self.other_view.margin',
        'return self.other_view.margin - self.statistics["mean"][0].margin',
        CLAIMS + "::test_view_gap_is_the_margin_that_the_teacher_of_the_rows_takes",
    ),
]


def main(words: list[str]) -> int:
    """Run the mutations with one of these words in their names, or all; print the table."""
    chosen = [each for each in MUTATIONS if not words or any(w in each.name for w in words)]
    lines, survivors, started = [], [], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("skvae", "tests"):
            shutil.copytree(ROOT / name, copy / name)
        shutil.copy(ROOT / "pyproject.toml", copy)
        failed = run(copy, sorted({test for each in chosen for test in each.tests}))
        if failed:
            raise SystemExit(f"Without a mutation: {failed}")
        for mutation in chosen:
            caught = try_one(copy, mutation)
            if caught is None:
                survivors.append(mutation.name)
            lines.append(described(mutation, caught))
            print(lines[-1], flush=True)
    last = f"{len(chosen) - len(survivors)} of {len(chosen)} mutations caught."
    print(f"{last} ({time.perf_counter() - started:.0f} s)")
    if not words:
        TABLE.write_text("\n".join([*lines, last, ""]), encoding="utf-8")
    return 1 if survivors else 0


def try_one(copy: Path, mutation: Mutation) -> str | None:
    """Make the error, run its tests, and make it good; return what failed first."""
    originals = {}
    for path, old, new in mutation.edits:
        file = copy / "skvae" / path
        text = file.read_text(encoding="utf-8")
        originals.setdefault(file, (text, file.stat()))
        if text.count(old) != 1:
            raise SystemExit(
                f"{mutation.name}: in {path} this stands {text.count(old)} times, not once:"
                f"\n{old}"
            )
        mutated = text.replace(old, new)
        compile(mutated, path, "exec")
        file.write_text(mutated, encoding="utf-8")
    failed = run(copy, list(mutation.tests))
    for file, (text, status) in originals.items():
        file.write_text(text, encoding="utf-8")
        # The bytecode that came with the copy goes by the time of its source.
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    return failed


def run(copy: Path, tests: list[str]) -> str | None:
    """Run tests against the copy in a process of their own; return what failed first."""
    # Forked from one that has imported all but the package: most of the time of a run.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    output = copy / "output.txt"
    process = context.Process(target=run_tests, args=(copy, tests, output))
    process.start()
    process.join()
    text = output.read_text(encoding="utf-8")
    found = FAILED.search(text)
    if process.exitcode not in (0, TESTS_FAILED) or (process.exitcode and not found):
        raise SystemExit(f"pytest ended with {process.exitcode}.\n{text[-3000:]}")
    if not found:
        return None
    test, error = found.groups()
    return f"{test} ({error or 'AssertionError'})"


def run_tests(copy: Path, tests: list[str], output: Path) -> None:
    """Run tests where the package is the copy."""
    os.chdir(copy)
    sys.path.insert(0, str(copy))
    sys.dont_write_bytecode = True
    with output.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    status = int(pytest.main([*PYTEST, *tests]))
    package = Path(sys.modules["skvae"].__file__)
    sys.stdout.flush()
    sys.exit(status if copy in package.parents else f"{package} was tested.")


def described(mutation: Mutation, caught: str | None) -> str:
    """Lines of the table."""
    paths = sorted({path for path, _, _ in mutation.edits})
    lines = [
        mutation.name,
        f"  in      skvae/{', skvae/'.join(paths)}",
        f"  tests   {' '.join(mutation.tests)}",
        f"  caught  {'NO' if caught is None else 'yes: ' + caught}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
