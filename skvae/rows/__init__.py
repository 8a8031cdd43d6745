"""From what a user has to rows the net is fed.

`tables` is the door: `sources` reads data sets, `frames` and `numbers` tell what holds numbers,
`columns` makes numbers of text and categories, of which `column_values` reads one at a time,
`images` makes rows of them, `sparse` keeps sparse ones so, `stores` reads large ones by blocks,
`scaling` finds their units and `counts` their sizes, `finite` looks for NaN, `missing` has
moments of what is there besides and fills it, `fingerprint` tells rows that were seen from
others, and `weights` says how much each counts.
"""

from skvae.rows.columns import Columns
from skvae.rows.fingerprint import RowFingerprint
from skvae.rows.sources import as_rows
from skvae.rows.sparse import SparseRows

__all__ = [
    "Columns",
    "RowFingerprint",
    "SparseRows",
    "as_rows",
]
