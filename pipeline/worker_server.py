"""What the server of worker processes loads first, see ``pipeline.executor``."""

import os

from pipeline.executor import ONE_THREAD

os.environ.update(ONE_THREAD)  # before torch, which looks at it once
