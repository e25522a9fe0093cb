"""Which choices do not go together, as far as only the built stack can tell."""

from __future__ import annotations

from typing import Any

from dlrun.errors import ConfigError
from dlrun.regularizers.regularizer import Regularizer
from dlrun.training.machine import HALVES
from dlrun.training.objective import refuse_once_differentiable
from dlrun.training.stack import Stack

ON_WEIGHTS = ("penalty", "decay", "project")  #: the hooks of a regularizer that get at masked parameters
MATRIX = 4096  #: parameters up to which an optimizer may keep a matrix of them, 128 MiB in double precision


def refuse(node: dict[str, Any], stack: Stack) -> None:
    """ConfigError where a choice would have no effect, or the update rule needs what this training does not give."""
    for key, regularizer, mask in zip(node["regularizer"], stack.regularizers, stack.masks, strict=True):
        acts = any(getattr(type(regularizer), hook) is not getattr(Regularizer, hook) for hook in ON_WEIGHTS)
        if acts and not mask.any():
            also = f": set regularizer.{key}.include_bias=true" if "include_bias" in node["regularizer"][key] else ""
            raise ConfigError(f"regularizer={key} is for the weights of linear maps, and this network has none{also}")
    stack.rule.bind(stack.layout, stack.theta)  # a rule that needs other layers than this network has says so
    rule, params, name = stack.rule, stack.layout.params, f"the optimizer {type(stack.rule).__name__}"
    if stack.scaled and not rule.traceable:
        raise ConfigError(
            f"precision=fp16 leaves out steps whose gradients are too large for it, which {name} does not allow: "
            "choose precision=bf16 or another optimizer"
        )
    if node["precision"] in HALVES and (rule.curvature or rule.searches):
        raise ConfigError(
            f"{name} compares losses or solves equations with their derivatives, for which "
            f"precision={node['precision']} is too coarse: choose precision=float32 or float64"
        )
    if rule.curvature and params > MATRIX:
        size = params**2 * stack.theta.element_size() / 2**20
        raise ConfigError(
            f"{name} keeps a matrix with a row and a column for every parameter, {size:,.0f} MiB for "
            f"{params:,} parameters, and the limit is {MATRIX:,} parameters; choose a smaller architecture, or "
            "optimizer=lbfgs or conjugate_gradient, which keep vectors only"
        )
    if not (rule.curvature or rule.searches):
        return
    if any(regularizer.random for regularizer in stack.regularizers):
        raise ConfigError(
            f"{name} looks at the loss more than once in a step, which dropout, augmentation, mixup and noise "
            "make another one each time: leave them out, or choose another optimizer"
        )
    if any(type(regularizer).decay is not Regularizer.decay for regularizer in stack.regularizers):
        raise ConfigError(
            f"{name} looks at the loss alone, and regularizer=weight_decay changes the parameters beside it: "
            "regularizer=l2 adds the same penalty to the loss"
        )
    if "trained" in stack.moving:
        raise ConfigError(
            f"{name} changes all parameters at once, and this architecture trains some of them at a time: "
            "set architecture.phases=1, or choose another optimizer"
        )
    if rule.curvature and not rule.by_sample:
        refuse_once_differentiable(stack)
    if rule.by_sample and stack.averages:
        raise ConfigError(
            f"{name} adds up what each sample contributes by itself, and batch normalization makes samples "
            "depend on each other: choose normalization=layer or group, or another optimizer"
        )
    if rule.searches and stack.batch_size < stack.train_size:
        raise ConfigError(
            f"{name} compares losses from step to step, which minibatches make another one each time: "
            "set batch_size=full, or choose another optimizer"
        )
    if rule.searches and (stack.clip_norm is not None or stack.clip_value is not None):
        raise ConfigError(f"{name} finds the length of its steps itself: leave out clip_norm and clip_value")
