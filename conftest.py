"""For all tests. Not in Testing: pytest would put that on the path, and slicer-core takes Testing/slicer for its own."""

import signal

# A background job of a shell ignores Ctrl-C and hands that on to its children, which the tests stop that way.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
