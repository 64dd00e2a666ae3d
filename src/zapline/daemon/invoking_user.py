"""Identifies the user who runs a command, for the audit log."""

import os
import pwd
import socket

from zapline.domain.principals import ActorKind, AuditActor


def invoking_user() -> AuditActor:
    """The user of this machine who runs the command, also behind sudo."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # as in a container that runs under a bare number
        user = str(os.getuid())
    sudo_user = os.environ.get("SUDO_USER")
    return AuditActor(ActorKind.COMMAND, f"{sudo_user} as {user}" if sudo_user else user, source=socket.gethostname())
