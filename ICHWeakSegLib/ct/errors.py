class InputError(ValueError):
    """The input cannot be used. Its text is one sentence for the user: what, which file, what to do.

    The command line prints it and exits with status 2; the Slicer module shows it in the panel.
    """
