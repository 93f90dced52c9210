"""Model packages: a card (`model.json`) with weights (`weights.safetensors`). Lists models without torch."""

from ICHWeakSegLib.errors import ModelError
from ICHWeakSegLib.models.card import (
    SCHEMA_VERSION,
    SUBTYPES,
    Architecture,
    MapSettings,
    ModelCard,
    OperatingPoint,
    Preprocessing,
    PrognosisPart,
    SegmenterPart,
    Training,
    Weights,
    card_from_dict,
    card_text,
    card_to_dict,
    read_card,
)
from ICHWeakSegLib.models.describe import describe
from ICHWeakSegLib.models.fallback import model_for
from ICHWeakSegLib.models.find import FoundModel, bundled_folders, find_model, list_models, user_folder
from ICHWeakSegLib.models.import_hgi_sam import import_hgi_sam
from ICHWeakSegLib.models.load import Model, load_model
from ICHWeakSegLib.models.remove import remove_model
from ICHWeakSegLib.models.save import save_model
from ICHWeakSegLib.models.verify import VerifyReport, verify_model

__all__ = [
    "SCHEMA_VERSION",
    "SUBTYPES",
    "Architecture",
    "FoundModel",
    "MapSettings",
    "Model",
    "ModelCard",
    "ModelError",
    "OperatingPoint",
    "Preprocessing",
    "PrognosisPart",
    "SegmenterPart",
    "Training",
    "VerifyReport",
    "Weights",
    "bundled_folders",
    "card_from_dict",
    "card_text",
    "card_to_dict",
    "describe",
    "find_model",
    "import_hgi_sam",
    "list_models",
    "load_model",
    "model_for",
    "read_card",
    "remove_model",
    "save_model",
    "user_folder",
    "verify_model",
]
