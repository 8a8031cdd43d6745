"""What several ranks do in `test_distributed`: fits, readings and failures, kept in files.

Started once for each number of ranks, as a script: ``ranks_at_work.py FOLDER SESSION``.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from skorch.callbacks import Callback, EarlyStopping

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher, TeacherGuidedVAE
from skvae.exceptions import LostRankError
from skvae.information import BoundaryStatistics
from skvae.training import batches, over_ranks, rows_of_all_ranks

# Twenty steps each, the last one of an epoch on fewer rows; of the hand-written step in both
# its forms and of autograd, and of all that is decided by a whole batch.
SETTINGS = {
    "default": {},
    "all rows": {"early_stopping": False, "witness": "linear", "max_grad_norm": 0.1},
    "floor": {"free_bits": 0.2, "lr_schedule": "cosine", "kl_warmup": 0.5},
    "capacity": {"kl_capacity": 1.0, "optimizer": torch.optim.SGD},
    "draws": {"n_importance_samples": 2, "likelihood": "student_t"},
    "guard": {"guard": 0.05, "witness": "simplex", "prefit_epochs": 1, "ema_decay": 0.9},
    "weights": {"missing": "mask"},
    "sparse": {},
    "read by blocks": {},
    "columns": {"likelihood": "auto", "missing": "mask"},
    "counts": {"likelihood": "negative_binomial", "decoder": "autoregressive"},
    "own teacher": {"ema_decay": 0.9, "lr_schedule": "one-cycle", "weight_decay": 0.1},
}


def table():
    """Make three clusters in four columns."""
    rng = np.random.default_rng(0)
    centers = np.array([[4.0, 0, 0, 1], [0, 4.0, 0, 1], [0, 0, 4.0, 1]])
    return np.repeat(centers, 60, axis=0)[rng.permutation(180)] + rng.normal(0, 0.5, (180, 4))


def frame(X):
    """Make a frame of them, with a column of text and holes."""
    made = pd.DataFrame(X.copy(), columns=list("abcd"))
    made.loc[::7, "a"] = np.nan
    return made.assign(kind=np.where(X[:, 0] > X[:, 1], "x", "y"))


def estimator(**parameters):
    """Make an estimator that takes twenty steps, four an epoch."""
    setting = {
        "latent_dim": 3,
        "hidden_layer_sizes": (16,),
        "teacher": GaussianMixtureTeacher(n_components=3),
        "max_epochs": 5,
        "batch_size": 46,
        "lr": 1e-2,
        "device": "cpu",
        "random_state": 0,
    }
    return TeacherGuidedVAE(**{**setting, **parameters})


def fitted(name, X, **parameters):
    """Fit one of the settings; some have weights, or labels, of their own."""
    vae = estimator(**SETTINGS[name], **parameters)
    if name == "weights":
        X = X.copy()
        X[::7, 1] = np.nan
        return vae.fit(X, sample_weight=np.linspace(0.5, 2, len(X)))
    if name == "columns":
        return vae.fit(frame(X))
    if name == "counts":
        return vae.fit(np.random.default_rng(0).poisson(np.exp(X / 2)))
    if name == "own teacher":
        # It is known again by what it is, in a model that goes on from another.
        teacher = FrozenEstimator(GaussianMixtureTeacher(n_components=3, random_state=0).fit(X))
        first = clone(vae).set_params(teacher=teacher, **parameters).fit(X)
        return vae.set_params(teacher=teacher, warm_start=FrozenEstimator(first)).fit(X)
    if name == "sparse":
        return vae.fit(sparse.csr_array(X))
    if name == "read by blocks":
        # As a table beyond a size that is kept standardised, in blocks of two batches.
        with (
            mock.patch.object(batches, "MAX_BYTES", 0),
            mock.patch.object(batches, "BLOCK_BYTES", 4 * 4 * 92),
        ):
            return vae.fit(X)
    return vae.fit(X)


def weights_of(vae):
    """Return all that a net has learned, as one vector."""
    return np.concatenate(
        [each.numpy().ravel() for each in vae.net_.module_.state_dict().values()]
    )


def found(vae):
    """Return what is compared of two models: weights, and figures of every epoch."""
    names = [name for name in vae.history_[-1] if name != "seconds"]
    history = np.array([[record[name] for name in names] for record in vae.history_])
    return np.concatenate([weights_of(vae), history.ravel(), [vae.margin_]])


def statistics_of(vae, rows):
    return BoundaryStatistics().update(vae.teacher_proba(rows), vae.witness_log_proba(rows))


class Failing(Callback):
    """Fail, on some rank, once an epoch has come."""

    def __init__(self, epoch, how, rank=None):
        self.epoch = epoch
        self.how = how
        self.rank = rank

    def on_epoch_end(self, net, **kwargs):
        is_meant = self.rank is None or self.rank == net.ranks_.rank
        if is_meant and net.history[-1, "epoch"] == self.epoch:
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError("the disk is full")


class Stopping(EarlyStopping):
    """End training on one rank, by a figure that the others do not know of."""

    def on_epoch_end(self, net, **kwargs):
        if net.ranks_.rank == 1 and net.history[-1, "epoch"] == 2:
            raise KeyboardInterrupt


def forgetful(shape, latent_dim):
    """Make an encoder with a layer that draws."""
    return torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(*shape, 2 * latent_dim))


def refusal(X=None, **parameters):
    vae = estimator(**parameters)
    try:
        vae.fit(table() if X is None else X)
    except ValueError as error:
        assert not hasattr(vae, "net_")
        return str(error)
    return "fitted"


def refused_reading(read):
    try:
        with over_ranks():
            read()
    except ValueError as error:
        return str(error)
    return "read"


def parts_that_do_not_fit(X, rank):
    """Give each rank what is no part of the table that the others have a part of."""
    half = slice(0, 90) if rank == 0 else slice(90, None)
    rows, named = X[half], frame(X)[half]
    drawn = np.random.default_rng(rank).permutation(180)[:120]
    return {
        "columns": rows[:, : 4 - rank],
        "kind": rows if rank else named,
        "names": named.rename(columns={"a": "e"}) if rank else named,
        "types": named.assign(kind=1) if rank else named,
        "split": X[drawn],
    }


def lost(folder, how, rank):
    """Fit until a rank is lost; return how many seconds that took to be told, and the error."""
    vae = estimator(max_epochs=50, callbacks=[Failing(2, how, rank)])
    start = time.monotonic()
    try:
        vae.fit(table())
    except (LostRankError, OSError) as error:
        assert not hasattr(vae, "net_")
        return time.monotonic() - start, f"{type(error).__name__}: {error}"
    return time.monotonic() - start, "fitted"


def first_session(folder, rank):
    """Do all that is done on two ranks."""
    X = table()
    kept = {name: found(fitted(name, X)) for name in SETTINGS}
    vae = fitted("default", X)
    half = slice(0, 70) if rank == 0 else slice(70, None)
    kept["shards"] = found(estimator().fit(X[half]))
    kept["passes"] = found(estimator(max_epochs=1).partial_fit(X).partial_fit(X))
    rows = np.concatenate([X] * 12)
    part = slice(0, 900) if rank == 0 else slice(900, None)
    certificate = ConstantCollapseCertificate(latent="sample")
    statistics = statistics_of(vae, rows[part])
    with over_ranks() as number:
        assert number == rank
        kept["codes"], kept["scores"] = vae.transform(rows), vae.score_samples(rows)
        kept["report"] = repr(certificate.certify(vae, rows))
        kept["joined"] = rows_of_all_ranks(rows[part])
        kept["merged"] = sum(rows_of_all_ranks([statistics]), BoundaryStatistics()).margin
    try:
        with over_ranks():
            vae.transform(rows[part])
    except ValueError as error:
        kept["parts"] = str(error)
    other = fitted("default", X, distributed=False, random_state=rank)
    kept["unlike"] = [
        refused_reading(lambda: rank == 0 and vae.transform(rows)),
        refused_reading(lambda: (vae.posterior_kl if rank else vae.transform)(rows)),
        refused_reading(lambda: other.transform(rows)),
    ]
    kept["misfits"] = {
        name: refusal(part) for name, part in parts_that_do_not_fit(X, rank).items()
    }
    kept["without rows"] = found(
        fitted("columns", X)
        if rank == 0
        else estimator(**SETTINGS["columns"]).fit(frame(X)[:0])
    )
    vae.save(folder / "saved.skvae")
    kept["saved"] = found(TeacherGuidedVAE.load(folder / "saved.skvae"))
    kept["merged alone"] = statistics_of(vae, rows).margin
    kept["alone"] = repr(certificate.certify(vae, rows))
    kept["codes alone"], kept["scores alone"] = vae.transform(rows), vae.score_samples(rows)
    kept["refusals"] = [
        refusal(mmd_weight=1.0),
        refusal(batch_size=1),
        refusal(encoder=forgetful),
        refusal(lr=1e-3 * (1 + rank)),
    ]
    kept["failure"] = lost(folder, "raise", 1)
    # The launcher outlives a group that its processes leave.
    torch.distributed.destroy_process_group()
    kept["after it"] = found(fitted("default", X))
    kept["stopped"] = estimator(callbacks=[Stopping()], early_stopping=False).fit(X).n_iter_
    try:
        checkpoint = folder / "fit.skvae"
        estimator(checkpoint=checkpoint, callbacks=[Failing(3, "raise")]).fit(X)
    except OSError:
        kept["interrupted"] = True
    return kept


def second_session(folder, rank):
    """Do all that is done on three ranks, of which the last one does not see the end."""
    X = table()
    kept = {name: found(fitted(name, X)) for name in ("default", "all rows", "floor")}
    kept["resumed"] = found(
        clone(estimator()).set_params(checkpoint=folder / "fit.skvae").fit(X)
    )
    kept["death"] = lost(folder, "kill", 2)
    return kept


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    folder, session = Path(sys.argv[1]), sys.argv[2]
    rank = int(os.environ["RANK"])
    kept = (first_session if session == "first" else second_session)(folder, rank)
    torch.save(kept, folder / f"{session}_{rank}.pt")
