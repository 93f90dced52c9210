"""The report of a case: what is shown, page, PDF."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from report_case import (
    PROVENANCE,
    bare_case,
    bare_pictures,
    ct_and_masks,
    full_case,
    full_pictures,
    map_of,
)

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.quantify import Entered
from ICHWeakSegLib.report import make_case, write_html, write_pdf
from ICHWeakSegLib.report.html import page
from ICHWeakSegLib.report.scores import scores_of
from ICHWeakSegLib.report.slices import key_slices, map_planes
from ICHWeakSegLib.report.tables import lesion_table, provenance_rows
from ICHWeakSegLib.version import __version__

VOID = {"meta", "img", "br", "link", "hr", "input", "path", "use"}


class Read(HTMLParser):
    """Elements of a page in their order, with their attributes, parents and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[dict] = []
        self._open: list[dict] = []
        self.feed(text)
        assert not self._open, [one["tag"] for one in self._open]

    def handle_starttag(self, tag, attributes):
        element = {"tag": tag, "text": "", "within": [one["tag"] for one in self._open], **dict(attributes)}
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attributes):
        self.elements.append({"tag": tag, "text": "", "within": [], **dict(attributes)})

    def handle_endtag(self, tag):
        assert self._open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self._open:
            element["text"] += data

    def all(self, *tags):
        return [element for element in self.elements if element["tag"] in tags]


@pytest.fixture(scope="module")
def text():
    return page(full_case(), full_pictures())


@pytest.fixture(scope="module")
def read(text):
    return Read(text)


class TestCase:
    def test_lesions_have_the_numbers_of_the_table(self):
        case = full_case()
        lesions = case.quantities.lesions
        assert len(lesions) == 2
        for lesion in lesions:
            counts = np.array([np.count_nonzero(plane == lesion.number) for plane in case.lesions])
            assert counts @ case.grid.slice_ml == pytest.approx(lesion.volume_ml)
            assert np.flatnonzero(counts)[[0, -1]].tolist() == [lesion.first_slice, lesion.last_slice]

    def test_numbers_also_where_slices_run_down(self):
        ct, masks = ct_and_masks()
        affine = ct.ijk_to_ras.copy()
        affine[:3, 3] += affine[:3, 2] * (len(ct.hu) - 1)
        affine[:3, 2] *= -1
        case = make_case(CT(ct.hu[::-1].copy(), affine), {key: mask[::-1] for key, mask in masks.items()})
        np.testing.assert_array_equal(case.lesions, full_case().lesions)

    def test_wrong_map_or_scores(self):
        ct, masks = ct_and_masks()
        with pytest.raises(InputError, match="map of this CT"):
            make_case(ct, masks, map=np.zeros((2, 2, 2)))
        with pytest.raises(InputError, match="24 slice scores for 25"):
            make_case(ct, masks, probabilities=[0.5] * 24)

    def test_sentences_are_scrubbed(self):
        ct, masks = ct_and_masks()
        ct.warnings.append("Miller.nii.gz is odd.")
        case = make_case(
            ct, masks, provenance={"model": "of Miller"}, scrub=lambda words: words.replace("Miller", "X")
        )
        assert case.warnings == ["X.nii.gz is odd."]
        assert case.provenance == {"model": "of X"}


class TestSlices:
    def test_the_largest_slice_of_each_lesion(self):
        case = full_case()
        shown = key_slices(case, most=2)
        best = [
            int(np.argmax([np.count_nonzero(plane == lesion.number) for plane in case.lesions]))
            for lesion in case.quantities.lesions
        ]
        assert shown == sorted(best)
        more = key_slices(case, most=6)
        assert set(best) < set(more)
        assert len(more) == 6
        assert all(case.lesions[s].any() for s in more)

    def test_without_blood_the_most_probable_ones(self):
        case = replace(bare_case(), probabilities=np.linspace(0, 1, 25)[::-1])
        assert key_slices(case) == [0, 1, 2]
        middle = key_slices(bare_case())
        assert len(middle) == 3
        assert 5 < middle[0] < middle[-1] < 20

    def test_outline_and_map_are_drawn_where_the_blood_is(self):
        pictures, case = full_pictures(), full_case()
        picture = max(pictures.slices, key=lambda one: np.count_nonzero(case.lesions[one.index] == 1))
        seen = np.asarray(Image.open(io.BytesIO(pictures.jpeg(picture)))).astype(int)
        amber = (seen[..., 0] > 200) & (seen[..., 2] < 90)
        rows, columns = pictures.box
        blood = np.argwhere(case.lesions[picture.index][pictures.box] == 1).mean(axis=0)
        share = np.argwhere(amber).mean(axis=0) / seen.shape[:2]
        expected = blood / (rows.stop - rows.start, columns.stop - columns.start)
        np.testing.assert_allclose(share, expected, atol=0.08)

        painted = next(one for one in pictures.maps if one.index == picture.index)
        peak = np.unravel_index(painted.map_plane.argmax(), painted.map_plane.shape)
        assert case.lesions[picture.index][peak] == 1
        seen = np.asarray(Image.open(io.BytesIO(pictures.jpeg(painted)))).astype(int)
        colourful = np.argwhere(seen.max(axis=2) - seen.min(axis=2) > 80).mean(axis=0) / seen.shape[:2]
        np.testing.assert_allclose(colourful, expected, atol=0.12)

    def test_map_planes_of_a_case_without_a_map(self):
        assert map_planes(bare_case(), [3]) == []


class TestScene:
    def test_blood_is_on_its_side(self):
        case = full_case()
        assert [lesion.side for lesion in case.quantities.lesions] == ["left", "right"]
        front, above = full_pictures().views
        assert front.words == "from the front, left and above"
        # Who looks at a face has its left on the right; who looks down on a head has it on the left.
        assert front.letters == ("R", "L", "S", "I")
        assert above.letters == ("L", "R", "A", "P")
        place = _orange(above.rgb)
        assert place[1] < 0.48

    def test_depth(self):
        ct, masks = ct_and_masks()
        both = make_case(ct, {"IPH": masks["IPH"], "SAH": _in_front_of(masks["IPH"])})
        from ICHWeakSegLib.report.scene import render

        front = render(both)[0].rgb.astype(int)
        alone = full_pictures().views[0].rgb.astype(int)
        blue = (front[..., 2] - front[..., 0] > 40).sum()
        assert blue > 100
        # It hides a part of what lies behind it.
        assert _is_orange(front).sum() < 0.8 * _is_orange(alone).sum()

    def test_no_blood_and_no_bone(self):
        from ICHWeakSegLib.report.scene import render

        assert not _is_orange(bare_pictures().views[0].rgb).any()
        ct = CT(np.full((6, 32, 32), -1000, np.int16), np.diag([-5.0, -5, 5, 1]))
        blood = np.zeros(ct.hu.shape, np.uint8)
        blood[2:4, 10:20, 10:20] = 1
        views = render(make_case(ct, {"hemorrhage": blood}))
        red = (views[0].rgb[..., 0].astype(int) - views[0].rgb[..., 1]) > 80
        assert red.sum() > 200


def _is_orange(rgb):
    rgb = rgb.astype(int)
    return (rgb[..., 0] - rgb[..., 2] > 70) & (rgb[..., 0] > 90)


def _orange(rgb):
    return np.argwhere(_is_orange(rgb)).mean(axis=0) / rgb.shape[:2]


def _in_front_of(mask):
    """A plate between a mask and who looks from the patient's left and front."""
    places = np.argwhere(mask)
    low, high = places.min(axis=0), places.max(axis=0)
    plate = np.zeros_like(mask)
    plate[low[0] : high[0] + 1, low[1] - 14 : low[1] - 9, low[2] : high[2] + 8] = 1
    return plate


class TestScores:
    def test_volume_is_the_intraparenchymal_one(self):
        case = full_case()
        ich, func = case.scores.scores
        given = {part.name: part.given for part in ich.parts}
        assert given["volume_ml"] == round(case.quantities.total.subtypes_ml["IPH"], 1)
        assert given["infratentorial"] is False
        assert ich.total == 3
        assert func.total is None
        assert func.missing == ("cognitive_impairment",)

    def test_without_subtypes_all_blood_and_so_it_says(self):
        ct, masks = ct_and_masks()
        case = make_case(ct, {"hemorrhage": masks["IPH"] | masks["SDH"]}, entered=Entered(gcs=15))
        given = {part.name: part.given for part in case.scores.scores[0].parts}
        assert given["volume_ml"] == round(case.quantities.total.volume_ml, 1)
        assert "all blood" in case.scores.note

    def test_an_entered_volume_wins(self):
        ich, _ = scores_of(Entered(volume_ml=12.0, infratentorial=True), full_case().quantities).scores
        assert {part.name: part.given for part in ich.parts}["volume_ml"] == 12.0
        _, func = scores_of(Entered(infratentorial=True), full_case().quantities).scores
        assert {part.name: part.given for part in func.parts}["location"] == "infratentorial"

    def test_contradiction(self):
        with pytest.raises(InputError, match="contradicts"):
            scores_of(Entered(location="deep", infratentorial=True), full_case().quantities)

    def test_nothing_entered(self):
        assert bare_case().scores.scores == ()
        assert "Glasgow Coma Scale" in bare_case().scores.note


class TestTables:
    def test_lesions(self):
        case = full_case()
        table = lesion_table(case)
        first = dict(zip(table.heads, table.rows[0], strict=True))
        lesion = case.quantities.lesions[0]
        assert first["Volume (mL)"] == f"{lesion.volume_ml:.1f}"
        assert first["Subtype"] == "IPH"
        assert first["Side"] == "left"
        assert dict(zip(table.heads, table.last, strict=True))["Volume (mL)"] == (
            f"{case.quantities.total.volume_ml:.1f}"
        )
        few = lesion_table(case, most=1)
        assert len(few.rows) == 1
        assert f"1 smaller lesions, {case.quantities.lesions[1].volume_ml:.1f} mL" in few.note

    def test_provenance(self):
        rows = dict(provenance_rows(full_case()))
        assert rows["Model"] == "starter 1.0.0"
        assert rows["Weights (SHA-256)"] == PROVENANCE["sha256"]
        assert rows["Threshold of slices"] == "0.42"
        assert rows["Segmented by"] == "ICHWeakSeg 0.0.9"
        assert rows["Report by"] == f"ICHWeakSeg {__version__}"
        assert rows["CT"] == "128 × 128 × 25 voxels of 1.80 × 1.80 × 5.00 mm"
        assert "not known" in dict(provenance_rows(bare_case()))["Model"]


class TestPage:
    def test_structure(self, read):
        (root,) = read.all("html")
        assert root["lang"] == "en"
        assert [len(read.all(tag)) for tag in ("title", "h1", "header", "main", "footer")] == [1] * 5
        assert read.all("title")[0]["text"] == "Intracranial hemorrhage on head CT: case 7"
        levels = [int(one["tag"][1]) for one in read.all("h1", "h2", "h3")]
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        ids = [one["id"] for one in read.elements if "id" in one]
        assert len(ids) == len(set(ids))
        for section in read.all("section"):
            assert section["aria-labelledby"] in ids
        skip = next(one for one in read.elements if one["tag"] == "a")
        assert skip["href"] == "#main"
        assert read.elements.index(skip) < read.elements.index(read.all("header")[0])

    def test_tables_and_pictures_have_words(self, read):
        assert len(read.all("img")) == 6 + 3 + 2
        for picture in read.all("img"):
            assert len(picture["alt"]) > 20
        tables = read.all("table")
        assert len(tables) == 1 + 1 + 2
        assert len(read.all("caption")) == len(tables)
        assert all(head.get("scope") in ("col", "row") for head in read.all("th"))
        (curve,) = (one for one in read.elements if one.get("role") == "img")
        assert "threshold of 0.42" in curve["aria-label"]
        svg = read.all("svg")[0]
        assert svg["aria-hidden"] == "true"

    def test_needs_nothing_else(self, text, read):
        assert not read.all("script", "link", "iframe", "object")
        addresses = [one[key] for one in read.elements for key in ("src", "href", "xlink:href") if key in one]
        assert all(address.startswith(("data:image/", "#")) for address in addresses)
        assert "default-src 'none'" in read.all("meta")[2]["content"]
        assert not re.search(r"url\((?!#)|@import", text)
        assert not [one for one in read.elements if any(key.startswith("on") for key in one)]

    def test_pictures_open(self, text):
        pictures = re.findall(r'src="data:image/(\w+);base64,([^"]+)"', text)
        assert len(pictures) == 11
        for kind, content in pictures:
            with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
                assert picture.format == kind.upper()
                assert np.asarray(picture).std() > 10

    def test_what_it_says(self, read):
        words = " ".join(read.all("body")[0]["text"].split())
        total = full_case().quantities.total
        assert f"{total.volume_ml:.1f} mL of blood in 2 lesions on {total.slices} of 25 slices." in words
        assert words.count("For research use only. Not a medical device") == 2
        assert "Look <b>here</b> & there: @BODY@." in words
        assert "ICH score: 3 of 6. 72 %" in words
        assert "no total, missing: cognitive impairment before" in words
        assert "Hemphill" in words
        assert "starter 1.0.0" in words
        assert PROVENANCE["sha256"] in words
        assert "threshold 0.42" in words

    def test_bare_case(self):
        read = Read(page(bare_case(), bare_pictures()))
        words = " ".join(read.all("main")[0]["text"].split())
        for sentence in (
            "No blood found on 25 slices (0 mL).",
            "No warnings.",
            "No map was given.",
            "There is no lesion.",
            "No slice scores were given.",
            "No clinical score: nothing was entered.",
        ):
            assert sentence in words
        assert len(read.all("img")) == 3 + 2

    def test_identity_only_where_it_is_given(self, text):
        assert "Miller" not in text
        shown = page(replace(full_case(), identity={"Patient": "Miller^<Ann>"}), full_pictures())
        assert "Miller^&lt;Ann&gt;" in shown

    def test_file(self, tmp_path, text):
        path = write_html(tmp_path / "neu" / "Fall ü.html", full_case(), full_pictures())
        assert path.read_text(encoding="utf-8") == text
        assert [one.name for one in path.parent.iterdir()] == ["Fall ü.html"]


class TestPdf:
    def test_one_page_and_the_same_bytes(self, tmp_path):
        first = write_pdf(tmp_path / "a.pdf", full_case(), full_pictures()).read_bytes()
        assert first.startswith(b"%PDF")
        assert pages(first) == 1
        # The slices and maps, drawn as pictures.
        assert first.count(b"/Subtype /Image") >= 11
        assert b"Intracranial hemorrhage on head CT: case 7" in first
        assert write_pdf(tmp_path / "b.pdf", full_case(), full_pictures()).read_bytes() == first

    def test_what_does_not_fit_goes_on(self, tmp_path):
        case = replace(bare_case(), warnings=[f"Warning number {n}." for n in range(90)])
        assert pages(write_pdf(tmp_path / "a.pdf", case, bare_pictures()).read_bytes()) == 2


def pages(content: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b", content))


def test_the_map_of_the_phantom_peaks_in_the_blood():
    _, masks = ct_and_masks()
    peak = np.unravel_index(map_of(masks).argmax(), masks["IPH"].shape)
    assert masks["IPH"][peak]
