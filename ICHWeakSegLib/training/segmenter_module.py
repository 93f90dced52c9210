"""The segmenter's losses and training step, for Lightning."""

from __future__ import annotations

import lightning
import torch
from monai.losses import DiceCELoss, DiceLoss
from monai.metrics import compute_dice
from torch import Tensor
from torch.nn import functional
from torchmetrics.classification import BinaryAUROC

from ICHWeakSegLib.ct.network_input import Preprocessing
from ICHWeakSegLib.networks.segmenter import NEVER, Segmenter, segmenter_channels
from ICHWeakSegLib.training.dataset import Augmentation
from ICHWeakSegLib.training.segmenter_dataset import Batch, augment

LOSSES = ("mixed", "dice-ce", "batch-dice")
# Blood fills few pixels: cross-entropy alone would be content with none.
BLOOD_WEIGHT = 3.0
# Pixels added to Dice's two sides: a slice without blood costs what is found on it, not always 1.
SMOOTH = 20.0


class SegmenterModule(lightning.LightningModule):
    """Loss, metrics and optimizer of `Segmenter`.

    Two losses: a dense one of the slices whose blood is known voxel by voxel, and an image-level one (binary
    cross-entropy of the pooled logit) of all slices. A slice that is only labelled positive takes part in the
    second alone: nobody drew its blood.

    Args:
        network: the segmenter.
        preprocessing: of its input.
        loss: the dense loss: `mixed` (ours: twice the cross-entropy in the brain, blood weighted 3 times, plus
            Dice a slice), `dice-ce` (0.5 cross-entropy + 0.5 Dice, HGI-SAM's supervised baselines) or
            `batch-dice` (Dice of the whole batch, Ramananda & Sundaresan's network on pseudo-masks).
        dense_weight, image_weight: weights of the two losses.
        augmentation: None: train on the slices as they are.
        rate, weight_decay: AdamW's; the rate rises for a tenth of the steps, then falls (one cycle).
        steps: optimizer steps of the whole training.
    """

    def __init__(
        self,
        network: Segmenter,
        preprocessing: Preprocessing,
        loss: str = "mixed",
        dense_weight: float = 1.0,
        image_weight: float = 1.0,
        augmentation: Augmentation | None = None,
        rate: float = 1e-3,
        weight_decay: float = 0.01,
        steps: int = 1000,
    ) -> None:
        super().__init__()
        self.network, self.preprocessing, self.kind = network, preprocessing, loss
        self.dense_weight, self.image_weight = dense_weight, image_weight
        self.augmentation = augmentation
        self.rate, self.weight_decay, self.steps = rate, weight_decay, steps
        self.auc = BinaryAUROC()
        self.dice: list[Tensor] = []
        if loss == "mixed":
            self.dense = DiceLoss(sigmoid=True, smooth_nr=SMOOTH, smooth_dr=SMOOTH)
        elif loss == "dice-ce":
            self.dense = DiceCELoss(sigmoid=True, lambda_dice=0.5, lambda_ce=0.5)
        else:
            self.dense = DiceLoss(sigmoid=True, batch=True)

    def dense_loss(self, logits: Tensor, blood: Tensor, brain: Tensor) -> Tensor:
        """Of logits (B, 1, H, W) against blood (B, H, W) in 0-1 within the brain, bool (B, H, W)."""
        inside = logits[:, 0].float().masked_fill(~brain, NEVER)
        blood = blood * brain
        loss = self.dense(inside[:, None], blood[:, None])
        if self.kind != "mixed":
            return loss
        weight = inside.new_tensor(BLOOD_WEIGHT)
        pixels = functional.binary_cross_entropy_with_logits(
            inside, blood, reduction="none", pos_weight=weight
        )
        share = (pixels * brain).sum((1, 2)) / brain.sum((1, 2)).clamp(min=1)
        return loss + 2 * share.mean()

    def losses(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Dense and image-level loss of a batch; the dense one is 0 where nothing is drawn."""
        brain, drawn = batch.brain > 0.5, batch.drawn
        pooled = self.network.slice_logits(logits, brain)
        image = functional.binary_cross_entropy_with_logits(pooled, batch.label)
        if not drawn.any():
            return image.new_zeros(()), image
        return self.dense_loss(logits[drawn], batch.blood[drawn], brain[drawn]), image

    def training_step(self, batch: Batch, _: int) -> Tensor:
        batch = Batch(*batch)
        # Coordinates and HU need all of float32's digits.
        place = "cuda" if batch.hu.is_cuda else "cpu"
        with torch.autocast(place, enabled=False), torch.no_grad():
            if self.augmentation:
                batch = augment(batch, self.augmentation, self.preprocessing.brain_hu or 33.0)
            else:
                batch = batch._replace(blood=batch.blood.float())
            images = segmenter_channels(batch.hu, batch.brain > 0.5, self.preprocessing)
        dense, image = self.losses(self.network(images), batch)
        loss = self.dense_weight * dense + self.image_weight * image
        for name, value in (("train_loss", loss), ("dense_loss", dense), ("image_loss", image)):
            self.log(name, value.detach(), on_epoch=True, on_step=False, prog_bar=name == "train_loss")
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        batch = Batch(*batch)
        brain = batch.brain > 0.5
        logits = self.network(segmenter_channels(batch.hu, brain, self.preprocessing)).float()
        self.auc.update(self.network.slice_logits(logits, brain), batch.label.long())
        dense, image = self.losses(logits, batch._replace(blood=batch.blood.float()))
        loss = self.dense_weight * dense + self.image_weight * image
        self.log("val_loss", loss, on_epoch=True, batch_size=len(batch.label))
        bleeds = batch.drawn & (batch.label == 1)
        if bleeds.any():
            found, truth = (logits > 0) & brain[:, None], batch.blood[:, None] * brain[:, None]
            self.dice.append(compute_dice(found[bleeds].float(), truth[bleeds].float())[:, 0])

    def on_validation_epoch_end(self) -> None:
        self.log("val_auc", self.auc.compute(), prog_bar=True)
        self.auc.reset()
        if self.dice:
            self.log("val_dice", torch.cat(self.dice).mean(), prog_bar=True)
        self.dice.clear()

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.rate, weight_decay=self.weight_decay)
        steps = max(3, self.steps)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.rate, total_steps=steps, pct_start=max(0.1, 2 / steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
