"""The prognosis network's losses and training step, for Lightning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning
import torch
from monai.losses import DiceCELoss
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import BinaryAUROC

from ICHWeakSegLib.networks.outcome_head import band
from ICHWeakSegLib.networks.sc_network import NEVER, ScNetwork, ScOutput
from ICHWeakSegLib.prognosis.dataset import PrognosisBatch

TASKS = ("segmentation", "outcome", "auxiliary")
_BANDS = ("gcs", "age")


class PrognosisModule(lightning.LightningModule):
    """Loss, metrics and optimizer of `ScNetwork`.

    Segmentation: 0.5 cross-entropy + 0.5 Dice of the batch (most slices hold no blood) within the brain. Outcome:
    binary cross-entropy. Auxiliary: cross-entropy of the bands. Each counts the cases that know it.

    Args:
        network: the network.
        weights: of the tasks in `TASKS`; None: learned with the others, by homoscedastic uncertainty (Kendall et
            al. 2018, arXiv 1705.07115).
        rate, weight_decay: AdamW's; one cycle.
        encoder_rate: share of the rate for encoders that began with trained weights.
        trained: names of those encoders: `image`, `text`.
        steps: optimizer steps of the whole training.
    """

    def __init__(
        self,
        network: ScNetwork,
        weights: dict[str, float] | None = None,
        rate: float = 1e-3,
        weight_decay: float = 0.05,
        encoder_rate: float = 0.1,
        trained: Sequence[str] = (),
        steps: int = 100,
    ) -> None:
        super().__init__()
        self.network, self.weights = network, weights
        self.rate, self.weight_decay, self.encoder_rate = rate, weight_decay, encoder_rate
        self.trained, self.steps = tuple(trained), steps
        # Logarithms of the tasks' variances.
        self.uncertainty = nn.ParameterDict(
            {} if weights is not None else {task: nn.Parameter(torch.zeros(())) for task in TASKS}
        )
        self.dense = DiceCELoss(sigmoid=True, batch=True, lambda_dice=0.5, lambda_ce=0.5)
        self.auc = BinaryAUROC()
        # Frozen weights are those of a file: checkpoints do without.
        self.strict_loading = False

    def losses(self, out: ScOutput, batch: PrognosisBatch) -> dict[str, Tensor]:
        """Loss of each task that some case of the batch knows."""
        found: dict[str, Tensor] = {}
        slices = batch.valid & batch.drawn[:, None]
        if slices.any():
            logits, brain = out.blood[slices], batch.brain[slices]
            found["segmentation"] = self.dense(
                logits.masked_fill(~brain, NEVER)[:, None], (batch.blood[slices] * brain)[:, None]
            )
        known = ~batch.outcome.isnan()
        if known.any():
            found["outcome"] = functional.binary_cross_entropy_with_logits(
                out.outcome[known], batch.outcome[known]
            )
        more = []
        for name, logits in out.auxiliary.items():
            told = band(name, batch.bands[:, _BANDS.index(name)])
            here = (told >= 0) & batch.valid.any(1)
            if here.any():
                more.append(functional.cross_entropy(logits[here].float(), told[here]))
        if more:
            found["auxiliary"] = torch.stack(more).mean()
        return found

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The tasks' losses in one."""
        total = self.network.no_text.sum() * 0.0
        for task, loss in losses.items():
            if self.weights is None:
                spread = self.uncertainty[task]
                total = total + torch.exp(-spread) * loss + spread / 2
            else:
                total = total + self.weights.get(task, 0.0) * loss
        return total

    def _run(self, batch: PrognosisBatch) -> tuple[ScOutput, dict[str, Tensor]]:
        out = self.network(batch.images, batch.texts, batch.valid, batch.brain, batch.pixel_ml)
        return out, self.losses(out, batch)

    def training_step(self, batch: PrognosisBatch, _: int) -> Tensor:
        _, losses = self._run(batch)
        total = self.total(losses)
        self._log({"train_loss": total, **{f"{task}_loss": loss for task, loss in losses.items()}}, batch)
        return total

    def validation_step(self, batch: PrognosisBatch, _: int) -> None:
        out, losses = self._run(batch)
        known = ~batch.outcome.isnan()
        self.auc.update(out.outcome[known], batch.outcome[known].long())
        self._log({"val_loss": self.total(losses)}, batch)

    def _log(self, values: dict[str, Tensor], batch: PrognosisBatch) -> None:
        for name, value in values.items():
            shown = name == "train_loss"
            self.log(
                name,
                value.detach(),
                on_step=False,
                on_epoch=True,
                prog_bar=shown,
                batch_size=len(batch.texts),
            )

    def on_validation_epoch_end(self) -> None:
        self.log("val_auc", self.auc.compute(), prog_bar=True)
        self.auc.reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        frozen = {name for name, parameter in self.named_parameters() if not parameter.requires_grad}
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {key: value for key, value in state.items() if key not in frozen}

    def configure_optimizers(self):
        slow, fast = [], []
        encoders = tuple(f"network.{name}." for name in self.trained)
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                # LoRA's additions are new, whatever they are added to.
                gentle = bool(encoders) and name.startswith(encoders) and "lora_" not in name
                (slow if gentle else fast).append(parameter)
        groups = [{"params": fast, "lr": self.rate}]
        groups += [{"params": slow, "lr": self.rate * self.encoder_rate}] if slow else []
        optimizer = torch.optim.AdamW(groups, lr=self.rate, weight_decay=self.weight_decay)
        steps = max(3, self.steps)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            [group["lr"] for group in groups],
            total_steps=steps,
            pct_start=max(0.1, 2 / steps),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
