"""Watch the attention of Swin blocks during one forward pass."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import torch
from timm.models.swin_transformer import SwinTransformer, SwinTransformerBlock
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from .watched_attention import GRADIENT_AT, BlockAttention, attend, attend_with_gradient


class AttentionCapture(TorchFunctionMode):
    """Context in which one forward pass of a Swin fills `blocks`, in the order of the network.

    timm's fused attention calls torch's `scaled_dot_product_attention`; inside the context, and in its
    thread only, that call goes to `watched_attention`.

    Args:
        swin: a timm Swin, its parameters frozen (see `frozen`).
        stages: which stages to watch, counted from 0.
        gradient_at: where to take gradients: at the input of the softmax ("logits"), at the attention after
            it ("attention"), or nowhere (None).

    Blocks come in pairs (plain, shifted). The last block of an odd stage has no partner and is left out,
    unless it is the stage's only one: a lone factor among products of two would drown them.

    Raises:
        ValueError: another kind of network, no such stage, unknown `gradient_at`.

    Example:
        >>> with frozen(model), AttentionCapture(model.swin, (0, 1, 2), "logits") as capture:
        ...     capture.backward(model.positive_logit(model(images)).sum())
        >>> capture.blocks[0].gradient_norm
    """

    def __init__(self, swin: SwinTransformer, stages: Sequence[int], gradient_at: str | None = None) -> None:
        super().__init__()
        if not isinstance(swin, SwinTransformer):
            raise ValueError(f"Attention maps need a Swin Transformer v1, got {type(swin).__name__}.")
        if gradient_at is not None and gradient_at not in GRADIENT_AT:
            raise ValueError(f"gradient_at must be one of {', '.join(GRADIENT_AT)}, got {gradient_at!r}.")
        self.stages = sorted(set(stages))
        if not self.stages or self.stages[0] < 0 or self.stages[-1] >= len(swin.layers):
            raise ValueError(f"Stages must be among 0 to {len(swin.layers) - 1}, got {tuple(stages)}.")
        self.blocks: list[BlockAttention] = []
        self._swin = swin
        self._gradient_at = gradient_at
        self._thread = threading.get_ident()
        self._entered: BlockAttention | None = None
        self._root: Tensor | None = None
        self._undo: list[Callable[[], None]] = []

    def __enter__(self) -> AttentionCapture:
        self._thread = threading.get_ident()
        try:
            for stage in self.stages:
                blocks = self._swin.layers[stage].blocks
                for index in range(len(blocks) if len(blocks) == 1 else len(blocks) // 2 * 2):
                    self._watch(stage, index, blocks[index])
        except BaseException:
            self._release()
            raise
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            self._release()

    def __torch_function__(
        self, function: Callable, types: Any, arguments: tuple = (), options: dict[str, Any] | None = None
    ) -> Any:
        block = self._entered
        if block is None or function is not functional.scaled_dot_product_attention:
            return function(*arguments, **(options or {}))
        self._entered = None
        self.blocks.append(block)
        query, key, value, *mask = arguments
        bias = mask[0] if mask else (options or {}).get("attn_mask")
        if self._gradient_at is None:
            return attend(query, key, value, bias, block)
        if len(self.blocks) == 1:
            # The graph starts here: nothing before the first watched block needs one.
            query = self._root = query.detach().requires_grad_(True)
        return attend_with_gradient(query, key, value, bias, block, self._gradient_at)

    def backward(self, score: Tensor) -> None:
        """Fill `key_mean` and `gradient_norm` of all blocks.

        Args:
            score: scalar, the sum of one logit per image; images do not mix, so each gets its own gradient.
        """
        if self._root is None:
            raise RuntimeError("No gradients to take: run the network in this context first.")
        root, self._root = self._root, None
        # Asking for the root alone ends the backward pass at the first watched block.
        torch.autograd.grad(score, root)

    def _watch(self, stage: int, index: int, block: SwinTransformerBlock) -> None:
        window = (int(block.window_size[0]), int(block.window_size[1]))
        shift = (int(block.shift_size[0]), int(block.shift_size[1]))

        def enter(_: SwinTransformerBlock, arguments: tuple[Tensor]) -> None:
            # Another thread may run the same network meanwhile.
            if threading.get_ident() == self._thread:
                grid = (int(arguments[0].shape[1]), int(arguments[0].shape[2]))
                self._entered = BlockAttention(stage, index, grid, window, shift)

        hook: RemovableHandle = block.register_forward_pre_hook(enter)
        self._undo.append(hook.remove)
        fused = block.attn.fused_attn
        block.attn.fused_attn = True
        self._undo.append(lambda: setattr(block.attn, "fused_attn", fused))

    def _release(self) -> None:
        while self._undo:
            self._undo.pop()()
        self._entered = self._root = None
