"""Probability of blood on every slab of a CT by the sequence model, slab by slab in little memory."""

from __future__ import annotations

import numpy as np
import torch

from ICHWeakSegLib.ct.network_input import NetworkInput
from ICHWeakSegLib.localize.batches import Notice, Progress, device_of, in_batches, warn
from ICHWeakSegLib.localize.frozen import frozen
from ICHWeakSegLib.networks.sequence_classifier import BATCH, SequenceClassifier


def sequence_probabilities(
    network: SequenceClassifier,
    source: NetworkInput,
    batch_size: int = BATCH,
    notice: Notice = warn,
    progress: Progress | None = None,
) -> np.ndarray:
    """Probability of blood on each slab.

    Slabs without brain are left out of the sequence, as in training, and get 0.

    Args:
        network: on any device.
        source: the CT as the network sees it.
        batch_size: slabs at a time; fewer when memory runs out.
        notice: told of smaller batches, or of the CPU taken instead.
        progress: told how many slabs are done, and of how many; it may raise.

    Returns:
        (slabs,) float32, 0-1.

    Raises:
        MemoryError: not even one slab fits into memory.
    """
    found = np.zeros(len(source), np.float32)
    slabs = [slab for slab in range(len(source)) if source.slab_has_brain(slab)]
    if not slabs:
        return found
    features = torch.zeros(len(slabs), network.resnet.num_features)

    def work(places: list[int]) -> None:
        images, _ = source.batch([slabs[place] for place in places])
        features[places] = network.features(torch.from_numpy(images).to(device_of(network))).float().cpu()

    with frozen(network), torch.inference_mode():
        in_batches(network, range(len(slabs)), batch_size, work, notice, progress)
        logits = network.volume_logits(features.to(device_of(network)))
    found[slabs] = logits.sigmoid().numpy()
    return found
