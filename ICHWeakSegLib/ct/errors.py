from ICHWeakSegLib.errors import InputError

__all__ = ["InputError"]
