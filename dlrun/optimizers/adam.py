"""Adam (Kingma & Ba 2015) and its kin: AdamW (Loshchilov & Hutter 2019), AMSGrad (Reddi 2018), Nadam (Dozat 2016)."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.optimizers.rule import Rule, State


class Adam(Rule):
    r"""Bias-corrected moving averages of the gradient and of its square.

    $$s \leftarrow \beta_1 s + (1-\beta_1) g, \quad r \leftarrow \beta_2 r + (1-\beta_2) g^2$$
    $$\theta \leftarrow \theta - \text{lr}\; \hat s / (\sqrt{\hat r} + \epsilon), \quad
    \hat s = s / (1-\textstyle\prod_{i \le t} \beta_{1,i}), \quad \hat r = r / (1-\beta_2^t)$$

    The product of the steps' own $\beta_1$ is the paper's $\beta_1^t$ unless a schedule moves it (one_cycle, cyclic);
    with it the weights of the gradients in $\hat s$ add up to 1 then too. torch.optim.Adam takes the last one's power.

    Args:
        eps_inside_sqrt: divide by $\sqrt{\hat r + \epsilon}$ instead (lecture 003).
        bias_correction: without it s and r take the place of $\hat s$ and $\hat r$, and the first step is not lr but
            $(1-\beta_1) / \sqrt{1-\beta_2}$ lr, 3.2 lr by default.

    Reference: Kingma & Ba 2015, arXiv:1412.6980; lectures 002, 003, 004 (whose correction lacks the power t).
    """

    def __init__(self, eps_inside_sqrt: bool = False, bias_correction: bool = True) -> None:
        self.eps_inside_sqrt = eps_inside_sqrt
        self.bias_correction = bias_correction

    def init(self, theta: Tensor) -> State:
        zeros = {name: torch.zeros_like(theta) for name in ("s", "r")}
        return {**zeros, **products(theta)} if self.bias_correction else zeros

    def update(
        self, theta: Tensor, g: Tensor, state: State, *, lr: Tensor, beta1: Tensor, beta2: Tensor, eps: Tensor
    ) -> None:
        s = state["s"].lerp_(g, 1 - beta1)
        r = state["r"].lerp_(g * g, 1 - beta2)
        if not self.bias_correction:
            root = (r + eps).sqrt_() if self.eps_inside_sqrt else r.sqrt().add_(eps)
            theta.addcdiv_(s, root.div_(lr), value=-1)
            return
        # Products, since a compiled step would take a power anew for every parameter. Corrections and lr are one number
        # per row: joined, they cost fewer passes over all parameters.
        unbias = (1 - state["beta2_t"].mul_(beta2)).sqrt()
        root = (r + eps * unbias**2).sqrt_() if self.eps_inside_sqrt else r.sqrt().add_(eps * unbias)
        theta.addcdiv_(s, root.mul_((1 - state["beta1_t"].mul_(beta1)) / (lr * unbias)), value=-1)


class AdamW(Rule):
    r"""Adam after every parameter has shrunk towards zero, by a decay that no moving average sees.

    $$\theta \leftarrow (1 - \text{lr}\; \lambda)\, \theta, \quad \text{then Adam's step}$$

    The decay follows lr as in torch.optim.AdamW; the paper's own $\lambda$, which follows the schedule alone, is lr
    times this one.

    Args:
        eps_inside_sqrt: as in Adam.

    Reference: Loshchilov & Hutter 2019, arXiv:1711.05101.
    """

    def __init__(self, eps_inside_sqrt: bool = False) -> None:
        self.adam = Adam(eps_inside_sqrt)

    def init(self, theta: Tensor) -> State:
        return self.adam.init(theta)

    def update(
        self,
        theta: Tensor,
        g: Tensor,
        state: State,
        *,
        lr: Tensor,
        beta1: Tensor,
        beta2: Tensor,
        eps: Tensor,
        weight_decay: Tensor,
    ) -> None:
        theta.mul_(1 - lr * weight_decay)
        self.adam.update(theta, g, state, lr=lr, beta1=beta1, beta2=beta2, eps=eps)


class AMSGrad(Rule):
    r"""Adam whose denominator never shrinks, so that its rate never grows and the convergence proof holds.

    $$s \leftarrow \beta_1 s + (1-\beta_1) g, \quad r \leftarrow \beta_2 r + (1-\beta_2) g^2, \quad
    r_{\max} \leftarrow \max(r_{\max}, r)$$
    $$\theta \leftarrow \theta - \text{lr}\; s / (\sqrt{r_{\max}} + \epsilon)$$

    Args:
        bias_correction: divide s by $1-\prod_{i \le t} \beta_{1,i}$ and $r_{\max}$ by $1-\beta_2^t$, as Adam does,
            and torch.optim.Adam(amsgrad=True). The paper does not, so its first step is not lr but
            $(1-\beta_1) / \sqrt{1-\beta_2}$ lr, 3.2 lr by default.

    Reference: Reddi, Kale & Kumar 2018, arXiv:1904.09237 (Algorithm 2).
    """

    def __init__(self, bias_correction: bool = False) -> None:
        self.bias_correction = bias_correction

    def init(self, theta: Tensor) -> State:
        zeros = {name: torch.zeros_like(theta) for name in ("s", "r", "r_max")}
        return {**zeros, **products(theta)} if self.bias_correction else zeros

    def update(
        self, theta: Tensor, g: Tensor, state: State, *, lr: Tensor, beta1: Tensor, beta2: Tensor, eps: Tensor
    ) -> None:
        s = state["s"].lerp_(g, 1 - beta1)
        r = state["r"].lerp_(g * g, 1 - beta2)
        r_max = state["r_max"].copy_(torch.maximum(state["r_max"], r))
        if self.bias_correction:
            lr = lr / (1 - state["beta1_t"].mul_(beta1))
            r_max = r_max / (1 - state["beta2_t"].mul_(beta2))
        theta.addcdiv_(lr * s, r_max.sqrt().add_(eps), value=-1)


class Nadam(Rule):
    r"""Adam with Nesterov's momentum: the step already holds the next step's share of the average.

    $$\mu_t = \beta_1 (1 - 0.96^{\psi t} / 2), \quad
    \hat s = \frac{\mu_{t+1}}{1 - \prod_{i \le t+1} \mu_i} s + \frac{1 - \mu_t}{1 - \prod_{i \le t} \mu_i} g$$
    $$\theta \leftarrow \theta - \text{lr}\; \hat s / (\sqrt{\hat r} + \epsilon)$$

    with s, r and $\hat r$ as in Adam, and each step's own $\beta_1$ where a schedule moves it. $\psi$ (momentum_decay)
    is how soon the momentum warms up from half of $\beta_1$ to $\beta_1$; a large one gives the constant
    $\mu = \beta_1$. Equal to torch.optim.NAdam.

    Reference: Dozat 2016, Incorporating Nesterov Momentum into Adam (ICLR workshop).
    """

    def init(self, theta: Tensor) -> State:
        column = torch.zeros_like(theta[:, :1])
        return {"s": torch.zeros_like(theta), "r": torch.zeros_like(theta), "t": column, "product": column + 1}

    def update(
        self,
        theta: Tensor,
        g: Tensor,
        state: State,
        *,
        lr: Tensor,
        beta1: Tensor,
        beta2: Tensor,
        eps: Tensor,
        momentum_decay: Tensor,
    ) -> None:
        t = state["t"].add_(1)
        mu, mu_next = (beta1 * (1 - 0.5 * 0.96 ** (i * momentum_decay)) for i in (t, t + 1))
        product = state["product"].mul_(mu)
        s = state["s"].lerp_(g, 1 - beta1)
        r = state["r"].lerp_(g * g, 1 - beta2)
        root = (r / (1 - beta2**t)).sqrt_().add_(eps)
        step = (mu_next / (1 - product * mu_next) * s).addcmul_((1 - mu) / (1 - product), g)
        theta.addcdiv_(lr * step, root, value=-1)


def products(theta: Tensor) -> State:
    """The memory of bias corrections: the products of all steps' decays so far, 1 before the first step."""
    return {name: torch.ones_like(theta[:, :1]) for name in ("beta1_t", "beta2_t")}
