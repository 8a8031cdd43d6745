"""What can be saved to a file, loaded from it, and pickled with the version that wrote it."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

from skvae._common.ambient import undisturbed
from skvae._version import __version__
from skvae.exceptions import FileFormatError, OtherVersionWarning
from skvae.files.archive import DAMAGES, read_archive, same_major, write_archive
from skvae.files.foreign import type_names
from skvae.files.values import Packer, Unpacker, holds, with_state

__all__ = ["Saved", "defaults_of", "load_object", "made_of_plain", "plain_state", "save_object"]

STAMP = "_skvae_version"
REQUEST = "_metadata_request"
# Callbacks of scikit-learn are of a run, and not of the model.
NOT_KEPT = (STAMP, REQUEST, "_skl_callbacks")


class Saved:
    """A class whose objects go into files, and whose pickles say which version wrote them."""

    # What a file of one is; a class that has it in its own body is known to files by its name.
    _file_kind: ClassVar[str]

    def __init_subclass__(cls, **settings: Any):
        super().__init_subclass__(**settings)
        if "_file_kind" in vars(cls):
            holds(
                cls,
                lambda value, packer: value._state_for_file(packer),
                lambda state, unpacker: cls._from_file(state, unpacker),
            )

    def save(self, path: str | os.PathLike[str], *, trusted: Iterable[str | type] = ()) -> None:
        """Save to a file that `load` reads, in this version of skvae and in later ones.

        Parameters
        ----------
        path : str or path
            Where to. A file that is there is replaced, once all is written.
        trusted : list of str or type, default=()
            Types that an estimator which is not of skvae may be made of, beside those of
            scikit-learn; see :doc:`/saving`.

        Raises
        ------
        TypeError
            If something in it would take code to load, such as a function; it is named.
        """
        save_object(self, path, trusted)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, trusted: Iterable[str | type] = ()) -> Self:
        """Load what `save` wrote. Nothing in the file is run.

        Parameters
        ----------
        path : str or path
            Where from.
        trusted : list of str or type, default=()
            As in `save`: for files that you know where they come from.

        Returns
        -------
        loaded : object of this class
            As it was saved, to the bit.

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
        return load_object(cls, path, trusted, {})

    def _state_for_file(self, packer: Packer) -> Mapping[str, Any]:
        """Return what an object is made of, in a file."""
        return plain_state(self.__getstate__())

    @classmethod
    def _from_file(cls, state: dict[str, Any], unpacker: Unpacker) -> Self:
        made: Self = made_of_plain(cls, state)
        return made

    def __getstate__(self) -> Any:
        return {**super().__getstate__(), STAMP: __version__}  # type: ignore[dict-item]

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        state = dict(state)
        written_by = state.pop(STAMP, __version__)
        if not same_major(written_by):
            warnings.warn(
                f"This {type(self).__name__} was pickled by skvae {written_by}, and this is "
                f"{__version__}: what it holds may have another meaning here.",
                OtherVersionWarning,
                stacklevel=2,
            )
        inherited = getattr(super(), "__setstate__", None)
        if inherited is None:
            vars(self).update(state)
        else:
            inherited(state)


def plain_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of an estimator for a file, which knows who wrote it, and runs nothing.

    What it asks of scikit-learn's metadata routing is kept as plain values.
    """
    request = state.get(REQUEST)
    kept = {name: each for name, each in state.items() if name not in NOT_KEPT}
    if request is None:
        return kept
    asked = {
        method: dict(each.requests)
        for method, each in vars(request).items()
        if getattr(each, "requests", None)
    }
    return {**kept, REQUEST: asked}


def made_of_plain(cls: type, state: Mapping[str, Any]) -> Any:
    """Return the object of a class that `plain_state` was taken of.

    What the class did not have yet when it was saved is as it is by default.
    """
    state = {**defaults_of(cls), **state}
    made = with_state(cls, {name: each for name, each in state.items() if name != REQUEST})
    if REQUEST in state:
        request = made._get_metadata_request()
        for method, asked in state[REQUEST].items():
            for parameter, alias in asked.items():
                getattr(request, method).add_request(param=parameter, alias=alias)
        setattr(made, REQUEST, request)
    return made


def defaults_of(cls: type) -> dict[str, Any]:
    """Return the defaults of the parameters of a class, or of the fields of a record."""
    parameters = inspect.signature(cls).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def save_object(
    value: Saved,
    path: str | os.PathLike[str],
    trusted: Iterable[str | type] = (),
    teacher: str = "keep",
) -> None:
    """Write an object to a file."""
    packer = Packer(type_names(trusted), teacher)
    name = type(value).__name__
    state = packer.pack(dict(value._state_for_file(packer)), name)
    write_archive(path, value._file_kind, {"class": name, "state": state}, packer.arrays)


def load_object(
    cls: type[Any],
    path: str | os.PathLike[str],
    trusted: Iterable[str | type],
    settings: dict[str, Any],
) -> Any:
    """Make an object of what a file holds; `settings` are for who makes it."""
    names = type_names(trusted)
    record, arrays = read_archive(path, cls._file_kind, stacklevel=4)
    if record.get("class") != cls.__name__:
        raise FileFormatError(
            f"{os.fspath(path)} holds a {record.get('class')}, and was read by "
            f"{cls.__name__}.load: call the load of that class."
        )
    unpacker = Unpacker(arrays, names, settings)
    with undisturbed():
        try:
            return cls._from_file(unpacker.unpack(record["state"]), unpacker)
        except DAMAGES as error:
            # Sound as a file, but nothing that an object can be made of.
            raise FileFormatError(
                f"{os.fspath(path)} cannot be loaded: {str(error) or repr(error)}."
            ) from error
