"""What a fit found: the record that an estimator adopts, lends and continues from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from skvae.information.design import Design
from skvae.rows.fingerprint import RowFingerprint
from skvae.rows.scaling import Standardization
from skvae.training.net import VAENet

__all__ = ["Fitted", "adopt"]


@dataclass(frozen=True)
class Fitted:
    """All that a fit found, in one piece.

    A field that is a fitted attribute of `TeacherGuidedVAE` too, under its name and an
    underscore, is described there.

    Parameters
    ----------
    net, teacher, teacher_sees, teacher_information, average_teacher, margin, history, \
    fingerprint, teacher_fingerprint, image_shape, n_features_in, feature_names_in
        As fitted attributes; ``feature_names_in`` is None for rows without names.
    trained_on : RowFingerprint
        Tells the rows that the weights were trained on, those held out not among them.
    units : Standardization
        From the units of the data to those of the net.
    seed : int
        Seed of all streams.
    teacher_setting : estimator or None
        The parameter `teacher` as it was: where it has changed since, training that continues
        fits the new one.
    design : Design or None
        What a simplex witness was designed for.
    design_setting : tuple
        The parameters that this follows from.
    """

    net: VAENet
    teacher: Any
    teacher_sees: str
    teacher_information: float
    average_teacher: NDArray
    margin: float
    history: list[dict[str, float]]
    fingerprint: RowFingerprint
    teacher_fingerprint: RowFingerprint | None
    trained_on: RowFingerprint
    image_shape: tuple[int, int, int] | None
    n_features_in: int
    feature_names_in: NDArray | None
    units: Standardization
    seed: int
    teacher_setting: Any
    design: Design | None
    design_setting: tuple[Any, ...]

    @property
    def n_iter(self) -> int:
        """Number of epochs trained, those that the history has forgotten among them."""
        return int(self.history[-1]["epoch"]) if self.history else 0


def adopt(estimator: Any, fitted: Fitted) -> None:
    """Set the fitted attributes of an estimator: those of a record, and no others."""
    estimator._fitted = fitted
    estimator.net_ = fitted.net
    estimator.teacher_ = fitted.teacher
    estimator.teacher_sees_ = fitted.teacher_sees
    estimator.teacher_information_ = fitted.teacher_information
    estimator.average_teacher_ = fitted.average_teacher
    estimator.margin_ = fitted.margin
    estimator.history_ = fitted.history
    estimator.n_iter_ = fitted.n_iter
    estimator.fingerprint_ = fitted.fingerprint
    estimator.teacher_fingerprint_ = fitted.teacher_fingerprint
    estimator.image_shape_ = fitted.image_shape
    estimator.n_features_in_ = fitted.n_features_in
    # Some attributes are there only where they mean something.
    estimator.__dict__.pop("feature_names_in_", None)
    if fitted.feature_names_in is not None:
        estimator.feature_names_in_ = fitted.feature_names_in
    estimator.__dict__.pop("design_", None)
    estimator.__dict__.pop("designed_margin_", None)
    if fitted.design is not None:
        estimator.design_ = fitted.design
        estimator.designed_margin_ = fitted.design.margin
