"""What a certificate found, as a record that prints."""

from __future__ import annotations

import os
import textwrap
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from skvae.certificate.forms import json_text, written
from skvae.certificate.pages import Bar, fragment, page
from skvae.displays import ReportDisplay
from skvae.files.saved import Saved

__all__ = ["CertificateReport"]

# Of a report as it prints.
WIDTH = 80
ROWS = {
    "held-out": "held-out rows",
    "training": "rows that were in fit",
    "mixed": "rows of which some were in fit",
    "unknown": "rows of unknown origin",
}


@dataclass(frozen=True)
class CertificateReport(Saved):
    """What a certificate found on one set of rows; all information in nats.

    ``verdict`` is one of three words:

    - ``"certified"``: the lower bound at the read named by ``latent`` exceeds ``tau``. With
      the stated confidence the witness, and so the code it reads, is not constant in x.
      It says nothing else: not that the code is good, nor that it keeps what anyone needs;
    - ``"uncertified"``: not certified, and yet the code varies: a probe of the codes is
      certified, or a draw of them can carry more than 0.01 nats (``information_bound``; of
      codes without a posterior all that is asked is that they vary);
    - ``"collapsed"``: neither. This is what was seen, and not a proof of collapse.

    Where a quantity is not known of a model, the field is None.

    Attributes
    ----------
    verdict : {"certified", "uncertified", "collapsed"}
        The verdict.
    teacher_information : float
        ``I_T``: what the best constant student costs on these rows.
    alignment_cost_mean, alignment_cost_sample : float
        What the witness costs, reading the posterior mean and draws of the code.
    margin_mean, margin_sample : float
        ``I_T`` less those costs, on these rows. The margin at the mean can be had with
        codes far smaller than their noise.
    lower_bound_mean, lower_bound_sample : float
        Lower confidence bounds on the margins of the population; see
        `skvae.information.margin_lower_bound` for what exactly they bound. The one at
        the sample is a lower bound on the nats that a draw of the code carries.
    log_e_value_mean, log_e_value_sample : float
        Natural-log evidence against "no better than a constant"; the reciprocal of the
        e-value is a p-value.
    confidence : float
        Confidence of each bound.
    method : {"e-value", "normal"}
        "e-value" holds at every number of rows; "normal" is approximate.
    rate : float
        Mean divergence of the posterior from the prior; of a model that has `posterior` and no
        `posterior_kl` from the standard normal distribution, which no less bounds what a draw
        carries. None where no posterior is known.
    information_bound : float
        Most that a draw of the code can carry of which of these rows it is of: what a Gaussian
        channel with the same variances would, ``sum_j (log V_j - mean_i log v_ij) / 2`` with
        the posterior variances ``v`` and ``V_j = mean_i v_ij + Var_i(mu_ij)``. At most the
        rate beside a normal prior, and 0 if and only if the posterior is the same for all rows.
    mutual_information : float
        Information of a draw of the code about its row, estimated from the aggregated
        posterior; at most the log of the number of rows used, and, in expectation,
        `information_bound`.
    kl_per_dimension : tuple of float
        The rate, dimension by dimension.
    active_units : int
        Latent dimensions whose posterior mean varies by more than 0.01 over the rows.
    margin_reconstruction : float
        ``I_T`` less the mean divergence of the teacher on the reconstructions from the
        teacher on the rows; above 0 the decoder passes on what the teacher sees. Of all rows up
        to 2,048; beyond, of that many of them, each with the same chance. Of these rows, at the
        posterior mean; it has no bound.
    decoder_gain : float
        What the decoder gains from a row's own code: mean of ``log p(x|z)``, less the same
        with the code of another row, each drawn once; of all rows up to 512, beyond of that
        many. Below a tenth of a nat the decoder does as well without a code.
    view_gap : float
        Margin at the mean under the view that was given, less that of the same witness under
        the teacher of X: what the margin on these rows would lose under the teacher of X. It is
        of the sample, and no bound. None unless the two views have the same columns.
    training_information, training_margin : float
        ``I_T``, and margin at the mean, of the rows that the model was trained on, as it has
        them; None under a teacher that is given.
    rows_needed : int
        Rows of this kind that a bound above tau would take, a quarter more than
        `skvae.information.rows_needed` says, where that is more than there are: by this
        witness, where its margin is hardly chance (1.64 standard errors above tau), else by
        the best witness that there could be. None where certified.
    code_scale : float
        Largest standard deviation of a dimension of the code over the rows (of its posterior
        mean); 0 where it is rounding.
    dimension_ratio : float
        That over the next largest; None where there is none.
    outlier_share : float
        Largest share of a dimension's variance over the rows that is due to a single row.
    unit_noise_bound : float
        Of codes without a posterior: most that a draw of unit variance around them could carry,
        ``sum_j log(1 + Var_i(z_ij)) / 2``.
    tau : float
        Safety margin that the lower bound is compared with, and so one of the mixed witness,
        not of the witness itself.
    latent : {"mean", "sample"}
        The read that decides. Of a probe it is the sample wherever there is a posterior.
    n_samples : int
        Number of rows.
    rows : {"held-out", "training", "mixed", "unknown"}
        Whether the rows were in the `fit` of the model. On rows that were, a bound speaks of no
        others. Behind other steps of a pipeline rows that are not told again are "unknown".
    teacher_rows : {"held-out", "training", "mixed", "unknown"}
        Whether the teacher was fitted to the rows. "unknown" where nobody said what a teacher
        that is given was fitted to: if it has seen them, the bound speaks of no others.
    n_distinct : int or None
        Number of distinct rows; copies of a row are not independent of each other. None where
        the rows hold text.
    has_copies : bool
        Whether there are copies in a table whose columns have many values, where chance makes
        no two rows alike.
    witness : {"own", "probe"}
        Whether the model's own witness was read, or a probe fitted to its codes.
    probe : CertificateReport or None
        The certificate by probe, where it was asked for beside the model's own.
    notes : tuple of str
        Why a quantity is missing, or is not what it seems: a margin that is above the rate, a
        draw that nothing is known of; and, where rows had weights, what population the bounds
        are then for; all averages over rows are weighted.
    situation : str
        What the numbers show, in the words of the table in ``docs/certificate.rst``.
    next_step : str or None
        What to do then; None where nothing is asked for.

    References
    ----------
    arXiv 2605.05813; active units: Burda et al., arXiv 1509.00519; the bound at the
    sample: Barber and Agakov, NIPS 2003; `information_bound`: Cover and Thomas, Elements of
    Information Theory, 2006, theorem 8.6.5.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher
    >>> X = load_iris().data
    >>> teacher = GaussianMixtureTeacher(n_components=3, random_state=0).fit(X[::2])
    >>> report = ConstantCollapseCertificate(teacher=teacher).certify(X[1::2], X[1::2])
    >>> report.verdict, report.margin > report.lower_bound > report.tau
    ('certified', True)
    """

    _file_kind: ClassVar[str] = "report"

    verdict: str
    teacher_information: float
    alignment_cost_mean: float
    alignment_cost_sample: float | None
    margin_mean: float
    margin_sample: float | None
    lower_bound_mean: float
    lower_bound_sample: float | None
    log_e_value_mean: float | None
    log_e_value_sample: float | None
    confidence: float
    method: str
    rate: float | None
    mutual_information: float | None
    kl_per_dimension: tuple[float, ...] | None
    active_units: int | None
    margin_reconstruction: float | None
    view_gap: float | None
    tau: float
    latent: str
    n_samples: int
    rows: str
    teacher_rows: str
    n_distinct: int | None
    has_copies: bool
    witness: str
    probe: CertificateReport | None = None
    notes: tuple[str, ...] = ()
    decoder_gain: float | None = None
    information_bound: float | None = None
    training_information: float | None = None
    training_margin: float | None = None
    rows_needed: int | None = None
    code_scale: float | None = None
    dimension_ratio: float | None = None
    outlier_share: float | None = None
    unit_noise_bound: float | None = None
    situation: str = ""
    next_step: str | None = None

    @property
    def certified(self) -> bool:
        """Whether the verdict is ``"certified"``."""
        return self.verdict == "certified"

    @property
    def lower_bound(self) -> float | None:
        """Lower bound at the read that decides."""
        return self.lower_bound_mean if self.latent == "mean" else self.lower_bound_sample

    @property
    def margin(self) -> float | None:
        """Margin at the read that decides."""
        return self.margin_mean if self.latent == "mean" else self.margin_sample

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, and ``certified``, as plain numbers, strings and lists.

        Returns
        -------
        fields : dict
            By name.
        """
        fields = asdict(self)
        fields["certified"] = self.certified
        fields["notes"] = list(self.notes)
        if self.kl_per_dimension is not None:
            fields["kl_per_dimension"] = list(self.kl_per_dimension)
        if self.probe is not None:
            fields["probe"] = self.probe.to_dict()
        return fields

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return all fields as JSON, for other programs and languages.

        ``skvae/certificate/report.schema.json`` is its schema (JSON Schema, 2020-12).

        Parameters
        ----------
        path : str, path or None, default=None
            Where to write it; a file that is there is replaced. None writes nothing.

        Returns
        -------
        text : str
            The fields of `to_dict`, and ``format`` and ``version`` of this form. What is not
            known, or not finite, is null.

        Examples
        --------
        >>> import json
        >>> import numpy as np
        >>> from skvae import CollapseMonitor
        >>> labels = np.arange(60) % 3
        >>> report = CollapseMonitor().update(labels, np.eye(3)[labels]).report()
        >>> json.loads(report.to_json())["verdict"]
        'certified'
        """
        return written(path, json_text(self.to_dict()))

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the report as a page that stands by itself: no network, no script.

        Parameters
        ----------
        path : str, path or None, default=None
            Where to write it; a file that is there is replaced. None writes nothing.

        Returns
        -------
        text : str
            HTML, with a bar from 0 to ``I_T`` at each read, and each line explained.
        """
        return written(path, page(self._title(), [self._fragment(is_explained=True)]))

    def line(self) -> str:
        """Return the report in one line, for a log.

        Returns
        -------
        text : str
            Verdict, bound, margin and rows, without a line break.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae import CollapseMonitor
        >>> labels = np.arange(60) % 3
        >>> report = CollapseMonitor(held_out=True).update(labels, np.eye(3)[labels]).report()
        >>> report.line()  # doctest: +ELLIPSIS
        'certified (not constant in x): 0.95 lower bound 0.6... > tau 0 nats at the mean, ...'
        """
        is_above = "> tau" if self.certified else "<= tau"
        word = self._verdict_word()
        parts = [
            f"{word}: {self.confidence:.4g} lower bound {self.lower_bound or 0.0:.4f} "
            f"{is_above} {self.tau:g} nats at the {self.latent}",
            f"margin {self.margin or 0.0:.4f}",
            f"I_T {self.teacher_information:.4f}",
            "by probe" if self.witness == "probe" else "own witness",
            f"{self.n_samples} {ROWS[self.rows]}",
        ]
        return ", ".join(parts)

    def plot(self, ax: Any = None) -> ReportDisplay:
        """Draw the four pictures that matter on one page, of those that are known.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Whose place they take; None makes a new figure.

        Returns
        -------
        display : skvae.displays.ReportDisplay
            With `axes_` and `figure_`.
        """
        return ReportDisplay.from_report(self, ax=ax)

    def _table(self) -> list[tuple[str, Any, Any]]:
        """Label, value at the mean and value at the sample of each line."""
        approximate = ", approximate" if self.method == "normal" else ""
        both = [
            ("alignment cost", self.alignment_cost_mean, self.alignment_cost_sample),
            ("margin", self.margin_mean, self.margin_sample),
            (
                f"{self.confidence:.4g} lower bound{approximate}",
                self.lower_bound_mean,
                self.lower_bound_sample,
            ),
            ("log e-value", self.log_e_value_mean, self.log_e_value_sample),
        ]
        one = [
            ("rate", self.rate, None),
            ("mutual information", self.mutual_information, None),
            ("reconstruction margin", self.margin_reconstruction, None),
            ("decoder's gain from the code", self.decoder_gain, None),
            ("view gap", self.view_gap, None),
            ("active units", self.active_units, None),
        ]
        return [line for line in both + one if line[1] is not None]

    def _verdict_word(self) -> str:
        """Return the verdict, and of a certified code what it is certified not to be."""
        return "certified (not constant in x)" if self.certified else self.verdict

    def _verdict_sentence(self) -> str:
        if self.certified:
            return (
                f"certified: not constant in x (bound at the {self.latent} > "
                f"tau = {self.tau:g})"
            )
        reason = {
            "uncertified": "this witness proves nothing, yet the code varies",
            "collapsed": "nothing shows that the code varies",
        }[self.verdict]
        if self.verdict == "collapsed" and self.lower_bound_mean > self.tau:
            reason = "the mean varies, and nothing shows that a draw does"
        return f"{self.verdict}: {reason} (bound at the {self.latent} <= tau = {self.tau:g})"

    def __str__(self) -> str:
        sample = "" if self.margin_sample is None else "sample"
        lines = [
            self._title(),
            f"  {'teacher information (nats)':30}{_number(self.teacher_information)}",
            f"  {'':30}{'mean':>12}{sample:>12}".rstrip(),
        ]
        lines += [
            f"  {label:30}{_number(mean)}{_number(sample)}".rstrip()
            for label, mean, sample in self._table()
        ]
        for remark in self._remarks():
            lines += textwrap.wrap(
                remark,
                WIDTH,
                initial_indent="  ",
                subsequent_indent="    ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        return "\n".join(lines)

    def _title(self) -> str:
        by_probe = " by probe" if self.witness == "probe" else ""
        rows = f"{self.n_samples} {ROWS[self.rows]}"
        # Of the rows that a probe is given it scores a part.
        if self.n_distinct is not None and self.n_distinct < self.n_samples:
            rows += f", {self.n_distinct} of them distinct"
        return f"Constant-collapse certificate{by_probe}: {rows}"

    def _remarks(self) -> list[str]:
        """Return what stands below the table."""
        remarks = []
        if self.rows in ("training", "mixed"):
            remarks.append("Rows that were in fit: the bound speaks of no others.")
        elif self.teacher_rows in ("training", "mixed"):
            remarks.append("The teacher has seen rows of these: the bound speaks of no others.")
        elif self.teacher_rows == "unknown":
            remarks.append(
                "The teacher may have seen these rows; if so, the bound speaks of no others."
            )
        if self.has_copies:
            remarks.append(
                "Copies of rows are not independent: the bound asks for rows that are."
            )
        remarks += self.notes
        remarks.append(self._verdict_sentence())
        if self.probe is not None:
            bounds = f"bound at the mean {self.probe.lower_bound_mean:.4f}"
            if self.probe.lower_bound_sample is not None:
                bounds += f", at the sample {self.probe.lower_bound_sample:.4f}"
            remarks.append(f"By probe, {self.probe._verdict_word()}: {bounds}")
            said = self.notes
            remarks += [f"By probe: {note}" for note in self.probe.notes if note not in said]
        if self.next_step is not None:
            remarks.append(f"next: {self.next_step}")
        return remarks

    def _repr_html_(self) -> str:
        return self._fragment(is_explained=False)

    def _fragment(self, is_explained: bool) -> str:
        lines = [("teacher information", self.teacher_information, None), *self._table()]
        apart = {self._verdict_sentence(), f"next: {self.next_step}"}
        return fragment(
            title=self._title(),
            verdict=self.verdict,
            sentence=self._verdict_sentence(),
            tau=self.tau,
            bars=self._bars(),
            table=[
                (label, _number(mean).strip(), _number(sample).strip())
                for label, mean, sample in lines
            ],
            notes=[remark for remark in self._remarks() if remark not in apart],
            next_step=self.next_step,
            is_explained=is_explained,
        )

    def _bars(self) -> list[Bar]:
        """Return the read that decides, then the other, then those of a probe beside it."""
        by_probe = "by probe, " if self.witness == "probe" else ""
        bars = []
        for latent in sorted(("mean", "sample"), key=lambda each: each != self.latent):
            margin = getattr(self, f"margin_{latent}")
            bound = getattr(self, f"lower_bound_{latent}")
            decides = ", which decides" if latent == self.latent else ""
            if margin is not None and bound is not None:
                name = f"{by_probe}at the {latent}{decides}"
                bars.append(Bar(name, margin, bound, self.teacher_information))
        if self.probe is not None:
            bars += [
                bar._replace(name=bar.name.split(", which")[0]) for bar in self.probe._bars()
            ]
        return bars


def _number(value: float | None) -> str:
    if value is None:
        return " " * 12
    return f"{value:12d}" if isinstance(value, int) else f"{value:12.4f}"
