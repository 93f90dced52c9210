"""The errors that users meet. Needs nothing but Python: whoever only reports them loads no library."""


class InputError(ValueError):
    """The input cannot be used. Its text is one sentence for the user: what, which file, what to do.

    The command line prints it and exits with status 2; the Slicer module shows it in the panel.
    """


class ModelError(InputError):
    """A model package cannot be used. One sentence: which file, which field or fault, what to do."""


class Cancelled(Exception):
    """The caller asked to stop; nothing was written."""
