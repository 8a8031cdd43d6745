"""
How do I get a first certificate on my own CSV file?
====================================================

With a pipeline, as for any estimator of scikit-learn: a `ColumnTransformer` makes numbers of
the columns, and the autoencoder is the last step. Here is a file with a column of text and
with missing values.
"""

import tempfile
from pathlib import Path

import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_wine
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE

wine = load_wine(as_frame=True).data
wine["colour"] = pd.cut(wine.color_intensity, 3, labels=["pale", "medium", "deep"]).astype(str)
wine.loc[::9, ["ash", "colour"]] = None
path = Path(tempfile.mkdtemp(), "wine.csv")
wine.to_csv(path, index=False)

# %%
# From here on it is your own file.

frame = pd.read_csv(path)
train, test = train_test_split(frame, test_size=0.5, random_state=0)
as_numbers = make_column_transformer(
    (
        make_pipeline(
            SimpleImputer(strategy="most_frequent"),
            OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        ),
        make_column_selector(dtype_exclude="number"),
    ),
    remainder=SimpleImputer(),
)
pipeline = make_pipeline(as_numbers, TeacherGuidedVAE(latent_dim=4, random_state=0))
report = ConstantCollapseCertificate().certify(pipeline.fit(train), test)
print(report)

# %%
# A picture of the report: what the code is certified for, what a draw of it carries, which
# dimensions do, and whether the decoder reads them.

report.plot()

# %%
# Without a pipeline the model takes the table as it is: ``likelihood="auto"`` gives each
# column a density of its own, and ``missing="mask"`` leaves missing entries out of it. Samples
# are then tables like yours.

vae = TeacherGuidedVAE(latent_dim=4, likelihood="auto", missing="mask", random_state=0)
print(ConstantCollapseCertificate().certify(vae.fit(train), test).line())
vae.sample(5)[["alcohol", "ash", "colour"]]
