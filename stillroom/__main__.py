"""`python -m stillroom` is the command line."""

import os

try:
    from stillroom.cli.app import main
except KeyboardInterrupt:  # before there is anything to tell
    os._exit(1)

main()
