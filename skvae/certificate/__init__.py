"""The certificate: what is scored, gathered and reported of a code; imports no torch."""

from skvae.certificate.probes import SoftmaxProbe, probe_in_turn
from skvae.certificate.reports import CertificateReport, SimultaneousReport
from skvae.certificate.scorer import ConstantCollapseCertificate

__all__ = [
    "CertificateReport",
    "ConstantCollapseCertificate",
    "SimultaneousReport",
    "SoftmaxProbe",
    "probe_in_turn",
]
