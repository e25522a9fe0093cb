"""Every two choices of different groups, tried together: they train, or a readable message refuses them."""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest
from fakes import EVERY, GROUPS, composed, files, typed  # noqa: F401
from test_contract import Watch

from dlrun.build import build
from dlrun.errors import ConfigError
from dlrun.train import fit

Pair = frozenset[str]
CASES = 24  #: that the work is shared out to

OF = {group: [choice for choice in EVERY if choice.startswith(f"{group}=")] for group in GROUPS}


def words(text: str) -> set[str]:
    """`group=a,b` as the choices a and b of the group; `group!=a,b` as all others of it."""
    group, _, names = text.partition("=")
    listed = {f"{group.rstrip('!')}={name}" for name in names.split(",")}
    return set(OF[group.rstrip("!")]) - listed if group.endswith("!") else listed


SURFACES = "=beale,cliff,himmelblau,long_valley,quadratic,rosenbrock,saddle"
IMAGES = "=cifar10,cifar100,digits,fashion_mnist,image_folder,kmnist,mnist"
BINARY = "=breast_cancer,circles,image_folder,moons,spirals,xor"
REGRESSIONS = "=california_housing,diabetes,linear,sawtooth,sequences,sine"
MARGINS = "=binary_cross_entropy,hinge,square,squared_hinge"
CURVATURE = "=gauss_newton,levenberg_marquardt,newton,saddle_free_newton,bfgs"
SEARCHES = f"{CURVATURE},conjugate_gradient,lbfgs"

#: choices that are not expected to go together: a pair of them is tried alone, and others in company
APART = [
    (f"dataset{SURFACES}", "architecture!=point"),
    (f"dataset!{SURFACES}", "architecture=point"),
    (f"dataset{SURFACES}", "loss!=auto"),
    (f"dataset{SURFACES}", "normalization!=none"),
    (f"dataset{SURFACES}", "regularizer=augmentation,dropout,label_smoothing,mixup"),
    (f"dataset!{IMAGES}", "architecture=cnn,densenet,resnet,resnet18,stn"),
    (f"dataset!{IMAGES}", "regularizer=augmentation"),
    ("dataset!=sequences", "architecture=gru,lstm,rnn"),
    (f"dataset!{BINARY}", f"loss{MARGINS}"),
    (f"dataset!{REGRESSIONS}", "loss=gaussian_nll,huber"),
    (f"dataset{REGRESSIONS}", "loss=cross_entropy"),
    (f"dataset{BINARY}", "loss=cross_entropy"),
    (f"dataset{REGRESSIONS}", "regularizer=label_smoothing"),
    ("dataset=cifar10,cifar100", f"optimizer{CURVATURE}"),
    ("architecture=point", "loss!=auto"),
    ("architecture=autoencoder", f"loss{MARGINS},cross_entropy"),
    ("architecture=autoencoder", "regularizer=label_smoothing"),
    ("architecture=linear,rbf,point,rnn,lstm,gru", "normalization!=none"),
    ("architecture!=cnn,densenet,resnet,resnet18,stn", "normalization=instance"),
    ("architecture!=mlp", "initializer=checkpoint,autoencoder_pretraining,rbm_pretraining"),
    ("normalization!=none", "initializer=autoencoder_pretraining,rbm_pretraining"),
    ("architecture=resnet18", "normalization=instance"),
    ("architecture=gru,lstm,rnn", "initializer=lsuv"),
    ("architecture=linear,point,rbf", "optimizer=muon"),
    ("architecture=densenet,resnet18,stn", f"optimizer{CURVATURE}"),
    ("dataset=cifar100", "architecture=rbf"),
    ("dataset=cifar100", "normalization=batch"),
    ("normalization=batch", "optimizer=gauss_newton,levenberg_marquardt"),
    (f"optimizer{SEARCHES}", "regularizer=augmentation,dropout,gradient_noise,mixup,weight_decay"),
    ("schedule!=cosine_restarts", "regularizer=snapshot_ensemble"),
]


@cache
def planned() -> tuple[list[tuple[str, list[Pair]]], list[Pair]]:
    """Configs that hold every pair not APART, each with the pairs that are new in it; and the pairs left over."""
    apart = {frozenset((a, b)) for one, other in APART for a in words(one) for b in words(other)}
    wanted = {frozenset((a, b)): None for g, h in combinations(GROUPS, 2) for a in OF[g] for b in OF[h]}
    alone = [pair for pair in wanted if pair in apart]
    for pair in alone:
        del wanted[pair]
    configs, used = [], Counter()
    while wanted:
        pair = next(iter(wanted))
        config = sorted(pair)
        for group in GROUPS:
            if any(choice in OF[group] for choice in config):
                continue
            free = [c for c in OF[group] if not any(frozenset((c, other)) in apart for other in config)]
            if not free:
                break
            config.append(max(free, key=lambda c: (sum(frozenset((c, other)) in wanted for other in config), -used[c])))
        else:
            new = [each for each in map(frozenset, combinations(config, 2)) if each in wanted]
            configs.append((config, new))
            used.update(config)
            for each in new:
                del wanted[each]
            continue
        alone.append(pair)
        del wanted[pair]
    return configs, alone


def tried(choices: list[str] | Pair, files: Path) -> bool:  # noqa: F811
    """Whether the choices train for two steps; False where they are refused in words that help."""
    try:
        stack = build([composed([*typed(*sorted(choices)), "batch_size=full"], files)])
        outcome = fit(stack, Watch(1))
    except ConfigError as refusal:
        assert all(any(word in line for word in ("=", *GROUPS)) for line in str(refusal).splitlines()), refusal
        return False
    assert outcome.status == ["finished"], outcome.status
    return True


@pytest.mark.parametrize("case", range(CASES))
def test_any_two_choices_train_or_are_refused(case: int, files: Path) -> None:  # noqa: F811
    configs, alone = planned()
    for config, new in configs[case::CASES]:
        if not tried(config, files):
            alone = [*alone, *new] 
    for pair in alone[case::CASES]:
        tried(pair, files)
