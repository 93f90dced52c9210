"""NRRD headers with several data files; the right voxels are those written by NumPy."""

import numpy as np
import pytest

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.nrrd import read_nrrd

HU = (np.arange(4 * 5 * 6) - 50).reshape(4, 5, 6).astype("<i2")
HEAD = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: 6 5 4
space directions: (1,0,0) (0,1,0) (0,0,5)
kinds: domain domain domain
endian: little
encoding: raw
space origin: (1,2,3)
"""
NAMES = [f"s{k:03d}.raw" for k in range(4)]
FIELDS = {
    "list": "data file: LIST\n" + "\n".join(NAMES) + "\n",
    "pattern": "data file: s%03d.raw 0 3 1 2\n",
    "short pattern": "datafile: s%03d.raw 0 3 1\n",
}


def _write(folder, field):
    for plane, name in zip(HU, NAMES, strict=True):
        plane.tofile(folder / name)
    path = folder / "ct.nhdr"
    path.write_text(HEAD + field)
    return path


@pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS)
def test_a_list_or_pattern_of_data_files_is_read_in_its_order(tmp_path, field):
    ct = read_nrrd(_write(tmp_path, field))
    np.testing.assert_array_equal(ct.hu, HU)
    np.testing.assert_allclose(ct.ijk_to_ras[:3, 3], (-1, -2, 3))


def test_a_data_file_that_is_missing_is_named(tmp_path):
    path = _write(tmp_path, FIELDS["list"])
    (tmp_path / NAMES[2]).unlink()
    with pytest.raises(InputError, match=r"s002\.raw, which does not exist"):
        read_nrrd(path)


def test_space_units_are_honoured(tmp_path):
    path = _write(tmp_path, 'space units: "cm" "cm" "cm"\n' + FIELDS["list"])
    affine = read_nrrd(path).ijk_to_ras
    np.testing.assert_allclose(affine[:3, 3], (-10, -20, 30))
    np.testing.assert_allclose(np.abs(np.diag(affine)[:3]), (10, 10, 50))
