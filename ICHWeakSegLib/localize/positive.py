"""Localize in a stack of slices, spending backward passes on the positive ones only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..networks import SwinClassifier
from .batches import Notice, Progress, device_of, in_batches, warn
from .methods import find_method
from .one_pass import Select, all_images, choose


class Localized(NamedTuple):
    """What a stack of S slices gave, on the CPU.

    Attributes:
        logits: (S, classes).
        positive: (S,) booleans.
        maps: (S, H, W) float32 in 0-1; zeros for slices that are not positive.
    """

    logits: Tensor
    positive: Tensor
    maps: Tensor


def localize_positive(
    classifier: SwinClassifier,
    images: Tensor,
    positive: Tensor | np.ndarray | Sequence[bool],
    method: str = "hgi-sam",
    brain: Tensor | np.ndarray | None = None,
    batch_size: int | None = None,
    notice: Notice = warn,
    progress: Progress | None = None,
    **options: Any,
) -> Tensor:
    """Maps of those slices that are known to be positive.

    Args:
        classifier: on any device; batches go there and their maps come back.
        images: (S, C, H, W), as for the classifier.
        positive: (S,) booleans.
        method: a name in `METHODS`.
        brain: mask (H, W) or (S, H, W).
        batch_size: slices at a time; by default 1 on the CPU, where more is no faster, else 4.
        notice: called with a sentence when memory ran out and a smaller batch or the CPU was taken.
        progress: called after each batch with the number of slices done and of all to do; it may raise.
        **options: of the method, such as `target`.

    Returns:
        (S, H, W) float32 in 0-1 on the CPU; zeros for slices that are not positive.

    Raises:
        ValueError: arguments do not fit together.
        MemoryError: not even one slice fits into memory.
    """
    wanted = torch.as_tensor(positive).cpu().bool()
    if wanted.shape != images.shape[:1]:
        raise ValueError(f"`positive` must hold {len(images)} booleans, got shape {tuple(wanted.shape)}.")
    indices = wanted.nonzero()[:, 0].tolist()
    batches = (batch_size, notice, progress)
    return _localize(classifier, images, indices, all_images, method, brain, batches, options).maps


def classify_and_localize(
    classifier: SwinClassifier,
    images: Tensor,
    is_positive: Select,
    method: str = "hgi-sam",
    brain: Tensor | np.ndarray | None = None,
    batch_size: int | None = None,
    notice: Notice = warn,
    progress: Progress | None = None,
    **options: Any,
) -> Localized:
    """Classify all slices and localize in the positive ones, running each slice through the network once.

    Cheaper than classifying first and then `localize_positive`, since the forward pass that classified a
    positive slice also serves its backward pass.

    Args:
        is_positive: logits (B, classes) -> booleans (B,), for example
            `lambda logits: classifier.probabilities(logits, "binary")[:, 1] >= 0.5`. It sees one batch
            at a time.
        others: as for `localize_positive`.

    Returns:
        Logits, booleans and maps of all slices.

    Raises:
        ValueError: arguments do not fit together.
        MemoryError: not even one slice fits into memory.
    """
    indices = range(len(images))
    batches = (batch_size, notice, progress)
    return _localize(classifier, images, indices, is_positive, method, brain, batches, options)


def _localize(
    classifier: SwinClassifier,
    images: Tensor,
    indices: Sequence[int],
    select: Select,
    method: str,
    brain: Tensor | np.ndarray | None,
    batches: tuple[int | None, Notice, Progress | None],
    options: dict[str, Any],
) -> Localized:
    one_pass = find_method(method).one_pass
    if images.ndim != 4:
        raise ValueError(f"Images must be (S, C, H, W), got {tuple(images.shape)}.")
    count, _, height, width = images.shape
    mask = None if brain is None else torch.as_tensor(brain)
    if mask is not None and tuple(mask.shape) not in ((height, width), (count, height, width)):
        raise ValueError(
            f"The brain mask must be {(height, width)} or {(count, height, width)}, got {tuple(mask.shape)}."
        )
    result = Localized(
        torch.zeros(count, classifier.num_classes),
        torch.zeros(count, dtype=torch.bool),
        torch.zeros(count, height, width),
    )

    def work(batch: list[int]) -> None:
        device = device_of(classifier)
        masks = mask if mask is None or mask.ndim == 2 else mask[batch]
        answers: list[Tensor] = []

        def remember(logits: Tensor) -> Tensor:
            answers.append(choose(select, logits))
            return answers[-1]

        logits, maps = one_pass(classifier, images[batch].to(device), masks, remember, **options)
        result.logits[batch] = logits.float().cpu()
        result.positive[batch] = answers[-1].cpu()
        result.maps[batch] = maps.float().cpu()

    batch_size, notice, progress = batches
    if batch_size is None:
        batch_size = 1 if device_of(classifier).type == "cpu" else 4
    in_batches(classifier, indices, batch_size, work, notice, progress)
    return result
