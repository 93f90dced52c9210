"""Blood probability of every pixel and slice, from a segmenter, in batches that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ICHWeakSegLib.ct.network_input import Preprocessing
from ICHWeakSegLib.localize.batches import Notice, Progress, device_of, in_batches, warn
from ICHWeakSegLib.networks.segmenter import Planes, Segmenter, segmenter_input

# Slabs that are cropped at a time, since neighbours share crops; a GPU takes them all at once.
BATCH = 16
# What a CPU takes at a time: with 16, activations outgrow its caches, and a committee costs 1.6 times as much.
CPU_BATCH = 2


def segmenter_passes(
    network: Segmenter,
    source: Planes,
    slabs: Sequence[int],
    preprocessing: Preprocessing | None = None,
    notice: Notice = warn,
    progress: Progress | None = None,
) -> Iterator[tuple[int, np.ndarray, float]]:
    """One pass of the network: map and score of each slab.

    Args:
        network: in eval mode, on any device.
        source: the CT as the network sees it; a `NetworkInput` knows its own preprocessing.
        slabs: which, in the order in which they are wanted; ascending ones share their neighbours' crops.
        preprocessing: of a source that does not know it.
        notice: told when memory ran out and what was done.
        progress: told how many slabs are done, and of how many: 0 at first, then after each batch; it may raise
            to stop the work.

    Yields:
        (slab, probability of blood (size, size) float32, 0 outside the brain, probability of the slab). A
        slab without brain gives zeros without asking the network.
    """
    wishes = preprocessing or source.preprocessing
    for first in range(0, len(slabs), BATCH):
        some = list(slabs[first : first + BATCH])
        if progress:
            progress(first, len(slabs))
        images, brain = segmenter_input(source, some, wishes, network.context)
        squares = np.zeros(brain.shape, np.float32)
        scores = np.zeros(len(some), np.float32)

        def work(batch: list[int], images=images, brain=brain, squares=squares, scores=scores) -> None:
            with torch.inference_mode():
                mask = brain[batch].to(device_of(network))
                logits = network(images[batch].to(mask.device)).float()
                squares[batch] = (logits[:, 0].sigmoid() * mask).cpu().numpy()
                scores[batch] = network.slice_logits(logits, mask).sigmoid().cpu().numpy()

        inside = [place for place in range(len(some)) if brain[place].any()]
        # So many are done before the first, the second, ... of those with brain; the others take no time.
        before = [first + place for place in (*inside, len(some))]

        def tell(done: int, _: int, before=before) -> None:
            if progress:
                progress(before[done], len(slabs))

        at_once = CPU_BATCH if device_of(network).type == "cpu" else BATCH
        in_batches(network, inside, at_once, work, notice, tell)
        yield from ((slab, squares[place], float(scores[place])) for place, slab in enumerate(some))


def segmenter_probabilities(
    network: Segmenter,
    source: Planes,
    slabs: Sequence[int],
    preprocessing: Preprocessing | None = None,
    notice: Notice = warn,
) -> Iterator[tuple[int, np.ndarray]]:
    """(slab, probability of blood (size, size) float32) of these slabs; see `segmenter_passes`."""
    for slab, square, _ in segmenter_passes(network, source, slabs, preprocessing, notice):
        yield slab, square


def slice_scores(
    network: Segmenter,
    source: Planes,
    slabs: Sequence[int],
    preprocessing: Preprocessing | None = None,
    notice: Notice = warn,
) -> np.ndarray:
    """Probability of blood of these slabs, float32, shape (len(slabs),); see `segmenter_passes`."""
    passes = segmenter_passes(network, source, slabs, preprocessing, notice)
    return np.array([score for _, _, score in passes], np.float32)
