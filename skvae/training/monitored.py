"""Callbacks that feed a `CollapseMonitor` in trainings of others: skorch's and Lightning's."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Callable
from typing import Any

import torch
from skorch.callbacks import Callback
from skorch.utils import to_device

from skvae.rows.numbers import to_numpy
from skvae.training.certificates import figures

__all__ = ["MonitorCallback", "lightning_callback"]

# From a module and a batch to what the monitor's `update` takes.
Encode = Callable[[Any, Any], tuple[Any, ...]]


class MonitorCallback(Callback):
    """Certify a skorch net of one's own after each epoch, on its validation rows.

    The history then has ``certified_margin``, ``certified_lower_bound`` and, where there are
    log variances, ``certified_rate``, in nats. The net is put in evaluation mode and its codes
    are read without gradients; training goes on as without.

    Parameters
    ----------
    monitor : CollapseMonitor
        What is fed and asked. It has all reports afterwards, in `reports_`.
    encode : callable
        From the module and a batch of the net's iterator, on its device, to what `update` of
        the monitor takes: rows or targets, codes, and log variances if there are any.

    See Also
    --------
    CertificateCallback : The same of a `TeacherGuidedVAE`, by the witness that is trained.
    lightning_callback : The same in Lightning.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skorch import NeuralNetRegressor
    >>> from torch import nn
    >>> from skvae import CollapseMonitor, GaussianMixtureTeacher
    >>> from skvae.training import MonitorCallback
    >>> X = np.float32(scale(load_breast_cancer().data))
    >>> teacher = GaussianMixtureTeacher(random_state=0).fit(X[:300])
    >>> autoencoder = nn.Sequential(nn.Linear(30, 4), nn.Linear(4, 30))
    >>> monitoring = MonitorCallback(
    ...     CollapseMonitor(teacher), lambda module, batch: (batch[0], module[0](batch[0]))
    ... )
    >>> net = NeuralNetRegressor(autoencoder, max_epochs=5, callbacks=[monitoring], verbose=0)
    >>> len(net.fit(X, X).history[:, "certified_margin"])
    5
    """

    def __init__(self, monitor: Any, encode: Encode) -> None:
        self.monitor = monitor
        self.encode = encode

    def on_epoch_end(self, net: Any, dataset_valid: Any = None, **kwargs: Any) -> None:
        """Show the monitor all validation rows, and record what it reports."""
        if dataset_valid is None:
            raise ValueError(
                "A MonitorCallback reads validation rows, and this net has none: give it a "
                "train_split."
            )
        self.monitor.reset()
        net.module_.eval()
        with torch.no_grad():
            for batch in net.get_iterator(dataset_valid, training=False):
                self.monitor.update(*self.encode(net.module_, to_device(batch, net.device)))
        for name, value in figures(self.monitor.report()).items():
            net.history.record(name, value)


def lightning_callback(monitor: Any, encode: Encode) -> Any:
    """Make a callback of Lightning that certifies after each validation epoch.

    It logs ``certified_margin``, ``certified_lower_bound`` and, where there are log variances,
    ``certified_rate``, in nats, as `MonitorCallback` does; ``EarlyStopping`` and
    ``ModelCheckpoint`` of Lightning may monitor them. The rows of the sanity check before
    training are left out. With several processes each is shown the rows of all.

    Parameters
    ----------
    monitor : CollapseMonitor
        What is fed and asked.
    encode : callable
        From the LightningModule and a batch of its validation loader to what `update` of the
        monitor takes: rows or targets, codes, and log variances if there are any.

    Returns
    -------
    callback : lightning.pytorch.Callback
        For ``Trainer(callbacks=[...])``.

    Raises
    ------
    ImportError
        Where neither ``lightning`` nor ``pytorch_lightning`` is installed.

    Notes
    -----
    The sampler by which Lightning deals rows out to processes repeats a few where they do not
    come out even, and a repeated row counts twice. With ``use_distributed_sampler=False`` and
    a sampler, or a part of the rows, for each process none is; processes may then have
    different numbers of batches. Without either every process has all rows, which count once.

    Examples
    --------
    >>> from skvae import CollapseMonitor
    >>> from skvae.training import lightning_callback
    >>> callback = lightning_callback(
    ...     CollapseMonitor(held_out=True), lambda module, batch: (batch[1], module(batch[0]))
    ... )  # doctest: +SKIP
    >>> trainer = lightning.Trainer(callbacks=[callback])  # doctest: +SKIP
    """
    base = _lightning().Callback

    class Monitored(base):  # type: ignore[misc, valid-type]
        def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            monitor.reset()

        def on_validation_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *args: Any
        ) -> None:
            if not trainer.sanity_checking:
                self._show(trainer, encode(pl_module, batch))

        def _show(self, trainer: Any, shown: tuple[Any, ...] | None) -> bool:
            """Give a batch of each process to the monitor; return whether there was one."""
            batches = _of_all_processes(trainer, shown)
            for each in batches:
                monitor.update(*each)
            return len(batches) > 0

        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if not trainer.sanity_checking:
                # Others may have batches left, for which they wait for this process.
                while trainer.world_size > 1 and self._show(trainer, None):
                    pass
                pl_module.log_dict(figures(monitor.report()), rank_zero_only=True)

    return Monitored()


def _lightning() -> Any:
    for name in ("lightning.pytorch", "pytorch_lightning"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ImportError(
        "A callback of Lightning takes Lightning, which is not installed: pip install "
        "'skvae[lightning]'."
    )


def _of_all_processes(trainer: Any, shown: tuple[Any, ...] | None) -> list[tuple[Any, ...]]:
    """Return what each process shows, None being nothing, and the same of all but once."""
    if trainer.world_size == 1:
        return [] if shown is None else [shown]
    # Batches of several sizes, and targets of any kind: what gathers tensors takes neither.
    gathered: list[Any] = [None] * trainer.world_size
    own = None if shown is None else to_device(shown, "cpu")
    torch.distributed.all_gather_object(gathered, own)
    # Rows that were not dealt out would count as many times as there are processes, and the
    # bound would be that of so many more rows. A pickled tensor has more than its numbers.
    different: dict[bytes, tuple[Any, ...]] = {}
    for each in gathered:
        if each is not None:
            different.setdefault(pickle.dumps([to_numpy(values) for values in each]), each)
    return list(different.values())
