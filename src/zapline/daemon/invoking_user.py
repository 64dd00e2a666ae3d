"""Tells who types a command, for the audit log."""

import os
import pwd
import socket

from zapline.domain.principals import Actor, ActorKind


def operator() -> Actor:
    """Who types: a user of this machine, also behind sudo."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # as in a container that runs under a bare number
        user = str(os.getuid())
    behind = os.environ.get("SUDO_USER")
    return Actor(ActorKind.COMMAND, f"{behind} as {user}" if behind else user, source=socket.gethostname())
