"""The certificate: what is scored, gathered and reported of a code; imports no torch.

`scorer` is what a user calls; `subjects` are what is certified, `evidence` what one pass
gathers, `spread` of codes and `decoders` of what is decoded, `readings` what a witness makes of
it, `probes` witnesses fitted afterwards, `given` the door for arrays alone, `reports` what is
found and how it prints, `simultaneous` by several teachers, `pages` how it looks in a browser,
`forms` how other programs read it, `verdicts` what that means and what to do next.
"""

from skvae.certificate.probes import SoftmaxProbe, probe_in_turn
from skvae.certificate.reports import CertificateReport
from skvae.certificate.scorer import ConstantCollapseCertificate
from skvae.certificate.simultaneous import SimultaneousReport

__all__ = [
    "CertificateReport",
    "ConstantCollapseCertificate",
    "SimultaneousReport",
    "SoftmaxProbe",
    "probe_in_turn",
]
