"""Text encoders of the transformers library, CLIP's among them, from a local folder; never from the network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.networks.text_encoder import EncodedText

# Facts about a file or about generation, which say nothing of the network.
_NOT_KEPT = (
    "transformers_version",
    "architectures",
    "_name_or_path",
    "use_cache",
    "torch_dtype",
    "dtype",
    "task_specific_params",
    "model_type",
)
# Marks of word pieces, which nobody wants to read.
_MARKS = (("</w>", ""), ("##", ""), ("Ġ", ""), ("▁", ""))


class TransformersTextEncoder(nn.Module):
    """A text encoder of transformers with its tokenizer.

    Args:
        model_type: transformers' name, e.g. `clip_text_model` or `bert`.
        config: its configuration, plain JSON.
        length: tokens that count; a longer text is cut.
        pad: token of the padding.
        tokenizer: text of the `tokenizer.json`; it can follow later, see `set_tokenizer`.

    Attributes:
        width: of the features.

    Raises:
        ValueError: transformers does not know the model type, or refuses the configuration.
        ModuleNotFoundError: transformers is not installed.

    Example:
        >>> encoder = TransformersTextEncoder.from_folder("clip-vit-base-patch32")
        >>> encoder(["Glasgow Coma Scale 6, severe."]).features.shape
        torch.Size([1, 9, 512])
    """

    def __init__(
        self,
        model_type: str,
        config: dict[str, Any],
        length: int,
        pad: int = 0,
        tokenizer: str | None = None,
    ) -> None:
        from transformers import AutoConfig, AutoModel

        super().__init__()
        settings = AutoConfig.for_model(model_type, **config)
        self._take(AutoModel.from_config(settings), length, pad, tokenizer)

    @classmethod
    def from_folder(cls, folder: str | Path) -> TransformersTextEncoder:
        """An encoder with its weights, from a folder as transformers saves it.

        Raises:
            InputError: no such folder, no text encoder in it, or its weights or tokenizer are not whole.
        """
        from transformers import AutoConfig, AutoModel, AutoTokenizer, CLIPTextModel

        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise InputError(
                f"{folder} is no text encoder: give a folder of transformers with config.json, weights and "
                "tokenizer."
            )
        try:
            with _quiet():
                settings = AutoConfig.from_pretrained(folder, local_files_only=True)
                # A folder of the whole CLIP holds its text encoder.
                kind = CLIPTextModel if settings.model_type == "clip" else AutoModel
                model, found = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True)
                tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as problem:  # transformers, tokenizers and safetensors raise many kinds
            reason = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
            raise InputError(f"The text encoder in {folder} cannot be loaded: {reason}") from problem
        missing = sorted(key for key in found["missing_keys"] if not key.startswith("pooler."))
        wrong = sorted(str(key[0]) for key in found.get("mismatched_keys") or ())
        for sort, keys in (("lack", missing), ("have another shape of", wrong)):
            if keys:
                raise InputError(
                    f"The weights of the text encoder in {folder} {sort} {keys[0]} ({len(keys)} tensors): get "
                    "the folder again."
                )
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise InputError(
                f"The tokenizer in {folder} has no fast form: save it with transformers' save_pretrained as "
                "tokenizer.json."
            )
        own = model.config
        if getattr(own, "is_encoder_decoder", False) or not hasattr(own, "hidden_size"):
            raise InputError(
                f"{folder} holds a {own.model_type}, which is no text encoder: give CLIP or a BERT."
            )
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        # RoBERTa's positions start behind its padding token.
        most = getattr(own, "max_position_embeddings", 512) - (2 if "roberta" in own.model_type else 0)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        length = int(min(most, tokenizer.model_max_length))
        made._take(model.float(), length, int(pad), backend.to_str())
        return made.eval()

    def _take(self, model: nn.Module, length: int, pad: int, tokenizer: str | None) -> None:
        # Features of the tokens are what counts.
        if getattr(model, "pooler", None) is not None:
            model.pooler = None
        self.model, self.length, self.pad = model, length, pad
        self.width = int(model.config.hidden_size)
        self._tokenizer: Any = None
        self.tokenizer_text = ""
        if tokenizer is not None:
            self.set_tokenizer(tokenizer)

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments that build this encoder again but for its tokenizer, plain JSON."""
        settings = {k: v for k, v in self.model.config.to_diff_dict().items() if k not in _NOT_KEPT}
        return {
            "model_type": self.model.config.model_type,
            "config": {key: value for key, value in settings.items() if value is not None},
            "length": self.length,
            "pad": self.pad,
        }

    def set_tokenizer(self, text: str) -> None:
        """Take a tokenizer from the text of its `tokenizer.json`.

        Raises:
            ValueError: it is not one.
        """
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_str(text)
        except Exception as problem:  # tokenizers raises bare Exceptions
            raise ValueError(f"This is no tokenizer ({problem}).") from problem
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.length)
        self._tokenizer, self.tokenizer_text = tokenizer, text

    def forward(self, texts: Sequence[str]) -> EncodedText:
        """Tokens and features of texts.

        Raises:
            ValueError: the tokenizer is missing.
        """
        if self._tokenizer is None:
            raise ValueError("The text encoder has no tokenizer yet.")
        found = self._tokenizer.encode_batch(list(texts))
        longest = max(1, *(len(item.ids) for item in found))
        ids = torch.full((len(found), longest), self.pad)
        padding = torch.ones(len(found), longest, dtype=torch.bool)
        for row, item in enumerate(found):
            ids[row, : len(item.ids)] = torch.tensor(item.ids, dtype=torch.long)
            padding[row, : len(item.ids)] = False
        place = next(self.model.parameters()).device
        ids, padding = ids.to(place), padding.to(place)
        seen = (~padding | padding.all(1, keepdim=True)).long()
        features = self.model(input_ids=ids, attention_mask=seen).last_hidden_state
        return EncodedText([[_shown(token) for token in item.tokens] for item in found], features, padding)


@contextmanager
def _quiet() -> Iterator[None]:
    """No report of tensors of the other half of a CLIP, and no bar."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _shown(token: str) -> str:
    for mark, plain in _MARKS:
        token = token.replace(mark, plain)
    return token
