"""Start the worker: ``python -m DDSAM2SlicerLib.worker``; it is meant to be started by worker.client, not by hand."""

import sys

from .server import main

if __name__ == "__main__":
    sys.exit(main())
