"""A trained sequence network in a folder of its run: weights, and all that is needed to use them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.network_input import Preprocessing
from ICHWeakSegLib.networks.sequence_classifier import SequenceClassifier

NETWORK_FILE, SETTINGS_FILE = "network.safetensors", "network.json"


@dataclass
class SequenceRun:
    """A network as its run left it.

    Attributes:
        network: on the CPU, in eval mode.
        preprocessing: its input.
        probability: from which on a slice is positive.
    """

    network: SequenceClassifier
    preprocessing: Preprocessing
    probability: float = 0.5


def write_weights(network: SequenceClassifier, path: Path) -> None:
    """Write weights by way of a temporary name."""
    partial = path.with_name(path.name + ".part")
    save_file(network.state_dict(), partial)
    partial.replace(path)


def write_run(folder: Path, trained: SequenceRun) -> None:
    """Leave a network in a folder; the settings come last, so that where they are, all is."""
    # Brings Lightning, which the use of a network does not need.
    from ICHWeakSegLib.training.resumable import write_whole

    folder.mkdir(parents=True, exist_ok=True)
    write_weights(trained.network, folder / NETWORK_FILE)
    facts = {
        "network": trained.network.config,
        "preprocessing": asdict(trained.preprocessing),
        "probability": trained.probability,
    }
    write_whole(folder / SETTINGS_FILE, json.dumps(facts, indent=1))


def read_run(folder: str | Path) -> SequenceRun:
    """Read what `write_run` left.

    Raises:
        InputError: there is no such network, or its files do not fit together.
    """
    folder = Path(folder)
    try:
        facts = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
        network = SequenceClassifier(**facts["network"])
        network.load_state_dict(load_file(folder / NETWORK_FILE))
        return SequenceRun(
            network.eval(), Preprocessing.from_json(facts["preprocessing"]), facts["probability"]
        )
    except FileNotFoundError as error:
        raise InputError(
            f"{folder} holds no trained sequence network: {error.filename} is missing."
        ) from error
    except Exception as error:
        # Torch and safetensors raise many kinds for files that do not fit.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"The network in {folder} cannot be read ({reason}): train it again.") from error
