"""For all tests. It is not in Testing, since pytest would put that on the path: see Testing/standins/README.md."""

import signal

# A background job of a shell ignores Ctrl-C and hands that on to its children, which the tests stop that way.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
