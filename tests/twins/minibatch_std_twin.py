"""Minibatch standard deviation with loops over the groups that its definition names."""

import torch
from torch import Tensor


def minibatch_std_loop(x: Tensor, group_size: int = 4) -> Tensor:
    """One channel more: the mean standard deviation of the samples that agree modulo n / group_size."""
    n = len(x)
    num_groups = n // group_size if n % group_size == 0 else 1
    extra = torch.zeros(n, 1, *x.shape[2:], dtype=x.dtype)
    for group in range(num_groups):
        members = [i for i in range(n) if i % num_groups == group]
        values = torch.stack([x[i] for i in members])
        deviation = ((values - values.mean(dim=0)) ** 2).mean(dim=0)
        number = torch.sqrt(deviation + 1e-8).mean()
        for i in members:
            extra[i] = number
    return torch.cat([x, extra], dim=1)
