"""Names that tell nobody's identity: salted hashes, with the salt kept beside the results."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from ICHWeakSegLib.ct.errors import InputError

SALT_FILE = ".salt"
_CASE_DIGITS, _OTHER_DIGITS = 12, 8


class Names:
    """Turns keys into short names; the same key gives the same name in one output folder and no other.

    Args:
        salt: hexadecimal text.
    """

    def __init__(self, salt: str) -> None:
        self._salt = bytes.fromhex(salt)

    @classmethod
    def of(cls, folder: Path, new: bool) -> Names:
        """The names of an output folder; a new one gets a salt that its owner alone may read.

        Raises:
            InputError: the salt of an earlier run is gone, so that its cases could not be found again.
        """
        path = folder / SALT_FILE
        if new and not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w") as file:
                file.write(secrets.token_hex(16))
                file.flush()
                os.fsync(file.fileno())
        try:
            return cls(path.read_text().strip())
        except (OSError, ValueError) as problem:
            raise InputError(
                f"{path} is missing or damaged, so that the cases of {folder} cannot be found again: "
                "give --output another folder."
            ) from problem

    def case(self, key: str) -> str:
        """Name of a case."""
        return self._hash("case", key)[:_CASE_DIGITS]

    def other(self, kind: str, text: str) -> str:
        """Name of a patient, a study or a file; empty for an empty text."""
        return self._hash(kind, text)[:_OTHER_DIGITS] if text else ""

    def fingerprint(self, text: str) -> str:
        """A content's fingerprint that nobody can compare without the salt; empty for an empty text."""
        return self._hash("content", text)[:32] if text else ""

    def _hash(self, kind: str, text: str) -> str:
        return hmac.new(
            self._salt, f"{kind}:{text}".encode("utf-8", "surrogateescape"), hashlib.sha256
        ).hexdigest()
