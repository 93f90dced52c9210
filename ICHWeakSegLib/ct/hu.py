"""A volume of HU filled slice by slice, so that a big CT is never held as floating point."""

from __future__ import annotations

import numpy as np

from ICHWeakSegLib.ct.errors import InputError

AIR_HU = -1024
_INT16_MAX = 32767


class HUVolume:
    """Collects slices of HU into one array: int16 as long as all values are whole, else float32.

    Args:
        shape: (K, J, I).
        where: name of the source for error texts.
    """

    def __init__(self, shape: tuple[int, int, int], where: str):
        self.hu = np.empty(shape, np.int16)
        self._where = where

    def put(self, k: int, values: np.ndarray) -> None:
        """Store slice k from `values` in HU, shape (J, I), any real type; padding becomes air.

        Raises:
            InputError: NaN or infinite values.
        """
        kind = values.dtype.kind
        if kind == "f":
            if not np.isfinite(values).all():
                raise InputError(
                    f"{self._where} holds voxels that are not a number (NaN or infinite); "
                    "export the CT again or replace them with -1024."
                )
            whole = np.rint(values)
            # Rescale factors stored as decimal text leave errors far below a thousandth of a HU.
            if np.abs(values - whole).max(initial=0) < 1e-3:
                values = whole
            else:
                self._need_float()
        if values.max(initial=0) > _INT16_MAX:
            self._need_float()
        # Types without a sign, or of 8 bits, do not reach down to air.
        reaches = kind != "u" and values.dtype != np.int8
        self.hu[k] = np.maximum(values, AIR_HU) if reaches else values

    def _need_float(self) -> None:
        if self.hu.dtype != np.float32:
            self.hu = self.hu.astype(np.float32)
