"""skvae: variational autoencoders with a certificate against constant collapse."""

from skvae._version import __version__
from skvae.certificate import ConstantCollapseCertificate
from skvae.displays import ArmComparisonDisplay, MarginHistoryDisplay
from skvae.reports import CertificateReport, SimultaneousReport
from skvae.rescues import Rescue, rescue
from skvae.teacher_search import TeacherSearch
from skvae.teachers import GaussianMixtureTeacher, PrecomputedTeacher, TemperedTeacher
from skvae.vae import TeacherGuidedVAE

__all__ = [
    "ArmComparisonDisplay",
    "CertificateReport",
    "ConstantCollapseCertificate",
    "GaussianMixtureTeacher",
    "MarginHistoryDisplay",
    "PrecomputedTeacher",
    "Rescue",
    "SimultaneousReport",
    "TeacherGuidedVAE",
    "TeacherSearch",
    "TemperedTeacher",
    "__version__",
    "rescue",
]
