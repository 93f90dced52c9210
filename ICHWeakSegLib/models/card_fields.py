"""Strict reading of a card's JSON: every value is checked, and an error names the file and the field."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ICHWeakSegLib.errors import ModelError

_REQUIRED = object()


class Section:
    """One JSON object of a card, taken apart field by field.

    Args:
        data: the parsed object.
        source: the file's name, for errors.
        path: dotted path of this object inside the card; empty for the card itself.
    """

    def __init__(self, data: object, source: str, path: str = "") -> None:
        self.source = source
        self.path = path
        if not isinstance(data, dict):
            raise self.error(None, f"must be an object {{...}}, not {_shown(data)}")
        self._data: dict[str, Any] = data
        self._taken: set[str] = set()

    def error(self, key: str | None, problem: str) -> ModelError:
        """The error for a field of this section."""
        field = ".".join(part for part in (self.path, key) if part)
        place = f"field '{field}'" if field else "the card"
        return ModelError(f"{self.source}: {place} {problem}.")

    def extra(self) -> dict[str, Any]:
        """Fields that nobody asked for; kept so that a newer card survives a round trip."""
        return {key: value for key, value in self._data.items() if key not in self._taken}

    def has(self, key: str) -> bool:
        """Whether the field is there and not null."""
        return self._data.get(key) is not None

    def section(self, key: str, required: bool = True) -> Section:
        """A nested object; an absent optional one reads as empty."""
        value = self._take(key, _REQUIRED if required else {})
        path = f"{self.path}.{key}" if self.path else key
        return Section({} if value is None and not required else value, self.source, path)

    def text(self, key: str, default: Any = _REQUIRED, choices: Sequence[str] = ()) -> str:
        """A string; where it is required it may not be blank."""
        value = self._take(key, default)
        if not isinstance(value, str):
            raise self.error(key, f"must be text, not {_shown(value)}")
        if default is _REQUIRED and not value.strip():
            raise self.error(key, "must not be empty")
        if choices and value not in choices:
            raise self.error(key, f"must be one of {', '.join(choices)}, not {_shown(value)}")
        return value

    def integer(self, key: str, default: Any = _REQUIRED, low: int | None = None) -> Any:
        """A whole number of at least `low`; None only where that is the default."""
        value = self._take(key, default)
        if value is None and default is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(key, f"must be a whole number, not {_shown(value)}")
        if low is not None and value < low:
            raise self.error(key, f"must be at least {low}, not {value}")
        return value

    def number(
        self,
        key: str,
        default: Any = _REQUIRED,
        low: float | None = None,
        high: float | None = None,
        above: float | None = None,
    ) -> Any:
        """A finite number within [low, high], greater than `above`; None only where that is the default."""
        value = self._take(key, default)
        if value is None and default is None:
            return None
        return self._checked_number(key, value, low, high, above)

    def flag(self, key: str, default: Any = _REQUIRED) -> bool:
        """true or false."""
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise self.error(key, f"must be true or false, not {_shown(value)}")
        return value

    def texts(self, key: str, default: Any = _REQUIRED) -> tuple[str, ...]:
        """A list of strings."""
        value = self._list(key, default)
        for index, item in enumerate(value):
            if not isinstance(item, str) or not item.strip():
                raise self.error(f"{key}[{index}]", f"must be text, not {_shown(item)}")
        return tuple(value)

    def numbers(self, key: str, default: Any = _REQUIRED, above: float | None = None) -> Any:
        """A list of finite numbers as a tuple; None only where that is the default."""
        value = self._list(key, default)
        if value is None:
            return None
        return tuple(self._checked_number(f"{key}[{i}]", item, above=above) for i, item in enumerate(value))

    def pairs(self, key: str, default: Any = _REQUIRED) -> tuple[tuple[float, float], ...]:
        """A list of pairs of finite numbers."""
        found = []
        for index, item in enumerate(self._list(key, default) or ()):
            name = f"{key}[{index}]"
            if not isinstance(item, (list, tuple)) or len(item) != 2:
                raise self.error(name, f"must be a pair of numbers, not {_shown(item)}")
            found.append((self._checked_number(name, item[0]), self._checked_number(name, item[1])))
        return tuple(found)

    def mapping(self, key: str) -> dict[str, Any]:
        """A free-form object; empty when absent or null."""
        value = self._take(key, {})
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.error(key, f"must be an object {{...}}, not {_shown(value)}")
        return dict(value)

    def objects(self, key: str) -> tuple[dict[str, Any], ...]:
        """A list of free-form objects; empty when absent or null."""
        found = self._list(key, None) or ()
        for index, item in enumerate(found):
            if not isinstance(item, dict):
                raise self.error(f"{key}[{index}]", f"must be an object {{...}}, not {_shown(item)}")
        return tuple(dict(item) for item in found)

    def checked(self, key: str, value: Any, fits: Callable[[Any], bool], problem: str) -> Any:
        """`value` where it fits; otherwise an error for `key`."""
        if not fits(value):
            raise self.error(key, f"{problem}, not {_shown(value)}")
        return value

    def _take(self, key: str, default: Any) -> Any:
        self._taken.add(key)
        if key in self._data:
            return self._data[key]
        if default is _REQUIRED:
            raise self.error(key, "is missing")
        return default

    def _list(self, key: str, default: Any) -> Any:
        value = self._take(key, default)
        if value is None and default is None:
            return None
        if not isinstance(value, (list, tuple)):
            raise self.error(key, f"must be a list, not {_shown(value)}")
        return value

    def _checked_number(
        self,
        key: str,
        value: object,
        low: float | None = None,
        high: float | None = None,
        above: float | None = None,
    ) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self.error(key, f"must be a number, not {_shown(value)}")
        if low is not None and value < low:
            raise self.error(key, f"must be at least {low:g}, not {value:g}")
        if high is not None and value > high:
            raise self.error(key, f"must be at most {high:g}, not {value:g}")
        if above is not None and value <= above:
            raise self.error(key, f"must be greater than {above:g}, not {value:g}")
        return value


def _shown(value: object) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
