"""What a phase of a training does not train stays as it is, to the bit, whatever optimizer and regularizers."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
import torch
from conftest import Rows
from hydra.utils import get_class
from torch import Tensor

from dlrun.config.catalogue import choices, conf_dir, targets
from dlrun.errors import ConfigError
from dlrun.matrix.rows import keywords
from dlrun.optimizers.torch_optim import REFUSED
from dlrun.training.evaluation import Row
from dlrun.training.stack import Stack
from dlrun.training.train import fit

FILES = conf_dir() / "optimizer"
NETWORK = ["dataset=iris", "architecture.hidden=[6,5]", "batch_size=40", "eval_every=0.01", "compile=false"]
#: all that may be combined on numbers in vectors; averaging needs a rate with lows, or the ends of epochs
REGULARIZERS = [name for name in choices("regularizer") if name not in ("none", "snapshot_ensemble")]
EVERYWHERE = [f"regularizer.{name}.include_bias=true" for name in ("l1", "l2", "elastic_net", "weight_decay")]
STRONG = [
    *EVERYWHERE,
    "regularizer.weight_decay.alpha=0.5",
    "regularizer.l2.alpha=0.1",
    "regularizer.max_norm.c=0.01",
    "regularizer.augmentation.shift=0",
    "regularizer.augmentation.noise=0.1",
    "regularizer.swa.start=0",
    "regularizer.swa.every=1",
]
RULES = {name: get_class(target) for name in choices("optimizer") for target in targets(FILES / f"{name}.yaml")}
del RULES["torch"]  # see TORCHS
TORCHS = [
    name
    for name, cls in vars(torch.optim).items()
    if inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer) and name not in ("Optimizer", "Muon", *REFUSED)
]  # Muon takes matrices only, and a network has biases


class Path(Rows):
    """Where theta was at the start and after every step."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack.runs)
        self.stack, self.thetas = stack, [stack.theta.clone()]

    def row(self, run: int, row: Row) -> None:
        if run == 0 and row["step"] > 0:
            self.thetas.append(self.stack.theta.clone())


def phased(stack: Stack, *phases: set[str]) -> list[Tensor]:
    """Let these parameters of the stack train, one set after the other; the masks of each step."""
    stack.phases = [stack.layout.named(names).to(stack.theta) for names in phases]
    stack.moving.append("trained")
    return [stack.phases[step * len(phases) // stack.steps] for step in range(stack.steps)]


def assert_frozen(stack: Stack, *phases: set[str]) -> None:
    masks = phased(stack, *phases)
    path = Path(stack)
    assert fit(stack, path).status == ["finished"] * stack.runs
    assert len(path.thetas) == stack.steps + 1
    for mask, before, after in zip(masks, path.thetas, path.thetas[1:], strict=False):
        assert torch.equal(before[:, mask == 0], after[:, mask == 0])
        assert not torch.equal(before[:, mask == 1], after[:, mask == 1])


def phases_of(stack: Stack) -> list[set[str]]:
    """Everything, so that every memory holds something; the output layer alone; the first layer alone."""
    names = [slot.name for slot in stack.layout.slots]
    return [set(names), set(names[-2:]), set(names[:2])]


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if not (rule.curvature or rule.searches)])
def test_every_optimizer_with_every_regularizer(name: str, stack_of: Callable[..., Stack]) -> None:
    decays = [
        f"optimizer.{key}=0.5" for key in ("weight_decay", "adamw_weight_decay") if key in keywords(RULES[name].update)
    ]
    words = [f"optimizer={name}", *decays, f"regularizer=[{','.join(REGULARIZERS)}]", *STRONG]
    stack = stack_of(*NETWORK, "steps=9", *words)
    assert_frozen(stack, *phases_of(stack))


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.curvature or rule.searches])
def test_optimizers_that_move_all_at_once_are_refused(name: str, stack_of: Callable[..., Stack]) -> None:
    with pytest.raises(ConfigError, match="changes all parameters at once"):
        stack_of("dataset=iris", "architecture=rbf", "architecture.phases=2", f"optimizer={name}", "batch_size=full")


@pytest.mark.parametrize("name", TORCHS)
def test_every_optimizer_of_torch(name: str, stack_of: Callable[..., Stack]) -> None:
    accepted = inspect.signature(getattr(torch.optim, name)).parameters
    args = [f"{key}: 0.5" for key in ("weight_decay", "momentum") if key in accepted]
    words = [*NETWORK, "steps=6", "optimizer=torch", f"optimizer.name={name}", f"optimizer.args={{{','.join(args)}}}"]
    stack = stack_of(*words)
    assert_frozen(stack, *phases_of(stack)[:2])


def test_centres_of_a_radial_basis_network(stack_of: Callable[..., Stack]) -> None:
    stack = stack_of(
        "dataset=iris", "architecture=rbf", "architecture.phases=2", "optimizer=adamw", "steps=20",
        "optimizer.weight_decay=1", "lr=0.01",
    )  # fmt: skip
    start = stack.theta.clone()
    fit(stack, Rows(1))
    for slot in stack.layout.slots:
        same = torch.equal(stack.theta[:, slot.start : slot.stop], start[:, slot.start : slot.stop])
        assert same is not slot.name.startswith("head.")
