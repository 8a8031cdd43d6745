"""Torch modules: layers, encoders, decoders, likelihoods, witnesses. None is given out.

`networks` puts them together from `layers`, `convolutions`, `autoregressive` layers or
`own_modules`, those of a user; `likelihoods` are what a decoder says, those of `counts` beside
the sizes of rows and `mixed` ones of columns of several kinds, and `witnesses` read the code.
`shown` says what layers see of a row, and `missing` what they see where its entries are
missing. `standalone` has what is handed out: modules that want rows in the units of the data.
"""

__all__: list[str] = []
