"""Our dense layers in the classes of pythae."""

from __future__ import annotations

from hand_loop import layers
from products import HIDDEN, LATENT_DIM
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder


class Encoder(BaseEncoder):
    def __init__(self, n_features):
        super().__init__()
        self.layers = layers([n_features, *HIDDEN, 2 * LATENT_DIM])

    def forward(self, x):
        mean, log_variance = self.layers(x).chunk(2, dim=1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):
    def __init__(self, n_features):
        super().__init__()
        self.layers = layers([LATENT_DIM, *reversed(HIDDEN), n_features])

    def forward(self, latent):
        return ModelOutput(reconstruction=self.layers(latent))
