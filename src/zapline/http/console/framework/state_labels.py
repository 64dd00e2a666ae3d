"""Words for what the database calls by short names: kinds of messages, how far they have come, and our work on them."""

from collections.abc import Mapping

from zapline.domain.campaigns.states import CampaignState
from zapline.domain.messages.delivery_status import Delivery
from zapline.domain.messages.facts import Kind
from zapline.domain.outbox.work_states import Work
from zapline.http.console.framework.translation import N_, _

KINDS: Mapping[str, str] = {
    Kind.TEXT.value: N_("text"),
    Kind.IMAGE.value: N_("image"),
    Kind.VIDEO.value: N_("video"),
    Kind.AUDIO.value: N_("audio"),
    Kind.VOICE.value: N_("voice message"),
    Kind.DOCUMENT.value: N_("document"),
    Kind.STICKER.value: N_("sticker"),
    Kind.LOCATION.value: N_("location"),
    Kind.LIVE_LOCATION.value: N_("live location"),
    Kind.CONTACT.value: N_("contact"),
    Kind.CONTACTS.value: N_("contacts"),
    Kind.POLL.value: N_("poll"),
    Kind.BUTTON_REPLY.value: N_("choice of a button"),
    Kind.LIST_REPLY.value: N_("choice of a list"),
    Kind.TEMPLATE_REPLY.value: N_("choice of a template"),
    Kind.INTERACTIVE_REPLY.value: N_("choice of a button"),
    Kind.BUTTONS.value: N_("buttons"),
    Kind.LIST.value: N_("list"),
    Kind.TEMPLATE.value: N_("template"),
    Kind.INTERACTIVE.value: N_("buttons"),
    Kind.ALBUM.value: N_("album"),
    Kind.ORDER.value: N_("order"),
    Kind.PRODUCT.value: N_("product"),
    Kind.EVENT.value: N_("event"),
    Kind.GROUP_INVITE.value: N_("invitation to a group"),
    Kind.PAYMENT.value: N_("payment"),
    Kind.CALL_LOG.value: N_("call"),
    Kind.UNKNOWN.value: N_("unknown"),
}
DELIVERIES: Mapping[str, str] = {
    Delivery.QUEUED.name.lower(): N_("queued"),
    Delivery.SENT.name.lower(): N_("sent"),
    Delivery.FAILED.name.lower(): N_("failed"),
    Delivery.DELIVERED.name.lower(): N_("delivered"),
    Delivery.READ.name.lower(): N_("read"),
    Delivery.PLAYED.name.lower(): N_("played"),
}
WORKS: Mapping[str, str] = {
    Work.QUEUED.value: N_("waits to be sent"),
    Work.LEASED.value: N_("is being sent"),
    Work.UNCERTAIN.value: N_("uncertain"),
    Work.SETTLED.value: N_("taken by WhatsApp"),
    Work.DEAD.value: N_("given up"),
    Work.CANCELLED.value: N_("cancelled"),
    Work.EXPIRED.value: N_("too late"),
}

CAMPAIGNS: Mapping[str, str] = {
    CampaignState.READY.value: N_("ready"),
    CampaignState.LOADING.value: N_("reading its list"),
    CampaignState.SCHEDULED.value: N_("waits for its time"),
    CampaignState.RUNNING.value: N_("running"),
    CampaignState.PAUSED.value: N_("paused"),
    CampaignState.CANCELLED.value: N_("cancelled"),
    CampaignState.DONE.value: N_("done"),
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
