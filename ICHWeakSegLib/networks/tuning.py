"""How much of an encoder learns: nothing, low-rank additions (LoRA, Hu et al. 2021, arXiv 2106.09685), or all."""

from __future__ import annotations

from torch import nn

from ICHWeakSegLib.ct.errors import InputError

TUNE = ("frozen", "lora", "full")
_ADAPTER = "default"
# Linear layers of an attention, by the names of timm's and transformers' networks.
_ATTENTION = ("qkv", "q_proj", "k_proj", "v_proj", "query", "key", "value", "q_lin", "k_lin", "v_lin")


def tune(encoder: nn.Module, how: str, rank: int = 8) -> None:
    """Make an encoder learn as asked for, in place.

    Args:
        encoder: with its initial weights.
        how: `frozen`, `lora` (the projections of its attention; needs peft) or `full`.
        rank: of LoRA.

    Raises:
        InputError: there is no such way, or nothing in the encoder that LoRA could be added to.
        ModuleNotFoundError: peft is not installed.
    """
    if how not in TUNE:
        raise InputError(f"An encoder is tuned as one of {', '.join(TUNE)}, not {how!r}.")
    encoder.requires_grad_(how == "full")
    if how != "lora":
        return
    names = [
        name
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in _ATTENTION
    ]
    if not names:
        raise InputError(
            f"LoRA finds no attention in this {type(encoder).__name__}: tune it as frozen or full instead."
        )
    from peft import LoraConfig, inject_adapter_in_model

    # Names in full: peft takes a list of them as they are.
    settings = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=names)
    inject_adapter_in_model(settings, encoder, _ADAPTER)


def merge_lora(encoder: nn.Module) -> None:
    """Add what LoRA learned to the weights it was added to, in place: what remains needs no peft."""
    found = [
        name
        for name, module in encoder.named_modules()
        if hasattr(module, "get_base_layer") and hasattr(module, "merge")
    ]
    for name in found:
        where, _, own = name.rpartition(".")
        parent = encoder.get_submodule(where)
        layer = getattr(parent, own)
        layer.merge()
        setattr(parent, own, layer.get_base_layer())


def is_frozen(encoder: nn.Module) -> bool:
    """Whether nothing in it learns."""
    return not any(parameter.requires_grad for parameter in encoder.parameters())
