"""The pipeline in a process of its own: `python -m ICHWeakSegLib.worker`, JSON lines in and out."""
