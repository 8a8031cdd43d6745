"""The certificate as the score of a search over alignment_weight."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE


@pytest.fixture(scope="module")
def searches(digit_images):
    vae = TeacherGuidedVAE(
        latent_dim=8,
        hidden_layer_sizes=(128,),
        decoder_variance=1.0,
        lr=2e-3,
        max_epochs=40,
        device="cpu",
        random_state=0,
    )
    return [
        GridSearchCV(
            vae,
            {"alignment_weight": [0, 1, 10]},
            scoring=ConstantCollapseCertificate(),
            cv=3,
            n_jobs=n_jobs,
        ).fit(digit_images)
        for n_jobs in (1, 2)
    ]


# At weight 1 = beta the estimator rightly warns.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_search_in_a_collapse_prone_setting_picks_alignment(searches):
    scores = searches[0].cv_results_["mean_test_score"]
    assert searches[0].best_params_["alignment_weight"] > 0
    assert scores[0] <= 0 < scores[2]


def test_two_processes_give_the_same_numbers_to_the_bit(searches, digit_images):
    one, two = searches
    for key, values in one.cv_results_.items():
        if "time" not in key and "param" not in key:
            np.testing.assert_array_equal(two.cv_results_[key], values)
    np.testing.assert_array_equal(two.transform(digit_images), one.transform(digit_images))
