"""Drawn parts of what scripts beside this try by the thousand, and the page on saving."""

import doctest
from pathlib import Path

import mutated_files
import pytest
import random_settings

PAGE = Path(__file__).parents[1] / "docs" / "saving.rst"


@pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")
def test_damaged_and_forged_files_are_refused_or_are_what_they_were(tmp_path):
    files = mutated_files.saved_files(tmp_path)
    outcomes, _, largest = mutated_files.survey(files, 240, tmp_path / "changed.skvae", seed=1)
    damages = {change.__name__ for change in mutated_files.DAMAGES}
    assert damages < {change for change, _ in outcomes}
    assert [key for key in outcomes if key[1] == "another" and key[0] in damages] == []
    assert largest[0] < mutated_files.MOST_MEMORY


def test_models_of_random_settings_are_the_same_saved_cloned_and_pickled(tmp_path):
    _, drawn_of = random_settings.survey(8, tmp_path, seed=1)
    assert drawn_of["random_state"] == 8


def test_every_parameter_is_drawn():
    from skvae import TeacherGuidedVAE

    assert random_settings.VALUES.keys() == TeacherGuidedVAE().get_params(deep=False).keys()


def test_examples_of_the_page_run():
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    found = doctest.testfile(str(PAGE), module_relative=False, optionflags=options)
    assert found.attempted > 10
    assert found.failed == 0
