"""
How do I watch a deployed encoder on a stream?
==============================================

By evidence that may be looked at after every batch, and stopped at any time: the log e-value
of `SequentialMargin`. Looking often costs nothing here, where a fixed bound would have to pay
for each look. One monitor follows the rows as they should come; another those of a sensor
that breaks and says the same of all.
"""

import numpy as np
from sklearn.model_selection import train_test_split

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE
from skvae.datasets import digits
from skvae.displays import StreamDisplay
from skvae.information import SequentialMargin

X_train, X_new = train_test_split(digits(), test_size=0.4, random_state=0)
vae = TeacherGuidedVAE(
    latent_dim=8, hidden_layer_sizes=(64,), max_epochs=25, lr=3e-3, random_state=0
).fit(X_train)
certificate = ConstantCollapseCertificate(latent="sample")


class Broken:
    """The model behind an encoder that is shown one and the same picture."""

    average_teacher_ = vae.average_teacher_
    teacher_proba = staticmethod(vae.teacher_proba)

    def witness_log_proba(self, X, latent="mean", random_state=None):
        same = np.tile(X_new[:1], (len(X), 1))
        return vae.witness_log_proba(same, latent=latent, random_state=random_state)


monitors = {}
for name, model in (("encoder at work", vae), ("encoder that sees nothing", Broken())):
    monitors[name] = SequentialMargin(vae.average_teacher_)
    for batch in np.array_split(X_new, 24):
        certificate.update(monitors[name], model, batch)

# %%
# A monitor that reaches the dotted line says, with 95% confidence, that the code is not
# constant.

display = StreamDisplay.from_monitor(monitors, n_points=40)
print({name: rows and f"after {rows} rows" for name, rows in display.reached_.items()})
assert display.reached_["encoder at work"] is not None
assert display.reached_["encoder that sees nothing"] is None

# %%
# Evidence piles up: it says that the encoder *has* worked. To see it break, begin a monitor
# anew, say every day, and look at the last one.

later = SequentialMargin(vae.average_teacher_)
for batch in np.array_split(X_new[300:], 6):
    certificate.update(later, Broken(), batch)
print(f"today: log e-value {later.log_e_value:.2f} after {later.n_samples} rows")
