"""From what a user has to rows the net is fed.

`tables` is the door: `sources` reads data sets, `frames` and `numbers` tell what holds numbers,
`images` makes rows of them, `scaling` finds their units, `finite` looks for NaN, `missing` has
moments of what is there besides and fills it, `fingerprint` tells rows that were seen from
others, and `weights` says how much each counts.
"""

from skvae.rows.fingerprint import RowFingerprint
from skvae.rows.sources import as_rows

__all__ = [
    "RowFingerprint",
    "as_rows",
]
