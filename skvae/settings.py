"""Which settings of the estimator contradict each other, the rows or the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skvae.information import teacher_information

__all__ = ["check_against_teacher", "check_settings", "check_unit_interval"]


def check_settings(settings: Mapping[str, Any], rows: NDArray) -> dict[str, Any]:
    """Refuse settings that contradict each other or the rows; return the architecture.

    Parameters
    ----------
    settings : mapping
        Constructor parameters of `TeacherGuidedVAE`, each of a valid type and range;
        ``image_shape`` as it was found.
    rows : ndarray of shape (n_samples, n_features)
        Training rows.

    Returns
    -------
    architecture : dict
        ``n_features``, ``latent_dim``, ``architecture``, ``hidden_layer_sizes``,
        ``likelihood``, ``image_shape``, ``channels``, ``encoder`` and ``decoder``; empty
        sizes for layers that the architecture has not.
    """
    if settings["likelihood"] == "bernoulli":
        check_unit_interval(rows)
        if settings["decoder_variance"] != "learned":
            raise ValueError(
                "A Bernoulli decoder has no variance, got decoder_variance="
                f'{settings["decoder_variance"]!r}: leave it at "learned", or use '
                'likelihood="gaussian".'
            )
    hidden_layer_sizes = _widths(settings, "hidden_layer_sizes")
    channels = _widths(settings, "channels")
    is_conv = settings["architecture"] == "conv"
    if is_conv and not channels:
        raise ValueError('architecture="conv" needs at least one stage, got channels=().')
    _check_prefit(settings)
    _check_guard(settings)
    return {
        "n_features": rows.shape[1],
        "latent_dim": settings["latent_dim"],
        "architecture": settings["architecture"],
        "hidden_layer_sizes": () if is_conv else hidden_layer_sizes,
        "likelihood": settings["likelihood"],
        "image_shape": settings["image_shape"],
        "channels": channels if is_conv else (),
        "encoder": settings["encoder"],
        "decoder": settings["decoder"],
    }


def check_against_teacher(
    settings: Mapping[str, Any], T: NDArray, T_held_out: NDArray | None
) -> None:
    """Refuse settings that cannot work with this teacher of the rows."""
    n_components = T.shape[1]
    if settings["witness"] == "simplex" and settings["latent_dim"] < n_components - 1:
        raise ValueError(
            f"A simplex witness of K = {n_components} components reads K - 1 = "
            f"{n_components - 1} dimensions of the code, got "
            f"latent_dim={settings['latent_dim']}: raise latent_dim, take a teacher with "
            'fewer components, or witness="linear".'
        )
    guard = settings["guard"]
    if guard is None:
        return
    rows = "training" if T_held_out is None else "held-out"
    information = teacher_information(T if T_held_out is None else T_held_out)
    if guard >= information:
        raise ValueError(
            f"guard={guard:g} nats can never be reached: no margin is above the teacher "
            f"information, I_T = {information:.4g} on the {rows} rows. Guard less than that, "
            "or pass more rows."
        )


def check_unit_interval(rows: NDArray) -> None:
    """Refuse rows that are no Bernoulli means."""
    low, high = rows.min(), rows.max()
    if low < 0 or high > 1:
        raise ValueError(
            f'likelihood="bernoulli" wants X in [0, 1], got values from {low:g} to {high:g}: '
            'rescale X, or use likelihood="gaussian".'
        )


def _widths(settings: Mapping[str, Any], name: str) -> tuple[int, ...]:
    widths = tuple(settings[name])
    if not all(
        isinstance(width, (int, np.integer)) and not isinstance(width, bool) and width > 0
        for width in widths
    ):
        raise ValueError(f"{name} must hold positive integers, got {settings[name]!r}.")
    return widths


def _check_prefit(settings: Mapping[str, Any]) -> None:
    if not settings["prefit_epochs"]:
        return
    if settings["witness"] != "simplex":
        raise ValueError(
            f"prefit_epochs={settings['prefit_epochs']} needs a witness that is known before "
            f'training, got witness={settings["witness"]!r}: pass witness="simplex", or '
            "prefit_epochs=0."
        )
    if settings["prefit_alpha"] == "design" and settings["alignment_weight"] == 0:
        raise ValueError(
            'prefit_alpha="design" weighs alignment against the prior, and with '
            "alignment_weight=0 the design is the constant code: pass a positive "
            "alignment_weight, or a number as prefit_alpha."
        )


def _check_guard(settings: Mapping[str, Any]) -> None:
    if settings["guard"] is None:
        return
    if settings["alignment_weight"] == 0:
        raise ValueError(
            f"guard={settings['guard']:g} guards a margin that alignment_weight=0 never "
            "builds: pass a positive alignment_weight, or guard=None."
        )
    if settings["beta"] == 0:
        raise ValueError(
            f"guard={settings['guard']:g} holds the KL weight back, and beta=0 leaves nothing "
            "to hold: pass a positive beta, or guard=None."
        )
