"""What a fitted estimator hands out to other programs: modules of torch, and files of them."""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, TypeVar

from sklearn.utils.validation import check_is_fitted
from torch import nn

from skvae._common.ambient import undisturbed
from skvae.nets.standalone import CodeWitness, RowDecoder, RowEncoder
from skvae.vae.export import export_module

if TYPE_CHECKING:
    from skvae.vae.fitted import Fitted

Module = TypeVar("Module", bound=nn.Module)

__all__ = ["HasModules"]

# What is exported, by the attribute that has it.
PARTS = ("encoder", "decoder", "witness")


class HasModules:
    """Encoder, decoder and witness of a fitted estimator, as modules and in files."""

    _fitted: Fitted

    @property
    def encoder_(self) -> RowEncoder:
        net = self._record.net
        encoder = RowEncoder(net.module_.encoder, self._fitted.units, self._fitted.image_shape)
        return _handed_out(encoder, net.device)

    @property
    def decoder_(self) -> RowDecoder:
        net = self._record.net
        decoder = RowDecoder(net.module_.decoder, self._fitted.units, net.module__latent_dim)
        return _handed_out(decoder, net.device)

    @property
    def witness_(self) -> CodeWitness:
        net = self._record.net
        return _handed_out(CodeWitness(net.module_.witness, net.module__latent_dim), net.device)

    def export(
        self, path: str | os.PathLike, what: str = "encoder", dtype: str = "float32"
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
        check_is_fitted(self)
        if what not in PARTS:
            raise ValueError(f"what must be one of {PARTS}, got {what!r}.")
        export_module(getattr(self, f"{what}_"), path, dtype)

    @property
    def _record(self) -> Fitted:
        check_is_fitted(self)
        return self._fitted


@undisturbed()
def _handed_out(module: Module, device: str) -> Module:
    """Return a copy on a device, to be trained or cast without a change of the estimator."""
    return copy.deepcopy(module).to(device).eval()
