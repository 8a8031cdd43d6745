"""What a fit found: the record that an estimator adopts, lends, continues from, and saves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skvae._common.ambient import undisturbed
from skvae.files.archive import from_bytes, to_bytes
from skvae.files.values import Packer, Unpacker
from skvae.information.design import Design
from skvae.rows.columns import Columns
from skvae.rows.fingerprint import RowFingerprint
from skvae.rows.scaling import Standardization
from skvae.teachers.missing import FilledRows
from skvae.training.epochs import packed_epochs, unpacked_epochs
from skvae.training.net import VAENet
from skvae.training.records import plain_records
from skvae.training.saved_net import net_made_of, state_of_net, weigher
from skvae.vae.new_rows import HeldOut

__all__ = ["NOT_OF_NET", "Fitted", "fitted_of"]

# Parameters that a net is not built by once it is trained, or that its architecture has.
NOT_OF_NET = (
    "callbacks",
    "checkpoint",
    "checkpoint_every",
    "decoder",
    "distributed",
    "encoder",
    "memory",
    "random_state",
    "teacher",
    "warm_start",
)
# Fields that are made of others, or of few bytes, when a record is made again.
MADE_AGAIN = ("net", "history", "units", "design", "fingerprint")
# Those that a pickle has as they are: others than this record may know them too.
OBJECTS = (
    "columns",
    "settings",
    "teacher",
    "teacher_fingerprint",
    "teacher_setting",
    "trained_on",
)


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
    settings : dict
        Constructor parameters that the net was built by.
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
    columns : Columns or None
        From tables as they come to rows of numbers, where columns are of several kinds.
    fill : ndarray of shape (n_features,) or None
        What the teacher is shown in place of missing entries: the means of what was observed
        in the training rows. None where rows have none missing, or the teacher bears them.
    held_out : HeldOut or None
        What was found of rows that were held out and that nothing has seen, where there are
        any, for `fit` to warn by; neither pickled nor saved.
    """

    net: VAENet
    settings: dict[str, Any]
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
    columns: Columns | None = None
    fill: NDArray | None = None
    held_out: HeldOut | None = None

    @property
    def asked(self) -> Any:
        """The teacher, as it is asked of rows that it shares with the encoder."""
        return self.teacher if self.fill is None else FilledRows(self.teacher, self.fill)

    @property
    def n_iter(self) -> int:
        """Number of epochs trained, those that the history has forgotten among them."""
        return int(self.history[-1]["epoch"]) if self.history else 0

    @property
    def attributes(self) -> dict[str, Any]:
        """Fitted attributes of the estimator; some are there only where they mean something."""
        found = {
            "net_": self.net,
            "teacher_": self.teacher,
            "teacher_sees_": self.teacher_sees,
            "teacher_information_": self.teacher_information,
            "average_teacher_": self.average_teacher,
            "margin_": self.margin,
            "history_": self.history,
            "n_iter_": self.n_iter,
            "fingerprint_": self.fingerprint,
            "teacher_fingerprint_": self.teacher_fingerprint,
            "image_shape_": self.image_shape,
            "precision_": self.net.module__precision,
            "n_features_in_": self.n_features_in,
            "columns_": self.columns,
        }
        if self.feature_names_in is not None:
            found["feature_names_in_"] = self.feature_names_in
        if self.design is not None:
            found |= {"design_": self.design, "designed_margin_": self.design.margin}
        return found

    def state(self, *, with_modules: bool) -> dict[str, Any]:
        """Return what it is made of: plain values and arrays, and `OBJECTS`.

        Modules of a user's own are kept as they are, or by their weights alone.
        """
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        is_same = self.fingerprint is self.trained_on
        is_shown = plain_records(self.net.history) == self.history
        left_out = (*MADE_AGAIN, "held_out")
        return {
            **{name: value for name, value in own.items() if name not in left_out},
            "net": state_of_net(self.net, with_modules=with_modules),
            # Mostly that of the net, in other words.
            "history": None if is_shown else packed_epochs(self.history, weigher(self.net)),
            "units": [self.units.center, self.units.scale, self.units.constant],
            "design": None if self.design is None else list(self.design),
            "fingerprint": None if is_same else self.fingerprint.beside(self.trained_on),
        }

    def __reduce__(self) -> tuple[Any, ...]:
        state = self.state(with_modules=True)
        objects = {name: state.pop(name) for name in OBJECTS}
        net = state["net"] = dict(state["net"])
        objects["modules"] = net.pop("modules")
        objects["architecture"] = net.pop("architecture")
        objects["epochs"] = net["history"].pop("rest")
        packer = Packer([])
        record = packer.pack(state, "Fitted")
        return _unpickled, (to_bytes(record, packer.arrays), objects)


def _unpickled(content: bytes, objects: dict[str, Any]) -> Fitted:
    record, arrays = from_bytes(content)
    state = Unpacker(arrays, []).unpack(record)
    net = state["net"]
    net["history"]["rest"] = objects.pop("epochs")
    net |= {name: objects.pop(name) for name in ("modules", "architecture")}
    return fitted_of({**state, **objects})


@undisturbed()
def fitted_of(state: Mapping[str, Any], device: str | None = None) -> Fitted:
    """Make a record of what `Fitted.state` returned, with the net on a device."""
    units = Standardization(*state["units"])
    architecture = state["net"]["architecture"]
    n_features = architecture["n_features"]
    image_shape = architecture["image_shape"]
    lengths = [len(each) for each in state["units"]]
    if lengths != [n_features] * 3 or np.prod(image_shape or (n_features,)) != n_features:
        raise ValueError("the units are of other columns than the net")
    columns = state.get("columns")
    if columns is not None and columns.n_encoded != n_features:
        raise ValueError("the table has other columns than the net")
    net = net_made_of(state["net"], state["settings"], units, state["seed"], device)
    history, design, fingerprint = (
        state[name] for name in ("history", "design", "fingerprint")
    )
    trained_on = state["trained_on"]
    made = {
        "net": net,
        "history": plain_records(net.history)
        if history is None
        else unpacked_epochs(history, weigher(net)),
        "units": units,
        "design": None if design is None else Design(*design),
        "fingerprint": trained_on
        if fingerprint is None
        else RowFingerprint.made_beside(trained_on, fingerprint),
    }
    return Fitted(**{**state, **made})
