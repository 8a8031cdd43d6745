"""What a fitted estimator hands out to other programs: modules of torch, and files of them."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import Any, TypeVar

from sklearn.utils.validation import check_is_fitted
from torch import nn

from skvae._common.ambient import undisturbed
from skvae.nets.standalone import CodeWitness, RowDecoder, RowEncoder
from skvae.vae.export import export_module
from skvae.vae.fitted import Fitted

Module = TypeVar("Module", bound=nn.Module)

__all__ = ["decoder_of", "encoder_of", "export", "witness_of"]


def encoder_of(estimator: Any) -> RowEncoder:
    """Encode rows in the units of X: a module of torch."""
    fitted = _fitted(estimator)
    encoder = RowEncoder(fitted.net.module_.encoder, fitted.units, fitted.image_shape)
    return _handed_out(encoder, fitted.net.device)


def decoder_of(estimator: Any) -> RowDecoder:
    """Decode codes to rows in the units of X: a module of torch."""
    fitted = _fitted(estimator)
    net = fitted.net
    decoder = RowDecoder(net.module_.decoder, fitted.units, net.module__latent_dim)
    return _handed_out(decoder, net.device)


def witness_of(estimator: Any) -> CodeWitness:
    """Read codes by the witness: a module of torch."""
    net = _fitted(estimator).net
    return _handed_out(CodeWitness(net.module_.witness, net.module__latent_dim), net.device)


# What is exported, by name.
PARTS: dict[str, Callable[[Any], RowEncoder | RowDecoder | CodeWitness]] = {
    "encoder": encoder_of,
    "decoder": decoder_of,
    "witness": witness_of,
}


def export(
    self: Any, path: str | os.PathLike, what: str = "encoder", dtype: str = "float32"
) -> None:
    """Write the encoder, the decoder or the witness to a file that runs without skvae.

    It takes a batch of any size on the CPU, in the units of X, and gives what
    `encoder_`, `decoder_` or `witness_` does.

    Parameters
    ----------
    path : str or path
        Of the file. Its suffix chooses the format: ".onnx" is ONNX, one file without
        further ones beside it; ".pt2" is `torch.export.save`. It is written whole or not at
        all, and replaces one that is there.
    what : {"encoder", "decoder", "witness"}, default="encoder"
        "encoder" takes ``rows`` of shape (n_samples, n_features) and gives ``mean`` and
        ``log_variance``; "decoder" takes ``codes`` of shape (n_samples, latent_dim) and
        gives ``rows``, "witness" ``log_q``. Images are rows here too.
    dtype : {"float32", "float64"}, default="float32"
        Of what goes in and comes out. A float32 has seven digits: for columns that lie
        farther from zero than they spread, a timestamp say, "float64" keeps the others.

    Raises
    ------
    ValueError
        For another suffix, part or dtype; for modules of one's own that take no batch of
        any size; for an autoregressive decoder of more than 32 columns, each of which takes
        a pass of its own.
    ImportError
        For ONNX without the packages ``onnx`` and ``onnxscript``, which
        ``pip install 'skvae[export]'`` brings.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import torch
    >>> from sklearn.datasets import load_iris
    >>> from skvae import TeacherGuidedVAE
    >>> X = load_iris().data
    >>> vae = TeacherGuidedVAE(latent_dim=2, max_epochs=20, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     vae.export(f"{folder}/encoder.pt2", dtype="float64")
    ...     encoder = torch.export.load(f"{folder}/encoder.pt2").module()
    >>> mean, log_variance = encoder(torch.from_numpy(X))
    >>> np.allclose(mean.detach(), vae.transform(X), atol=1e-5)
    True
    """
    _fitted(self)
    if what not in tuple(PARTS):
        raise ValueError(f"what must be one of {tuple(PARTS)}, got {what!r}.")
    export_module(PARTS[what](self), path, dtype)


def _fitted(estimator: Any) -> Fitted:
    check_is_fitted(estimator)
    fitted: Fitted = estimator._fitted
    return fitted


@undisturbed()
def _handed_out(module: Module, device: str) -> Module:
    """Return a copy on a device, to be trained or cast without a change of the estimator."""
    return copy.deepcopy(module).to(device).eval()
