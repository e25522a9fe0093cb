"""`dlrun --summary`: parameters and multiply-adds against counts by hand, and nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fakes import composed, files, typed  # noqa: F401
from test_cli import Ended, dlrun  # noqa: F401

from dlrun.architectures.blocks import Blocks
from dlrun.architectures.cnn import CNN
from dlrun.architectures.costs import Layer, layers
from dlrun.architectures.resnet import ResNet
from dlrun.config.catalogue import choices
from dlrun.job.outline import outline
from dlrun.normalizations import BatchNorm, NoNormalization
from dlrun.training.build import build


def totals(found: list[Layer]) -> tuple[int, int]:
    return sum(layer.parameters for layer in found), sum(layer.multiply_adds for layer in found)


def test_lenets_numbers_are_those_by_hand() -> None:
    """LeNet-5's layers on 28 x 28 pixels (LeCun et al. 1998), with edges padded and max pooling."""
    model = CNN((1, 28, 28), 10, Blocks("relu", NoNormalization()), channels=[6, 16], kernel=5, hidden=[120, 84])
    found = layers(model, torch.zeros(1, 1, 28, 28))
    assert [(layer.kind, layer.shape, layer.parameters, layer.multiply_adds) for layer in found] == [
        ("Conv2d", (6, 28, 28), 6 * (25 + 1), 28 * 28 * 6 * 25),
        ("ReLU", (6, 28, 28), 0, 0),
        ("MaxPool2d", (6, 14, 14), 0, 0),
        ("Conv2d", (16, 14, 14), 16 * (6 * 25 + 1), 14 * 14 * 16 * 6 * 25),
        ("ReLU", (16, 14, 14), 0, 0),
        ("MaxPool2d", (16, 7, 7), 0, 0),
        ("Flatten", (784,), 0, 0),
        ("Linear", (120,), 120 * 785, 120 * 784),
        ("ReLU", (120,), 0, 0),
        ("Linear", (84,), 84 * 121, 84 * 120),
        ("ReLU", (84,), 0, 0),
        ("Linear", (10,), 850, 840),
    ]
    assert [layer.name for layer in found] == ["0", "2", "3", "4", "6", "7", "8", "9", "11", "12", "14", "15"]


def test_resnet_20_has_the_papers_numbers() -> None:
    """He et al. 2016, table 6: 0.27 M parameters; on 3 x 32 x 32 pixels 40.6 M multiply-adds, which tools that count
    normalizations or the shortcuts' too give as 40.8 M."""
    blocks = Blocks("relu", BatchNorm(eps=1e-5, affine=True, momentum=0.1))
    model = ResNet((3, 32, 32), 10, blocks, depth=20, width=16, skip=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    parameters, products = totals(layers(model, torch.zeros(1, 3, 32, 32)))
    stage = [9 * 16 * 16 * 32**2, 9 * 32 * 32 * 16**2, 9 * 64 * 64 * 8**2]
    assert products == 27 * 16 * 32**2 + 6 * stage[0] + (5.5 * stage[1]) + (5.5 * stage[2]) + 640 == 40_551_040
    convolutions = 27 * 16 + 6 * 9 * 16**2 + 9 * 16 * 32 + 5 * 9 * 32**2 + 9 * 32 * 64 + 5 * 9 * 64**2
    assert parameters == convolutions + 2 * 7 * (16 + 32 + 64) - 2 * (32 + 64) + 650 == 269_722
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_recurrent_layer_counts_at_every_step(files: Path) -> None:  # noqa: F811
    d, u, time = 2, 4, 5
    for name, gates, second in (("lstm", 4, 0), ("gru", 3, 1), ("rnn", 1, 0)):
        stack = build([composed(typed(f"architecture={name}"), files)], initialize=False)
        found = layers(stack.model, stack.dataset.inputs[:1])
        parameters, products = totals(found)
        assert products == time * gates * u * (u + d) + u
        assert parameters == gates * u * (u + d + 1 + second) + u + 1 == stack.layout.params


def test_what_no_module_of_torchs_computes_counts_too(files: Path) -> None:  # noqa: F811
    stack = build([composed(typed("architecture=rbf"), files)], initialize=False)  # 3 kernels, 4 inputs, 3 classes
    assert totals(layers(stack.model, stack.dataset.inputs[:1])) == (3 * 4 + 3 + 3 * 3 + 3, 3 * 4 + 3 * 3)
    words = typed("architecture=autoencoder", "architecture.tied=true")  # 4 - 4 - 4 and back by the same weights
    stack = build([composed(words, files)], initialize=False)
    assert totals(layers(stack.model, stack.dataset.inputs[:1])) == (2 * 16 + 4 * 4, 4 * 16)


@pytest.mark.parametrize("architecture", choices("architecture"))
def test_every_architectures_layers_hold_all_its_parameters(
    architecture: str,
    files: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = composed(typed(f"architecture={architecture}"), files)
    stack = build([config], initialize=False)
    found = layers(stack.model, stack.dataset.inputs[:1])
    assert sum(layer.parameters for layer in found) == stack.layout.params
    assert all(layer.shape for layer in found)
    outline(config)
    told = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in told[:-1] if not line.startswith(("features", "images")))
    assert [line.split()[0] for line in told[-2 - len(found) : -2]] == [layer.name for layer in found]
    products = sum(layer.multiply_adds for layer in found)
    assert told[-2].split() == ["all", f"{stack.layout.params:,}", f"{products:,}"]


def test_the_command_writes_nothing(dlrun: Callable[..., Ended], tmp_path: Path) -> None:  # noqa: F811
    ended = dlrun("--summary", "dataset=iris", "architecture.hidden=[5]")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-2].split() == ["all", "43", "35"]  # 5 x 4 + 5 + 3 x 5 + 3
    assert dlrun("dataset=iris", "architecture.hidden=[5]", "--summary") == ended
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words, told",
    [
        (["--summary", "-m", "seed=0,1"], "--summary -m: give one of them"),
        (["--summary", "--cfg", "job"], "--summary --cfg: give one of them"),
        (["--sumary"], "did you mean --summary?"),
        (["--summary=yes"], "did you mean --summary?"),
        (["--summary", "architecture=cnn", "dataset=iris"], "architecture=cnn needs images"),
        (["--summary", "architecture.hiden=[3]"], "did you mean architecture.hidden"),
        (["--summary", "architecture.hidden=[0]"], "architecture.hidden=[0]: must be"),
        (["--summary", "list"], "list: there is no such verb"),
        (["list", "--summary"], "list --summary: there is no such option"),
    ],
)
def test_nonsense_is_refused(dlrun: Callable[..., Ended], tmp_path: Path, words: list[str], told: str) -> None:  # noqa: F811
    ended = dlrun(*words)
    assert ended.code == 2 and told in ended.err and ended.err.count("\n") <= 2
    assert list(tmp_path.iterdir()) == []
