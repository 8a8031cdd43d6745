"""Torch modules: layers, encoders, decoders, likelihoods, witnesses. None is given out."""

__all__: list[str] = []
