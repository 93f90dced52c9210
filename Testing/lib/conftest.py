"""For all tests of the library."""

import signal

# A background job of a shell ignores Ctrl-C and hands that on to its children, which the tests stop that way.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
