"""Names that commands, panel and library share. Needs no torch and no scipy."""

DEFAULT_MODEL = "starter"
DEVICES = ("auto", "cpu", "cuda", "mps")
REFINEMENTS = ("hu", "threshold", "otsu", "kmeans", "hysteresis")
