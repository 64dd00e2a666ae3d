"""Labels for the states and kinds that the database stores by short names."""

from collections.abc import Mapping

from zapline.domain.campaigns.states import CampaignState
from zapline.domain.messages.delivery_status import DeliveryStatus
from zapline.domain.messages.facts import MessageKind
from zapline.domain.outbox.work_states import WorkState
from zapline.http.console.framework.translation import N_, _

MESSAGE_KINDS: Mapping[str, str] = {
    MessageKind.TEXT.value: N_("text"),
    MessageKind.IMAGE.value: N_("image"),
    MessageKind.VIDEO.value: N_("video"),
    MessageKind.AUDIO.value: N_("audio"),
    MessageKind.VOICE.value: N_("voice message"),
    MessageKind.DOCUMENT.value: N_("document"),
    MessageKind.STICKER.value: N_("sticker"),
    MessageKind.LOCATION.value: N_("location"),
    MessageKind.LIVE_LOCATION.value: N_("live location"),
    MessageKind.CONTACT.value: N_("contact"),
    MessageKind.CONTACTS.value: N_("contacts"),
    MessageKind.POLL.value: N_("poll"),
    MessageKind.BUTTON_REPLY.value: N_("choice of a button"),
    MessageKind.LIST_REPLY.value: N_("choice of a list"),
    MessageKind.TEMPLATE_REPLY.value: N_("choice of a template"),
    MessageKind.INTERACTIVE_REPLY.value: N_("choice of a button"),
    MessageKind.BUTTONS.value: N_("buttons"),
    MessageKind.LIST.value: N_("list"),
    MessageKind.TEMPLATE.value: N_("template"),
    MessageKind.INTERACTIVE.value: N_("buttons"),
    MessageKind.ALBUM.value: N_("album"),
    MessageKind.ORDER.value: N_("order"),
    MessageKind.PRODUCT.value: N_("product"),
    MessageKind.EVENT.value: N_("event"),
    MessageKind.GROUP_INVITE.value: N_("invitation to a group"),
    MessageKind.PAYMENT.value: N_("payment"),
    MessageKind.CALL_LOG.value: N_("call"),
    MessageKind.UNKNOWN.value: N_("unknown"),
}
DELIVERY_STATUSES: Mapping[str, str] = {
    DeliveryStatus.QUEUED.name.lower(): N_("queued"),
    DeliveryStatus.SENT.name.lower(): N_("sent"),
    DeliveryStatus.FAILED.name.lower(): N_("failed"),
    DeliveryStatus.DELIVERED.name.lower(): N_("delivered"),
    DeliveryStatus.READ.name.lower(): N_("read"),
    DeliveryStatus.PLAYED.name.lower(): N_("played"),
}
WORK_STATES: Mapping[str, str] = {
    WorkState.QUEUED.value: N_("waits to be sent"),
    WorkState.LEASED.value: N_("is being sent"),
    WorkState.UNCERTAIN.value: N_("uncertain"),
    WorkState.SETTLED.value: N_("taken by WhatsApp"),
    WorkState.DEAD.value: N_("given up"),
    WorkState.CANCELLED.value: N_("cancelled"),
    WorkState.EXPIRED.value: N_("too late"),
}

CAMPAIGN_STATES: Mapping[str, str] = {
    CampaignState.READY.value: N_("ready"),
    CampaignState.LOADING.value: N_("reading its list"),
    CampaignState.SCHEDULED.value: N_("waits for its time"),
    CampaignState.RUNNING.value: N_("running"),
    CampaignState.PAUSED.value: N_("paused"),
    CampaignState.CANCELLED.value: N_("cancelled"),
    CampaignState.DONE.value: N_("done"),
}


def message_kind(name: str) -> str:
    """A kind of message; one without a label is shown by its name."""
    return _(MESSAGE_KINDS[name]) if name in MESSAGE_KINDS else name.replace("_", " ")


def delivery_status(name: str) -> str:
    """How far a message has been delivered."""
    return _(DELIVERY_STATUSES[name]) if name in DELIVERY_STATUSES else name


def work_state(name: str) -> str:
    """The state of our work on a message."""
    return _(WORK_STATES[name]) if name in WORK_STATES else name


def campaign_state(name: str) -> str:
    """The state of a campaign."""
    return _(CAMPAIGN_STATES[name]) if name in CAMPAIGN_STATES else name
