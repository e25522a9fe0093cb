"""From configs to a stack that can be trained; the only place that knows the config's keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce
from operator import getitem
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from dlrun.activations import ACTIVATIONS, negative_slope
from dlrun.architectures.blocks import Blocks
from dlrun.config.check import refuse_foreign
from dlrun.datasets.dataset import Dataset
from dlrun.datasets.inputs import joined
from dlrun.errors import ConfigError
from dlrun.folder.names import BEST, CURVES, LAST, RANGE_PLOT, SUMMARY, TABLES
from dlrun.initializers.initializer import Initializer
from dlrun.matrix.rows import accepted, call
from dlrun.matrix.seeds import STRUCTURE, WEIGHTS, generator
from dlrun.matrix.theta import Layout, compute_in
from dlrun.metrics import metrics_for
from dlrun.normalizations import NoNormalization, running_averages
from dlrun.regularizers.averaging import Averaging
from dlrun.regularizers.regularizer import HOOKS, Regularizer
from dlrun.schedules.schedule import Clock, Schedule
from dlrun.schedules.warmup import warmup_steps
from dlrun.training.batches import moments
from dlrun.training.compatible import refuse
from dlrun.training.components import HOOKS_OF, Node, component, made, named, refuse_other_kinds, telling
from dlrun.training.machine import HALVES, compiles, compute_as, recurrent_times, threads_for, usable_device
from dlrun.training.measures import Measures
from dlrun.training.sources import datasets_of
from dlrun.training.stack import Rows, Stack

TAKEN = {Path(file).stem for file in (*TABLES, CURVES, RANGE_PLOT, BEST, LAST, SUMMARY)}  #: names of a run's own files
MEASURED = 20_000  #: training samples up to which `train_metrics: auto` measures them at every evaluation


def build(
    configs: Sequence[DictConfig | Node],
    progress: Callable[[str, int, int], None] | None = None,
    initialize: bool = True,
) -> Stack:
    """The stack of the runs that these configs describe, which differ in per-row numbers only.

    progress: told what is done, and how much of how much, where an initializer trains.
    initialize: False leaves theta at 0, for a stack that is only looked at.

    Raises ConfigError where choices do not fit each other, the data or this machine.
    """
    nodes = [plain(config) for config in configs]
    for each in nodes:
        refuse_foreign(each)
    with telling():
        return _built(nodes, progress, initialize)


def _built(nodes: list[Node], progress: Callable[[str, int, int], None] | None, initialize: bool) -> Stack:
    """Long because a Stack has many parts, each made here once and in sight of those that it depends on."""
    refuse_other_kinds(nodes[0])
    node = nodes[0]
    device = usable_device(node["device"])
    compute_as(node["precision"], device)

    rule, rule_rows = component(node["optimizer"], *HOOKS_OF["optimizer"])
    schedule, schedule_rows = component(node["schedule"], *HOOKS_OF["schedule"])
    regularizers = {key: component(part, *HOOKS) for key, part in node["regularizer"].items()}
    variants, variant = datasets_of(nodes)
    dataset = variants[0]
    loss = component(node["loss"])[0].for_dataset(dataset)

    own = [variants[v] for v in variant]
    models = [network(node, data, loss.outputs(data.outputs)) for node, data in zip(nodes, own, strict=True)]
    model, layout = models[0], Layout(models[0])
    initializers: list[Initializer] = [component(node["initializer"])[0] for node in nodes]
    for initializer, each_model, data in zip(initializers, models, own, strict=True):
        initializer.progress = progress or initializer.progress
        initializer.fits(each_model, layout, data)
    theta = torch.zeros(len(nodes), layout.params, dtype=dataset.inputs.dtype)
    if initialize:
        drawn = [_initial(*each, layout) for each in zip(nodes, initializers, models, own, strict=True)]
        theta = torch.stack(drawn)
    buffers = [dict(model.named_buffers()) for model in models]

    batch_size = _batch_size(node, dataset, model)
    per_epoch = -(-dataset.sizes["train"] // batch_size)
    clock = Clock(node["steps"] or node["epochs"] * per_epoch, per_epoch)

    threads = threads_for(node["threads"], model, dataset, batch_size)

    def column(*path: str) -> Tensor:
        """Each run's number under these keys, (runs, 1)."""
        numbers: list[Any] = [reduce(getitem, path, node) for node in nodes]
        return torch.tensor(numbers, dtype=torch.float64)[:, None]

    def here(tensor: Tensor) -> Tensor:
        return tensor.to(device, theta_dtype)

    theta_dtype = dataset.inputs.dtype
    nodes = [each | {"lr": each["optimizer"]["lr"] if each["lr"] is None else each["lr"]} for each in nodes]
    penalties: list[Rows] = [
        {name: here(column("regularizer", key, name)) for name in sorted(names)}
        for key, (_, names) in regularizers.items()
    ]
    for (key, (regularizer, _)), rows in zip(regularizers.items(), penalties, strict=True):
        if dataset.surface and type(regularizer).transform is not Regularizer.transform:
            raise ConfigError(f"regularizer={key} changes minibatches, and a test function has none: leave it out")
        call(regularizer.fits, dataset, rows=rows)
    phases = [here(layout.named(names)) for names in getattr(model, "phase_sets", [])]
    if all(bool(trained.all()) for trained in phases):
        phases = []
    weights, everything = here(layout.mask("weight")), here(torch.ones(layout.params))
    inputs, own_inputs = joined([each.inputs for each in variants], device)
    targets, own_targets = joined([each.targets for each in variants], device)
    variants = [
        replace(each, inputs=x, targets=y) for each, x, y in zip(variants, own_inputs, own_targets, strict=True)
    ]
    dataset = variants[0]
    stds = [data.target_std for data in own]
    unit = None
    if any(std is not None for std in stds):
        unit = torch.stack([torch.ones(dataset.outputs, dtype=torch.float64) if std is None else std for std in stds])
    stack = Stack(
        dataset=dataset,
        variants=variants,
        inputs=inputs,
        targets=targets,
        variant=variant,
        model=model.to(device, theta_dtype),
        layout=layout,
        theta=here(theta),
        buffers={name: here(torch.stack([each[name] for each in buffers])) for name in buffers[0]},
        averages=running_averages(model),
        measures=Measures(
            loss,
            metrics_for(dataset, loss.probabilistic),
            dataset.outputs,
            None if unit is None else unit.to(device),
        ),
        rule=rule,
        hyper={name: here(column("optimizer", name)) for name in sorted(rule_rows - {"lr"})},
        moving=["lr", *_cycled(schedule, rule_rows), *(["trained"] if phases else [])],
        phases=phases,
        schedule=schedule,
        rates={"lr": column("lr").T, **{name: column("schedule", name).T for name in sorted(schedule_rows)}},
        regularizers=[regularizer for regularizer, _ in regularizers.values()],
        averaging={
            key: place for place, (key, (each, _)) in enumerate(regularizers.items()) if isinstance(each, Averaging)
        },
        penalties=penalties,
        masks=[everything if regularizer.include_bias else weights for regularizer, _ in regularizers.values()],
        seeds=[node["seed"] for node in nodes],
        batch_size=batch_size,
        steps=clock.total,
        warmup=warmup_steps(node["schedule"]["warmup"], clock),
        eval_every=max(1, round(node["eval_every"] * per_epoch)),
        clip_norm=None if node["clip_norm"] is None else here(column("clip_norm")),
        clip_value=None if node["clip_value"] is None else here(column("clip_value")),
        measure_train=node["train_metrics"] == "measured"
        or (node["train_metrics"] == "auto" and dataset.sizes["train"] <= MEASURED),
        compile=compiles(node["compile"], clock.total, theta.numel(), device, recurrent_times(model, dataset)),
        scaled=node["precision"] == "fp16",
        threads=threads,
        initializers=initializers,
        starts=[
            partial(_start, each, variants[v], loss.outputs(dataset.outputs), layout)
            for each, v in zip(nodes, variant, strict=True)
        ],
    )
    stack.moments = moments(stack)
    refuse(node, stack)
    for key, part in node.get("diagnostics", {}).items():
        if key in TAKEN:
            raise ConfigError(f"diagnostics={key}: a run has files of this name already: give it another")
        try:
            stack.diagnostics[key] = component(part)[0]
            stack.diagnostics[key].fits(stack)
        except ConfigError as problem:
            raise ConfigError(f"diagnostics={key}: {problem}") from problem
    return stack


def plain(config: DictConfig | Node) -> Node:
    """A config with its interpolations resolved, as dicts and lists."""
    node = OmegaConf.to_container(config, resolve=True) if isinstance(config, DictConfig) else config
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.items()}


def network(node: Node, dataset: Dataset, outputs: int, saved: Mapping[str, Tensor] | None = None) -> nn.Module:
    """The network that a config makes for a dataset, with initial values that count for nothing.

    saved: the tensors of a trained one, by name. Then the training inputs, which some architectures look at, are not
    needed: it gets the structure that these tensors have.
    """
    options = {key: value for key, value in node["architecture"].items() if key != "_target_"}
    dropout = node["regularizer"].get("dropout", {"p_input": None, "p_hidden": None})
    blocks = Blocks(
        activation=options.pop("activation", "identity"),
        normalization=component(node["normalization"])[0],
        position=node["normalization"]["position"],
        p_input=dropout["p_input"],
        p_hidden=dropout["p_hidden"],
    )
    cls = named(node["architecture"]["_target_"])
    given = {"train_inputs": lambda: dataset.part("train")[0], "random": lambda: generator(node["seed"], STRUCTURE)}
    options |= {key: value() for key, value in given.items() if key in accepted(cls)}
    if saved is not None and hasattr(cls, "of_saved"):
        options |= cls.of_saved(saved)
    shape = tuple(dataset.inputs.shape[1:])
    model: nn.Module = made(node["architecture"]["_target_"], cls, shape, outputs, blocks, **options)
    compute_in(model, HALVES.get(node["precision"]))
    if blocks.hidden_layers == 0 and not isinstance(blocks.normalization, NoNormalization):
        raise ConfigError(
            "normalization stands in hidden layers, and this network has none: leave normalization=none, "
            "or choose another architecture"
        )
    return model


def _initial(node: Node, initializer: Initializer, model: nn.Module, dataset: Dataset, layout: Layout) -> Tensor:
    """(params,): one run's initial parameters, from its seed; what is no weight and no bias keeps the model's value."""
    slope = negative_slope(ACTIVATIONS[node["architecture"].get("activation", "identity")]())
    random = generator(node["seed"], WEIGHTS)
    own, parts = dict(model.named_parameters()), []
    for slot in layout.slots:
        if slot.kind == "weight":
            parts.append(initializer.weight(slot.shape, slope, random))
        elif slot.kind == "bias":
            weight = own[slot.name.removesuffix("bias") + "weight"]
            parts.append(initializer.bias(tuple(weight.shape), random))
        else:
            parts.append(own[slot.name].detach())
    drawn = torch.cat([part.flatten() for part in parts]).to(dataset.inputs.dtype)
    return initializer.initialize(model, layout, drawn, dataset, random)


def _start(node: Node, dataset: Dataset, outputs: int, layout: Layout) -> dict[str, Tensor]:
    """The network with which one run begins, drawn once more: theta, (params,), and running averages by name."""
    here = replace(dataset, inputs=dataset.inputs.cpu(), targets=dataset.targets.cpu())
    model = network(node, here, outputs)
    theta = _initial(node, component(node["initializer"])[0], model, here, layout)
    return {"theta": theta, **{name: model.get_buffer(name) for name in sorted(running_averages(model))}}


def _batch_size(node: Node, dataset: Dataset, model: nn.Module) -> int:
    size = dataset.sizes["train"]
    batch_size = size if node["batch_size"] == "full" else min(node["batch_size"], size)
    if running_averages(model) and 1 in (batch_size, size % batch_size):
        raise ConfigError(
            f"normalization=batch needs two samples or more in every minibatch, and {size} training samples in "
            f"batches of {batch_size} leave one with a single sample: choose another batch_size"
        )
    return batch_size


def _cycled(schedule: Schedule, rule_rows: set[str]) -> list[str]:
    """The hyperparameter of the rule, if any, that the schedule moves beside lr."""
    if type(schedule).momentum is Schedule.momentum:
        return []
    return sorted(rule_rows & {"momentum", "beta1"})
