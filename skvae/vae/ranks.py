"""What the ranks of a fit have to agree on before any work, and the rows that they have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
from torch import nn

from skvae.nets.own_modules import normalises_batches
from skvae.rows.fingerprint import DistinctRows
from skvae.rows.frames import is_frame
from skvae.rows.sources import as_rows
from skvae.training.distributed import stacked
from skvae.training.ranks import Ranks
from skvae.vae.checkpoints import FREE, told
from skvae.vae.fitted import Fitted
from skvae.vae.given import Weights

__all__ = ["check_shared", "rows_of_fit", "settings_of_rank"]

# Share of the rows of a part that others may have too, as where parts are filled up.
MOST_SHARED = 0.1
# Parameters whose work is of a whole batch, or of one process, and the values without it.
ALONE = {"aggressive_steps": 0, "compile": False, "mmd_weight": 0, "tc_weight": 0}


def rows_of_fit(
    ranks: Ranks, X: Any, y: Any, X_teacher: Any, weights: Weights
) -> tuple[Any, Any, Any, Weights]:
    """Return what `fit` is to be given: all rows, where each rank has been given a part.

    Raises
    ------
    ValueError
        Where ranks with the same rows were given other labels, views or weights of them, or
        not all were given some.
    """
    given = {"X": as_rows(X), "y": y, "X_teacher": X_teacher, **weights}
    given = {
        name: value if value is None or is_frame(value) else _as_array(name, value)
        for name, value in given.items()
    }
    what = {name: (value is None, told(value)) for name, value in given.items()}
    found = ranks.of_all(what, "the rows of a fit")
    names = sorted({name for each in found for name in each})
    for name in names:
        if len({each.get(name, (True, ""))[0] for each in found}) > 1:
            raise ValueError(
                f"{name} was given to some of the {ranks.size} ranks, and to others not: pass "
                "it to all or to none."
            )
    differ = [name for name in names if len({each.get(name) for each in found}) > 1]
    if "X" in differ:
        own = given["X"]
        given = {
            name: value if value is None else stacked(ranks, value, name)
            for name, value in given.items()
        }
        _check_apart(ranks, own)
    elif differ:
        raise ValueError(
            f"All {ranks.size} ranks were given the same X, and {differ[0]} that differs: pass "
            "the same to all, or to each the rows, and what belongs to them, of its part."
        )
    X, y, X_teacher = (given.pop(name) for name in ("X", "y", "X_teacher"))
    return X, y, X_teacher, cast(Weights, given)


def settings_of_rank(
    ranks: Ranks, settings: Mapping[str, Any], donor: Fitted | None
) -> dict[str, Any]:
    """Return the settings of a rank: on its own device, and silent but for the first.

    Raises
    ------
    ValueError
        Where ranks have other settings, or another model that training starts from.
    """
    asked = {name: told(value) for name, value in settings.items() if name not in FREE}
    asked["checkpoint"] = told(settings["checkpoint"] is None)
    asked["the model that it starts from"] = told(None if donor is None else donor.net.module_)
    of_ranks = ranks.of_all(asked, "the parameters of a fit")
    for name, value in of_ranks[0].items():
        for rank, each in enumerate(of_ranks):
            if each[name] != value:
                raise ValueError(
                    f"{name} is {value} on rank 0 and {each[name]} on rank {rank}: all ranks "
                    "fit one model, by the same parameters."
                )
    return {
        **settings,
        "device": ranks.device_of(settings["device"]),
        "verbose": settings["verbose"] if ranks.is_first else 0,
    }


def check_shared(
    ranks: Ranks, settings: Mapping[str, Any], modules: Iterable[nn.Module]
) -> None:
    """Refuse, by name, what ranks cannot share so that they take the steps of one process.

    Parameters
    ----------
    ranks : Ranks
        Of the fit.
    settings : mapping
        Constructor parameters of `TeacherGuidedVAE`, numbers in place of "auto".
    modules : iterable of nn.Module
        Those of the user's own.
    """
    for name, value in ALONE.items():
        if settings[name] != value:
            raise ValueError(
                f"{name}={settings[name]!r} cannot be shared by {ranks.size} ranks, each with "
                f"a part of every batch: pass {name}={value!r}, or distributed=False."
            )
    if settings["batch_size"] < ranks.size:
        raise ValueError(
            f"batch_size={settings['batch_size']} is the rows of a step of all ranks together, "
            f"and leaves some of the {ranks.size} without any: pass a larger one, or start "
            "fewer ranks."
        )
    for module in modules:
        draws = any(
            isinstance(each, nn.modules.dropout._DropoutNd) for each in module.modules()
        )
        if draws or normalises_batches(module):
            what = "drops out what is drawn" if draws else "normalises by all rows of a batch"
            raise ValueError(
                f"{type(module).__name__} has a layer that {what}, and each of the "
                f"{ranks.size} ranks would by its own: use torch.nn.LayerNorm or weight_decay "
                "in its place, or pass distributed=False."
            )


def _check_apart(ranks: Ranks, X: Any) -> None:
    """Refuse parts of a table that have rows in common: they are no parts, but splits of it.

    As where each rank has drawn what it holds out by itself, whose rows others then train on.
    Rows of few values are alike by chance, and of text it is not told.
    """
    rows = DistinctRows()
    try:
        own = rows.update(X)
    except (TypeError, ValueError):
        own = np.empty(0, dtype=np.uint64)
    of_ranks = ranks.of_all((own, rows.have_many_values), "the rows of each rank")
    earlier = of_ranks[0][0]
    for rank, (hashes, are_measured) in enumerate(of_ranks[1:], start=1):
        n_shared = int(np.isin(hashes, earlier).sum())
        if are_measured and n_shared > MOST_SHARED * len(hashes):
            raise ValueError(
                f"Rank {rank} was given another X than ranks before it, and {n_shared} of its "
                f"{len(hashes)} rows are theirs too. Give all ranks the same rows, or each a "
                "part that no other has. Where each splits one table, as by a search or "
                "train_test_split, the splitter wants an integer random_state, so that all "
                "have one split."
            )
        earlier = np.concatenate([earlier, hashes])


def _as_array(name: str, value: Any) -> Any:
    return as_rows(value) if name in ("X", "X_teacher") else np.asarray(as_rows(value))
