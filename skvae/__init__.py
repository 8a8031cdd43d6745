"""skvae: variational autoencoders with a certificate against constant collapse.

Names are imported on use: whoever asks for `skvae.information` alone waits for no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from skvae._version import __version__

if TYPE_CHECKING:
    from skvae.certificate import (
        CertificateReport,
        ConstantCollapseCertificate,
        SimultaneousReport,
    )
    from skvae.monitor import CollapseMonitor
    from skvae.teachers import (
        GaussianMixtureTeacher,
        PrecomputedTeacher,
        TeacherSearch,
        TemperedTeacher,
    )
    from skvae.vae import Rescue, TeacherGuidedVAE, rescue

__all__ = [
    "CertificateReport",
    "CollapseMonitor",
    "ConstantCollapseCertificate",
    "GaussianMixtureTeacher",
    "PrecomputedTeacher",
    "Rescue",
    "SimultaneousReport",
    "TeacherGuidedVAE",
    "TeacherSearch",
    "TemperedTeacher",
    "__version__",
    "rescue",
]

# Where the names come from; a wing is imported by its own name too.
_WING_OF = {
    "CertificateReport": "certificate",
    "CollapseMonitor": "monitor",
    "ConstantCollapseCertificate": "certificate",
    "GaussianMixtureTeacher": "teachers",
    "PrecomputedTeacher": "teachers",
    "Rescue": "vae",
    "SimultaneousReport": "certificate",
    "TeacherGuidedVAE": "vae",
    "TeacherSearch": "teachers",
    "TemperedTeacher": "teachers",
    "rescue": "vae",
}
_WINGS = {
    "certificate",
    "datasets",
    "displays",
    "exceptions",
    "files",
    "information",
    "model_selection",
    "monitor",
    "nets",
    "objective",
    "protocol",
    "rows",
    "teachers",
    "training",
    "vae",
}


def __getattr__(name: str) -> Any:
    if name in _WINGS:
        return import_module(f"skvae.{name}")
    if name not in _WING_OF:
        raise AttributeError(f"module 'skvae' has no attribute {name!r}")
    found = getattr(import_module(f"skvae.{_WING_OF[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_WINGS})
