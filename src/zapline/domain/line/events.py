"""Defines the connection events of a line: webhook reports, requests of people, results of our calls, timers.

Their class names are label values of a metric, and so fixed.
"""

from dataclasses import dataclass

# -- reported by webhooks ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class QrOffered:
    """``qrcode.updated`` or the answer of connect: a code to scan; it lives 45 s (contract, section 2)."""

    code: str
    pairing_code: str | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class QrLimitReached:
    """Evolution offers no more codes until the next connect call."""


@dataclass(frozen=True, slots=True)
class ConnectingSeen:
    """``connection.update`` with state ``connecting``; comes in storms, about 4 a second."""


@dataclass(frozen=True, slots=True)
class Opened:
    """``connection.update`` with state ``open``."""

    owner_jid: str | None = None
    profile_name: str | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """``connection.update`` with state ``close``, or ``status.instance``; ``code`` is the statusReason.

    ``final``: by ``status.instance``, after which Evolution does not reconnect and has erased the session.
    """

    code: int | None = None
    detail: str | None = None
    final: bool = False


@dataclass(frozen=True, slots=True)
class PasskeyAsked:
    """``connection.update`` with a state that names a passkey: the phone's account asks for one to link a device."""


@dataclass(frozen=True, slots=True)
class LoggedOutSeen:
    """``logout.instance``: the session is gone from Evolution."""


@dataclass(frozen=True, slots=True)
class InstanceCreated:
    """``instance.create``."""


@dataclass(frozen=True, slots=True)
class InstanceRemoved:
    """``remove.instance`` or ``instance.delete``: Evolution no longer knows the instance."""


# -- our own ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """The actor starts from stored state and derives unfinished effects again from it."""


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The state's ``wake_at`` has passed."""


@dataclass(frozen=True, slots=True)
class QrWanted:
    """Somebody is looking at the pairing page."""


@dataclass(frozen=True, slots=True)
class ConnectAsked:
    """A person requested a connection; ``number`` (digits) requests a pairing code too."""

    number: str | None = None


@dataclass(frozen=True, slots=True)
class RenewAsked:
    """A person requested that the instance be deleted, created again and connected."""


@dataclass(frozen=True, slots=True)
class DisconnectAsked:
    """A person requested that the phone be unlinked."""


@dataclass(frozen=True, slots=True)
class StateObserved:
    """The response of ``connectionState``: ``open``, ``connecting``, ``close``, or ``missing`` for a 404."""

    state: str


@dataclass(frozen=True, slots=True)
class RegistrationOutdated:
    """The webhook secret or address has changed and must be registered with Evolution."""


@dataclass(frozen=True, slots=True)
class ServerReturned:
    """The Evolution server answers again, after it did not for some seconds."""


@dataclass(frozen=True, slots=True)
class Registered:
    """The instance exists on Evolution and its webhook is set and verified; or left as it is, if told to.

    ``differences``: what of the webhook that was left is not as it should be.
    """

    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RegistrationChecked:
    """The webhook was read back: ``differences`` name what somebody changed; ``restored``: it was set again."""

    differences: tuple[str, ...] = ()
    restored: bool = False


@dataclass(frozen=True, slots=True)
class ConnectStarted:
    """Evolution accepted our connect call but had no code yet (``{"count": 0}``)."""


@dataclass(frozen=True, slots=True)
class LogoutDone:
    """Evolution answered our logout call."""


@dataclass(frozen=True, slots=True)
class CallFailed:
    """A call to Evolution for this unit failed; ``code`` is from the failure vocabulary."""

    call: str
    code: str
    retryable: bool = True


ConnectionEvent = (
    QrOffered | QrLimitReached | ConnectingSeen | Opened | Closed | PasskeyAsked | LoggedOutSeen | InstanceCreated
    | InstanceRemoved | Started | TimerFired | QrWanted | ConnectAsked | RenewAsked | DisconnectAsked | StateObserved
    | RegistrationOutdated | ServerReturned | Registered | RegistrationChecked | ConnectStarted | LogoutDone
    | CallFailed
)  # fmt: skip
