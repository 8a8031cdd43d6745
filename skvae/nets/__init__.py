"""Torch modules: layers, encoders, decoders, likelihoods, witnesses. None is given out.

`networks` puts them together from `layers`, `convolutions`, `autoregressive` layers or
`own_modules`, those of a user; `likelihoods` are what a decoder says, and `witnesses` read the
code. `missing` says what encoders are shown where entries of a row are missing. `standalone`
has what is handed out: modules that want rows in the units of the data.
"""

__all__: list[str] = []
