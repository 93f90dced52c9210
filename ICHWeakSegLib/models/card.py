"""The model card: what a model is, what it wants as input and how well it did, as written in `model.json`."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ICHWeakSegLib.ct.network_input import HGI_SAM_INPUT, Preprocessing
from ICHWeakSegLib.models.card_fields import ModelError, Section

SCHEMA_VERSION = 1
CARD_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
SEGMENTER_FILE = "segmenter.safetensors"
TOKENIZER_FILE = "tokenizer.json"
SUBTYPES = ("EDH", "IPH", "IVH", "SAH", "SDH")
STRATEGIES = ("binary", "binary-sigmoid", "subtypes")
DTYPES = ("float32", "float16", "bfloat16")

_NUM_CLASSES = {"binary": 2, "binary-sigmoid": 1, "subtypes": 6}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}[A-Za-z0-9]|[A-Za-z0-9]")
_WINDOWS_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
_BACKBONE = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)?")
_SLUG = re.compile(r"[a-z0-9]+([-_+][a-z0-9]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
KINDS = ("swin-classifier", "sequence-classifier", "segmenter", "sc-network")
POINTS = ("low", "normal", "high")
MODES = ("map", "network", "either", "both")
# A card may shape the network but never send timm to another file or to the network.
_FORBIDDEN_OVERRIDES = ("pretrained", "checkpoint", "cache", "file", "url", "hf_hub", "features_only")
_OPTIONAL = ("weights", "segmenter", "prognosis")
_RESERVED_OVERRIDES = ("backbone", "num_classes", "in_chans")


@dataclass(frozen=True)
class Architecture:
    """The network that the weights belong to.

    Attributes:
        backbone: a timm model name, such as `swin_base_patch4_window12_384`; of a segmenter its kind.
        num_classes: width of the head.
        kind: `swin-classifier`, `sequence-classifier` (slices in their order), `segmenter` (a probability for
            every pixel, which decides about the slice as well) or `sc-network` (the same, and an outcome).
        in_chans: input channels, one per window.
        overrides: further arguments of the Swin (`img_size`, `embed_dim`, ...).
        arguments: of the other kinds, all constructor arguments (their `config`).
    """

    backbone: str
    num_classes: int
    kind: str = "swin-classifier"
    in_chans: int = 3
    overrides: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class OperatingPoint:
    """The probability from which on a slice counts as positive.

    Attributes:
        probability: the default threshold.
        table: (sensitivity, probability) pairs, sensitivity rising and probability falling.
        points: named probabilities (`low`, `normal`, `high` sensitivity), measured as the model is used.
        smoothing: weights of the neighbouring slabs at a distance of 1, 2, ... beside the slab's own 1; its
            probability is the weighted mean. Empty: each slab by itself.
    """

    probability: float = 0.5
    table: tuple[tuple[float, float], ...] = ()
    points: dict[str, float] = field(default_factory=dict)
    smoothing: tuple[float, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class MapSettings:
    """How a positive slice becomes a mask.

    Attributes:
        method: localization method, such as `hgi-sam`, `swin-sam`, `grad-cam`.
        method_options: further arguments of the localization, such as `stages` of `hgi-sam`.
        threshold: on the map of 0-1.
        refine: name of the refinement (`hu`, `none`, ...).
        refine_options: options of the refinement.
        further: name of the model that stands in where a method is asked for that this one does not know.
    """

    method: str = "hgi-sam"
    threshold: float = 0.05
    refine: str = "hu"
    refine_options: dict[str, Any] = field(default_factory=dict)
    method_options: dict[str, Any] = field(default_factory=dict)
    further: str = ""
    extra: dict[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Training:
    """What the model learned from: data, its attribution and licence, counts, and how."""

    data: str = ""
    attribution: str = ""
    licence: str = ""
    patients: int | None = None
    slices: int | None = None
    recipe: str = ""
    extra: dict[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Weights:
    """The weight file beside the card: name, SHA-256 (hex), size in bytes and dtype of its tensors."""

    sha256: str
    bytes: int
    dtype: str
    file: str = WEIGHTS_FILE
    extra: dict[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class SegmenterPart:
    """A segmentation network beside a classifier, as trained on its pseudo-masks.

    Attributes:
        arguments: of `networks.segmenter.Segmenter` (its `config`).
        threshold: pixel probability, 0-1, from which on the network sees blood.
        mode: whose mask counts on positive slices: `map` (the map's alone), `network`, `either`, `both`.
        preprocessing: its input; None: the classifier's.
        weights: its file.
    """

    arguments: dict[str, Any]
    threshold: float = 0.5
    mode: str = "either"
    preprocessing: Preprocessing | None = None
    weights: Weights | None = None
    extra: dict[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class PrognosisPart:
    """What a model that tells an outcome learned, as plain JSON.

    Attributes:
        outcome: scale and cut of the poor outcome, as `prognosis.outcome.OutcomeRule.to_dict`.
        template: how admission fields become text, as `prognosis.admission_text.DEFAULT_TEMPLATE`.
        leaks: fields known only after admission that the model has seen.
        folds: of the cross-validation that gave `held_out`; 0 without one.
        trained_on: hashes of case, patient and CT of each training case (`prognosis.identity`).
        held_out: the same hashes with `outcome` (0 or 1) and `probability`, `image_only` and `text_only` by the
            network of the fold that had not seen the patient; empty without folds.
        files: further files of the package (a tokenizer), name to SHA-256.
    """

    outcome: dict[str, Any]
    template: dict[str, Any]
    leaks: tuple[str, ...] = ()
    folds: int = 0
    trained_on: tuple[dict[str, Any], ...] = ()
    held_out: tuple[dict[str, Any], ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class ModelCard:
    """A model's card.

    Attributes:
        name: the model's and its folder's name: letters, digits, dots, dashes and underscores.
        version: the model's version, free text without spaces.
        architecture, preprocessing, operating, map, training, weights: see their classes; `operating` is
            the JSON's `operating_point`. `weights` is None only before the model is saved.
        strategy: `binary` (2 classes, softmax), `binary-sigmoid` (1) or `subtypes` (6, sigmoid).
        classes: names of the network's outputs in their order; for subtypes any, EDH, IPH, IVH, SAH, SDH
            in the file's own order.
        target: index of the class whose probability decides about a slice and whose logit is mapped.
        method: localization method the model was made for.
        segmenter: a second network for the mask, or None.
        prognosis: of a model that tells an outcome, else None.
        results: measured metrics.
        limits: sentences on what the model cannot do.
        extra: fields this version does not know; kept.
    """

    name: str
    version: str
    architecture: Architecture
    strategy: str
    classes: tuple[str, ...]
    target: int
    preprocessing: Preprocessing = HGI_SAM_INPUT
    operating: OperatingPoint = OperatingPoint()
    map: MapSettings = MapSettings()
    method: str = "hgi-sam"
    description: str = ""
    training: Training = Training()
    results: dict[str, Any] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    licence: str = ""
    citation: str = ""
    weights: Weights | None = None
    segmenter: SegmenterPart | None = None
    prognosis: PrognosisPart | None = None
    schema: int = SCHEMA_VERSION
    extra: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def target_name(self) -> str:
        """Name of the class that decides about a slice."""
        return self.classes[self.target]

    def operating_point(self, sensitivity: float | str | None = None) -> float:
        """Threshold on a slice's probability.

        Args:
            sensitivity: wanted slice-level sensitivity, 0-1, or one of `POINTS`; None for the card's default.

        Returns:
            The probability, linear between the table's entries.

        Raises:
            ModelError: the card has no table, or the sensitivity lies outside it.
        """
        if sensitivity is None:
            return self.operating.probability
        if isinstance(sensitivity, str):
            points = {"normal": self.operating.probability, **self.operating.points}
            if sensitivity not in points:
                known = ", ".join(name for name in POINTS if name in points)
                raise ModelError(f"Model {self.name} knows the sensitivities {known}, not {sensitivity!r}.")
            return points[sensitivity]
        table = self.operating.table
        if not table:
            raise ModelError(f"Model {self.name} has no table of sensitivities: give a probability instead.")
        known, probability = zip(*table, strict=True)
        if not known[0] <= sensitivity <= known[-1]:
            raise ModelError(
                f"Model {self.name} knows sensitivities from {known[0]:g} to {known[-1]:g}, "
                f"so {sensitivity:g} cannot be chosen."
            )
        return float(np.interp(sensitivity, known, probability))


def card_from_dict(data: object, source: str = CARD_FILE) -> ModelCard:
    """Check parsed JSON and make the card of it.

    Args:
        data: the parsed JSON.
        source: file name for errors.

    Raises:
        ModelError: a field is missing, of a wrong type or contradicts another; names file and field.
    """
    top = Section(data, source)
    schema = top.integer("schema", low=1)
    if schema > SCHEMA_VERSION:
        raise top.error(
            "schema", f"is {schema}, but this ICHWeakSeg reads up to {SCHEMA_VERSION}: update ICHWeakSeg"
        )
    name = top.checked("name", top.text("name"), is_model_name, "must be a plain file name")
    version = top.checked(
        "version", top.text("version"), lambda v: not re.search(r"\s", v), "must have no blanks"
    )
    strategy = top.text("strategy", choices=STRATEGIES)
    architecture = _architecture(top.section("architecture"), strategy)
    classes = _classes(top, strategy, architecture)
    target = top.integer("target", low=0)
    if target >= len(classes):
        raise top.error("target", f"is {target}, but there are only {len(classes)} classes")
    if (architecture.kind == "sc-network") != top.has("prognosis"):
        raise top.error("prognosis", "belongs to an sc-network, and only to one")
    operating = _operating(top.section("operating_point", required=False))
    if operating.smoothing and architecture.kind == "swin-classifier":
        raise top.error("operating_point", "has smoothing, which a swin-classifier does not know")
    return ModelCard(
        name=name,
        version=version,
        architecture=architecture,
        strategy=strategy,
        classes=classes,
        target=target,
        preprocessing=_preprocessing(top.section("preprocessing"), architecture.in_chans),
        operating=operating,
        map=_map(top.section("map", required=False)),
        method=_slug(top, "method", "hgi-sam"),
        description=top.text("description", ""),
        training=_training(top.section("training", required=False)),
        results=top.mapping("results"),
        limits=top.texts("limits", ()),
        licence=top.text("licence", ""),
        citation=top.text("citation", ""),
        weights=_weights(top.section("weights")) if top.has("weights") else None,
        segmenter=_segmenter(top.section("segmenter")) if top.has("segmenter") else None,
        prognosis=_prognosis(top.section("prognosis")) if top.has("prognosis") else None,
        schema=schema,
        # Null ones are known, not extra.
        extra={key: value for key, value in top.extra().items() if key not in _OPTIONAL},
    )


def card_to_dict(card: ModelCard) -> dict[str, Any]:
    """The card as JSON-ready data, unknown fields included."""
    data = _plain(card)
    ordered = {"schema": data.pop("schema")}
    for key, value in data.items():
        ordered["operating_point" if key == "operating" else key] = value
    for optional in _OPTIONAL:
        if ordered[optional] is None:
            del ordered[optional]
    # Cards of the first kind stay as they were.
    for late in ("points", "smoothing"):
        if not ordered["operating_point"][late]:
            del ordered["operating_point"][late]
    if not ordered["map"]["further"]:
        del ordered["map"]["further"]
    if not ordered["architecture"]["arguments"]:
        del ordered["architecture"]["arguments"]
    return ordered


def read_card(folder: str | Path) -> ModelCard:
    """Read and check `model.json` of a model folder.

    Raises:
        ModelError: no such file, not JSON, or a field is wrong.
    """
    file = Path(folder) / CARD_FILE
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ModelError(f"{folder} is not a model: it has no {CARD_FILE}.") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise ModelError(f"{file} cannot be read: {problem}.") from None
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as problem:
        raise ModelError(f"{file} is not valid JSON ({problem}): get the model again.") from None
    return card_from_dict(data, str(file))


def card_text(card: ModelCard) -> str:
    """The card as the text of `model.json`.

    Raises:
        ModelError: a value of the card has no JSON form.
    """
    try:
        return json.dumps(card_to_dict(card), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as problem:
        raise ModelError(f"The card of model {card.name} cannot be written as JSON: {problem}.") from None


def is_model_name(name: str) -> bool:
    """Whether a name can be a folder on Linux, macOS and Windows alike."""
    return bool(_NAME.fullmatch(name)) and name.split(".")[0].lower() not in _WINDOWS_DEVICES


def _architecture(section: Section, strategy: str) -> Architecture:
    kind = section.text("kind", choices=KINDS)
    backbone = section.text("backbone")
    section.checked("backbone", backbone, _BACKBONE.fullmatch, "must be the name of a timm model")
    num_classes = section.integer("num_classes", low=1)
    if num_classes != _NUM_CLASSES[strategy]:
        raise section.error(
            "num_classes", f"is {num_classes}, but strategy {strategy} has {_NUM_CLASSES[strategy]}"
        )
    if kind != "swin-classifier" and strategy != "binary-sigmoid":
        raise section.error("kind", f"is {kind}, whose strategy is binary-sigmoid, not {strategy}")
    in_chans = section.integer("in_chans", 3, low=1)
    overrides = _settings(section, "overrides", _RESERVED_OVERRIDES)
    arguments = _settings(section, "arguments")
    if arguments and kind == "swin-classifier":
        raise section.error("arguments", f"is not for {kind}; it has overrides")
    return Architecture(backbone, num_classes, kind, in_chans, overrides, arguments, section.extra())


def _settings(section: Section, key: str, reserved: tuple[str, ...] = ()) -> dict[str, Any]:
    """Arguments of a network: nothing that would send it to another file or to the network."""
    settings = section.mapping(key)
    _check_settings(section, key, settings, reserved)
    return settings


def _check_settings(
    section: Section, path: str, settings: dict[str, Any], reserved: tuple[str, ...] = ()
) -> None:
    for key, value in settings.items():
        if key in reserved or any(word in key.lower() for word in _FORBIDDEN_OVERRIDES):
            raise section.error(f"{path}.{key}", "is not allowed in a model package")
        if isinstance(value, dict) and path.startswith("arguments"):
            _check_settings(section, f"{path}.{key}", value)
        elif not _is_setting(value):
            raise section.error(f"{path}.{key}", "must be a number, true, false, text, or a list of those")


def _is_setting(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_setting(item) for item in value)
    return value is None or isinstance(value, (bool, int, float, str))


def _classes(top: Section, strategy: str, architecture: Architecture) -> tuple[str, ...]:
    classes = top.texts("classes")
    if len(classes) != architecture.num_classes:
        raise top.error(
            "classes", f"names {len(classes)} classes, the network has {architecture.num_classes}"
        )
    if len(set(classes)) != len(classes):
        raise top.error("classes", "names a class twice")
    if strategy == "subtypes" and set(classes) != {"any", *SUBTYPES}:
        raise top.error("classes", f"must be any, {', '.join(SUBTYPES)} in the network's order")
    return classes


def _preprocessing(section: Section, channels: int) -> Preprocessing:
    framing = section.text("framing", choices=("resize-crop", "brain-crop"))
    size = section.integer("size", low=1)
    resize = section.integer("resize", None, low=1)
    pixel_mm = section.number("pixel_mm", None, above=0)
    if framing == "resize-crop" and (resize is None or resize < size):
        raise section.error("resize", f"must be at least size ({size}) for resize-crop, not {resize}")
    if framing == "brain-crop" and pixel_mm is None:
        raise section.error("pixel_mm", "is missing: brain-crop needs it")
    windows = section.pairs("windows")
    if len(windows) != channels:
        raise section.error("windows", f"has {len(windows)} windows for {channels} input channels")
    if any(width <= 0 for _, width in windows):
        raise section.error("windows", "has a window without width")
    return Preprocessing(
        framing=framing,
        size=size,
        resize=resize,
        pixel_mm=pixel_mm,
        windows=windows,
        scaling=section.text("scaling", choices=("fixed", "observed")),
        blank_outside_brain=section.flag("blank_outside_brain", False),
        slice_mm=section.number("slice_mm", None, above=0),
        brain_hu=section.number("brain_hu", None),
        extra=section.extra(),
    )


def _operating(section: Section) -> OperatingPoint:
    probability = section.number("probability", 0.5, low=0, high=1)
    table = section.pairs("table", None)
    for sensitivity, value in table:
        if not (0 <= sensitivity <= 1 and 0 <= value <= 1):
            raise section.error("table", "must hold sensitivities and probabilities of 0-1")
    for before, after in itertools.pairwise(table):
        if after[0] <= before[0] or after[1] > before[1]:
            raise section.error("table", "must have rising sensitivities and falling probabilities")
    points = section.mapping("points")
    if not all(
        name in POINTS and isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
        for name, value in points.items()
    ):
        raise section.error("points", f"must give probabilities of 0-1 to {', '.join(POINTS)}")
    smoothing = section.numbers("smoothing", ())
    if not all(0 <= weight <= 1 for weight in smoothing):
        raise section.error("smoothing", "must hold weights of 0-1")
    return OperatingPoint(probability, table, points, smoothing, section.extra())


def _map(section: Section) -> MapSettings:
    return MapSettings(
        method=_slug(section, "method", "hgi-sam"),
        threshold=section.number("threshold", 0.05, low=0, high=1),
        refine=_slug(section, "refine", "hu"),
        refine_options=section.mapping("refine_options"),
        method_options=section.mapping("method_options"),
        further=section.text("further", ""),
        extra=section.extra(),
    )


def _segmenter(section: Section) -> SegmenterPart:
    arguments = _settings(section, "arguments")
    preprocessing = None
    if section.has("preprocessing"):
        windows = arguments.get("windows", 3)
        preprocessing = _preprocessing(section.section("preprocessing"), windows)
    return SegmenterPart(
        arguments=arguments,
        threshold=section.number("threshold", 0.5, low=0, high=1),
        mode=section.text("mode", "either", choices=MODES),
        preprocessing=preprocessing,
        weights=_weights(section.section("weights")) if section.has("weights") else None,
        extra={
            key: value for key, value in section.extra().items() if key not in ("weights", "preprocessing")
        },
    )


def _prognosis(section: Section) -> PrognosisPart:
    files = section.mapping("files")
    for name, sha256 in files.items():
        if not (is_model_name(name) and isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
            raise section.error(f"files.{name}", "must be a plain file name with its SHA-256")
    held_out = section.objects("held_out")
    for number, row in enumerate(held_out):
        values = [row.get("probability"), row.get("image_only", 0.0), row.get("text_only", 0.0)]
        if row.get("outcome") not in (0, 1) or not all(_is_probability(value) for value in values):
            raise section.error(
                f"held_out[{number}]", "must have an outcome of 0 or 1 and probabilities of 0-1"
            )
    return PrognosisPart(
        outcome=section.mapping("outcome"),
        template=section.mapping("template"),
        leaks=section.texts("leaks", ()),
        folds=section.integer("folds", 0, low=0),
        trained_on=section.objects("trained_on"),
        held_out=held_out,
        files=files,
        extra=section.extra(),
    )


def _is_probability(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _training(section: Section) -> Training:
    return Training(
        data=section.text("data", ""),
        attribution=section.text("attribution", ""),
        licence=section.text("licence", ""),
        patients=section.integer("patients", None, low=0),
        slices=section.integer("slices", None, low=0),
        recipe=section.text("recipe", ""),
        extra=section.extra(),
    )


def _weights(section: Section) -> Weights:
    # Only a plain name: a card must not reach out of its own folder.
    file = section.text("file", WEIGHTS_FILE)
    section.checked(
        "file", file, lambda f: is_model_name(f) and f.endswith(".safetensors"), "must be a .safetensors name"
    )
    sha256 = section.text("sha256")
    section.checked("sha256", sha256, _SHA256.fullmatch, "must be 64 hexadecimal digits in lower case")
    return Weights(
        sha256, section.integer("bytes", low=1), section.text("dtype", choices=DTYPES), file, section.extra()
    )


def _slug(section: Section, key: str, default: str) -> str:
    value = section.text(key, default)
    return section.checked(key, value, _SLUG.fullmatch, "must be a name in lower case")


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        known = {f.name: _plain(getattr(value, f.name)) for f in fields(value) if f.name != "extra"}
        return {**known, **{key: item for key, item in value.extra.items() if key not in known}}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")
