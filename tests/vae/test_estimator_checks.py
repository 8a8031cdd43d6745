"""scikit-learn's own checks of an estimator: none expected to fail, none left out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from shared import ESTIMATORS
from sklearn.utils.estimator_checks import parametrize_with_checks


@parametrize_with_checks(ESTIMATORS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
# Some checks fit a few epochs on noise.
@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
def test_scikit_learn_estimator_checks(estimator, check):
    if getattr(check, "func", check).__name__ == "check_array_api_input":
        pytest.skip("needs SCIPY_ARRAY_API=1 from the start: the next test runs it")
    check(estimator)


ALL_CHECKS = """
import warnings
from shared import ESTIMATORS
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

warnings.simplefilter("ignore")
estimator, *others = ESTIMATORS
results = check_estimator(estimator, on_skip=None, on_fail="raise")
assert len(results) > 30
assert all(result["status"] == "passed" for result in results), results
# The only check that is skipped where dispatch is off.
for other in others:
    for clone, check in estimator_checks_generator(other):
        if getattr(check, "func", check).__name__ == "check_array_api_input":
            check(clone)
"""


def test_every_check_runs_and_passes_with_array_api_dispatch():
    here = str(Path(__file__).parents[1])
    environment = {**os.environ, "SCIPY_ARRAY_API": "1", "PYTHONPATH": here}
    command = [sys.executable, "-c", ALL_CHECKS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
