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
import sys
import warnings
from shared import ESTIMATORS
from sklearn.utils.estimator_checks import check_estimator

warnings.simplefilter("ignore")
for estimator in ESTIMATORS:
    parameters = estimator.get_params(deep=False)
    wanted = {"max_epochs": 20, "memory": sys.argv[1]}
    estimator.set_params(**{name: wanted[name] for name in wanted if name in parameters})
    results = check_estimator(estimator, on_skip=None, on_fail="raise")
    assert len(results) > 30
    others = [result for result in results if result["status"] != "passed"]
    assert not others, others
"""


def test_every_check_runs_and_passes_with_array_api_dispatch(tmp_path):
    here = str(Path(__file__).parents[1])
    environment = {**os.environ, "SCIPY_ARRAY_API": "1", "PYTHONPATH": here}
    command = [sys.executable, "-c", ALL_CHECKS, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
