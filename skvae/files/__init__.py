"""Files of models, teachers, searches, reports and checkpoints, which run no code when read.

`archive` is the file: plain values and arrays, checked before anything is taken from it.
"""

__all__: list[str] = []
