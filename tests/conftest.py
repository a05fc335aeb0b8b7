"""What holds for all tests."""

import signal

# A job of a shell without job control ignores Ctrl-C, and so would every process that tests start
# to interrupt it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
