#!/usr/bin/python3 -IS
"""Runs Zapline with the packages beside it, and none of this machine's."""

import os
import sys

sys.path.insert(0, "/opt/zapline/lib")
os.environ["PYTHONPATH"] = "/opt/zapline/lib"  # for what the sandbox starts

from zapline.daemon.cli import main

main()
