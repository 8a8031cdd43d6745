"""What the decoder of a model passes on of its codes, on some of the rows of a pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skvae.certificate.subjects import Subject
from skvae.information import BoundaryStatistics
from skvae.information.aggregate import RowSample
from skvae.rows.columns import EncodedRows
from skvae.rows.frames import frame_like, is_frame
from skvae.rows.numbers import to_numpy
from skvae.rows.weights import weighted_mean

__all__ = ["DecodedRows"]

# Rows that are decoded for a report: the decoder takes as long as the encoder.
DECODED_ROWS = 2048
# Rows that are decoded twice, for a gain: of next to nothing these tell within hundredths.
COMPARED_ROWS = 512


class DecodedRows:
    """Rows and codes that are kept to be decoded once all have come.

    Parameters
    ----------
    subject : Subject
        Whose model may have `inverse_transform`, which the reconstruction margin takes, and,
        beside `read_codes`, `log_likelihood`, which the gain takes.
    """

    def __init__(self, subject: Subject):
        self._subject = subject
        model = subject.model
        self._has_margin = (
            subject.has_witness
            and subject.X_teacher is None
            and hasattr(model, "transform")
            and hasattr(model, "inverse_transform")
        )
        # Rows are compared as numbers, and to read them is the model's own affair.
        self._has_gain = subject.is_read_at_once and hasattr(model, "log_likelihood")
        self._to_reconstruct = RowSample(subject.random_state, DECODED_ROWS)
        self._to_compare = RowSample(subject.random_state, COMPARED_ROWS)
        self._last_rows: Any = None
        self.notes: list[str] = []

    def update(self, X: Any, T: NDArray, codes: Any, weights: NDArray | None) -> None:
        """Offer a block of rows, the teacher and what was read of their codes."""
        self._last_rows = X
        beside = () if weights is None else (weights,)
        if self._has_margin:
            self._to_reconstruct.update(T, np.asarray(codes.transformed), *beside)
        if self._has_gain:
            rows = to_numpy(codes.rows)
            self._to_compare.update(rows, codes.mean, codes.log_variance, *beside)

    def margin(self) -> float | None:
        """Return ``I_T`` less the mean divergence of the teacher on the reconstructions."""
        if not self._to_reconstruct.arrays:
            return None
        T, codes, *weights = self._to_reconstruct.arrays
        try:
            decoded = self._as_given(self._subject.model.inverse_transform(codes))
            of_decoded = self._subject.teach(decoded, T.shape[1])
        # A teacher may take kinds, counts or proportions alone, which reconstructions are not.
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            self.notes.append(f"No reconstruction margin: the teacher refused ({reason})")
            return None
        # A hard teacher on reconstructions may rule out what it said of a row.
        if (of_decoded == 0).any():
            self.notes.append("No reconstruction margin: the teacher rules components out.")
            return None
        return BoundaryStatistics().update(T, np.log(of_decoded), *weights).margin

    def gain(self) -> float | None:
        """Return by how much a row is likelier given a draw of its own code than of another."""
        if not self._to_compare.arrays or len(self._to_compare.arrays[0]) < 2:
            return None
        rows, mean, log_variance, *weights = self._to_compare.arrays
        rng = np.random.default_rng([self._subject.random_state, *b"shuffle"])
        noise = rng.standard_normal(mean.shape)
        draws = mean + np.exp(0.5 * log_variance) * noise
        order = rng.permutation(len(rows))
        # In a ring, so that no row keeps its own.
        others = np.empty_like(draws)
        others[order] = draws[np.roll(order, 1)]
        is_encoded = self._subject.columns is not None
        given = EncodedRows(rows) if is_encoded else self._as_given(rows)
        of_own, of_other = (
            self._subject.model.log_likelihood(given, codes) for codes in (draws, others)
        )
        # A row that is far enough from all codes has a density of zero at each.
        with np.errstate(invalid="ignore"):
            gain = weighted_mean(of_own - of_other, weights[0] if weights else None)
        return gain if np.isfinite(gain) else None

    def _as_given(self, rows: Any) -> Any:
        if is_frame(rows):
            return rows
        # What was fitted to named columns wants them named.
        return frame_like(self._last_rows, rows) if is_frame(self._last_rows) else rows
