"""One training with Lightning: resumes, stops early where that is asked for, leaves curves."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.training.curves import draw_curves
from ICHWeakSegLib.training.resumable import (
    EpochBar,
    OnEpoch,
    RandomState,
    WholeCheckpoints,
    fit,
    free_log,
    quiet_lightning,
)

ACCELERATORS = {"auto": "auto", "cpu": "cpu", "cuda": "gpu", "mps": "mps"}


def run_lightning(
    module: lightning.LightningModule,
    loader: DataLoader,
    valid: DataLoader | None,
    folder: Path,
    draws: torch.Generator,
    *,
    epochs: int,
    precision: str,
    device: str,
    quiet: bool,
    on_epoch: Callable[[int, dict[str, float]], None] | None,
    patience: int = 0,
    check_every: int = 1,
) -> dict[str, float]:
    """Train a module; a run that was killed goes on from its last whole epoch.

    Afterwards the module holds the last weights, or, with `patience` and `valid`, those of the best epoch.

    Args:
        module: logs `val_auc` where there is a `valid`.
        loader, valid: of training and validation.
        folder: keeps checkpoints, `metrics.csv` in its logs, and `curves.png`.
        draws: the generator that the sampler draws from.
        epochs: at most so many.
        precision: Lightning's.
        device: `auto`, `cpu`, `cuda` or `mps`.
        quiet: no progress bar; there is none either where standard output is no terminal.
        on_epoch: called with the number of epochs done and the metrics.
        patience: epochs without a better AUC before it stops; 0: never stop early.
        check_every: epochs between two validations.

    Returns:
        The last metrics.

    Raises:
        InputError: the training diverged.
        KeyboardInterrupt: stopped by the user; the same call goes on.
    """
    best = ModelCheckpoint(folder, "best", monitor="val_auc", mode="max", save_weights_only=True)
    early = EarlyStopping("val_auc", mode="max", patience=patience)
    # The last one comes last: it has to know what the others saw in its epoch.
    last = ModelCheckpoint(
        folder, "last", enable_version_counter=False, every_n_epochs=1, save_on_train_epoch_end=True
    )
    stops = bool(valid and patience)
    callbacks = [RandomState(draws), *([early, best] if stops else []), last]
    if on_epoch:
        callbacks.append(OnEpoch(on_epoch))
    bar = not quiet and sys.stdout.isatty()
    if bar:
        callbacks.append(EpochBar())
    saved = folder / "last.ckpt"
    if saved.exists():
        before = torch.load(saved, weights_only=True, map_location="cpu")
        if before["callbacks"].get(early.state_key, {}).get("wait_count", 0) >= patience > 0:
            epochs = before["epoch"] + 1  # it had stopped early
    with quiet_lightning():
        trainer = lightning.Trainer(
            accelerator=ACCELERATORS[device],
            devices=1,
            max_epochs=epochs,
            precision=precision,
            gradient_clip_val=1.0,
            callbacks=callbacks,
            plugins=[WholeCheckpoints()],
            logger=CSVLogger(folder, name="", version=free_log(folder), flush_logs_every_n_steps=1),
            log_every_n_steps=1_000_000,
            enable_progress_bar=bar,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            check_val_every_n_epoch=check_every,
        )
        fit(trainer, module, loader, valid, saved if saved.exists() else None)
    if stops and best.best_model_path:
        chosen = folder / Path(best.best_model_path).name
        module.load_state_dict(torch.load(chosen, weights_only=True, map_location="cpu")["state_dict"])
    draw_curves(folder, folder / "curves.png")
    if not all(bool(value.isfinite().all()) for value in module.state_dict().values()):
        raise InputError(f"The training in {folder} diverged: remove the folder and give a smaller rate.")
    return {key: float(value) for key, value in trainer.callback_metrics.items()}
