"""Networks, checkpoints, and acting with them. Knows no emulator."""

import os

# How long an idle OpenMP thread spins before it sleeps; read once, when torch is loaded. By
# default it is for so long that on cores which others use too, training is several times slower
# than with one thread. A few microseconds lose next to nothing on idle cores.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
