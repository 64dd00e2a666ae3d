"""``python -m zapline``: the command line."""

from zapline.daemon.cli import main

main()
