"""The sequence classifier's training steps, for Lightning."""

from __future__ import annotations

import math

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import BinaryAUROC

from ICHWeakSegLib.networks.sequence_classifier import SequenceClassifier

STAGES = ("slices", "reader", "sequence", "maps")
# In stage 2 the ResNet is trained already, the recurrent layers are new: its share of their rate (ours).
RESNET_SHARE = 0.1


class SequenceModule(lightning.LightningModule):
    """A stage of `SequenceClassifier`'s training; the loss is binary cross-entropy.

    - `slices` (stage 1): ResNet and linear head on single slices.
    - `reader` (before stage 2, ours): recurrent layers and their head on the features of a ResNet that does not
      change: fresh recurrent layers need many more steps than the ResNet, and these cost next to nothing.
    - `sequence` (stage 2): ResNet, recurrent layers and their head on runs of contiguous slices. The ResNet's
      batch norms keep the statistics of stage 1: slices of a run are too alike to be a sample of all (ours).
    - `maps` (stage 3): the linear head alone; the ResNet does not change at all.

    Args:
        network: the classifier.
        stage: one of `STAGES`.
        rate: highest learning rate; a warm-up and a cosine to a hundredth of it (ours). Stage 2 trains the
            ResNet at `RESNET_SHARE` of it.
        weight_decay: AdamW's.
        steps: optimizer steps of the stage.
    """

    def __init__(
        self, network: SequenceClassifier, stage: str, rate: float, weight_decay: float, steps: int
    ) -> None:
        super().__init__()
        if stage not in STAGES:
            raise ValueError(f"The stage is one of {', '.join(STAGES)}, not {stage!r}.")
        self.network, self.stage = network, stage
        self.rate, self.weight_decay, self.steps = rate, weight_decay, steps
        self.auc = BinaryAUROC()

    def trained(self) -> list[nn.Module]:
        """The parts of the network that this stage changes."""
        network = self.network
        if self.stage == "slices":
            return [network.resnet, network.slice_head]
        if self.stage == "reader":
            return [network.recurrent, network.head]
        if self.stage == "sequence":
            return [network.resnet, network.recurrent, network.head]
        return [network.slice_head]

    def on_train_epoch_start(self) -> None:
        # Lightning sets everything to training mode.
        if self.stage in ("reader", "maps"):
            self.network.resnet.eval()
        elif self.stage == "sequence":
            for part in self.network.resnet.modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm):
                    part.eval()

    def scores(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Logits (N,) and labels (N,) of the batch's known slices."""
        if self.stage in ("reader", "sequence"):
            images, labels, mask = batch
            read = self.network if self.stage == "sequence" else self.network.sequence_logits
            logits, known = read(images, mask), mask & ~labels.isnan()
            return logits[known].float(), labels[known]
        images, labels = batch[:2]
        if self.stage == "maps":
            with torch.no_grad():
                features = self.network.features(images)
            return self.network.slice_head(features)[:, 0].float(), labels[:, 0]
        return self.network.slice_logits(images)[:, 0].float(), labels[:, 0]

    def training_step(self, batch: tuple[Tensor, ...], _: int) -> Tensor:
        loss = functional.binary_cross_entropy_with_logits(*self.scores(batch))
        self.log("train_loss", loss, on_epoch=True, on_step=False, prog_bar=True, batch_size=len(batch[0]))
        return loss

    def validation_step(self, batch: tuple[Tensor, ...], _: int) -> None:
        logits, labels = self.scores(batch)
        self.auc.update(logits.sigmoid(), labels.long())
        loss = functional.binary_cross_entropy_with_logits(logits, labels)
        self.log("val_loss", loss, on_epoch=True, prog_bar=True, batch_size=len(logits))

    def on_validation_epoch_end(self) -> None:
        self.log("val_auc", self.auc.compute(), prog_bar=True)
        self.auc.reset()

    def configure_optimizers(self):
        self.network.requires_grad_(False)
        groups = []
        for part in self.trained():
            part.requires_grad_(True)
            tuned = self.stage == "sequence" and part is self.network.resnet
            rate = self.rate * (RESNET_SHARE if tuned else 1.0)
            matrices = [p for p in part.parameters() if p.ndim >= 2]
            others = [p for p in part.parameters() if p.ndim < 2]
            groups.append({"params": matrices, "lr": rate, "weight_decay": self.weight_decay})
            groups.append({"params": others, "lr": rate, "weight_decay": 0.0})
        optimizer = torch.optim.AdamW(groups)
        warm, whole = max(1, self.steps // 15), max(1, self.steps)

        def factor(step: int) -> float:
            if step < warm:
                return (step + 1) / warm
            done = min(1.0, (step - warm) / max(1, whole - warm))
            return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
