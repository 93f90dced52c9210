"""The slice classifier's training step, for Lightning."""

from __future__ import annotations

import math

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import BinaryAUROC

from ICHWeakSegLib.networks.swin_classifier import SwinClassifier

# A cell shows blood if this share of it was painted: a few pixels in a cell of the second stage.
SPOT_SHARE = 0.04


class ClassifierModule(lightning.LightningModule):
    """Loss, metrics and optimizer of `SwinClassifier` for image-level labels.

    Args:
        network: the classifier.
        strategy: `binary` (cross-entropy on two logits), `binary-sigmoid` (one logit) or `subtypes`
            (six independent logits, any + five subtypes; unknown labels are left out).
        schedule: `scratch` (warm-up, then cosine to 1 % of `rate`) or `fine-tune` (HGI-SAM: head alone at
            1e-3 for `head_epochs`, then everything at `rate`).
        rate: learning rate.
        weight_decay: AdamW's.
        steps: optimizer steps of the whole training, for the cosine.
        painted_weight: weight of a second loss that asks the second and later stages, cell by cell, where
            blood was painted. From scratch a transformer needs it to notice small bright spots at all. Real
            positive slices take no part in it: nobody drew their blood. The extra layers are not part of the
            model.
    """

    def __init__(
        self,
        network: SwinClassifier,
        strategy: str,
        schedule: str = "scratch",
        rate: float = 5e-4,
        weight_decay: float = 0.05,
        steps: int = 1000,
        head_epochs: int = 2,
        painted_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.network, self.strategy, self.schedule = network, strategy, schedule
        self.rate, self.weight_decay, self.steps, self.head_epochs = rate, weight_decay, steps, head_epochs
        self.painted_weight = painted_weight
        self.auc = BinaryAUROC()
        self.cells: list[Tensor] = []
        if painted_weight:
            stages = range(1, len(network.swin.layers))
            channels = [network.swin.feature_info[stage]["num_chs"] for stage in stages]
            self.spots = nn.ModuleList(nn.Linear(count, 1) for count in channels)
            self._hooks = [network.swin.layers[stage].register_forward_hook(self._keep) for stage in stages]

    def release(self) -> None:
        """Leave the network as it was: nothing watches its stages any more."""
        for hook in getattr(self, "_hooks", []):
            hook.remove()
        self.cells.clear()

    def _keep(self, _: nn.Module, __: object, output: Tensor) -> None:
        self.cells.append(output)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of logits (B, classes) against labels (B, 6)."""
        logits = logits.float()
        if self.strategy == "binary":
            return functional.cross_entropy(logits, labels[:, 0].long())
        if self.strategy == "binary-sigmoid":
            return functional.binary_cross_entropy_with_logits(logits[:, 0], labels[:, 0])
        known = ~labels.isnan()
        return functional.binary_cross_entropy_with_logits(logits[known], labels[known])

    def score(self, logits: Tensor) -> Tensor:
        """Probability of any blood, shape (B,)."""
        column = 1 if self.strategy == "binary" else 0
        return self.network.probabilities(logits.float(), self.strategy)[:, column]

    def painted_loss(self, blood: Tensor) -> Tensor:
        """Mean over stages of the cells' cross-entropy against painted blood (B, H, W); -1 is left out."""
        known = (blood >= 0).all(dim=(1, 2))
        total = blood.new_zeros(())
        for spot, cells in zip(self.spots, self.cells, strict=True):
            logits = spot(cells).float()[known][..., 0]
            if not known.any():
                total = total + 0 * spot(cells).float().sum()
                continue
            share = functional.adaptive_avg_pool2d(blood[known][:, None], logits.shape[1:])[:, 0]
            there = (share > SPOT_SHARE).float()
            # Blood fills few cells: without a weight the loss would be content with none.
            total = total + functional.binary_cross_entropy_with_logits(logits, there, 1 + 4 * there)
        return total / len(self.spots)

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], _: int) -> Tensor:
        images, labels, blood = batch
        self.cells.clear()
        loss = self.loss(self.network(images), labels)
        self.log("train_loss", loss, on_epoch=True, on_step=False, prog_bar=True)
        if self.painted_weight:
            painted = self.painted_loss(blood)
            self.log("painted_loss", painted, on_epoch=True, on_step=False)
            loss = loss + self.painted_weight * painted
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], _: int) -> None:
        images, labels, _blood = batch
        self.cells.clear()
        logits = self.network(images)
        self.auc.update(self.score(logits), labels[:, 0].long())
        self.log("val_loss", self.loss(logits, labels), on_epoch=True, prog_bar=True)

    def on_validation_epoch_end(self) -> None:
        self.log("val_auc", self.auc.compute(), prog_bar=True)
        self.auc.reset()

    def on_train_epoch_start(self) -> None:
        if self.schedule == "fine-tune":
            self.network.swin.requires_grad_(self.current_epoch >= self.head_epochs)

    def configure_optimizers(self):
        if self.schedule == "fine-tune":
            groups = [
                {"params": list(self.network.swin.parameters()), "lr": self.rate},
                {"params": list(self.network.head.parameters()), "lr": 1e-3},
            ]
            if self.painted_weight:
                groups[1]["params"] += list(self.spots.parameters())
            optimizer = torch.optim.AdamW(groups, weight_decay=self.weight_decay)

            def head_rate(epoch: int) -> float:
                return 1.0 if epoch < self.head_epochs else self.rate / 1e-3

            scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, [lambda epoch: 1.0, head_rate])
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "epoch"}}
        plain = [p for p in self.parameters() if p.ndim < 2]
        decayed = [p for p in self.parameters() if p.ndim >= 2]
        groups = [
            {"params": decayed, "weight_decay": self.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.rate)
        warm = max(1, self.steps // 15)

        def factor(step: int) -> float:
            if step < warm:
                return (step + 1) / warm
            return 0.01 + 0.99 * 0.5 * (
                1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, self.steps - warm)))
            )

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
