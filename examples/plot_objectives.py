"""
Which objective keeps the code, and at what rate?
=================================================

The usual remedies side by side, under one certificate: annealing, free bits, a capacity, MMD,
and a teacher. The decoder's noise is low here, so that a code pays, and the plain VAE has one
too; the last arm is the same VAE where the noise is high. What differs is how many nats a
code takes, and whether the model's own witness can show for it.

One seed and few epochs: read it as an example, and the record for figures.
"""

from skvae import protocol
from skvae.datasets import digits
from skvae.displays import ArmComparisonDisplay, RateBoundDisplay

arms = [
    "teacher-guided",
    "vae",
    "beta-vae-4",
    "kl-annealing",
    "free-bits",
    "kl-capacity",
    "info-vae",
    "collapse",
]
result = protocol.run(
    digits(),
    arms=arms,
    seeds=[0],
    epochs=20,
    setting={"latent_dim": 8, "hidden_layer_sizes": (64,), "lr": 3e-3},
)

# %%
# Filled is the bound of the model's own witness, which none of the others trains; open that of
# a probe, a linear classifier fitted to the codes after the fact. On the right is what the
# code costs.

ArmComparisonDisplay.from_protocol(result["runs"])

# %%
# The same with the rate as an axis. But for the last all codes are full, and a probe is
# certified for each.

RateBoundDisplay.from_protocol(result["runs"])

# %%
# All figures, as a table for a text:

print(protocol.markdown_table(result["runs"]))
