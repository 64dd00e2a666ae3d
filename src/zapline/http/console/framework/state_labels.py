"""Words for what the database calls by short names: kinds of messages, how far they have come, and our work on them."""

from collections.abc import Mapping

from zapline.domain.campaigns.states import CampaignState
from zapline.domain.messages.delivery_status import Delivery
from zapline.domain.messages.events import Kind
from zapline.domain.outbox.work_states import Work
from zapline.http.console.framework.translation import _, mark

KINDS: Mapping[str, str] = {
    Kind.TEXT.value: mark("text"),
    Kind.IMAGE.value: mark("image"),
    Kind.VIDEO.value: mark("video"),
    Kind.AUDIO.value: mark("audio"),
    Kind.VOICE.value: mark("voice message"),
    Kind.DOCUMENT.value: mark("document"),
    Kind.STICKER.value: mark("sticker"),
    Kind.LOCATION.value: mark("location"),
    Kind.LIVE_LOCATION.value: mark("live location"),
    Kind.CONTACT.value: mark("contact"),
    Kind.CONTACTS.value: mark("contacts"),
    Kind.POLL.value: mark("poll"),
    Kind.BUTTON_REPLY.value: mark("choice of a button"),
    Kind.LIST_REPLY.value: mark("choice of a list"),
    Kind.TEMPLATE_REPLY.value: mark("choice of a template"),
    Kind.INTERACTIVE_REPLY.value: mark("choice of a button"),
    Kind.BUTTONS.value: mark("buttons"),
    Kind.LIST.value: mark("list"),
    Kind.TEMPLATE.value: mark("template"),
    Kind.INTERACTIVE.value: mark("buttons"),
    Kind.ALBUM.value: mark("album"),
    Kind.ORDER.value: mark("order"),
    Kind.PRODUCT.value: mark("product"),
    Kind.EVENT.value: mark("event"),
    Kind.GROUP_INVITE.value: mark("invitation to a group"),
    Kind.PAYMENT.value: mark("payment"),
    Kind.CALL_LOG.value: mark("call"),
    Kind.UNKNOWN.value: mark("unknown"),
}
DELIVERIES: Mapping[str, str] = {
    Delivery.QUEUED.name.lower(): mark("queued"),
    Delivery.SENT.name.lower(): mark("sent"),
    Delivery.FAILED.name.lower(): mark("failed"),
    Delivery.DELIVERED.name.lower(): mark("delivered"),
    Delivery.READ.name.lower(): mark("read"),
    Delivery.PLAYED.name.lower(): mark("played"),
}
WORKS: Mapping[str, str] = {
    Work.QUEUED.value: mark("waits to be sent"),
    Work.LEASED.value: mark("is being sent"),
    Work.UNCERTAIN.value: mark("uncertain"),
    Work.SETTLED.value: mark("taken by WhatsApp"),
    Work.DEAD.value: mark("given up"),
    Work.CANCELLED.value: mark("cancelled"),
    Work.EXPIRED.value: mark("too late"),
}

CAMPAIGNS: Mapping[str, str] = {
    CampaignState.READY.value: mark("ready"),
    CampaignState.LOADING.value: mark("reading its list"),
    CampaignState.SCHEDULED.value: mark("waits for its time"),
    CampaignState.RUNNING.value: mark("running"),
    CampaignState.PAUSED.value: mark("paused"),
    CampaignState.CANCELLED.value: mark("cancelled"),
    CampaignState.DONE.value: mark("done"),
}


def kind(name: str) -> str:
    """A kind of message; one without a word here is shown as it is called."""
    return _(KINDS[name]) if name in KINDS else name.replace("_", " ")


def delivery(name: str) -> str:
    """How far a message has come."""
    return _(DELIVERIES[name]) if name in DELIVERIES else name


def work(name: str) -> str:
    """How our work on a message stands."""
    return _(WORKS[name]) if name in WORKS else name


def campaign(name: str) -> str:
    """How a campaign stands."""
    return _(CAMPAIGNS[name]) if name in CAMPAIGNS else name
