"""The benchmark's jobs without dlrun: python scripts/bench_loops.py bare|indexed|lightning [EPOCHS], xor SEEDS STEPS.

scikit-learn's digits, 1437 samples for training and 360 for validation; an MLP 64-128-128-10 with ReLU; cross-entropy;
Adam, lr 1e-3; batches of 64 reshuffled every epoch, the last one smaller (23 steps); validation after every epoch; one
thread. Prints one JSON line: steps per second of the fit alone (imports, data and model building excluded), and the
last validation loss and accuracy, which show that the network has learned.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.utils.data import DataLoader, TensorDataset

BATCH, LR, TRAIN_SIZE = 64, 1e-3, 1437
STEPS_PER_EPOCH = -(-TRAIN_SIZE // BATCH)


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs and targets for training, then for validation."""
    inputs, targets = load_digits(return_X_y=True)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor(inputs / 16, dtype=torch.float32)[order], torch.tensor(targets)[order]
    return x[:TRAIN_SIZE], y[:TRAIN_SIZE], x[TRAIN_SIZE:], y[TRAIN_SIZE:]


def mlp(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))


def accuracy(logits: Tensor, targets: Tensor) -> float:
    return (logits.argmax(1) == targets).float().mean().item()


def bare(epochs: int, seed: int = 0, lr: float = LR) -> tuple[float, float, float]:
    """The loop of most tutorials: a DataLoader for each part. Returns seconds, validation loss and accuracy."""
    x, y, x_val, y_val = digits()
    model = mlp(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    train = DataLoader(TensorDataset(x, y), batch_size=BATCH, shuffle=True)
    val = DataLoader(TensorDataset(x_val, y_val), batch_size=len(x_val))
    start = time.perf_counter()
    for _ in range(epochs):
        model.train()
        train_loss = 0.0
        for inputs, targets in train:
            optimizer.zero_grad()
            loss = cross_entropy(model(inputs), targets)
            loss.backward()
            optimizer.step()
            train_loss += loss.item() * len(inputs)
        model.eval()
        with torch.no_grad():
            for inputs, targets in val:
                logits = model(inputs)
                val_loss, val_accuracy = cross_entropy(logits, targets).item(), accuracy(logits, targets)
    return time.perf_counter() - start, val_loss, val_accuracy


def indexed(epochs: int) -> tuple[float, float, float]:
    """The careful loop: tensors shuffled once an epoch, batches as slices, the fused Adam. Returns as `bare`."""
    x, y, x_val, y_val = digits()
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=True)
    start = time.perf_counter()
    for _ in range(epochs):
        order = torch.randperm(len(x))
        shuffled_x, shuffled_y = x[order], y[order]
        for inputs, targets in zip(shuffled_x.split(BATCH), shuffled_y.split(BATCH), strict=True):
            optimizer.zero_grad()
            cross_entropy(model(inputs), targets).backward()
            optimizer.step()
        with torch.no_grad():
            logits = model(x_val)
            val_loss, val_accuracy = cross_entropy(logits, y_val).item(), accuracy(logits, y_val)
    return time.perf_counter() - start, val_loss, val_accuracy


def lightning(epochs: int) -> tuple[float, float, float]:
    """Lightning 2 with its CSV logger and default checkpointing, progress bar off. Returns as `bare`."""
    warnings.filterwarnings("ignore")
    from lightning import LightningModule, Trainer
    from lightning.pytorch.loggers import CSVLogger

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Classifier(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp()

        def training_step(self, batch: list[Tensor], _: int) -> Tensor:
            loss = cross_entropy(self.net(batch[0]), batch[1])
            self.log("train_loss", loss, on_step=False, on_epoch=True)
            return loss

        def validation_step(self, batch: list[Tensor], _: int) -> None:
            logits = self.net(batch[0])
            self.log_dict({"val_loss": cross_entropy(logits, batch[1]), "val_accuracy": accuracy(logits, batch[1])})

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=LR)

    x, y, x_val, y_val = digits()
    train = DataLoader(TensorDataset(x, y), batch_size=BATCH, shuffle=True)
    val = DataLoader(TensorDataset(x_val, y_val), batch_size=len(x_val))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=CSVLogger(folder),
            default_root_dir=Path(folder),
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        classifier = Classifier()
        start = time.perf_counter()
        trainer.fit(classifier, train, val)
        seconds = time.perf_counter() - start
    last = trainer.callback_metrics
    return seconds, last["val_loss"].item(), last["val_accuracy"].item()


def xor(seeds: int, steps: int) -> float:
    """Seconds for a seed of lecture 002's XOR: a network 2-4-1 with sigmoids, full batches, momentum."""
    x, y = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]), torch.tensor([[0.0], [1], [1], [0]])
    start = time.perf_counter()
    for seed in range(seeds):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 1))
        for parameter in model.parameters():
            nn.init.uniform_(parameter, -10, 10) if parameter.ndim > 1 else nn.init.zeros_(parameter)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.99, fused=True)
        for _ in range(steps):
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(model(x), y).backward()
            optimizer.step()
    return (time.perf_counter() - start) / seeds


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "xor":
        print(json.dumps({"seconds_per_seed": xor(int(sys.argv[2]), int(sys.argv[3]))}))
        sys.exit()
    loop, epochs = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 200
    seconds, val_loss, val_accuracy = {"bare": bare, "indexed": indexed, "lightning": lightning}[loop](epochs)
    speed = epochs * STEPS_PER_EPOCH / seconds
    print(json.dumps({"steps_per_second": speed, "last_val_loss": val_loss, "last_val_accuracy": val_accuracy}))
