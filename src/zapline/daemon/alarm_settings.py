"""The settings of alarms: the SMTP server that takes e-mails, and when something is worth an alarm."""

from dataclasses import dataclass

from zapline.daemon.setting_types import (
    SECONDS,
    Secret,
    WrongSetting,
    matching,
    number,
    one_of,
    secret,
    setting,
    whole_number,
)

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, kw_only=True)
class AlarmSettings:
    """A part of ``Settings``."""

    smtp_host: str = setting("Server that takes the e-mails of alarms; without one there are none.", str, "")
    smtp_port: int = setting("Its port: 587 for starttls, 465 for tls.", whole_number(1, 65535), 587)
    smtp_security: str = setting(
        "starttls or tls, whose certificate must be right; none only for a server on this machine.",
        one_of("starttls", "tls", "none"),
        "starttls",
    )
    smtp_user: str = setting("Who logs in at the SMTP server; empty: nobody has to.", str, "")
    smtp_password: Secret | None = setting(
        "That user's password; better a file for LoadCredential= than here.", secret, None
    )
    smtp_from: str = setting(
        "Sender of these e-mails, as zapline@example.com.", matching(r"[^\s@<>]{1,64}@[A-Za-z0-9.-]{1,190}"), ""
    )
    alarm_after_seconds: float = setting("How long something must be wrong before an alarm is said.", SECONDS, 120.0)
    alarm_gather_seconds: float = setting("What goes wrong within this time is told in one alarm.", SECONDS, 30.0)
    alarm_calm_seconds: float = setting(
        "How long everything must be well before an all-clear is said; longer for what falls again.", SECONDS, 180.0
    )
    alarm_gap_seconds: float = setting("Least time between two alarms to the same people.", SECONDS, 60.0)
    alarm_reminder_hours: float = setting(
        "After how long an alarm is said again while nothing is mended; 0 never does.",
        number(least=0, most=24 * 30),
        4.0,
    )

    def check_mail(self) -> None:
        """Raises WrongSetting where the settings of the SMTP server do not fit each other."""
        if self.smtp_host and not self.smtp_from:
            raise WrongSetting("ZAPLINE_SMTP_HOST needs ZAPLINE_SMTP_FROM")
        if self.smtp_host and self.smtp_security == "none" and self.smtp_host not in _LOOPBACK:
            raise WrongSetting("ZAPLINE_SMTP_SECURITY may be none only for a server on this machine")
        if self.smtp_password is not None and not self.smtp_user:
            raise WrongSetting("ZAPLINE_SMTP_PASSWORD needs ZAPLINE_SMTP_USER")
        if not _is_host(self.smtp_host):
            raise WrongSetting("ZAPLINE_SMTP_HOST is no name of a host")
        password = self.smtp_password.get_secret_value() if self.smtp_password is not None else ""
        login = {"USER": self.smtp_user, "PASSWORD": password, "FROM": self.smtp_from}
        for name, text in login.items():
            if not (text.isascii() and text.isprintable()):
                raise WrongSetting(f"ZAPLINE_SMTP_{name} may hold ASCII letters, digits and signs only")


def _is_host(name: str) -> bool:
    """Whether a host may be called so; the empty name stands for none."""
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return name.isprintable() and " " not in name
