"""From the numbers of a report to a verdict, remarks, and what to do next: one table.

Nothing here measures anything, and nothing is asked of a model: `judged` is a function of the
numbers that a report has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from skvae.certificate.reports import CertificateReport
from skvae.information.boundary import LITTLE_INFORMATION

__all__ = ["SITUATIONS", "Situation", "judged"]

Condition = Callable[[CertificateReport], bool]

# Nats that a draw of the code must be able to carry to count as varying.
INFORMATIVE = 0.01
# Share of the training rows' teacher information below which the rows are others.
SHIFTED = 0.5
# Nats below which a decoder has next to nothing from the code; and a share of I_T.
LITTLE = 0.1
# Share of the training margin's share of its I_T that is kept on rows that were fitted well,
# and rows below which a smaller one may be their number's fault.
KEPT = 0.5
MANY = 30
# Share of I_T below which a margin has room to grow.
SMALL = 0.5
# How often a dimension of the code is as large as the next, and how much of the variance of
# a dimension is one row's, where that is more than a matter of taste.
DOMINANT = 1e6
OUTLYING = 0.999


@dataclass(frozen=True)
class Situation:
    """What a report may show, and what to do then.

    Parameters
    ----------
    name : str
        A few words, as the field `situation` of a report has them.
    holds : callable
        From a report, its verdict included, to whether it shows that.
    advice : str or None
        What to do, with fields of the report ``r`` in braces; None where nothing is asked for.
    """

    name: str
    holds: Condition
    advice: str | None


def _not_certified(condition: Condition) -> Condition:
    return lambda r: not r.certified and condition(r)


def _certified(condition: Condition) -> Condition:
    return lambda r: r.certified and condition(r)


def _own(condition: Condition) -> Condition:
    return lambda r: r.witness == "own" and condition(r)


def _is_mean_alone(r: CertificateReport) -> bool:
    at_sample = r.lower_bound_sample
    return at_sample is not None and at_sample <= r.tau < r.lower_bound_mean


def _are_too_few(r: CertificateReport) -> bool:
    return r.rows_needed is not None and r.n_samples < MANY


def _is_shifted(r: CertificateReport) -> bool:
    training = r.training_information
    # Where it had nothing to say of those rows either it is the teacher.
    if training is None or training <= LITTLE_INFORMATION or _are_too_few(r):
        return False
    return r.teacher_information < SHIFTED * training


def _has_room(r: CertificateReport) -> bool:
    return r.margin is not None and r.margin < SMALL * r.teacher_information


def _is_overfitted(r: CertificateReport) -> bool:
    if r.training_information is None or r.training_margin is None:
        return False
    share_in_training = r.training_margin / r.training_information
    share = r.margin_mean / r.teacher_information
    return share_in_training > LITTLE and share < KEPT * share_in_training


def _knows_no_draw(r: CertificateReport) -> bool:
    return r.witness == "probe" and r.information_bound is None


# The first that holds is the one to begin with.
SITUATIONS = (
    Situation(
        "witness unread",
        _not_certified(lambda r: r.probe is not None and r.probe.certified),
        "the code holds what the teacher sees and the witness does not read it: train with "
        "alignment_weight above beta, or go by the probe, as in "
        "ConstantCollapseCertificate(teacher=model.teacher_)",
    ),
    Situation(
        "shifted rows",
        _not_certified(_is_shifted),
        "the rows, not the teacher: it saw {r.training_information:.3g} nats in the training "
        "rows and sees {r.teacher_information:.3g} in these; certify rows drawn as those were "
        "(if these were, it fits its own too closely: take one of fewer components, or more "
        "rows)",
    ),
    Situation(
        "poor teacher",
        _not_certified(lambda r: r.teacher_information <= max(r.tau, LITTLE_INFORMATION)),
        "no margin can exceed the {r.teacher_information:.2g} nats by which the teacher tells "
        "these rows apart: take another teacher (TeacherSearch finds one)",
    ),
    Situation(
        "outlying code",
        _not_certified(lambda r: r.witness == "probe" and (r.outlier_share or 0.0) > OUTLYING),
        "the code of one row is so far out that to the probe all others are alike: leave that "
        "row out, or look at how it came about",
    ),
    Situation(
        "few rows",
        _not_certified(_own(lambda r: r.rows_needed is not None and _has_room(r))),
        "certify {r.rows_needed:,} rows of this kind or more: so few cannot show it; or train "
        "longer, or align more, to a margin of more than {r.margin:.2g} of "
        "{r.teacher_information:.2g} nats",
    ),
    Situation(
        "few rows",
        _not_certified(lambda r: r.rows_needed is not None),
        "certify {r.rows_needed:,} rows of this kind or more: so few cannot show it",
    ),
    Situation(
        "mean alone",
        lambda r: r.witness == "own" and _is_mean_alone(r),
        "what the mean holds is lost in the noise of a draw: train with "
        'witness_input="sample" and alignment_weight above beta, and go by latent="sample"',
    ),
    Situation(
        "overfitted",
        _not_certified(_own(_is_overfitted)),
        "the margin at the mean was {r.training_margin:.3g} nats in training and is "
        "{r.margin_mean:.3g} here: model or teacher fit their rows too closely; take a teacher "
        "of fewer components, more rows, or early_stopping=True",
    ),
    Situation(
        "no probe",
        _own(
            lambda r: (
                r.verdict == "uncertified" and r.probe is None and r.code_scale is not None
            )
        ),
        "pass probe=True: it tells a witness that was not trained from a code that holds "
        "nothing of what the teacher sees",
    ),
    Situation(
        "other content",
        lambda r: r.verdict == "uncertified" and r.witness == "probe",
        "the code varies, and not with what the teacher sees, as far as this probe finds: see "
        "that codes and rows are in one order, and try a probe that is not linear as `witness`",
    ),
    Situation(
        "other content",
        lambda r: r.verdict == "uncertified",
        "the code varies, and not with what the teacher sees: raise alignment_weight further "
        "above beta, or take a witness that is not linear",
    ),
    Situation(
        "collapsed",
        _own(lambda r: r.verdict == "collapsed"),
        "rescue(model, X_train) trains on from these weights with alignment_weight above beta",
    ),
    Situation(
        "collapsed",
        lambda r: r.verdict == "collapsed",
        "train again with less weight on the rate or a weaker decoder, or with a teacher, as "
        "TeacherGuidedVAE does",
    ),
    Situation(
        "blind decoder",
        _certified(lambda r: r.decoder_gain is not None and r.decoder_gain < LITTLE),
        "the decoder gains {r.decoder_gain:.2g} nats from a row's own code over another "
        "row's, so next to nothing: give it less noise (decoder_variance) or less power",
    ),
    Situation(
        "alike to the teacher",
        _certified(lambda r: (r.margin_reconstruction or 0.0) < 0),
        "to the teacher the reconstructions are alike (their margin is "
        "{r.margin_reconstruction:.2g}): look at some; train longer, or with less noise "
        "(decoder_variance)",
    ),
    Situation(
        "dominant dimension",
        _certified(lambda r: (r.dimension_ratio or 0.0) >= DOMINANT),
        "one dimension of the code is {r.dimension_ratio:.1g} times as large as the next: "
        "standardise codes before distances or a penalty are taken of them",
    ),
    Situation(
        "seen rows",
        _certified(lambda r: bool({r.rows, r.teacher_rows} & {"training", "mixed"})),
        "certify rows that neither the model nor its teacher was fitted to",
    ),
    Situation("copies", _certified(lambda r: r.has_copies), "certify one of each row"),
    Situation(
        "no posterior",
        _certified(_knows_no_draw),
        "where codes are drawn, as those of a VAE are, certify a model that has `posterior`",
    ),
    Situation("certified", _certified(lambda r: True), None),
)


def judged(report: CertificateReport) -> CertificateReport:
    """Return the report with its verdict, and all that is said of its numbers.

    Parameters
    ----------
    report : CertificateReport
        Numbers; its verdict, situation and next step are made anew, its notes added to.
    """
    report = replace(report, verdict=_verdict(report))
    report = replace(report, notes=(*report.notes, *_remarks(report)))
    situation = next(each for each in SITUATIONS if each.holds(report))
    advice = situation.advice
    return replace(
        report,
        situation=situation.name,
        next_step=None if advice is None else advice.format(r=report),
    )


def _verdict(report: CertificateReport) -> str:
    bound = report.lower_bound
    if bound is not None and bound > report.tau:
        return "certified"
    varies = report.probe is not None and report.probe.certified
    return "uncertified" if varies or _may_vary(report) else "collapsed"


def _may_vary(report: CertificateReport) -> bool:
    """Whether the codes tell rows apart, whatever a witness makes of them."""
    if report.information_bound is not None:
        return report.information_bound > INFORMATIVE
    if report.rate is not None:
        return report.rate > INFORMATIVE and report.active_units != 0
    # Of a model that shows no codes either nothing speaks for a collapse.
    return report.code_scale != 0


def _remarks(report: CertificateReport) -> list[str]:
    """Return what is to be said of single numbers."""
    remarks = []
    margins = [
        ("margin at the mean", report.margin_mean),
        ("lower bound at the mean", report.lower_bound_mean),
        ("reconstruction margin", report.margin_reconstruction),
        ("margin at the sample", report.margin_sample),
        ("lower bound at the sample", report.lower_bound_sample),
    ]
    limits = [
        ("rate", report.rate),
        ("most that a draw can carry", report.information_bound),
    ]
    for name, limit in limits:
        if limit is None:
            continue
        above = [each for each, value in margins if value is not None and value > limit]
        # What is above the rate need not be said to be above less.
        margins = [(each, value) for each, value in margins if each not in above]
        if above:
            chance = any("sample" in each for each in above)
            remarks.append(
                f"Above the {name}, {limit:.2g} nats: {', '.join(above)}. No draw of the code "
                "carries that" + (": at the sample it came by chance." if chance else ".")
            )
    if _knows_no_draw(report):
        remarks.append(
            "No posterior is known: the margin says nothing of a draw of the code, and the "
            "rate is unknown."
        )
    unit_noise = report.unit_noise_bound
    if unit_noise is not None and report.margin_mean > unit_noise:
        remarks.append(
            f"The codes are small: drawn around them with unit variance, a code would carry at "
            f"most {unit_noise:.2g} nats, and the margin is {report.margin_mean:.2g}."
        )
    if report.verdict == "collapsed" and report.information_bound is not None:
        remarks.append(
            f"A draw of the code carries at most {report.information_bound:.2g} nats of which "
            "of these rows it is of."
        )
    return remarks
