"""One file a command of `ichweakseg`: `add_to(subparsers)` declares it, `run(options)` does it."""
