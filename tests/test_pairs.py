"""Every two choices of different groups, tried together: they train, or a readable message refuses them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from functools import cache
from itertools import combinations
from pathlib import Path

import fakes
import pytest
from fakes import EVERY, composed, files, typed  # noqa: F401
from test_contract import Watch

from dlrun.errors import ConfigError
from dlrun.training.build import build
from dlrun.training.train import fit

pytestmark = pytest.mark.slow

Pair = frozenset[str]
CASES = 24  #: that the work is shared out to

#: without diagnostics, which change nothing of a training: tests/test_diagnostics.py has every one of them on every
#: architecture and every dataset
GROUPS = [group for group in fakes.GROUPS if group != "diagnostics"]
OF = {group: [choice for choice in EVERY if choice.startswith(f"{group}=")] for group in GROUPS}


def words(text: str) -> set[str]:
    """`group=a,b` as the choices a and b of the group; `group!=a,b` as all others of it."""
    group, _, names = text.partition("=")
    listed = {f"{group.rstrip('!')}={name}" for name in names.split(",")}
    return set(OF[group.rstrip("!")]) - listed if group.endswith("!") else listed


SURFACES = "=beale,cliff,himmelblau,long_valley,quadratic,random_quadratic,rosenbrock,saddle,slope"
IMAGES = "=cifar10,cifar100,digits,fashion_mnist,image_folder,kmnist,mnist"
BINARY = "=breast_cancer,circles,image_folder,moons,spirals,xor"
REGRESSIONS = "=california_housing,diabetes,given,linear,sawtooth,sequences,sine"
MARGINS = "=binary_cross_entropy,hinge,square,squared_hinge"
CURVATURE = "=gauss_newton,levenberg_marquardt,newton,saddle_free_newton,bfgs"
PENALTIES = "elastic_net,l1,l2,max_norm,weight_decay"
SEARCHES = f"{CURVATURE},conjugate_gradient,lbfgs"

#: choices that are not expected to go together: a pair of them is tried alone, and others in company
APART = [
    (f"dataset{SURFACES}", "architecture!=point"),
    (f"dataset!{SURFACES}", "architecture=point"),
    (f"dataset{SURFACES}", "loss!=auto"),
    (f"dataset{SURFACES}", "normalization!=none"),
    (f"dataset{SURFACES}", "regularizer=augmentation,dropout,label_smoothing,mixup"),
    (f"dataset{SURFACES}", f"regularizer={PENALTIES}"),
    (f"dataset!{IMAGES}", "architecture=cnn,densenet,resnet,resnet18,stn"),
    (f"dataset!{IMAGES}", "regularizer=augmentation"),
    ("dataset!=sequences", "architecture=gru,lstm,rnn"),
    (f"dataset!{BINARY}", f"loss{MARGINS}"),
    (f"dataset!{REGRESSIONS}", "loss=gaussian_nll,huber"),
    (f"dataset{REGRESSIONS}", "loss=cross_entropy"),
    (f"dataset{BINARY}", "loss=cross_entropy"),
    (f"dataset{REGRESSIONS}", "regularizer=label_smoothing"),
    ("dataset=cifar10,cifar100,fashion_mnist,kmnist,mnist", f"optimizer{CURVATURE}"),
    ("architecture=point", "loss!=auto"),
    ("architecture=autoencoder", f"loss{MARGINS},cross_entropy"),
    ("architecture=autoencoder", "regularizer=label_smoothing"),
    ("architecture=point", f"regularizer={PENALTIES}"),
    ("architecture=linear,polynomial,rbf,point,rnn,lstm,gru", "normalization!=none"),
    ("architecture!=cnn,densenet,resnet,resnet18,stn", "normalization=instance"),
    ("architecture!=mlp", "initializer=checkpoint,autoencoder_pretraining,rbm_pretraining"),
    ("dataset!=iris", "initializer=given"),  # whose values are as many as one network has parameters
    ("architecture!=mlp", "initializer=given"),
    ("normalization!=none", "initializer=given"),
    ("loss=gaussian_nll,huber", "initializer=given"),
    ("normalization!=none", "initializer=autoencoder_pretraining,rbm_pretraining"),
    ("architecture=resnet18", "normalization=instance"),
    ("architecture=gru,lstm,rnn", "initializer=lsuv"),
    ("architecture=linear,point,rbf", "optimizer=muon"),
    ("architecture=autoencoder,densenet,resnet,resnet18,stn", f"optimizer{CURVATURE}"),
    ("dataset=cifar100", "architecture=rbf"),
    ("dataset=cifar100", "normalization=batch"),
    ("normalization=group,instance,layer", "optimizer=newton,saddle_free_newton"),
    ("normalization=batch", "optimizer=gauss_newton,levenberg_marquardt"),
    (f"optimizer{SEARCHES}", "regularizer=augmentation,dropout,gradient_noise,mixup,weight_decay"),
    ("schedule!=cosine_restarts", "regularizer=snapshot_ensemble"),
]


@cache
def planned() -> tuple[list[tuple[list[str], list[Pair]]], list[Pair]]:
    """Configs that hold every pair not APART, each with the pairs that are new in it; and the pairs to try alone."""
    apart = {frozenset((a, b)) for one, other in APART for a in words(one) for b in words(other)}
    every = [frozenset((a, b)) for g, h in combinations(GROUPS, 2) for a in OF[g] for b in OF[h]]
    wanted = dict.fromkeys(pair for pair in every if pair not in apart)  # a set that keeps its order
    alone = [pair for pair in every if pair in apart]
    configs: list[tuple[list[str], list[Pair]]] = []
    used: Counter[str] = Counter()
    while wanted:
        pair = next(iter(wanted))
        config = completed(sorted(pair), apart, wanted.keys(), used)
        new = [each for each in map(frozenset, combinations(config, 2)) if each in wanted]
        if config:
            configs.append((config, new))
            used.update(config)
        else:
            alone.append(pair)
        for each in new or [pair]:
            del wanted[each]
    return configs, alone


def completed(config: list[str], apart: Set[Pair], wanted: Set[Pair], used: Counter[str]) -> list[str]:
    """The two choices with one of each other group, so that many wanted pairs are in it; empty where APART forbids."""
    for group in GROUPS:
        if any(choice in OF[group] for choice in config):
            continue
        new = {
            choice: sum(frozenset((choice, other)) in wanted for other in config)
            for choice in OF[group]
            if not any(frozenset((choice, other)) in apart for other in config)
        }
        if not new:
            return []
        config = [*config, max(new, key=lambda choice: (new[choice], -used[choice]))]
    return config


def trains(chosen: Iterable[str], files: Path) -> bool:  # noqa: F811
    """Whether the choices train for their two steps; False where they are refused in words that help.

    What is refused is refused before a sweep would begin, for which nothing is initialized.
    """
    config = composed([*typed(*sorted(chosen)), "batch_size=full"], files)
    try:
        build([config], initialize=False)
    except ConfigError as refusal:
        lines = str(refusal).splitlines()
        assert all(any(word in line for word in ("=", *GROUPS)) for line in lines), f"{sorted(chosen)}: {refusal}"
        return False
    try:
        status = fit(build([config]), Watch(1)).status
    except Exception as problem:
        raise AssertionError(f"{sorted(chosen)}: {problem!r}") from problem
    # A Gaussian likelihood has no floor: a rate that was not chosen for it may lose the network, which is told.
    ends = [["finished"], ["diverged"]] if "loss=gaussian_nll" in chosen else [["finished"]]
    assert status in ends, f"{sorted(chosen)}: {status}"
    return True


@pytest.mark.parametrize("case", range(CASES))
def test_any_two_choices_train_or_are_refused(case: int, files: Path) -> None:  # noqa: F811
    configs, alone = planned()
    pairs = alone[case::CASES]
    for config, new in configs[case::CASES]:
        if not trains(config, files):
            pairs += new
    for pair in pairs:
        trains(pair, files)


def test_no_pair_is_left_out() -> None:
    configs, alone = planned()
    inside = [pair for config, _ in configs for pair in map(frozenset, combinations(config, 2))]
    assert all(len(config) == len(GROUPS) for config, _ in configs)
    total = sum(len(OF[g]) * len(OF[h]) for g, h in combinations(GROUPS, 2))
    assert len({*inside, *alone}) == total
    assert sum(len(new) for _, new in configs) + len(alone) == total
