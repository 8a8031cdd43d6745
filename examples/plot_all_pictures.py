"""
Which pictures are there of a model?
====================================

One model of one table, and the displays that a table has. All are made in scikit-learn's way:
``from_estimator`` or ``from_report`` draws, ``ax=`` says where, and what is drawn is an
attribute.
"""

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE, displays

frame = load_breast_cancer(as_frame=True).data.iloc[:, :10]
train, test = train_test_split(frame, test_size=0.5, random_state=0)
vae = TeacherGuidedVAE(
    latent_dim=6, hidden_layer_sizes=(64,), max_epochs=60, lr=3e-3, random_state=0
).fit(train)
report = ConstantCollapseCertificate(probe=True).certify(vae, test)

# %%
# **The report on one page**: what is certified, what a draw carries, what each dimension
# costs, and whether the decoder reads the code.

report.plot()

# %%
# **Margin and bound in training.** The bound, dashed, is of rows that training held out.

displays.MarginHistoryDisplay.from_estimator(vae)

# %%
# **The terms of the loss**, solid for training rows, dashed for held-out ones.

displays.LossHistoryDisplay.from_estimator(vae)

# %%
# **The code** on its first two principal axes, coloured by the teacher.

displays.LatentCodeDisplay.from_estimator(vae, test)

# %%
# **Samples against data**, column by column.

displays.QuantileDisplay.from_estimator(vae, test)

# %%
# **What a dimension does** to each column, from -2 to 2.

displays.TraversalDisplay.from_estimator(vae, test)

# %%
# **Teacher against witness**, at draws of the code.

displays.TeacherWitnessDisplay.from_estimator(vae, test, latent="sample")

# %%
# **Whether the witness is as sure as it may be.**

displays.WitnessCalibrationDisplay.from_estimator(vae, test, latent="sample", n_groups=6)
