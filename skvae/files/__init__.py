"""Files of models, teachers, searches and reports, which run no code when they are read.

`archive` is the file: plain values and arrays, checked before anything is taken from it;
`values` makes them of objects, and the way back, `foreign` of estimators that are not ours;
`saved` gives classes `save` and `load`, and stamps their pickles.
"""

__all__: list[str] = []
