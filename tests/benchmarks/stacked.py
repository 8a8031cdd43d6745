"""Several models trained one after another and together, an epoch of each; and two searches.

    python tests/benchmarks/stacked.py --out FOLDER

The same nets, on digits: by their own step; in a stack as `StackedGridSearchCV` trains them,
which is a vmap of the forward pass; by a vmap of the gradient; and with batched products that
are written out by hand for this one net.
"""

from __future__ import annotations

import math
import warnings

import torch
from sklearn.model_selection import GridSearchCV
from timing import Session, parser
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher, TeacherGuidedVAE
from skvae.datasets import digits
from skvae.information import best_constant_student
from skvae.model_selection import StackedGridSearchCV
from skvae.rows.scaling import Standardization
from skvae.training.batches import TrainingRows
from skvae.training.building import build_net
from skvae.training.denormals import without_denormals
from skvae.training.stacked import _Objective, _Stack

# Hidden layers, latent dimensions, batch size.
NETS = (((256, 256), 16, 128), ((64,), 8, 64), ((64,), 8, 32))
ALIGNMENT_WEIGHTS = (3.0, 10.0, 30.0, 100.0)
BETAS = (0.5, 1.0)
ENCODER_INPUT_BOUND = 10.0
GRID = {"alignment_weight": [3.0, 10.0, 30.0, 100.0], "beta": [0.5, 1.0]}
FOLDS = 3


class Table:
    """Digits and their teacher, as nets see them."""

    def __init__(self):
        self.X = digits()
        T = GaussianMixtureTeacher(random_state=0).fit(self.X).predict_proba(self.X)
        self.units = Standardization.of(self.X)
        self.average_teacher = best_constant_student(T)
        self.rows = TrainingRows(self.X, T, self.units)

    def nets(self, n_models, hidden, latent_dim, batch_size):
        return [self._net(number, hidden, latent_dim, batch_size) for number in range(n_models)]

    def _net(self, number, hidden, latent_dim, batch_size):
        vae = TeacherGuidedVAE(
            batch_size=batch_size,
            alignment_weight=ALIGNMENT_WEIGHTS[number % 4],
            beta=BETAS[number // 4 % 2],
            ema_decay=None,
            precision="fp32",
            device="cpu",
        )
        architecture = {
            "n_features": self.X.shape[1],
            "latent_dim": latent_dim,
            "hidden_layer_sizes": hidden,
            "likelihood": "gaussian",
        }
        net = build_net(
            vae.get_params(deep=False),
            architecture,
            self.units,
            self.average_teacher,
            n_rows=len(self.X),
            seed=number,
            max_epochs=1,
        )
        return net.initialize()


class OneByOne:
    """The step of each net by itself."""

    def __init__(self, nets, rows):
        self.nets = nets
        self.rows = rows

    def train(self, n_epochs):
        for net in self.nets:
            net.fit_loop(self.rows, epochs=n_epochs)


class Together(_Stack):
    """The stack that the search trains; losses go to no history."""

    def __init__(self, nets, rows):
        super().__init__(nets)
        self.batches = [net.get_iterator(rows) for net in nets]

    def train(self, n_epochs):
        with without_denormals():
            for _ in range(n_epochs):
                for net in self.nets:
                    net.history.new_epoch()
                    net.history.record("epoch", len(net.history))
                self.run_epoch(self.batches)


class VmapOfGradient(Together):
    """Each gradient is taken inside the vmap."""

    def __init__(self, nets, rows):
        super().__init__(nets, rows)
        objective = _Objective(nets[0])

        def evaluate(parameters, buffers, *batch):
            state = {f"module.{name}": each for name, each in (parameters | buffers).items()}
            return functional_call(objective, state, batch, tie_weights=False)

        self.gradient = vmap(grad(evaluate, has_aux=True))

    @torch.no_grad()
    def run_epoch(self, batches):
        sums = 0.0
        for x, T, noise in self._draw(batches):
            weights = {name: each.detach() for name, each in self.parameters.items()}
            gradients, terms = self.gradient(weights, self.buffers, x, T, noise, *self.weights)
            for name, parameter in self.parameters.items():
                parameter.grad = gradients[name]
            self.optimizer.update()
            sums = sums + terms.double()
        return sums


class ByHand(Together):
    """Batched products in place of vmap, for this likelihood and this witness alone."""

    def __init__(self, nets, rows):
        super().__init__(nets, rows)
        self.floor = self.buffers["decoder.likelihood.log_variance_floor"].unsqueeze(1)
        self.evaluate = self._evaluate

    def _dense(self, name, h):
        weight, bias = self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]
        return torch.baddbmm(bias.unsqueeze(1), h, weight.transpose(1, 2))

    def _layers(self, name, h):
        number = 0
        while f"{name}.layers.{number}.weight" in self.parameters:
            h = self._dense(f"{name}.layers.{number}", torch.relu(h) if number else h)
            number += 2
        return h

    def _evaluate(self, parameters, buffers, x, T, noise, beta, alignment_weight):
        bounded = x.clamp(-ENCODER_INPUT_BOUND, ENCODER_INPUT_BOUND)
        mean, log_variance = self._layers("encoder", bounded).chunk(2, dim=2)
        latent = mean + torch.exp(0.5 * log_variance) * noise
        log_witness = torch.log_softmax(self._dense("witness.head", latent), dim=2)
        decoded = self._layers("decoder", latent)
        excess = parameters["decoder.likelihood.excess_log_variance"]
        variance = self.floor + functional.softplus(excess).unsqueeze(1)
        squared_error = (x - decoded).square() * torch.exp(-variance)
        reconstruction = 0.5 * (squared_error + variance + math.log(2 * math.pi)).sum((1, 2))
        rate = 0.5 * (mean.square() + torch.expm1(log_variance) - log_variance).sum((1, 2))
        alignment = (torch.xlogy(T, T) - T * log_witness).sum((1, 2))
        objective = reconstruction + beta * rate + alignment_weight * alignment
        terms = torch.stack([reconstruction, rate, alignment], dim=1).detach()
        return objective / x.shape[1], terms


WAYS = {
    "one after another": OneByOne,
    "stacked: vmap of the forward pass": Together,
    "vmap of the gradient": VmapOfGradient,
    "batched products by hand": ByHand,
}


def epochs(session, table, options):
    for hidden, latent_dim, batch_size in NETS:
        for n_models in options.models:
            ways = {
                name: way(table.nets(n_models, hidden, latent_dim, batch_size), table.rows)
                for name, way in WAYS.items()
            }
            session.compare(
                f"{n_models} x hidden {hidden}, batch {batch_size}",
                {name: lambda way=way: way.train(options.epochs) for name, way in ways.items()},
                ("one after another",),
            )


def searches(session, table, options):
    for hidden, latent_dim, batch_size in NETS[:2]:
        vae = TeacherGuidedVAE(
            latent_dim=latent_dim,
            hidden_layer_sizes=hidden,
            batch_size=batch_size,
            max_epochs=options.search_epochs,
            early_stopping=False,
            precision="fp32",
            device="cpu",
            random_state=0,
        )
        session.compare(
            f"8 candidates, {FOLDS} folds, {hidden}, batch {batch_size}",
            {
                search.__name__: lambda vae=vae, search=search: search(
                    vae, GRID, scoring=ConstantCollapseCertificate(), cv=FOLDS
                ).fit(table.X)
                for search in (GridSearchCV, StackedGridSearchCV)
            },
            ("GridSearchCV",),
        )


def main():
    command = parser(__doc__)
    command.add_argument("--models", nargs="+", type=int, default=(4, 6, 8))
    command.add_argument("--epochs", type=int, default=2)
    command.add_argument("--search-epochs", type=int, default=10)
    options = command.parse_args()
    # A few epochs certify nothing, and say so.
    warnings.simplefilter("ignore")
    session = Session("stacked", options)
    table = Table()
    session.say(f"seconds of {options.epochs} epochs of all models")
    epochs(session, table, options)
    session.say("")
    session.say(f"seconds of a search, {options.search_epochs} epochs a fit, refit included")
    searches(session, table, options)
    session.close()


if __name__ == "__main__":
    main()
