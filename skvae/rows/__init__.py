"""From what a user has to rows the net is fed: data sets, images, scaling, fingerprints."""

from skvae.rows.fingerprint import RowFingerprint
from skvae.rows.sources import as_rows

__all__ = [
    "RowFingerprint",
    "as_rows",
]
