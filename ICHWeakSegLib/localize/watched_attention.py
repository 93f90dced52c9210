"""Attention of Swin windows that tells how strong it and its gradient are, without ever being stored.

The attention A of a head is (N, N) in every window, and so is its gradient G. The maps need only the mean of
A over the queries (N numbers) and the Frobenius norm of G (one number), since mean_q(|G| A) = |G| mean_q(A).
The forward pass therefore uses the fused kernel, which stores no A; the backward pass computes A and G anew,
a few windows at a time so that they stay in the processor's cache, and keeps those two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

GRADIENT_AT = ("logits", "attention")

# Elements of A worked on at a time: about a core's cache, or enough work for a GPU.
_CPU_ELEMENTS = 2**18
_GPU_ELEMENTS = 2**27


@dataclass
class BlockAttention:
    """What one Swin block attended to, for B images of `grid` tokens in nW windows of N tokens each.

    Attributes:
        stage, index: place of the block in the network.
        grid: rows and columns of tokens, without padding.
        window: rows and columns of a window.
        shift: cyclic shift that the block really applied; 0 where one window covers the grid.
        key_mean: (B * nW, heads, N) attention after softmax, averaged over the queries.
        gradient_norm: (B * nW, heads) Frobenius norm of the gradient, if asked for.
    """

    stage: int
    index: int
    grid: tuple[int, int]
    window: tuple[int, int]
    shift: tuple[int, int]
    key_mean: Tensor | None = None
    gradient_norm: Tensor | None = None


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, block: BlockAttention) -> Tensor:
    """Attention without gradients; fills `block.key_mean`.

    Args:
        query, key, value: (windows, heads, N, channels).
        bias: added before the softmax, (1 or windows, heads, N, N).

    Returns:
        (windows, heads, N, channels).
    """
    output = torch.empty_like(value)
    block.key_mean = query.new_empty(query.shape[:3], dtype=_wide(query))
    for part in _parts(query):
        attention = _attention(query[part], key[part], _of(bias, part))
        block.key_mean[part] = attention.mean(dim=-2)
        output[part] = attention @ value[part].to(attention.dtype)
    return output


def attend_with_gradient(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, block: BlockAttention, gradient_at: str
) -> Tensor:
    """Attention whose backward pass fills `block.key_mean` and `block.gradient_norm`.

    Args:
        query, key, value: (windows, heads, N, channels); gradients go through these three alone.
        bias: added before the softmax, (1 or windows, heads, N, N).
        gradient_at: whose gradient to measure, the softmax input ("logits") or its output ("attention").

    Returns:
        (windows, heads, N, channels).
    """
    return _WatchedAttention.apply(query, key, value, bias, block, gradient_at)


class _WatchedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        bias: Tensor | None,
        block: BlockAttention,
        gradient_at: str,
    ) -> Tensor:
        ctx.save_for_backward(query, key, value, bias)
        ctx.block, ctx.gradient_at = block, gradient_at
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, bias = ctx.saved_tensors
        wide, block = _wide(query), ctx.block
        block.key_mean = query.new_empty(query.shape[:3], dtype=wide)
        block.gradient_norm = query.new_empty(query.shape[:2], dtype=wide)
        scale = query.shape[-1] ** -0.5
        to_query, to_key, to_value = (
            torch.empty_like(tensor) if needed else None
            for tensor, needed in zip((query, key, value), ctx.needs_input_grad[:3], strict=True)
        )
        for part in _parts(query):
            attention = _attention(query[part], key[part], _of(bias, part))
            block.key_mean[part] = attention.mean(dim=-2)
            incoming = gradient[part].to(wide)
            if to_value is not None:
                to_value[part] = attention.mT @ incoming
            at_attention = incoming @ value[part].to(wide).mT
            if ctx.gradient_at == "attention":
                block.gradient_norm[part] = torch.linalg.vector_norm(at_attention, dim=(-2, -1))
            at_logits = _softmax_backward(attention, at_attention)
            if ctx.gradient_at == "logits":
                block.gradient_norm[part] = torch.linalg.vector_norm(at_logits, dim=(-2, -1))
            if to_query is not None:
                to_query[part] = (at_logits @ key[part].to(wide)) * scale
            if to_key is not None:
                to_key[part] = (at_logits.mT @ query[part].to(wide)) * scale
        return to_query, to_key, to_value, None, None, None


def _attention(query: Tensor, key: Tensor, bias: Tensor | None) -> Tensor:
    """Attention after softmax, (windows, heads, N, N)."""
    wide = _wide(query)
    logits = (query.to(wide) * query.shape[-1] ** -0.5) @ key.to(wide).mT
    return (logits if bias is None else logits.add_(bias)).softmax(dim=-1)


def _softmax_backward(attention: Tensor, gradient: Tensor) -> Tensor:
    """Gradient at the input of a softmax from that at its output, in place: A (g - sum_k(g A))."""
    weighted = gradient.mul_(attention)
    return weighted.addcmul_(attention, weighted.sum(dim=-1, keepdim=True), value=-1)


def _parts(query: Tensor) -> Iterator[slice]:
    """Slices of windows, each with few enough elements of attention."""
    windows, heads, tokens, _ = query.shape
    elements = _CPU_ELEMENTS if query.device.type == "cpu" else _GPU_ELEMENTS
    step = max(1, elements // (heads * tokens * tokens))
    for start in range(0, windows, step):
        yield slice(start, start + step)


def _of(bias: Tensor | None, part: slice) -> Tensor | None:
    return bias if bias is None or bias.shape[0] == 1 else bias[part]


def _wide(tensor: Tensor) -> torch.dtype:
    """At least float32: half precision would lose small gradients in sums of squares."""
    return torch.promote_types(tensor.dtype, torch.float32)
