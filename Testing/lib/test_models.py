"""Model packages: card, finding, loading, saving, import, removal."""

import builtins
import dataclasses
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ICHWeakSegLib import models
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.network_input import HGI_SAM_INPUT
from ICHWeakSegLib.models import (
    Architecture,
    ModelCard,
    ModelError,
    OperatingPoint,
    PrognosisPart,
    SegmenterPart,
    Training,
    card_from_dict,
    card_to_dict,
    describe,
    find_model,
    import_hgi_sam,
    list_models,
    load_model,
    remove_model,
    save_model,
    user_folder,
    verify_model,
)
from ICHWeakSegLib.models import find as find_module
from ICHWeakSegLib.models.build import build_network
from ICHWeakSegLib.models.completeness import package_problem

TINY = {
    "img_size": 32,
    "patch_size": 4,
    "window_size": 4,
    "embed_dim": 8,
    "depths": [2, 2],
    "num_heads": [1, 2],
}


def tiny_card(name="tiny", strategy="binary", **changes) -> ModelCard:
    classes = {
        "binary": ("none", "any"),
        "binary-sigmoid": ("any",),
        "subtypes": ("any", "EDH", "IPH", "IVH", "SAH", "SDH"),
    }[strategy]
    card = ModelCard(
        name=name,
        version="0.1",
        architecture=Architecture("swin_tiny_patch4_window7_224", len(classes), overrides=dict(TINY)),
        strategy=strategy,
        classes=classes,
        target=classes.index("any"),
        preprocessing=replace(HGI_SAM_INPUT, size=32, resize=36),
    )
    return dataclasses.replace(card, **changes)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Own folders for user and bundled models, with a name that is not ASCII."""
    user, bundled = tmp_path / "Modèles 模型", tmp_path / "bundled"
    bundled.mkdir()
    monkeypatch.setenv("ICHWEAKSEG_MODELS", str(user))
    monkeypatch.setattr(find_module, "bundled_folders", lambda: [bundled])
    return user, bundled


@pytest.fixture
def package(places):
    user, _ = places
    card = tiny_card()
    torch.manual_seed(0)
    network = build_network(card.architecture)
    save_model(user / "tiny", card, network)
    return user / "tiny", network


class TestCard:
    def test_round_trip_keeps_everything(self):
        card = tiny_card(
            strategy="subtypes",
            operating=OperatingPoint(0.4, ((0.8, 0.6), (0.95, 0.2))),
            training=Training("CT-ICH", "Hssayeni et al.", "CC BY 4.0", 64, 1929, "head, then all"),
            results={"auc": 0.9, "by": {"EDH": 0.8}},
            limits=("Trauma only.",),
        )
        data = json.loads(models.card_text(card))
        assert card_from_dict(data) == card

    def test_unknown_fields_survive(self):
        data = card_to_dict(tiny_card())
        data["colour"] = {"of": "sky"}
        data["preprocessing"]["denoise"] = True
        again = card_to_dict(card_from_dict(data))
        assert again["colour"] == {"of": "sky"}
        assert again["preprocessing"]["denoise"] is True

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("schema", 99),
            ("schema", "1"),
            ("name", "../evil"),
            ("name", "con"),
            ("name", "a:b"),
            ("version", "1 0"),
            ("strategy", "multi"),
            ("classes", ["any"]),
            ("classes", ["any", "any"]),
            ("target", 2),
            ("target", True),
            ("target", 1.0),
            ("architecture", None),
            ("architecture.kind", "resnet"),
            ("architecture.backbone", "hf-hub:someone/model"),
            ("architecture.num_classes", 3),
            ("architecture.overrides", {"checkpoint_path": "x"}),
            ("architecture.overrides", {"pretrained_cfg": "x"}),
            ("architecture.overrides", {"depths": {"a": 1}}),
            ("preprocessing.framing", "stretch"),
            ("preprocessing.size", "384"),
            ("preprocessing.resize", None),
            ("preprocessing.resize", 16),
            ("preprocessing.windows", [[40, 120]]),
            ("preprocessing.windows", [[40, 120], [80, 0], [700, 3200]]),
            ("preprocessing.windows", [[40, 120], [80], [700, 3200]]),
            ("preprocessing.scaling", "zscore"),
            ("preprocessing.blank_outside_brain", "no"),
            ("preprocessing.slice_mm", 0),
            ("operating_point.probability", 1.5),
            ("operating_point.table", [[0.9, 0.2], [0.8, 0.4]]),
            ("map.threshold", float("nan")),
            ("map.method", 3),
            ("training.patients", -1),
            ("limits", "none"),
            ("results", [1]),
        ],
    )
    def test_wrong_field_is_named(self, path, value):
        data = card_to_dict(tiny_card())
        *parents, key = path.split(".")
        section = data
        for parent in parents:
            section = section[parent]
        section[key] = value
        with pytest.raises(ModelError) as caught:
            card_from_dict(data, "model.json")
        assert isinstance(caught.value, InputError)
        text = str(caught.value)
        assert text.startswith("model.json: ")
        assert path.split(".")[-1] in text or parents[-1:] == ["architecture"]
        assert "\n" not in text

    @pytest.mark.parametrize("key", ["schema", "name", "architecture", "classes", "preprocessing"])
    def test_missing_field_is_named(self, key):
        data = card_to_dict(tiny_card())
        del data[key]
        with pytest.raises(ModelError, match=f"field '{key}' is missing"):
            card_from_dict(data)

    def test_brain_crop_needs_pixel_size(self):
        data = card_to_dict(tiny_card())
        data["preprocessing"].update(framing="brain-crop", resize=None, pixel_mm=None)
        with pytest.raises(ModelError, match="pixel_mm"):
            card_from_dict(data)
        data["preprocessing"]["pixel_mm"] = 0.9
        assert card_from_dict(data).preprocessing.pixel_mm == 0.9

    def test_operating_point(self):
        card = tiny_card(operating=OperatingPoint(0.5, ((0.8, 0.6), (0.9, 0.4), (1.0, 0.1))))
        assert card.operating_point() == 0.5
        assert card.operating_point(0.85) == pytest.approx(0.5)
        assert card.operating_point(1.0) == pytest.approx(0.1)
        with pytest.raises(ModelError, match=r"from 0\.8 to 1"):
            card.operating_point(0.7)
        with pytest.raises(ModelError, match="no table"):
            tiny_card().operating_point(0.9)

    def test_description_reads_well(self):
        text = describe(tiny_card(limits=("Trauma only.",), results={"slice auc": 0.912}))
        assert text.startswith("tiny 0.1")
        assert "Trauma only." in text
        assert "slice auc: 0.912" in text
        assert "Research use only" in text
        assert max(map(len, text.splitlines())) <= 96


class TestFind:
    def test_listing_needs_no_torch(self, package):
        code = (
            "import sys, ICHWeakSegLib.models as m; names = [f.name for f in m.list_models()];"
            "print(names); m.describe(m.find_model('tiny').card);"
            "assert not {'torch', 'timm', 'safetensors'} & set(sys.modules)"
        )
        root = Path(models.__file__).parents[2]
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "tiny" in done.stdout

    def test_user_model_never_shadows_a_bundled_one(self, package, places):
        user, bundled = places
        shutil.copytree(user / "tiny", bundled / "tiny")
        assert find_model("tiny").origin == "bundled"
        assert [(m.origin, m.hidden) for m in list_models()] == [("bundled", False), ("user", True)]
        assert load_model(user / "tiny").folder == user / "tiny"

    def test_of_two_own_models_with_one_name_the_later_folder_is_hidden(self, package, places):
        user, _ = places
        # Made in another order than that of their names.
        for name in ("zebra", "ape", "newt"):
            shutil.copytree(user / "tiny", user / name)
        shutil.rmtree(user / "tiny")
        assert [(m.folder.name, m.hidden) for m in list_models()] == [
            ("ape", False),
            ("newt", True),
            ("zebra", True),
        ]
        assert find_model("tiny").folder == user / "ape"
        assert find_model(user / "zebra").folder == user / "zebra"
        assert find_model(str(user / "newt")).folder == user / "newt"

    def test_a_broken_card_hides_no_model_of_its_folders_name(self, package, places):
        user, bundled = places
        (user / "tiny").rename(user / "whole")
        for place in (user, bundled):
            (place / "tiny").mkdir()
            (place / "tiny" / "model.json").write_text("{")
        assert find_model("tiny").folder == user / "whole"
        assert [(m.folder, m.hidden) for m in list_models()] == [
            (bundled / "tiny", True),
            (user / "tiny", True),
            (user / "whole", False),
        ]

    def test_a_file_where_the_users_folder_should_be(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("ICHWEAKSEG_MODELS", str(tmp_path / "file"))
        assert list_models() == []
        with pytest.raises(ModelError, match="no model is installed"):
            find_model("tiny")
        with pytest.raises(ModelError, match="cannot be written"):
            save_model(tmp_path / "file" / "new", tiny_card("new"), build_network(tiny_card().architecture))

    @pytest.mark.parametrize("part", ["weights", "segmenter"])
    @pytest.mark.parametrize(
        ("hurt", "reason"),
        [
            (lambda file: file.unlink(), "is missing: get the model again"),
            (lambda file: file.write_bytes(b"version https://git-lfs.github.com"), "is truncated"),
            (lambda file: file.write_bytes(file.read_bytes() + b" "), "is not the card's"),
        ],
        ids=["missing", "shorter", "longer"],
    )
    def test_files_that_are_not_the_cards_are_told_without_a_run(self, places, part, hurt, reason):
        user, _ = places
        card, network = tiny_card(), build_network(tiny_card().architecture)
        second = SegmenterPart({"kind": "unet"})
        save_model(user / "tiny", replace(card, segmenter=second), network, segmenter=network)
        assert not list_models()[0].problem
        hurt(user / "tiny" / f"{part}.safetensors")
        (found,) = list_models()
        assert found.card.name == found.name == "tiny"
        assert found.problem.startswith(f"{user / 'tiny' / part}.safetensors {reason}")
        assert "\n" not in found.problem
        for way in ("tiny", user / "tiny", str(user / "tiny")):
            with pytest.raises(ModelError) as caught:
                find_model(way)
            assert str(caught.value) == found.problem
        assert find_model("tiny", usable=False) == found
        with pytest.raises(ModelError, match=r"no model 'other'; no model is installed"):
            find_model("other")
        report = verify_model("tiny")
        assert (report.folder, report.problem) == (user / "tiny", found.problem)
        assert report.passed[0] == "the card is valid"

    def test_a_name_stays_with_its_package_when_weights_are_lost(self, package, places):
        user, bundled = places
        shutil.copytree(user / "tiny", bundled / "tiny")
        (bundled / "tiny" / "weights.safetensors").unlink()
        assert [bool(m.problem) for m in list_models()] == [True, False]
        with pytest.raises(ModelError, match="is missing"):
            find_model("tiny")

    def test_a_card_without_weights_and_a_missing_tokenizer(self, package):
        folder, _ = package
        card = find_model("tiny").card
        assert package_problem(folder, card) == ""
        assert "field 'weights' is missing" in package_problem(folder, replace(card, weights=None))
        second = replace(card, segmenter=SegmenterPart({}))
        assert "'segmenter.weights' is missing" in package_problem(folder, second)
        reads = replace(card, prognosis=PrognosisPart({}, {}, files={"tokenizer.json": "0" * 64}))
        assert "tokenizer.json is missing" in package_problem(folder, reads)
        (folder / "tokenizer.json").write_text("{}")
        assert package_problem(folder, reads) == ""

    def test_unknown_name_lists_what_there_is(self, package):
        with pytest.raises(ModelError, match=r"no model 'large'; there are: tiny\."):
            find_model("large")

    def test_no_models_at_all(self, places):
        assert list_models() == []
        with pytest.raises(ModelError, match="no model is installed"):
            find_model("any")

    def test_broken_card_is_listed_with_its_problem(self, package):
        folder, _ = package
        (folder / "model.json").write_text("{", encoding="utf-8")
        (model,) = list_models()
        assert model.card is None
        assert "not valid JSON" in model.problem
        with pytest.raises(ModelError, match="not valid JSON"):
            load_model("tiny")

    def test_by_folder_by_card_file_and_in_the_working_folder(self, package, monkeypatch):
        folder, _ = package
        assert find_model(folder).name == "tiny"
        assert find_model(folder / "model.json").name == "tiny"
        monkeypatch.setenv("ICHWEAKSEG_MODELS", str(folder / "nowhere"))
        monkeypatch.chdir(folder.parent)
        assert find_model("tiny").name == "tiny"
        with pytest.raises(ModelError, match=r"no model\.json"):
            find_model(folder.parent)

    @pytest.mark.parametrize(
        ("platform", "variables", "end"),
        [
            ("linux", {"XDG_DATA_HOME": "/data"}, "/data/ICHWeakSeg/models"),
            ("linux", {"XDG_DATA_HOME": "data"}, "/.local/share/ICHWeakSeg/models"),
            ("darwin", {}, "/Library/Application Support/ICHWeakSeg/models"),
            ("win32", {"LOCALAPPDATA": "/L"}, "/L/ICHWeakSeg/models"),
            ("win32", {}, "/AppData/Local/ICHWeakSeg/models"),
        ],
    )
    def test_user_folder(self, monkeypatch, platform, variables, end):
        for name in ("ICHWEAKSEG_MODELS", "XDG_DATA_HOME", "LOCALAPPDATA"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "platform", platform)
        assert user_folder().as_posix().endswith(end)


def test_bundled_layouts(tmp_path, monkeypatch):
    """A checkout has the library beside the module; an installed extension has it beside Resources."""
    monkeypatch.undo()
    checkout, installed = tmp_path / "checkout", tmp_path / "installed"
    for root, models_folder in (
        (checkout, "ICHWeakSeg/Resources/Models"),
        (installed, "Resources/Models"),
    ):
        (root / models_folder).mkdir(parents=True)
        monkeypatch.setattr(find_module, "__file__", str(root / "ICHWeakSegLib" / "models" / "find.py"))
        assert models.bundled_folders() == [root / models_folder]


class TestLoad:
    def test_same_output_after_saving(self, package):
        folder, network = package
        model = load_model("tiny")
        x = torch.rand(2, 3, 32, 32)
        assert not model.network.training
        assert all(p.dtype == torch.float32 for p in model.network.parameters())
        network.eval()
        with torch.no_grad():
            assert torch.allclose(model.network(x), network(x), atol=0.02)
        card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        assert model.provenance() == {
            "model": "tiny",
            "version": "0.1",
            "sha256": card["weights"]["sha256"],
        }

    def test_float32_is_exact(self, places):
        card = tiny_card(name="exact")
        network = build_network(card.architecture).eval()
        save_model(places[0] / "exact", card, network, dtype="float32")
        for key, value in load_model("exact").network.state_dict().items():
            assert torch.equal(value, network.state_dict()[key])

    def test_truncated(self, package):
        file = package[0] / "weights.safetensors"
        file.write_bytes(file.read_bytes()[:-10])
        with pytest.raises(ModelError, match="is truncated"):
            load_model("tiny")

    def test_flipped_byte(self, package):
        file = package[0] / "weights.safetensors"
        data = bytearray(file.read_bytes())
        data[-100] ^= 1
        file.write_bytes(data)
        with pytest.raises(ModelError, match="is damaged"):
            load_model("tiny")

    def test_missing_weights(self, package):
        (package[0] / "weights.safetensors").unlink()
        with pytest.raises(ModelError, match=r"weights\.safetensors is missing"):
            load_model("tiny")

    @pytest.mark.parametrize(
        ("section", "key", "value", "reason"),
        [
            ("weights", "dtype", "float32", "is float16, the card says float32"),
            ("weights", "file", "../tiny/weights.safetensors", "weights.file"),
            ("architecture", "backbone", "swin_unknown", "cannot be built"),
            ("architecture", "overrides", {**TINY, "embed_dim": 16}, "another shape"),
            ("architecture", "overrides", {**TINY, "depths": [2, 4]}, "missing, first"),
            ("architecture", "overrides", {**TINY, "depths": [1, 2]}, "have no place"),
            ("architecture", "overrides", {**TINY, "nonsense": 1}, "cannot be built"),
        ],
    )
    def test_card_and_weights_disagree(self, package, section, key, value, reason):
        file = package[0] / "model.json"
        card = json.loads(file.read_text(encoding="utf-8"))
        card[section][key] = value
        file.write_text(json.dumps(card), encoding="utf-8")
        with pytest.raises(ModelError, match=reason):
            load_model("tiny")
        report = verify_model("tiny")
        assert not report.ok
        assert reason.split()[0] in report.problem

    def test_card_without_weights(self, package):
        file = package[0] / "model.json"
        card = json.loads(file.read_text(encoding="utf-8"))
        del card["weights"]
        file.write_text(json.dumps(card), encoding="utf-8")
        with pytest.raises(ModelError, match="'weights' is missing"):
            load_model("tiny")

    def test_verify(self, package):
        report = verify_model("tiny")
        assert report.ok, report.problem
        assert "The model is whole and runs." in str(report)


class TestSave:
    def test_does_not_overwrite_unless_asked(self, package):
        folder, network = package
        with pytest.raises(ModelError, match="exists already"):
            save_model(folder, tiny_card(), network)
        save_model(folder, tiny_card(version="0.2"), network, overwrite=True)
        assert load_model("tiny").card.version == "0.2"
        assert [p.name for p in folder.parent.iterdir()] == ["tiny"]

    def test_never_overwrites_a_folder_that_is_no_model(self, package, tmp_path):
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "chapter.txt").write_text("x")
        with pytest.raises(ModelError, match="is not a model"):
            save_model(tmp_path / "thesis", tiny_card(), package[1], overwrite=True)
        assert (tmp_path / "thesis" / "chapter.txt").exists()

    def test_failure_leaves_the_old_model_and_no_rest(self, package, monkeypatch):
        folder, network = package
        before = (folder / "model.json").read_bytes()

        def full_disk(*args, **kwargs):
            raise OSError("No space left on device")

        monkeypatch.setattr(Path, "write_text", full_disk)
        with pytest.raises(ModelError, match="No space left"):
            save_model(folder, tiny_card(version="0.2"), network, overwrite=True)
        monkeypatch.undo()
        assert (folder / "model.json").read_bytes() == before
        assert [p.name for p in folder.parent.iterdir()] == ["tiny"]

    def test_weights_that_do_not_fit_half_precision(self, places):
        network = build_network(tiny_card().architecture)
        with torch.no_grad():
            network.head.bias.fill_(1e9)
        with pytest.raises(ModelError, match=r"head\.bias .*float16"):
            save_model(places[0] / "big", tiny_card("big"), network)
        assert not (places[0] / "big").exists()

    def test_invalid_card_is_refused(self, package):
        with pytest.raises(ModelError, match="target"):
            save_model(package[0].parent / "other", tiny_card("other", target=7), package[1])


def published_file(path: Path, num_classes: int, wrap: str = "", prefix: str = "") -> Path:
    torch.manual_seed(1)
    network = build_network(Architecture("swin_tiny_patch4_window7_224", num_classes, overrides=dict(TINY)))
    state = {prefix + key: value for key, value in network.state_dict().items()}
    torch.save({wrap: state, "epoch": 3} if wrap else state, path)
    return path


class TestImport:
    ARCHITECTURE = Architecture("swin_tiny_patch4_window7_224", 2, overrides=dict(TINY))

    @pytest.mark.parametrize(
        ("num_classes", "wrap", "prefix", "strategy"),
        [
            (2, "", "", "binary"),
            (1, "model", "module.", "binary-sigmoid"),
            (6, "model_state_dict", "", "subtypes"),
            (2, "state_dict", "module.", "binary"),
        ],
    )
    def test_forms_of_the_file(self, tmp_path, num_classes, wrap, prefix, strategy):
        file = published_file(tmp_path / "veröffentlicht.pth", num_classes, wrap, prefix)
        folder = import_hgi_sam(file, "authors", architecture=self.ARCHITECTURE)
        model = load_model("authors")
        assert model.folder == folder
        assert model.card.strategy == strategy
        assert model.card.target_name == "any"
        assert model.card.preprocessing.scaling == "observed"
        state = torch.load(file, weights_only=True)
        state = state.get(wrap, state)
        assert torch.equal(model.network.head.weight, state[prefix + "head.weight"])
        assert verify_model("authors").ok

    def test_windows(self, tmp_path):
        file = published_file(tmp_path / "a.pth", 2)
        import_hgi_sam(file, "a", windows="rsna", architecture=self.ARCHITECTURE)
        assert find_model("a").card.preprocessing.windows == ((40, 80), (80, 200), (600, 2800))
        with pytest.raises(ModelError, match="ct-ich or rsna"):
            import_hgi_sam(file, "b", windows="bone", architecture=self.ARCHITECTURE)

    def test_name_is_taken(self, tmp_path, places):
        file = published_file(tmp_path / "a.pth", 2)
        import_hgi_sam(file, "a", architecture=self.ARCHITECTURE)
        with pytest.raises(ModelError, match="choose another name"):
            import_hgi_sam(file, "a", architecture=self.ARCHITECTURE)
        import_hgi_sam(file, "a", architecture=self.ARCHITECTURE, overwrite=True)
        shutil.move(places[0] / "a", places[1] / "a")
        with pytest.raises(ModelError, match="came with ICHWeakSeg"):
            import_hgi_sam(file, "a", architecture=self.ARCHITECTURE, overwrite=True)

    def test_code_in_a_pickle_never_runs(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return builtins.open, (str(tmp_path / "ran"), "w")

        torch.save({"state_dict": {"swin.x": Trap()}}, tmp_path / "trap.pth")
        with pytest.raises(ModelError, match="could run code"):
            import_hgi_sam(tmp_path / "trap.pth", "trap")
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "damaged"),
            (b"PK\x03\x04 not a zip", "damaged"),
            (b"plain text, no weights", "damaged"),
        ],
    )
    def test_files_that_are_none(self, tmp_path, content, reason):
        (tmp_path / "x.pth").write_bytes(content)
        with pytest.raises(ModelError, match=reason):
            import_hgi_sam(tmp_path / "x.pth", "x")

    def test_truncated(self, tmp_path):
        file = published_file(tmp_path / "a.pth", 2)
        file.write_bytes(file.read_bytes()[:5000])
        with pytest.raises(ModelError, match="damaged"):
            import_hgi_sam(file, "x")

    @pytest.mark.parametrize(
        ("state", "reason"),
        [
            ({"conv.weight": torch.zeros(1)}, "no state dict of an HGI-SAM"),
            ([1, 2], "no state dict of an HGI-SAM"),
            ({"swin.norm.weight": torch.zeros(1)}, "no head.weight"),
            ({"swin.norm.weight": torch.zeros(1), "head.weight": torch.zeros(3, 4)}, "head of 3 classes"),
            ({"swin.norm.weight": torch.zeros(1), "head.weight": torch.zeros(2, 4)}, "does not fit"),
        ],
    )
    def test_other_checkpoints(self, tmp_path, state, reason):
        torch.save(state, tmp_path / "x.pth")
        with pytest.raises(ModelError, match=reason):
            import_hgi_sam(tmp_path / "x.pth", "x", architecture=self.ARCHITECTURE)
        assert list_models() == []

    def test_strategy_must_agree(self, tmp_path):
        file = published_file(tmp_path / "a.pth", 2)
        with pytest.raises(ModelError, match="its strategy is binary, not subtypes"):
            import_hgi_sam(file, "x", "subtypes", architecture=self.ARCHITECTURE)

    def test_missing_file(self, tmp_path):
        with pytest.raises(ModelError, match="is not there"):
            import_hgi_sam(tmp_path / "none.pth", "x")

    def test_real_size(self, tmp_path):
        """A file of the published form: Swin-B at 384 pixels in the layout of timm before 0.9."""
        with torch.device("meta"):
            network = build_network(Architecture("swin_base_patch4_window12_384", 2))
        # Small tensors that share memory keep the file and the test short on purpose: values are all zero.
        state = {
            _old_name(key): torch.zeros(1).expand(value.shape) for key, value in network.state_dict().items()
        }
        torch.save(state, tmp_path / "published.pth")
        folder = import_hgi_sam(tmp_path / "published.pth", "published")
        card = find_model("published").card
        assert (card.preprocessing.size, card.preprocessing.resize) == (384, 422)
        assert (folder / "weights.safetensors").stat().st_size > 340e6
        # pytest keeps temporary folders of several runs.
        shutil.rmtree(folder)


def _old_name(key: str) -> str:
    """timm before 0.9 closed stage i with the patch merging that now opens stage i + 1."""
    parts = key.split(".")
    if "downsample" in parts:
        parts[2] = str(int(parts[2]) - 1)
    return ".".join(parts)


class TestRemove:
    def test_own_model(self, package):
        folder, _ = package
        assert remove_model("tiny") == folder
        assert list(folder.parent.iterdir()) == []

    def test_bundled_is_refused(self, package, places):
        shutil.move(places[0] / "tiny", places[1] / "tiny")
        with pytest.raises(ModelError, match="cannot be removed"):
            remove_model("tiny")
        assert (places[1] / "tiny").is_dir()

    def test_own_one_behind_a_bundled_one(self, package, places):
        shutil.copytree(places[0] / "tiny", places[1] / "tiny")
        remove_model("tiny")
        assert [m.origin for m in list_models()] == ["bundled"]

    def test_broken_one(self, package):
        (package[0] / "model.json").write_text("{")
        remove_model("tiny")
        assert list_models() == []

    def test_of_two_with_one_name_the_folder_says_which(self, package, places):
        user, _ = places
        for name in ("ape", "newt"):
            shutil.copytree(user / "tiny", user / name)
        with pytest.raises(ModelError, match="3 models of yours are named tiny") as caught:
            remove_model("tiny")
        for name in ("ape", "newt", "tiny"):
            assert str(user / name) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert remove_model(user / "newt") == user / "newt"
        # As text it is the folder, too: no model has such a name.
        assert remove_model(str(user / "tiny")) == user / "tiny"
        assert [path.name for path in user.iterdir()] == ["ape"]
        assert remove_model("tiny") == user / "ape"

    def test_a_path_is_never_a_name(self, package, places, monkeypatch):
        user, _ = places
        (user / "tiny").rename(user / "folder")
        shutil.copytree(user / "folder", user / "other")
        card = user / "other" / "model.json"
        card.write_text(card.read_text().replace('"tiny"', '"folder"'))
        with pytest.raises(ModelError, match="no model 'tiny'"):
            remove_model(Path("tiny"))
        monkeypatch.chdir(user)
        # Text is a name first.
        assert remove_model("folder") == user / "other"
        assert remove_model(Path("folder")) == user / "folder"

    def test_a_bundled_one_by_its_folder(self, package, places):
        shutil.move(places[0] / "tiny", places[1] / "tiny")
        with pytest.raises(ModelError, match="Model tiny came with ICHWeakSeg and cannot be removed"):
            remove_model(places[1] / "tiny")

    def test_no_text_is_no_model(self, package, monkeypatch):
        monkeypatch.chdir(package[0])
        with pytest.raises(ModelError):
            remove_model("")
        assert package[0].is_dir()

    @pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
    def test_a_link_goes_and_what_it_leads_to_stays(self, package, places, tmp_path):
        user, _ = places
        (user / "tiny").rename(tmp_path / "far")
        for name in ("one", "two"):
            (user / name).symlink_to(tmp_path / "far", target_is_directory=True)
        with pytest.raises(ModelError, match="only models there"):
            remove_model(tmp_path / "far")
        assert remove_model(user / "two") == user / "two"
        assert [path.name for path in user.iterdir()] == ["one"]
        assert (tmp_path / "far" / "model.json").is_file()

    def test_without_its_weights(self, package):
        (package[0] / "weights.safetensors").unlink()
        remove_model("tiny")
        assert list_models() == []

    def test_a_path_outside_is_refused(self, package, tmp_path):
        shutil.copytree(package[0], tmp_path / "else")
        with pytest.raises(ModelError, match="only models there"):
            remove_model(str(tmp_path / "else"))
        with pytest.raises(ModelError, match="no model 'nothing'"):
            remove_model("nothing")
