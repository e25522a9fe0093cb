"""The commands that docs/ shows for a choice: a run with it, and a sweep over one of its keys."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from dlrun.config.catalogue import Constraint, conf_dir, targets
from dlrun.config.explained import typed

#: what a run needs beside the choice, by a part of its class's name
NEEDED = {
    r"architectures\.point\.": "dataset=rosenbrock",
    r"architectures\.recurrent\.": "dataset=sequences",
    r"datasets\.image_folder\.": "dataset.path=photos dataset.size=32",
    r"datasets\.sequences\.": "architecture=gru",
    r"datasets\.surfaces\.": "architecture=point",
    r"datasets\.table\.": "dataset.path=houses.csv dataset.target=price",
    r"diagnostics\.decision_boundary\.": "dataset=moons",
    r"diagnostics\.fit\.": "dataset=sine",
    r"diagnostics\.lags\.": "dataset=sequences architecture=rnn",
    r"diagnostics\.moments\.": "normalization=batch",
    r"diagnostics\.paths\.": "diagnostics.paths.of=[FOLDER]",
    r"initializers\.checkpoint\.": "initializer.path=FOLDER",
    r"initializers\.given\.": "dataset=linear architecture=linear initializer.values=[5,10]",
    r"initializers\.rbm\.": "architecture.activation=sigmoid",
    r"losses\.(BinaryCrossEntropy|Hinge|Square|SquaredHinge)$": "dataset=breast_cancer",
    r"losses\.(GaussianNLL|Huber)$": "dataset=diabetes",
    r"normalizations\.InstanceNorm$": "architecture=cnn",
    r"optimizers\.(conjugate_gradient|newton|quasi_newton)\.": "dataset=iris batch_size=full architecture.hidden=[16]",
    r"optimizers\.torch_optim\.": "optimizer.name=Rprop",
    r"regularizers\.averaging\.SnapshotEnsemble$": "schedule=cosine_restarts",
    r"schedules\.piecewise\.Manual$": "schedule.rates={0:0.1,10:0.01}",
}
#: sweeps that do not follow from a key's default
SWEPT = {
    "architecture=densenet": "architecture.growth=12,24",
    "architecture=resnet": "architecture.depth=20,32,44",
    "dataset=given": "lr=0.001,0.01,0.1",
    "dataset=himmelblau": "lr=0.001,0.01,0.1",
    "dataset=table": "dataset.scale=standard,minmax",
    "diagnostics=landscape": "diagnostics.landscape.points=25,51",
    "initializer=given": "lr=0.001,0.01,0.1",
    "optimizer=gauss_newton": "lr=0.1,0.3,1",
    "optimizer=newton": "lr=0.01,0.1,1",
}


def commands(group: str, name: str, keys: Mapping[str, tuple[Any, Constraint]]) -> list[str]:
    """A run, and a sweep over the first key that has other values, or else over seeds.

    keys: the choice's own as they are typed, then those that its group shares, with their defaults.
    """
    chosen = f"{group}={name}"
    words = [f"{group}=[{name}]" if group == "regularizer" else chosen]
    for target in targets(conf_dir() / group / f"{name}.yaml"):
        words += [word for part, needed in NEEDED.items() if re.search(part, target) for word in needed.split()]
    run, sweep = words, SWEPT.get(chosen, "seed=range(3)")
    for key, (default, constraint) in {} if chosen in SWEPT or name == "none" else keys.items():
        swept = [typed(value) for value in values(default, constraint)]
        if len(swept) > 1:
            key = "lr" if key == "optimizer.lr" else key
            run, sweep = [*words, f"{key}={typed(default)}"], f"{key}={','.join(swept)}"
            break
    return [shlex.join(["dlrun", *run]), shlex.join(["dlrun", "-m", *words, sweep])]


def values(default: Any, constraint: Constraint) -> list[Any]:
    """The default and others that are allowed, three at most."""
    whole, bounded = "int" in constraint.text, "in " in constraint.text
    found = [default, *(word for word in constraint.words if word != default)]
    if isinstance(default, bool):
        found = [default, not default]
    elif isinstance(default, list):
        halved = [item // 2 if whole else item / 2 for item in default]
        found = [halved, default] if halved != default else [default]
    elif isinstance(default, int | float):
        factors = [1, 2, 4] if whole else [0.5, 1, 2] if bounded else [0.1, 1, 10]
        found = [default * factor for factor in factors] if default else [0, 1 if whole else 0.1]
        if bounded and default >= 0.5:  # a share such as 0.99, that counts by how far from 1 it is
            found = [1 - 10 * (1 - default), default, 1 - 0.1 * (1 - default)]
    return [value for value in found if constraint.allows(value)][:3]
