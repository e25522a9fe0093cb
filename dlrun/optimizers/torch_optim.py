"""Any optimizer of torch.optim, by its class's name, on the parameters of one run."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

from dlrun.errors import ConfigError
from dlrun.matrix.theta import Layout
from dlrun.optimizers.rule import Rule, State

REFUSED = {
    "LBFGS": "it evaluates the loss several times in a step; optimizer=lbfgs is dlrun's own",
    "SparseAdam": "it takes sparse gradients only, and dlrun's are dense",
}


class TorchOptim(Rule):
    """One optimizer of torch.optim, its rate set at every step from the schedule's.

    Its tensors are kept in the rule's memory under "<name>.<parameter number>", so that a training is resumed as
    with any other rule.

    Args:
        name: a class of torch.optim.
        args: its keyword arguments but lr; None for its defaults.

    Raises ConfigError where the class or an argument does not exist, or the class refuses a value or a parameter.
    """

    traceable = False
    stackable = False

    def __init__(self, name: str, args: Mapping[str, Any] | None = None) -> None:
        if args is not None and not isinstance(args, Mapping):
            raise ConfigError(f"optimizer.args={args}: write keyword arguments, such as {{momentum:0.9,nesterov:true}}")
        self.name = name
        self.args = dict(args or {})
        self.optimizer_class = _class_named(name)
        accepted = [arg for arg in inspect.signature(self.optimizer_class).parameters if arg not in ("params", "lr")]
        for arg in self.args:
            if arg == "lr":
                raise ConfigError("optimizer.args.lr: the rate is the top-level key; write lr=... instead")
            if arg not in accepted:
                raise ConfigError(f"optimizer.args.{arg}: torch.optim.{name} accepts {', '.join(accepted)}")
        self._train([torch.zeros(1, 1)])  # a wrong value is refused now, before there is a network

    def bind(self, layout: Layout, theta: Tensor) -> None:
        self._train([view[0] for view in layout.views(theta).values()])

    def _train(self, parameters: list[Tensor]) -> None:
        self.parameters = parameters
        try:
            self.optimizer = self.optimizer_class(parameters, **self.args)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"optimizer.name={self.name} optimizer.args={self.args}: {error}") from error

    def update(self, theta: Tensor, g: Tensor, state: State, *, lr: Tensor) -> None:
        memory = self.optimizer.state
        for key, value in state.items():  # from a checkpoint, it may be newer than the optimizer's own
            name, number = key.split(".")
            memory[self.parameters[int(number)]][name] = value[0]
        for group in self.optimizer.param_groups:
            group["lr"] = float(lr)
        parts = g[0].split([parameter.numel() for parameter in self.parameters])
        for parameter, part in zip(self.parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)
        self.optimizer.step()
        for i, parameter in enumerate(self.parameters):
            for name, value in memory[parameter].items():
                if isinstance(value, Tensor):
                    state[f"{name}.{i}"] = value[None]


def _class_named(name: str) -> type[torch.optim.Optimizer]:
    classes = {
        key: value
        for key, value in vars(torch.optim).items()
        if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
    }
    if name in REFUSED:
        raise ConfigError(f"optimizer.name={name}: {REFUSED[name]}; choose another class of torch.optim")
    if name not in classes:
        lower = {key.lower(): key for key in classes if key not in REFUSED}
        close = [lower[match] for match in get_close_matches(name.lower(), lower, n=1)]
        hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(sorted(lower.values()))}"
        raise ConfigError(f"optimizer.name={name}: torch.optim has no such class; {hint}")
    return classes[name]
