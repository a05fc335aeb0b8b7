"""What the server of worker processes loads first, see ``pipeline.system.workers``."""

import os

from pipeline.system.workers import ONE_THREAD

os.environ.update(ONE_THREAD)  # before torch, which looks at it once
