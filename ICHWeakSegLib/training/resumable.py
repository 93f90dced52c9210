"""What makes a Lightning training resumable, stoppable and quiet."""

from __future__ import annotations

import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.utils.data import DataLoader


class RandomState(lightning.Callback):
    """Keeps the random state in the checkpoint: a resumed run draws what the uninterrupted one would have.

    Args:
        generator: the sampler's.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self._wanted: dict[str, torch.Tensor] | None = None

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"global": torch.get_rng_state(), "sampler": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self._wanted = state

    def on_train_epoch_start(self, *_: object) -> None:
        # Not sooner: between loading and here, Lightning may draw as well.
        if self._wanted:
            torch.set_rng_state(self._wanted["global"].cpu())
            self.generator.set_state(self._wanted["sampler"].cpu())
            self._wanted = None


class OnEpoch(lightning.Callback):
    """Tells `listener` how many epochs are done and their metrics."""

    def __init__(self, listener: Callable[[int, dict[str, float]], None]) -> None:
        self.listener = listener

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
        self.listener(trainer.current_epoch + 1, metrics)


class EpochBar(TQDMProgressBar):
    """Lightning's progress bar, one at a time, epochs counted from 1."""

    def __init__(self) -> None:
        super().__init__(leave=False)

    def get_metrics(self, *args: Any) -> dict[str, Any]:
        metrics = super().get_metrics(*args)
        metrics.pop("v_num", None)
        return metrics

    def on_train_epoch_start(self, trainer: lightning.Trainer, *args: Any) -> None:
        super().on_train_epoch_start(trainer, *args)
        self.train_progress_bar.set_description(f"Epoch {trainer.current_epoch + 1} of {trainer.max_epochs}")


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the target, then renames; Lightning's own goes through another folder, maybe disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str, storage_options: Any = None) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        partial = f"{path}.part"
        torch.save(checkpoint, partial)
        os.replace(partial, path)


def write_whole(path: Path, text: str) -> None:
    """Write a text file by way of a temporary name."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    os.replace(partial, path)


def free_log(folder: Path) -> str:
    """Name of a log folder for this attempt: Lightning would empty that of the one before."""
    number = 1
    while (folder / log_name(number)).exists():
        number += 1
    return log_name(number)


def log_name(number: int) -> str:
    """Log folder of the first, second ... attempt."""
    return "log" if number == 1 else f"log-{number}"


def fit(
    trainer: lightning.Trainer,
    module: lightning.LightningModule,
    loader: DataLoader,
    valid: DataLoader | None,
    checkpoint: Path | None,
) -> None:
    """Run the trainer, from a checkpoint if there is one.

    Raises:
        KeyboardInterrupt: stopped by the user.
    """
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if main else None
    try:
        trainer.fit(module, loader, valid, ckpt_path=str(checkpoint) if checkpoint else None)
    except SystemExit:
        # Lightning's answer to Ctrl-C.
        if not trainer.interrupted:
            raise
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)
    if trainer.interrupted:
        raise KeyboardInterrupt


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """No advertising and no hints on settings that were chosen on purpose."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for text in (
                r".*does not have many workers.*",
                r".*no `val_dataloader`.*",
                r".*smaller than the logging interval.*",
                r".*Checkpoint directory .* exists and is not empty.*",
                r".*GPU available but not used.*",
                r".*MPS available but not used.*",
                r".*callbacks used to create the checkpoint.*",
            ):
                warnings.filterwarnings("ignore", message=text)
            # How torch, torchmetrics and timm fit Lightning concerns their authors.
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)
