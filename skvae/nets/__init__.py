"""Torch modules: layers, encoders, decoders, likelihoods, witnesses. None is given out.

`networks` puts them together from `layers`, `convolutions`, `autoregressive` layers or
`own_modules`, those of a user; `likelihoods` are what a decoder says, and `witnesses` read the
code.
"""

__all__: list[str] = []
