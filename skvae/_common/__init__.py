"""Small things that several wings need; it imports nothing else of skvae, and is not public.

`threads` and `ambient` keep the caller's threads and modes as they are, `randomness` has
private streams, `parameters` compares estimators, `progress` tells of long work,
`fit_callbacks` tells callbacks of scikit-learn of a fit, `spool` keeps rows on disk,
`whole_files` writes files or none, `docstrings` shares text.
"""

__all__: list[str] = []
