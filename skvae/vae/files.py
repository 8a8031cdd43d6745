"""Files of models: which parameters they hold, and what is made of them again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

from sklearn.base import BaseEstimator

from skvae.files.saved import (
    Saved,
    defaults_of,
    load_object,
    made_of_plain,
    plain_state,
    save_object,
)
from skvae.files.values import Packer, Unpacker, holds, is_optimizer, with_state
from skvae.nets.likelihoods import OF_COUNTS
from skvae.training.devices import resolve_device
from skvae.vae.fitted import NOT_OF_NET, Fitted, fitted_of
from skvae.vae.training_settings import shallow_copy, that_can_be_pickled
from skvae.vae.warm_start import without_ancestors

__all__ = ["DroppedTeacher", "SavedModel"]

# Parameters of the machine or of one run, and not of the model: a file holds them where they
# are plain values, and None otherwise.
OF_THE_RUN = ("callbacks", "checkpoint", "memory")
# Modules of a user's own, which whoever loads a model has to give.
GIVEN = ("encoder", "decoder")
PLAIN = (bool, int, float, str, type(None))


class DroppedTeacher(BaseEstimator):
    """In place of the teacher of a model that was saved without it."""

    def fit(self, X: Any, y: Any = None) -> DroppedTeacher:
        """Say that there is no teacher."""
        raise _dropped()

    def predict_proba(self, X: Any) -> Any:
        """Say that there is no teacher."""
        raise _dropped()


def _dropped() -> ValueError:
    return ValueError(
        'This model was saved with teacher="drop", and has no teacher to ask. Certify it by '
        "one that you have, as in ConstantCollapseCertificate(teacher=teacher), fit it with "
        'one, or save it with teacher="keep".'
    )


holds(
    DroppedTeacher,
    lambda value, packer: vars(value),
    lambda state, unpacker: with_state(DroppedTeacher, state),
)


class SavedModel(Saved):
    """What `TeacherGuidedVAE` has of files, pickles and copies."""

    _fitted: Fitted
    _adopt: Callable[[Fitted], None]

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        teacher: str = "keep",
        trusted: Iterable[str | type] = (),
    ) -> None:
        """Save to a file that `load` reads, in this version of skvae and in later ones.

        Parameters
        ----------
        path : str or path
            Where to. A file that is there is replaced, once all is written.
        teacher : {"keep", "drop"}, default="keep"
            Whether the file has the teacher. Without it the loaded model does all that asks no
            teacher, and `teacher` is None.
        trusted : list of str or type, default=()
            Types that a teacher which is not of skvae may be made of, beside those of
            scikit-learn; see :doc:`/saving`.

        Raises
        ------
        TypeError
            If something in it would take code to load, such as a function; it is named.
        """
        if teacher not in ("keep", "drop"):
            raise ValueError(f"teacher must be 'keep' or 'drop', got {teacher!r}.")
        save_object(self, path, trusted, teacher)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        device: str | None = None,
        encoder: Any = None,
        decoder: Any = None,
        trusted: Iterable[str | type] = (),
    ) -> Self:
        """Load what `save` wrote. Nothing in the file is run.

        Parameters
        ----------
        path : str or path
            Where from.
        device : str or None, default=None
            The parameter `device` of the loaded model, and where it is. None is as it was, or
            the CPU where that is not there.
        encoder, decoder : nn.Module, callable or None, default=None
            The modules of one's own that the model was made with; the file has their weights.
        trusted : list of str or type, default=()
            As in `save`: for files that you know where they come from.

        Returns
        -------
        loaded : object of this class
            On the CPU all that it says is what it said when it was saved, to the bit.

        Raises
        ------
        FileFormatError
            If the file is damaged, of another kind or of a newer format, or holds types that
            nobody has said to trust.

        Warns
        -----
        OtherVersionWarning
            If another major version of skvae wrote it.
        """
        if device is not None:
            resolve_device(device)
        given = {"device": device, "encoder": encoder, "decoder": decoder}
        return load_object(cls, path, trusted, given)

    def _state_for_file(self, packer: Packer) -> dict[str, Any]:
        return model_state(self, packer)

    @classmethod
    def _from_file(cls, state: dict[str, Any], unpacker: Unpacker) -> Self:
        made: Self = model_made_of(cls, state, unpacker)
        return made

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        # What a fit found is in one piece, and is adopted again.
        for name in self._fitted.attributes if "_fitted" in state else ():
            del state[name]
        callbacks = that_can_be_pickled(state["callbacks"])
        donor = without_ancestors(state["warm_start"])
        return {**state, "callbacks": callbacks, "warm_start": donor}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__(state)
        if "_fitted" in state:
            self._adopt(self._fitted)

    # Not by its state, which would be made anew: what is shared stays as it is.
    __copy__ = shallow_copy


def model_state(model: Any, packer: Packer) -> dict[str, Any]:
    """Return what a model is made of, in a file: parameters, and what a fit found."""
    state = plain_state(model.__getstate__())
    fitted = state.pop("_fitted", None)
    likelihood = state["likelihood"]
    if (
        fitted is not None
        and isinstance(likelihood, Mapping)
        and any(map(callable, likelihood))
    ):
        # Functions chose columns, and what they chose is known.
        state["likelihood"] = fitted.columns.mapping
    state = {**state, **_without_run(state)}
    given = {name: _name_of(state[name]) for name in GIVEN if _is_given(state[name])}
    if packer.teacher == "drop":
        state["teacher"] = None
    found = None
    if fitted is not None:
        found = fitted.state(with_modules=False)
        # The net is there to be read: what a run of it was given besides is not asked again.
        found["settings"] = {
            name: value if _is_plain(value) or is_optimizer(value) else None
            for name, value in found["settings"].items()
        }
        found["settings"]["likelihood"] = state["likelihood"]
        if found["net"]["moments"]:
            # They are those of the optimiser, whose name has to be there too.
            found["settings"]["optimizer"] = fitted.settings["optimizer"]
        history = found["net"]["history"]
        history["rest"] = history["rest"] and [
            {name: value for name, value in record.items() if _is_plain(value)}
            for record in history["rest"]
        ]
        architecture = found["net"]["architecture"]
        trained = {
            name: _name_of(architecture[name])
            for name in GIVEN
            if _is_given(architecture[name])
        }
        given |= trained
        found["net"]["architecture"] = {**architecture, **dict.fromkeys(trained)}
        if packer.teacher == "drop":
            found |= {"teacher": DroppedTeacher(), "teacher_setting": None}
        found["net"]["own"] = list(trained)
    return {**state, **dict.fromkeys(given), "fitted": found, "given": given}


def model_made_of(cls: type, state: dict[str, Any], unpacker: Unpacker) -> Any:
    """Make a model of what `model_state` returned, and of what whoever loads it gives."""
    found, given = state.pop("fitted"), state.pop("given")
    settings = unpacker.settings
    for name in GIVEN:
        part = settings.get(name)
        if name in given and part is None:
            raise ValueError(
                f"it was made with an {name} of your own, {given[name]}, and holds the weights "
                f"of that alone: pass {name}=, the module, class or function that fit was given"
            )
        if name in given:
            state[name] = part
    device = settings.get("device")
    if device is not None:
        state["device"] = device
    elif state["device"] == "auto":
        device = "auto"
    if "size" not in state and state["likelihood"] in OF_COUNTS:
        # Before there were sizes counts were in proportion to nothing.
        state["size"] = None
    model = made_of_plain(cls, state)
    if found is not None:
        net = dict(found["net"])
        own = {name: settings[name] for name in net.pop("own")}
        net["architecture"] = {**net["architecture"], **own}
        # What there was not yet when it was saved is as it is by default.
        net_settings = {
            name: value for name, value in defaults_of(cls).items() if name not in NOT_OF_NET
        }
        found = {**found, "settings": {**net_settings, **found["settings"]}}
        where = None if device is None else resolve_device(device)
        model._adopt(fitted_of({**found, "net": net}, where))
    return model


def _without_run(state: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None
        for name in OF_THE_RUN
        if name in state and not _is_plain(state[name]) and not _is_path(state[name])
    }


def _is_given(part: Any) -> bool:
    return part is not None and not isinstance(part, str)


def _name_of(part: Any) -> str:
    name: str = getattr(part, "__qualname__", type(part).__qualname__)
    return name


def _is_path(value: Any) -> bool:
    return isinstance(value, os.PathLike)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return isinstance(value, PLAIN) or hasattr(value, "dtype")
