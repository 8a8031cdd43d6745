"""Reports by several teachers, whose bounds hold together."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, ClassVar

from skvae.certificate.forms import written
from skvae.certificate.pages import page
from skvae.certificate.reports import CertificateReport
from skvae.displays import CertificateDisplay
from skvae.files.saved import Saved

__all__ = ["SimultaneousReport"]


@dataclass(frozen=True)
class SimultaneousReport(Saved):
    """Certificates of one code by several teachers, whose bounds at each read hold together.

    Attributes
    ----------
    reports : tuple of CertificateReport
        One for each teacher, each at a confidence that makes the family hold.
    confidence : float
        Confidence with which the lower bounds of all teachers at one read hold at once
        (Bonferroni). Those of both reads err at most twice as often: go by the read that was
        named.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher
    >>> X = load_iris().data
    >>> teachers = [GaussianMixtureTeacher(n_components=n).fit(X[::2]) for n in (2, 3)]
    >>> found = ConstantCollapseCertificate(teacher=teachers).certify(X[1::2], X[1::2])
    >>> found.certified, [report.confidence for report in found.reports]
    (True, [0.975, 0.975])
    """

    _file_kind: ClassVar[str] = "report"

    reports: tuple[CertificateReport, ...]
    confidence: float

    @property
    def certified(self) -> bool:
        """Whether every teacher certifies the code."""
        return all(report.certified for report in self.reports)

    @property
    def worst(self) -> CertificateReport:
        """The report with the lowest bound at the read that decides."""
        return min(self.reports, key=lambda report: report.lower_bound or 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, and ``certified``, as plain numbers, strings and lists.

        Returns
        -------
        fields : dict
            By name.
        """
        return {
            "reports": [report.to_dict() for report in self.reports],
            "confidence": self.confidence,
            "certified": self.certified,
        }

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the reports as a page that stands by itself.

        Parameters
        ----------
        path : str, path or None, default=None
            Where to write it; a file that is there is replaced. None writes nothing.

        Returns
        -------
        text : str
            HTML, one report below the other.
        """
        parts = [report._fragment(is_explained=True) for report in self.reports]
        return written(path, page("Constant-collapse certificates", parts, self._head()))

    def plot(self, ax: Any = None) -> CertificateDisplay:
        """Draw margin and bound by each teacher, one below the other.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : skvae.displays.CertificateDisplay
            With `ax_`, `figure_`, `bars_` and `bounds_`.
        """
        by_name = {f"teacher {number}": each for number, each in enumerate(self.reports, 1)}
        return CertificateDisplay.from_report(by_name, ax=ax)

    def _head(self) -> str:
        number = sum(report.certified for report in self.reports)
        return (
            f"Certified (not constant in x) by {number} of {len(self.reports)} teachers; at "
            f"each read all bounds hold with confidence {self.confidence:.4g}."
        )

    def __str__(self) -> str:
        return "\n\n".join([self._head(), *map(str, self.reports)])

    def _repr_html_(self) -> str:
        return "".join(
            [f"<p>{self._head()}</p>", *(report._repr_html_() for report in self.reports)]
        )
