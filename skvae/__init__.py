"""skvae: variational autoencoders with a certificate against constant collapse."""

from skvae._version import __version__
from skvae.certificate import CertificateReport, ConstantCollapseCertificate
from skvae.displays import MarginHistoryDisplay
from skvae.teachers import GaussianMixtureTeacher
from skvae.vae import TeacherGuidedVAE

__all__ = [
    "CertificateReport",
    "ConstantCollapseCertificate",
    "GaussianMixtureTeacher",
    "MarginHistoryDisplay",
    "TeacherGuidedVAE",
    "__version__",
]
