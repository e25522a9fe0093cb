"""The benchmark's jobs in JAX, each compiled as one program: python scripts/bench_jax.py JOB ...; prints a JSON line.

steps PRECISION RUNS STEPS   steps of the digits' MLP by jit(scan(vmap(step))); PRECISION: highest or default
digits RUNS EPOCHS           the same networks trained as bench_loops does it, shuffled and validated every epoch
xor RUNS STEPS               lecture 002's XOR as in bench_loops

Compiling is left out of what is printed; whoever times the process has it in. For an environment with jax and
scikit-learn, which need not be dlrun's.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from sklearn.datasets import load_digits

UNITS, BATCH, TRAIN, LR = (64, 128, 128, 10), 64, 1437, 1e-3


def initial(key: Any, units: Sequence[int] = UNITS) -> Any:
    keys = jax.random.split(key, len(units) - 1)
    pairs = zip(keys, units[:-1], units[1:], strict=True)
    return [(jax.random.normal(each, (a, b)) * (2 / a) ** 0.5, jnp.zeros(b)) for each, a, b in pairs]


def logits(theta: Any, x: Any) -> Any:
    for w, b in theta[:-1]:
        x = jax.nn.relu(x @ w + b)
    w, b = theta[-1]
    return x @ w + b


def cross_entropy(theta: Any, x: Any, y: Any) -> Any:
    return -jnp.take_along_axis(jax.nn.log_softmax(logits(theta, x)), y[:, None], 1).mean()


def adam(state: Any, g: Any) -> Any:
    theta, m, v, t = state
    t = t + 1
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
    rate = LR * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    theta = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), theta, m, v)
    return theta, m, v, t


def begun(theta: Any) -> Any:
    zeros = jax.tree.map(jnp.zeros_like, theta)
    return theta, zeros, zeros, 0.0


def data() -> tuple[Any, Any]:
    digits = load_digits()
    return jnp.asarray(digits.data / 16.0, jnp.float32), jnp.asarray(digits.target)


def seconds(program: Any, *arguments: Any) -> tuple[float, Any]:
    """Of one call, compiled before: whole commands that are timed run it no more often than they have to."""
    compiled = program.lower(*arguments).compile()
    start = time.perf_counter()
    result = jax.block_until_ready(compiled(*arguments))
    return time.perf_counter() - start, result


def steps(precision: str, runs: str, count: str) -> dict[str, float]:
    jax.config.update("jax_default_matmul_precision", None if precision == "default" else precision)
    x, y = data()

    def step(state: Any, at: Any) -> Any:
        loss, g = jax.value_and_grad(cross_entropy)(state[0], x[at], y[at])
        return adam(state, g), loss

    def train(key: Any, batches: Any) -> Any:
        return jax.lax.scan(step, begun(initial(key)), batches)[1]

    keys = jax.random.split(jax.random.key(0), int(runs))
    batches = jax.random.randint(jax.random.key(1), (int(runs), int(count), BATCH), 0, len(x))
    taken, _ = seconds(jax.jit(jax.vmap(train)), keys, batches)
    return {"run_steps_per_second": int(runs) * int(count) / taken}


def digits(runs: str, epochs: str) -> dict[str, float]:
    x, y = data()
    x, y, x_val, y_val = x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:]

    def step(state: Any, at: Any) -> Any:
        loss, g = jax.value_and_grad(cross_entropy)(state[0], x[at], y[at])
        return adam(state, g), loss

    def epoch(state: Any, key: Any) -> Any:
        order, whole = jax.random.permutation(key, TRAIN), TRAIN // BATCH * BATCH
        state, losses = jax.lax.scan(step, state, order[:whole].reshape(-1, BATCH))
        state, _ = step(state, order[whole:])
        correct = logits(state[0], x_val).argmax(1) == y_val
        return state, (losses.mean(), cross_entropy(state[0], x_val, y_val), correct.mean())

    def train(key: Any) -> Any:
        return jax.lax.scan(epoch, begun(initial(key)), jax.random.split(key, int(epochs)))[1]

    taken, (_, _, accuracy) = seconds(jax.jit(jax.vmap(train)), jax.random.split(jax.random.key(0), int(runs)))
    rate = int(runs) * int(epochs) * -(-TRAIN // BATCH) / taken
    return {"run_steps_per_second": rate, "last_val_accuracy": float(accuracy[:, -1].mean())}


def xor(runs: str, count: str) -> dict[str, float]:
    x, y = jnp.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), jnp.array([0.0, 1, 1, 0])

    def loss_of(theta: Any) -> Any:
        (w, b), (u, c) = theta
        z = (jax.nn.sigmoid(x @ w + b) @ u + c)[:, 0]
        return jnp.mean(jax.nn.softplus(z) - z * y)

    def step(state: Any, _: None) -> Any:
        theta, velocity = state
        loss, g = jax.value_and_grad(loss_of)(theta)
        velocity = jax.tree.map(lambda v, g: 0.99 * v + g, velocity, g)
        return (jax.tree.map(lambda p, v: p - 0.1 * v, theta, velocity), velocity), loss

    def train(key: Any) -> Any:
        theta = [
            (jax.random.uniform(each, (a, b), minval=-10, maxval=10), jnp.zeros(b))
            for each, a, b in zip(jax.random.split(key), (2, 4), (4, 1), strict=True)
        ]
        return jax.lax.scan(step, (theta, jax.tree.map(jnp.zeros_like, theta)), None, length=int(count))[1][-1]

    taken, losses = seconds(jax.jit(jax.vmap(train)), jax.random.split(jax.random.key(0), int(runs)))
    return {"run_steps_per_second": int(runs) * int(count) / taken, "last_train_loss": float(losses.mean())}


if __name__ == "__main__":
    jobs: dict[str, Callable[..., dict[str, float]]] = {"steps": steps, "digits": digits, "xor": xor}
    print(json.dumps(jobs[sys.argv[1]](*sys.argv[2:])))
