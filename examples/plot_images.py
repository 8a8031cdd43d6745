"""
How do I train on images, and see what the code means?
======================================================

Give images as an array of four dimensions, or the rows and an `image_shape`. Here are digits
of 8 by 8 pixels in a small convolutional net.
"""

from sklearn.model_selection import train_test_split

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE
from skvae.datasets import load
from skvae.displays import ImageGridDisplay, LatentRateDisplay, TraversalDisplay

digits = load("digits")
X_train, X_test = train_test_split(digits.data, test_size=0.3, random_state=0)
vae = TeacherGuidedVAE(
    latent_dim=8,
    architecture="conv",
    image_shape=(1, 8, 8),
    channels=(8, 16),
    max_epochs=15,
    lr=5e-3,
    random_state=0,
).fit(X_train)
report = ConstantCollapseCertificate(latent="sample").certify(vae, X_test)
assert report.certified
print(report.line())

# %%
# Held-out images, and what is left of them after code and decoder.

ImageGridDisplay.from_estimator(vae, X_test)

# %%
# New images, below some of the data. Samples have the noise of the decoder.

ImageGridDisplay.from_estimator(vae, X_test, kind="sample", n_images=20)

# %%
# What each dimension of the code costs ...

LatentRateDisplay.from_estimator(vae, X_test)

# %%
# ... and what it does, from -2 to 2 with all others at zero.

TraversalDisplay.from_estimator(vae, X_test)
