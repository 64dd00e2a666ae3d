"""What Zapline is asked, answers and tells. Generated from docs/openapi.json by clients/generate.py: do not edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict
from uuid import UUID


ActorKind: TypeAlias = "Literal[\"admin\", \"command\", \"organization_token\", \"person\", \"system\", \"unit_token\"] | str"


class AlarmDestination(TypedDict):
    """To whom alarms go."""
    id: str
    kind: DestinationKind
    to: str
    """Enough of the address to know it again."""
    language: str
    units: list[str]
    createdAt: str | None
    triedAt: str | None
    """When it was told, or a test was made, last."""
    error: str | None
    """Why the last try failed, as a word; null: it was told."""


class AlarmDestinations(TypedDict):
    """All of them, the oldest first."""
    items: list[AlarmDestination]


class AlarmTest(TypedDict):
    """How a test ended."""
    id: str
    error: str | None
    """Why it failed, as a word; null: it was taken."""


class Applied(TypedDict):
    """Whether Evolution has what is wanted, and what the last check has found."""
    complete: bool
    """Whether all of it was set on Evolution since it was last changed; false: it is still to come."""
    checkedAt: str | None
    """Null: not yet since the last change, or since the start."""
    differences: list[str]
    """What is not as wanted, by Evolution's names of settings, and `proxy`."""
    restoredAt: str | None
    """When somebody's change was last set back to what is wanted."""
    error: str | None
    """`proxy_refused`: Evolution has tried the proxy, and it does not work."""


class Archived(TypedDict):
    """A unit that was closed."""
    id: str
    archivedAt: str | None


class Arrived(TypedDict):
    """Messages in the order of their arrival, and what has changed of those from before."""
    items: list[Message]
    changed: list[Message]
    """Messages from before `afterSeq`, whole, with a reaction, vote, edit or deletion since."""
    nextAfterSeq: int
    """The `afterSeq` to ask with next, whatever came."""
    hasMore: bool
    """Ask again at once."""


class Attempt(TypedDict):
    """A call to Evolution that was to send the message."""
    startedAt: str | None
    endedAt: str | None
    outcome: str
    failure: str | None
    matchedBy: str | None
    """What settled a call that had no answer."""
    externalId: str | None


class AuditLine(TypedDict):
    """One change, or one try."""
    id: int
    at: str | None
    actorKind: ActorKind
    actor: str
    """An e-mail address, a token's label, or a user of the server."""
    actorId: str | None
    source: str | None
    """The address or the machine it came from."""
    unitId: str | None
    action: str
    """The operation's id in this document, or the verb of a command."""
    target: str | None
    """What of the unit was meant."""
    detail: dict[str, Any]
    """What else is known; phones are masked."""
    outcome: int | None
    """The HTTP status; null: under way, or Zapline died over it."""
    endedAt: str | None


class AuditPage(TypedDict):
    """Changes, the latest first."""
    items: list[AuditLine]
    nextCursor: str | None
    """For the next page; null on the last one."""


class CallEvent(TypedDict):
    """A call, or what has become of it."""
    type: str
    timestamp: str
    """When it happened."""
    data: CallPayload


class CallPayload(TypedDict):
    """A call, as far as WhatsApp has told of it; each mark that is true was told. The call itself is a message,
    too.
    """
    messageId: str
    externalId: str | None
    conversationId: str
    contact: str
    phone: str | None
    offered: bool
    ended: bool
    missed: bool
    rejected: bool
    accepted: bool
    video: bool
    group: bool
    at: str | None
    unitId: str


class Campaign(TypedDict):
    """A campaign, with how many of its recipients stand where."""
    id: str
    name: str
    state: CampaignState
    content: CampaignContent | None
    wordings: list[str]
    """Those that recipients get in turn; empty: there is one."""
    pace: float | None
    """Seconds between two messages; null: as the unit's pace says."""
    window: Window | None
    startAt: str | None
    startedAt: str | None
    endedAt: str | None
    createdAt: str | None
    clientCampaignId: str | None
    heldReason: str | None
    """Why nothing of it is sent until a person calls `.../release-campaigns` of the unit, as a failure's code:
    WhatsApp refused too much, or confirmed nothing.
    """
    heldDetail: str | None
    """The same for people."""
    recipients: int
    """All of them, also those skipped."""
    counts: dict[str, int]
    """How many stand where, for every state."""
    skipped: dict[str, int]
    """How many are not written to, by reason."""


class CampaignAudio(TypedDict):
    """A voice note; `voice` false: a file."""
    url: NotRequired[str | None]
    upload: NotRequired[str | UUID | None]
    fileName: NotRequired[str | None]
    mimetype: NotRequired[str | None]
    voice: NotRequired[bool]


class CampaignContent(TypedDict):
    """What is sent. The URL of a file stays out of it: a signed one opens the file to whoever reads it."""
    type: Literal["text", "image", "video", "audio", "voice", "document"] | str
    text: NotRequired[str]
    linkPreview: NotRequired[bool]
    upload: NotRequired[str | None]
    caption: NotRequired[str | None]
    fileName: NotRequired[str | None]
    mimetype: NotRequired[str | None]


class CampaignFile(TypedDict):
    """`url` or `upload`: the id of what was uploaded. `caption` and `file_name` may hold variables."""
    url: NotRequired[str | None]
    upload: NotRequired[str | UUID | None]
    caption: NotRequired[str | None]
    fileName: NotRequired[str | None]
    mimetype: NotRequired[str | None]


class CampaignNews(TypedDict):
    """Where a campaign stands: `counts` by state of its recipients, null where nobody has counted."""
    campaignId: str
    name: str
    state: str
    counts: NotRequired[dict[str, int] | None]
    unitId: str


class CampaignPage(TypedDict):
    """Campaigns, newest first."""
    items: list[Campaign]
    nextCursor: str | None
    """For the next page; null on the last one."""


class CampaignResults(TypedDict):
    """What has become of a campaign."""
    total: Figures
    wordings: list[WordingResult]
    """Empty where there is one."""
    timeline: list[ResultStep]
    """At most some fifty equal steps since its start."""


class CampaignRules(TypedDict):
    """Body of `PUT /organizations/{organization}/campaign-rules`."""
    messages: int | None
    """So many messages of campaigns reach one person at most; null: no limit."""
    days: int | None
    """In so many days."""
    sharedOptOuts: NotRequired[bool]
    """Whoever wants no campaigns of one unit gets none of the others."""


CampaignState: TypeAlias = "Literal[\"cancelled\", \"done\", \"loading\", \"paused\", \"ready\", \"running\", \"scheduled\"] | str"


class CampaignTold(TypedDict):
    """A campaign's state."""
    type: str
    timestamp: str
    """When it happened."""
    data: CampaignNews


CampaignWindow = TypedDict("CampaignWindow", {"from": "str", "until": "str"})


class Ceilings(TypedDict):
    """What the operator lets tenants set; null: no ceiling."""
    perMinute: float | None
    """Messages a minute that a token may set at most."""
    burst: int | None
    """Messages at once that a token may set at most."""
    gapSeconds: float | None
    """Seconds between two messages to one recipient that a token may set at least."""
    campaignSeconds: float | None
    """Seconds between two messages of campaigns that a token may set at least."""
    dailyCap: int | None
    """Messages a day that a token may set at most."""
    hooks: int | None
    """Hooks of a unit, or of an organization, up to which its tokens may make more."""
    tokens: int | None
    """Valid tokens that a unit, or an organization, may have, whoever makes them."""
    requestsPerMinute: int | None
    """Requests a minute of each token of units that has no limit of its own."""


class Check(TypedDict):
    """A value, what is expected of it, and the verdict."""
    value: float
    threshold: str
    """What is expected, in words."""
    verdict: Verdict
    explanation: str
    """What it means and what to do."""


class Connect(TypedDict):
    """Body of `POST .../connect`: with a number, Evolution also gives a pairing code to type in."""
    number: NotRequired[str | None]


class Contact(TypedDict):
    """A person whom the unit knows, under all addresses that are known to be the same person's."""
    id: str
    phone: str | None
    lid: str | None
    """WhatsApp's id of a person who hides the phone."""
    name: str | None
    """What the person was called last."""
    username: str | None
    """WhatsApp's name of a person, without its `@`."""
    conversationId: str | None
    lastMessageAt: str | None
    knownSince: str | None


class ContactCard(TypedDict):
    """A contact to hand on; `phone` in any usual form."""
    name: str
    phone: str
    """In any usual form."""
    organization: NotRequired[str | None]
    email: NotRequired[str | None]
    url: NotRequired[str | None]


class ContactEvent(TypedDict):
    """A contact or a group."""
    type: str
    timestamp: str
    """When it happened."""
    data: ContactPayload


class ContactPage(TypedDict):
    """Contacts, in the order of their phones."""
    items: list[Contact]
    nextCursor: str | None
    """For the next page; null on the last one."""


class ContactPayload(TypedDict):
    """What is known of a contact or a group, as it is now."""
    contact: str
    phone: str | None
    lid: str | None
    name: str | None
    username: str | None
    conversationId: str | None
    unitId: str


class Conversation(TypedDict):
    """A conversation with all that was merged into it."""
    id: str
    kind: Literal["person", "group", "broadcast", "status", "newsletter", "other"] | str
    contact: str
    """Names the chat: a phone with its plus, or `lid:` and digits."""
    phone: str | None
    lid: str | None
    """WhatsApp's id of a person who hides the phone."""
    name: str | None
    """A group's subject, or what a person was called last."""
    username: str | None
    """WhatsApp's name of a person without a phone, without its `@`."""
    lastMessageAt: str | None
    lastMessage: LastMessage | None
    unreadCount: int
    """Messages that nobody has read or answered; 30: as many, or more."""
    createdAt: str | None


class ConversationPage(TypedDict):
    """Conversations, the one with the latest message first."""
    items: list[Conversation]
    nextCursor: str | None
    """For the next page; null on the last one."""


class Database(TypedDict):
    """Whether this process leads, and how fast the database answers."""
    standing: Standing
    latencySeconds: float | None
    """Null while it is away."""
    node: str | None
    """As which this process owns the units, anew each time. Null: it does not lead."""
    epoch: int | None
    """Since which it does; grows with each new owner."""


class Delivery(TypedDict):
    """One delivery."""
    id: str
    webhookId: str
    """The header `webhook-id`, the same at every try."""
    event: str
    subject: str | None
    """The message or campaign that it is about."""
    state: Literal["queued", "delivered", "dead"] | str
    tries: int
    dueAt: str | None
    """When it is tried next; null once it has ended."""
    lastStatus: int | None
    """HTTP status of the last answer."""
    lastError: str | None
    """Why it failed, in a word."""
    createdAt: str | None
    endedAt: str | None


class DeliveryNews(TypedDict):
    """Something of a message has changed: how far it has come, our work on it, its text, that it is there at all.
    What is null has not changed, or is not known here.
    """
    messageId: str
    externalId: NotRequired[str | None]
    clientMessageId: NotRequired[str | None]
    conversationId: NotRequired[str | None]
    deliveryStatus: NotRequired[str | None]
    workState: NotRequired[str | None]
    failure: NotRequired[str | None]
    edited: NotRequired[bool]
    editTextUnknown: NotRequired[bool]
    deleted: NotRequired[bool]
    replacedBy: NotRequired[str | None]
    unitId: str


class DeliveryPage(TypedDict):
    """Deliveries, latest first."""
    items: list[Delivery]
    nextCursor: str | None
    """For the next page; null on the last one."""


class DeliveryTold(TypedDict):
    """What has changed of a message."""
    type: str
    timestamp: str
    """When it happened."""
    data: DeliveryNews


DestinationKind: TypeAlias = "Literal[\"email\", \"line\", \"webhook\"] | str"


class EditMessage(TypedDict):
    """The new text of a message, or the new caption of its picture or video."""
    text: str


class Ended(TypedDict):
    """What ended a period."""
    at: str | None
    status: str
    reason: Reason


class Erasure(TypedDict):
    """The erasure of one person. It does not tell whose: nothing does any more."""
    id: str
    state: Literal["running", "done"] | str
    erasedAt: str | None
    """What came in until then goes."""
    endedAt: str | None
    waitsFor: str | None
    """`call`: a message to the person is being sent. `journal`: webhooks are undone. `files`: kept files are
    being removed.
    """
    counts: dict[str, int]
    """Rows that went, by what they were."""


class ErasurePage(TypedDict):
    """Erasures, the newest first."""
    items: list[Erasure]
    nextCursor: str | None
    """For the next page; null on the last one."""


class Evolution(TypedDict):
    """The Evolution server that serves this line."""
    name: str
    """The Evolution server on which it lives."""
    version: str | None
    """Null while it has not told."""
    awaySince: str | None
    """Since when it does not answer."""
    notes: list[VersionNote]


class Failure(TypedDict):
    """Why it was not sent, or not delivered; `code` for programs, `sentence` for people."""
    code: str
    sentence: str
    detail: str | None


class FieldError(TypedDict):
    """A field that does not validate, as `contact.phone`, and what is wrong with it."""
    field: str
    message: str


class Figures(TypedDict):
    """How many recipients came how far. Who has read it is among those delivered, and all of them among those
    sent.
    """
    sent: int
    """Evolution took it."""
    undelivered: int
    """WhatsApp did not."""
    delivered: int
    read: int
    replied: int
    """Wrote within seven days."""
    optedOut: int
    """Asked for no more campaigns within seven days."""
    undeliveredPercent: float | None
    """Of those sent, to a tenth; null where there are none."""
    deliveredPercent: float | None
    """Of those sent, to a tenth; null where there are none."""
    readPercent: float | None
    """Of those sent, to a tenth; null where there are none."""
    repliedPercent: float | None
    """Of those sent, to a tenth; null where there are none."""
    optedOutPercent: float | None
    """Of those sent, to a tenth; null where there are none."""


class FileLink(TypedDict):
    """A link by which a message's file is read without a token."""
    path: str
    """Where the file is, on the address at which you have asked."""
    expiresAt: str | None


class FilePolicy(TypedDict):
    """Which files of its messages a unit keeps."""
    kinds: list[Literal["image", "video", "audio", "voice", "document", "sticker"] | str]
    """Of which messages the files are kept; empty: of none."""
    maxBytes: int
    """Bytes of one file; larger ones are left out."""
    quotaBytes: int
    """Bytes of all together; what goes beyond waits for room."""
    quotaCeiling: int
    """What the quota may be at most; the operator sets it."""
    days: int | None
    usage: FileUsage


class FileUsage(TypedDict):
    """What a unit keeps, and what else became of the files that it wanted."""
    files: int
    bytes: int
    waiting: int
    """To be fetched yet; they are tried until they are there or gone."""
    withoutRoom: int
    """Of these, those that go beyond the quota."""
    gone: int
    """WhatsApp and Evolution had them no more."""
    leftOut: int
    """Too large, or older than `days`."""


class Fleet(TypedDict):
    """All units, counted."""
    total: int
    byPhase: dict[str, int]
    quarantined: list[str]
    """Ids of the units that were stopped."""
    lagging: int


class Forecast(TypedDict):
    """What would become of a campaign; nothing is stored."""
    received: int
    accepted: int
    skipped: dict[str, int]
    """How many are not written to, by reason."""
    unchecked: int | None
    """With `checkNumbers`: of how many numbers WhatsApp has said nothing yet. Null: without it."""
    skippedExamples: list[Skipped]
    previews: list[Preview]
    startsAt: str | None
    endsAt: str | None
    """Null: under these limits not within three years."""


class FoundPage(TypedDict):
    """Messages with the words of a search, the latest arrival first."""
    items: list[Message]
    nextCursor: str | None
    """For the next page; null on the last one."""


class GivenUp(TypedDict):
    """A letter is left alone."""
    id: int
    givenUp: bool


class Group(TypedDict):
    """A group that the unit knows."""
    id: str
    jid: str
    """WhatsApp's id of the group, to which messages are sent."""
    name: str | None
    """Its subject; null: not told yet."""
    conversationId: str | None
    lastMessageAt: str | None
    knownSince: str | None
    size: int | None
    """How many are in it; null: WhatsApp was not asked yet."""
    adminsOnly: bool | None
    """Whether only admins write in it."""
    membersAt: str | None
    """When WhatsApp has told who is in it."""


class GroupPage(TypedDict):
    """Groups, in the order of their ids at WhatsApp."""
    items: list[Group]
    nextCursor: str | None
    """For the next page; null on the last one."""


class GroupWithMembers(TypedDict):
    """A group with those who are in it: the owner first, then the admins, then all others."""
    id: str
    jid: str
    """WhatsApp's id of the group, to which messages are sent."""
    name: str | None
    """Its subject; null: not told yet."""
    conversationId: str | None
    lastMessageAt: str | None
    knownSince: str | None
    size: int | None
    """How many are in it; null: WhatsApp was not asked yet."""
    adminsOnly: bool | None
    """Whether only admins write in it."""
    membersAt: str | None
    """When WhatsApp has told who is in it."""
    members: list[Member]


class Health(TypedDict):
    """The verdict on the process, and what it stands on."""
    status: Verdict
    version: str
    time: str | None
    rates: dict[str, Check]
    """The four rates that the promise is made of."""
    checks: dict[str, Check]
    journal: Journal
    database: Database
    recorder: Recorder
    units: Fleet
    evolutionServers: list[ServerHealth]
    loopLagSeconds: float


class Hook(TypedDict):
    """A hook, and how it stands. Its secret is shown by the answers that make one, and never again."""
    id: str
    url: str
    """Who may not control the unit sees its host alone: a path may hold a secret."""
    events: list[str]
    active: bool
    disabledAt: str | None
    disabledReason: Literal["gone", "failing", "unit_archived", "unit_left"] | str | None
    failingSince: str | None
    """The first failure since the last success."""
    keyGeneration: int
    previousKeyUntil: str | None
    """Until then the old secret signs too."""
    waiting: int
    """Deliveries that are still to be made."""
    oldestWaitingAt: str | None
    dead: int
    """Deliveries that were given up, kept for two weeks."""
    createdAt: str | None
    organizationId: str | None
    """Of an organization's hook."""
    unitIds: list[str] | None
    """Of an organization's hook: the units that it is told of; null: all, also later ones."""
    headerNames: list[str]
    """Headers of your own that go with each delivery."""


HookEvent: TypeAlias = "Literal[\"call.changed\", \"campaign.state\", \"contact.changed\", \"group.changed\", \"message.deleted\", \"message.delivery\", \"message.edited\", \"message.reaction\", \"message.received\", \"message.sent\", \"poll.vote\", \"unit.status\"]"


class Hooks(TypedDict):
    """The hooks of a unit, the first made first."""
    items: list[Hook]


class Incident(TypedDict):
    """What went wrong together, and was told in one alarm and one all-clear."""
    id: str
    openedAt: str | None
    closedAt: str | None
    """Null: it goes on."""
    notices: int
    """How often it was told: alarm, updates, reminders, all-clear."""
    undelivered: int
    """Of these, what was given up for a destination."""
    members: list[IncidentMember]


class IncidentMember(TypedDict):
    """Something that was wrong."""
    key: str
    """`line:` and a unit's id, or `check:` and a check of `/health`."""
    name: str
    reason: str | None
    """Of a line: as its status says."""
    since: str | None
    wellSince: str | None
    """Null: it is still wrong."""
    falls: int
    """How often it began anew."""


class IncidentPage(TypedDict):
    """Incidents, the latest first."""
    items: list[Incident]
    nextCursor: str | None
    """For the next page; null on the last one."""


class Journal(TypedDict):
    """Webhooks that are on disk and not in the database yet."""
    depth: int
    ageSeconds: float
    """Of the oldest of them."""
    bytes: int
    """On disk, with those that are done."""


class Journey(TypedDict):
    """Where a message is, and how it came there. Whom it is from or to is masked."""
    id: str
    conversationId: str
    fromMe: bool
    kind: Literal["unknown", "text", "image", "video", "audio", "voice", "document", "sticker", "location", "live_location", "contact", "contacts", "poll", "button_reply", "list_reply", "template_reply", "interactive_reply", "buttons", "list", "template", "interactive", "album", "order", "product", "event", "group_invite", "payment", "call_log", "sticker_pack", "poll_result", "pin", "keep", "placeholder", "reaction"] | str
    contact: str
    """Masked."""
    externalId: str | None
    clientMessageId: str | None
    verdict: Literal["sent", "delivered", "read", "unconfirmed", "resent", "twice", "refused", "uncertain", "searching", "sending", "not_sent", "expired", "cancelled", "given_up", "paused", "waiting_for_line", "waiting_for_pace", "waiting_for_campaign", "held", "planned", "waiting_for_retry", "waiting_for_turn", "stored", "stored_late", "stored_slowly", "from_history", "sent_elsewhere"] | str
    """Where it is, for programs."""
    sentence: str
    """Where it is, for people."""
    advice: str
    """What to do about it."""
    reason: str | None
    """Why, as a code."""
    reasonSentence: str | None
    goesOnAt: str | None
    """When it goes on by itself, where that is known."""
    steps: list[Step]
    """In the order of their times."""


class Journeys(TypedDict):
    """The messages that were found, at most ten."""
    items: list[Journey]


Lane: TypeAlias = "Literal[\"campaign\", \"reply\"] | str"


class LastMessage(TypedDict):
    """The last message of a conversation."""
    id: str
    fromMe: bool
    kind: str
    text: str | None
    """Its text or caption, at most 200 characters; null if deleted."""
    sentAt: str | None


class Letter(TypedDict):
    """A dead letter, without its body: bodies are people's messages."""
    id: int
    unitId: str
    reason: str
    """Why it could not be used, for programs."""
    detail: str | None
    event: str | None
    """The event as Evolution named it."""
    size: int
    """Bytes of its body."""
    replayable: bool
    """Whether its body was kept."""
    receivedAt: str | None
    createdAt: str | None
    replayedAt: str | None
    givenUpAt: str | None
    """When a person decided to leave it alone."""


class LetterPage(TypedDict):
    """Dead letters, the newest first."""
    items: list[Letter]
    nextCursor: str | None
    """For the next page; null on the last one."""


class LineHistoryPage(TypedDict):
    """What the line has shown, the latest first."""
    items: list[Period]
    nextCursor: str | None
    """For the next page; null on the last one."""


class LineSettings(TypedDict):
    """How a line behaves, as its unit wants it."""
    managed: bool
    """False: the unit has said nothing, and Evolution's settings are left as they are."""
    rejectCalls: bool
    """Reject every call."""
    callText: str
    """What is written to whoever calls and is rejected; empty: nothing."""
    ignoreGroups: bool
    """Messages of groups are not told, and stored nowhere."""
    alwaysOnline: bool
    """The line is shown as online all the time. From its next connection on."""
    markRead: MarkRead
    """When senders are told that they were read: `asked` (by `.../read` alone), `on_reply` (also once a reply has
    left), `on_arrival` (at once, whoever has looked).
    """
    syncHistory: bool
    """A phone that is linked hands over its whole history. From the next pairing on."""
    proxyManaged: bool
    """The same of the proxy."""
    proxy: Proxy | None
    applied: Applied


class Loaded(TypedDict):
    """What a list came to, and the campaign with it."""
    list: Tally
    campaign: Campaign


class LoggedIn(TypedDict):
    """A bearer token, shown this once."""
    token: str
    expiresAt: str | None


class Login(TypedDict):
    """Body of `POST /admin/login`."""
    email: str
    password: str
    code: NotRequired[str]


class MadeAlarmDestination(TypedDict):
    """A new destination. `secret` is shown once."""
    destination: AlarmDestination
    secret: str | None
    """Of a webhook: it signs each call as Standard Webhooks have it; null for others."""


MarkRead: TypeAlias = "Literal[\"asked\", \"on_arrival\", \"on_reply\"] | str"


class Me(TypedDict):
    """Who asks, and what he may. An administrator may everything; he has neither `unitId` nor `organizationId`.
    `scopes` of an operator or attendant: what he may in any of his units.
    """
    kind: ActorKind
    id: str
    name: str
    unitId: str | None
    """Of a unit's token."""
    scopes: list[Scope]
    organizationId: str | None
    """Of an organization's token."""
    unitIds: list[str] | None
    """The units of the organization that the token opens; null: all, also those added later."""
    roles: MyRoles | None
    """Of an operator or attendant: the role everywhere, and those in single units."""


class Member(TypedDict):
    """Who is in a group."""
    phone: str | None
    lid: str | None
    """WhatsApp's id of a person who hides the phone."""
    role: Literal["owner", "admin", "member"] | str
    name: str | None
    """What the unit knows the person by."""
    contactId: str | None
    """The person among the unit's contacts, if known there."""


class Message(TypedDict):
    """A message, from WhatsApp or to it. What a deleted one said is left out."""
    id: str
    seq: int
    """Place in the order of arrival; what `afterSeq` counts by."""
    conversationId: str
    externalId: str | None
    """WhatsApp's id; null until it has been sent."""
    clientMessageId: str | None
    """Yours, of a message that was sent through Zapline."""
    fromMe: bool
    """Whether the unit has written it."""
    kind: Literal["unknown", "text", "image", "video", "audio", "voice", "document", "sticker", "location", "live_location", "contact", "contacts", "poll", "button_reply", "list_reply", "template_reply", "interactive_reply", "buttons", "list", "template", "interactive", "album", "order", "product", "event", "group_invite", "payment", "call_log", "sticker_pack", "poll_result", "pin", "keep", "placeholder", "reaction"] | str
    """`reaction`: one of ours; those of others are in `reactions`."""
    text: str | None
    """Its text, or its caption."""
    editedAt: str | None
    editTextUnknown: bool
    """It was edited, and only the phone shows the new text: `text` is the one before."""
    deletedAt: str | None
    media: dict[str, Any] | None
    """What the file is; its bytes are at `.../media`."""
    fileState: Literal["wanted", "kept", "gone", "left_out"] | str | None
    """Null: the unit does not keep it."""
    detail: dict[str, Any]
    """What is particular to its kind, as a place or a poll."""
    sender: str | None
    """Who has written it, in a group."""
    senderName: str | None
    quotedId: str | None
    """WhatsApp's id of the message that it answers."""
    quoted: Quoted | None
    """What it answers; null where nothing is told of it."""
    forwarded: bool
    viewOnce: bool
    expiresAfter: int | None
    """Seconds after which it disappears from phones."""
    deliveryStatus: Literal["queued", "sent", "failed", "delivered", "read", "played"] | str | None
    """Null for what others wrote."""
    workState: Literal["queued", "leased", "uncertain", "settled", "dead", "cancelled", "expired"] | str | None
    """Null for what Zapline did not send."""
    failure: Failure | None
    """Why it was not sent, or not delivered, or not surely."""
    reactions: list[Reaction]
    votes: list[Vote]
    sentAt: str | None
    receivedAt: str | None
    origin: str
    """Where it was first seen."""
    backfilled: bool
    """Read back from Evolution's store, not told by a webhook."""


class MessageAudio(TypedDict):
    """A voice note; `voice` false: a file."""
    url: NotRequired[str | None]
    """Where the file is; it is fetched by Evolution."""
    upload: NotRequired[str | UUID | None]
    """Instead of `url`: the id of an upload."""
    fileName: NotRequired[str | None]
    mimetype: NotRequired[str | None]
    """Its media type, where it cannot be told."""
    voice: NotRequired[bool]
    """`false`: a file of sound instead of a voice note."""


class MessageChange(TypedDict):
    """An edit or a deletion that was asked for."""
    id: str
    kind: Literal["edit", "delete"] | str
    state: Literal["calling", "uncertain", "unknown", "done", "failed"] | str
    """`uncertain`: Evolution has not answered. `unknown`: nobody could tell, only the phone shows it."""
    askedAt: str
    endedAt: str | None
    failure: str | None
    """Code of the failure of the call."""


class MessageChangePage(TypedDict):
    """What was asked to be changed of a message, the latest first."""
    items: list[MessageChange]
    nextCursor: str | None
    """For the next page; null on the last one."""


class MessageFile(TypedDict):
    """`url` or `upload`: the id of what was uploaded."""
    url: NotRequired[str | None]
    """Where the file is; it is fetched by Evolution."""
    upload: NotRequired[str | UUID | None]
    """Instead of `url`: the id of an upload."""
    caption: NotRequired[str | None]
    fileName: NotRequired[str | None]
    mimetype: NotRequired[str | None]
    """Its media type, where it cannot be told."""


class MessageNews(TypedDict):
    """A message that is new. `conversation_id` is that under which it is shown, merged ones followed."""
    id: str
    seq: int
    conversationId: str
    contact: str | None
    phone: str | None
    externalId: str | None
    clientMessageId: str | None
    fromMe: bool
    kind: str
    text: str | None
    media: Any
    detail: Any
    sender: str | None
    senderName: str | None
    quotedId: str | None
    quoted: Any
    deliveryStatus: str | None
    workState: str | None
    sentAt: str
    editedAt: NotRequired[str | None]
    editTextUnknown: NotRequired[bool]
    deletedAt: NotRequired[str | None]
    backfilled: NotRequired[bool]
    unitId: str


class MessageSticker(TypedDict):
    """`url` or `upload`: the id of what was uploaded."""
    url: NotRequired[str | None]
    """Where the picture is; it is fetched by Evolution."""
    upload: NotRequired[str | UUID | None]
    """Instead of `url`: the id of an upload."""


class MessageTold(TypedDict):
    """A message, whole."""
    type: str
    timestamp: str
    """When it happened."""
    data: MessageNews


class Minted(TypedDict):
    """A new token, shown this once: only its digest is kept."""
    id: str
    kind: TokenKind
    label: str
    unitId: str | None
    organizationId: str | None
    unitIds: list[str] | None
    """Of an organization's token: the units that it opens; null: all, also later ones."""
    scopes: list[Scope]
    """Of a token of units; an administrator's may everything."""
    createdBy: str
    createdAt: str | None
    lastUsedAt: str | None
    """To about a minute."""
    expiresAt: str | None
    idleSeconds: int | None
    """Seconds without use after which it ends."""
    revokedAt: str | None
    requestsPerMinute: int | None
    """Requests a minute that the token may make; null: as the installation's ceilings say."""
    token: str


class Month(TypedDict):
    """How long the line was open in a month of the unit's time zone; this month until now."""
    month: str
    """As 2026-11."""
    uptime: float | None
    """The part of the time in which somebody wanted the line that it was open; null: nobody did."""
    connectedSeconds: float
    outSeconds: float
    """Wanted, and not open: also while it connects or waits for a scan."""
    offSeconds: float
    """Nobody wanted it."""
    unknownSeconds: float
    """Before the first change that is known."""
    falls: int
    """How often an open line was lost, and nobody had asked for that."""


class MoreRecipients(TypedDict):
    """JSON body of `POST .../recipients`."""
    recipients: Sequence[Mapping[str, str | int | float | None]]


class Move(TypedDict):
    """Body of `POST /units/{unit}/whatsapp/move`."""
    server: str
    """Small letters, digits and `-`."""
    leaveBehind: NotRequired[bool]
    """Move although the old server does not end the session; unlink it on the phone."""


class MyRoles(TypedDict):
    """The roles of a person."""
    everywhere: Role | None
    units: dict[str, Role]
    """By the unit's id."""


class NewAdminToken(TypedDict):
    """Body of `POST /admin/tokens`."""
    label: str
    """What people will know it by."""
    expiresInDays: NotRequired[int]


class NewAlarmDestination(TypedDict):
    """Body of `POST /alarms/destinations`."""
    kind: DestinationKind
    to: str
    """An e-mail address, a URL, or the phone that the message goes to. Stored encrypted."""
    language: NotRequired[Literal["en", "pt-BR", "es"]]
    """In which its alarms are written."""
    units: NotRequired[Sequence[str | UUID]]
    """Of a `line`: the units whose lines may tell it. The first that is open and is not itself down does."""


class NewCampaign(TypedDict):
    """Body of `POST /units/{id}/campaigns` and of its dry run: exactly one content; `recipients` may follow.
    `pace`: seconds between two messages; left out, the unit's pace. `start`: at once, or at `start_at`.
    """
    name: str
    """For people; recipients do not see it."""
    text: NotRequired[str | None]
    """May hold variables, as `Olá {{nome}}`, with a fallback as `{{nome|cliente}}`."""
    wordings: NotRequired[Sequence[str] | None]
    """Several texts instead of `text`, or captions instead of the file's `caption`: recipients get them in turn,
    and the results tell each apart.
    """
    image: NotRequired[CampaignFile | None]
    video: NotRequired[CampaignFile | None]
    audio: NotRequired[CampaignAudio | None]
    document: NotRequired[CampaignFile | None]
    linkPreview: NotRequired[bool | None]
    recipients: NotRequired[Sequence[Mapping[str, str | int | float | None]]]
    """Who gets it: `to`, and the variables."""
    pace: NotRequired[float | None]
    """Seconds between two messages; null: as the unit's pace says. The slower of both counts."""
    window: NotRequired[CampaignWindow | None]
    """Hours between which it sends."""
    startAt: NotRequired[str | datetime | None]
    """Start at this time, with its zone."""
    clientCampaignId: NotRequired[str | None]
    """Your key for this campaign; repeating it is safe."""
    start: NotRequired[bool]
    """Start it at once, or at `startAt`."""


class NewCeilings(TypedDict):
    """The ceilings as they shall be; null, or left out: none."""
    perMinute: NotRequired[float | None]
    """Messages a minute that a token may set at most."""
    burst: NotRequired[int | None]
    """Messages at once that a token may set at most."""
    gapSeconds: NotRequired[float | None]
    """Seconds between two messages to one recipient that a token may set at least."""
    campaignSeconds: NotRequired[float | None]
    """Seconds between two messages of campaigns that a token may set at least."""
    dailyCap: NotRequired[int | None]
    """Messages a day that a token may set at most."""
    hooks: NotRequired[int | None]
    """Hooks of a unit, or of an organization, up to which its tokens may make more."""
    tokens: NotRequired[int | None]
    """Valid tokens that a unit, or an organization, may have, whoever makes them."""
    requestsPerMinute: NotRequired[int | None]
    """Requests a minute of each token of units that has no limit of its own."""


class NewFilePolicy(TypedDict):
    """Which files shall be kept, of messages that arrive from now on."""
    kinds: Sequence[Literal["image", "video", "audio", "voice", "document", "sticker"]]
    """Of which messages the files are kept; empty: of none."""
    maxBytes: NotRequired[int]
    """Bytes of one file; larger ones are left out."""
    quotaBytes: NotRequired[int]
    """Bytes of all together; what goes beyond waits for room."""
    days: NotRequired[int | None]


class NewHook(TypedDict):
    """Body of `POST .../hooks`. Without `events` it is told all of them."""
    url: str
    events: NotRequired[Sequence[HookEvent]]
    headers: NotRequired[Mapping[str, str]]
    """Headers that go with each delivery; kept encrypted, and never shown."""


class NewLineSettings(TypedDict):
    """How the line shall behave; what is left out gets its default, which is Evolution's own."""
    rejectCalls: NotRequired[bool]
    """Reject every call."""
    callText: NotRequired[str]
    """What is written to whoever calls and is rejected; empty: nothing."""
    ignoreGroups: NotRequired[bool]
    """Messages of groups are not told, and stored nowhere."""
    alwaysOnline: NotRequired[bool]
    """The line is shown as online all the time. From its next connection on."""
    markRead: NotRequired[MarkRead]
    """When senders are told that they were read: `asked` (by `.../read` alone), `on_reply` (also once a reply has
    left), `on_arrival` (at once, whoever has looked).
    """
    syncHistory: NotRequired[bool]
    """A phone that is linked hands over its whole history. From the next pairing on."""


class NewMessage(TypedDict):
    """Body of `POST /units/{id}/messages`: `to` or `conversation_id`, and exactly one content."""
    clientMessageId: str
    """Your key for this message, printable; repeating it is safe."""
    to: NotRequired[str | None]
    """A phone in any usual form, or the JID of a person or group."""
    conversationId: NotRequired[str | UUID | None]
    """Instead of `to`: write into this conversation."""
    text: NotRequired[str | None]
    """With WhatsApp's own marks, as `*bold*`."""
    image: NotRequired[MessageFile | None]
    """A picture."""
    video: NotRequired[MessageFile | None]
    """A film."""
    audio: NotRequired[MessageAudio | None]
    """A voice note, or a file of sound."""
    document: NotRequired[MessageFile | None]
    """Any file."""
    sticker: NotRequired[MessageSticker | None]
    """A picture as a sticker; Evolution makes WebP of any."""
    location: NotRequired[Place | None]
    """A place."""
    contact: NotRequired[ContactCard | None]
    """A contact to hand on."""
    reaction: NotRequired[NewReaction | None]
    """An emoji on a message."""
    poll: NotRequired[NewPoll | None]
    """A poll."""
    replyTo: NotRequired[str | UUID | None]
    """Our id of the message that is answered."""
    sendAt: NotRequired[str | datetime | None]
    """Not before this time, with its zone; at most a year ahead."""
    expiresAt: NotRequired[str | datetime | None]
    """Not after this time: what has not been sent by then never is."""
    mentions: NotRequired[Sequence[str]]
    """In a group: who is told that the message is about him, phones in any usual form or JIDs. WhatsApp shows a
    mention where the text has `@` and the digits of the person's id.
    """
    mentionEveryone: NotRequired[bool]
    """In a group: all who are in it are mentioned."""
    linkPreview: NotRequired[bool | None]
    """Of a text: whether WhatsApp shows what a link leads to; true unless told."""


class NewMessageDraft(TypedDict):
    """NewMessage whose clientMessageId the client makes, where you give none."""
    clientMessageId: NotRequired[str]
    """Your key for this message, printable; repeating it is safe."""
    to: NotRequired[str | None]
    """A phone in any usual form, or the JID of a person or group."""
    conversationId: NotRequired[str | UUID | None]
    """Instead of `to`: write into this conversation."""
    text: NotRequired[str | None]
    """With WhatsApp's own marks, as `*bold*`."""
    image: NotRequired[MessageFile | None]
    """A picture."""
    video: NotRequired[MessageFile | None]
    """A film."""
    audio: NotRequired[MessageAudio | None]
    """A voice note, or a file of sound."""
    document: NotRequired[MessageFile | None]
    """Any file."""
    sticker: NotRequired[MessageSticker | None]
    """A picture as a sticker; Evolution makes WebP of any."""
    location: NotRequired[Place | None]
    """A place."""
    contact: NotRequired[ContactCard | None]
    """A contact to hand on."""
    reaction: NotRequired[NewReaction | None]
    """An emoji on a message."""
    poll: NotRequired[NewPoll | None]
    """A poll."""
    replyTo: NotRequired[str | UUID | None]
    """Our id of the message that is answered."""
    sendAt: NotRequired[str | datetime | None]
    """Not before this time, with its zone; at most a year ahead."""
    expiresAt: NotRequired[str | datetime | None]
    """Not after this time: what has not been sent by then never is."""
    mentions: NotRequired[Sequence[str]]
    """In a group: who is told that the message is about him, phones in any usual form or JIDs. WhatsApp shows a
    mention where the text has `@` and the digits of the person's id.
    """
    mentionEveryone: NotRequired[bool]
    """In a group: all who are in it are mentioned."""
    linkPreview: NotRequired[bool | None]
    """Of a text: whether WhatsApp shows what a link leads to; true unless told."""


class NewOrganization(TypedDict):
    """Body of `POST /organizations` and of `PATCH /organizations/{organization}`."""
    name: str


class NewOrganizationHook(TypedDict):
    """The same for an organization; without `unitIds` it is told of all units that your token opens."""
    url: str
    events: NotRequired[Sequence[HookEvent]]
    headers: NotRequired[Mapping[str, str]]
    """Headers that go with each delivery; kept encrypted, and never shown."""
    unitIds: NotRequired[Sequence[str | UUID] | None]


class NewOrganizationToken(TypedDict):
    """Body of `POST /organizations/{organization}/tokens`. `expiresInDays` null: it lasts until it is revoked."""
    label: str
    """What people will know it by."""
    scopes: Sequence[Scope]
    """What it may do."""
    unitIds: NotRequired[Sequence[str | UUID] | None]
    """The units that it opens, as long as they are in the organization; null: all, later ones too."""
    expiresInDays: NotRequired[int | None]
    requestsPerMinute: NotRequired[int | None]
    """Requests a minute that the token may make; null: as the installation's ceilings say."""


class NewPace(TypedDict):
    """The limits as they shall be; what is left out gets its default."""
    perMinute: NotRequired[float]
    """Messages a minute, in the long run."""
    burst: NotRequired[int]
    """How many may go at once after a pause."""
    gapSeconds: NotRequired[float]
    """Seconds between two messages to the same recipient."""
    dailyCap: NotRequired[int | None]
    """Messages a day at most, replies too; null: no cap."""
    warmUpFirst: NotRequired[int | None]
    """Messages of campaigns on the first day, doubled every day; null: no warm-up."""
    quietFrom: NotRequired[str | None]
    """From this hour no campaign is sent, as 21:30 in the unit's time zone."""
    quietUntil: NotRequired[str | None]
    """Until this hour."""
    campaignSeconds: NotRequired[float]
    """Seconds between two messages of campaigns."""
    resendLanes: NotRequired[Sequence[str]]
    """Lanes in which an uncertain message is sent once more by itself; it may arrive twice."""
    typingSpeed: NotRequired[float | None]
    """Characters a second at which typing is shown before a text; null: nothing is shown. It takes its time of
    the pace.
    """
    typingLongest: NotRequired[float]
    """Seconds for which typing is shown at most."""


class NewPoll(TypedDict):
    """`selectable`: how many options one may choose; 0 is as many as there are."""
    name: str
    options: Sequence[str]
    selectable: NotRequired[int]
    """How many options one may choose; 0: as many as there are."""


class NewProxy(TypedDict):
    """The proxy by which Evolution reaches WhatsApp for this line."""
    protocol: ProxyProtocol
    host: str
    """A name or an address."""
    port: int
    username: NotRequired[str | None]
    password: NotRequired[str | None]


class NewQuickReply(TypedDict):
    """Body of `PUT /units/{unit}/quick-replies/{shortcut}`."""
    text: str
    """What is put into the message, with WhatsApp's own marks."""


class NewReaction(TypedDict):
    """`emoji` empty: take the reaction back. `message_id`: our id of the message reacted to."""
    emoji: str
    """Empty: take the reaction back."""
    messageId: str | UUID
    """Our id of the message that is reacted to."""


class NewServer(TypedDict):
    """Body of `POST /evolution-servers`."""
    name: str
    """Small letters, digits and `-`."""
    url: str
    """Where Zapline reaches it."""
    key: str
    """Its global key; stored encrypted, never shown."""
    weight: NotRequired[int]
    """How many units it gets in proportion to the others' weights."""


class NewSuppression(TypedDict):
    """Body of `POST /units/{id}/suppressions`: a phone in any usual form, or `lid:` and its digits."""
    to: str


class NewUnit(TypedDict):
    """Body of `POST /units`."""
    name: str
    instance: NotRequired[str | None]
    timeZone: NotRequired[str]
    evolutionServer: NotRequired[str | None]


class NewUnitToken(TypedDict):
    """Body of `POST /units/{unit}/tokens`. `expiresInDays` null: it lasts until it is revoked."""
    label: str
    """What people will know it by."""
    scopes: Sequence[Scope]
    """What it may do."""
    expiresInDays: NotRequired[int | None]
    requestsPerMinute: NotRequired[int | None]
    """Requests a minute that the token may make; null: as the installation's ceilings say."""


class Nothing(TypedDict):
    """A request's body: camelCase, and a field that is not known is refused, not ignored."""


class Number(TypedDict):
    """A number that was asked about."""
    number: str
    """As it was asked about."""
    phone: str | None
    """As Zapline writes it; null: it is no phone."""
    onWhatsapp: bool | None
    """Null: it is no phone, so nobody was asked."""
    whatsappId: str | None
    """WhatsApp's own id of it. Its digits may be others than the number's: many Brazilian mobiles are known there
    without their ninth digit.
    """
    checkedAt: str | None
    """When WhatsApp said so."""
    error: str | None
    """Why it is no phone, in words."""


class Numbers(TypedDict):
    """What is known of the numbers, in the order in which they were asked about."""
    items: list[Number]


class NumbersToCheck(TypedDict):
    """Up to 50 numbers."""
    numbers: Sequence[str]
    """Phones in any usual form."""


class Organization(TypedDict):
    """An organization."""
    id: str
    name: str
    campaignMessages: int | None
    """As `messages` of the rules for campaigns."""
    campaignDays: int | None
    sharedOptOuts: bool
    units: int
    """How many units of it you see."""
    createdAt: str | None


class OrganizationPage(TypedDict):
    """Organizations, the first made first."""
    items: list[Organization]
    nextCursor: str | None
    """For the next page; null on the last one."""


class OutboxPage(TypedDict):
    """Messages to be sent, those asked for last first."""
    items: list[WatchedMessage]
    nextCursor: str | None
    """For the next page; null on the last one."""


class Pace(TypedDict):
    """A unit's limits for sending, with the defaults filled in."""
    perMinute: float
    """Messages a minute, in the long run."""
    burst: int
    """How many may go at once after a pause."""
    gapSeconds: float
    """Seconds between two messages to the same recipient."""
    dailyCap: int | None
    """Messages a day at most, replies too; null: no cap."""
    warmUpFirst: int | None
    """Messages of campaigns on the first day, doubled every day; null: no warm-up."""
    quietFrom: str | None
    """From this hour no campaign is sent, as 21:30 in the unit's time zone."""
    quietUntil: str | None
    """Until this hour."""
    campaignSeconds: float
    """Seconds between two messages of campaigns."""
    resendLanes: list[Lane]
    """Lanes in which an uncertain message is sent once more by itself; it may arrive twice."""
    typingSpeed: float | None
    """Characters a second at which typing is shown before a text; null: nothing is shown. It takes its time of
    the pace.
    """
    typingLongest: float
    """Seconds for which typing is shown at most."""
    timeZone: str


class Pass(TypedDict):
    """All is well, as far as this probe looks."""
    status: Verdict


class Period(TypedDict):
    """A time in which the line showed one thing."""
    at: str | None
    """Since when."""
    status: str
    reason: Reason
    phase: Phase
    sentence: str
    """The reason as a sentence for people."""
    seconds: float
    """How long it lasted, or lasts until now."""
    ended: Ended | None
    """What came after it; null: it is still so."""


Phase: TypeAlias = "Literal[\"backing_off\", \"connecting\", \"idle\", \"logged_out\", \"open\", \"pairing\", \"refused\"] | str"


class Picture(TypedDict):
    """Where WhatsApp has a person's picture."""
    url: str | None
    """Good for some days. Null: WhatsApp shows the line none."""
    askedAt: str | None
    """When WhatsApp was asked."""


class Place(TypedDict):
    """Degrees."""
    latitude: float
    longitude: float
    name: NotRequired[str]
    address: NotRequired[str]


class Preview(TypedDict):
    """A message as a recipient would see it."""
    to: str
    text: str


class Problem(TypedDict):
    """Every error (RFC 9457). `code` is for programs and stays as it is; `title` and `detail` are for people."""
    type: str
    title: str
    status: int
    code: str
    detail: str
    retryable: bool
    """Whether the same request may succeed later, as it is."""
    errors: NotRequired[list[FieldError]]
    """Of 422: the fields at fault."""


class Proxy(TypedDict):
    """A line's proxy. Its credentials are never shown."""
    protocol: ProxyProtocol
    host: str
    port: int
    hasCredentials: bool


ProxyProtocol: TypeAlias = "Literal[\"http\", \"socks\"] | str"


class Queue(TypedDict):
    """What a unit has to do, and when it was last heard of."""
    queued: int
    oldestQueuedAt: str | None
    """Since when the oldest one that is due waits."""
    uncertain: int
    dead: int
    """Messages given up in the last day."""
    deadLetters: int
    """Dead letters that nobody has dealt with."""
    lastInboundAt: str | None
    lastOutboundAt: str | None


class Queued(TypedDict):
    """A delivery that is to be made now."""
    id: str
    webhookId: str


class QuickReply(TypedDict):
    """A quick reply."""
    shortcut: str
    """What is typed behind the `/`: small letters, digits, `-` and `_`."""
    text: str
    changedAt: str | None


class QuickReplyPage(TypedDict):
    """Quick replies in the order of their shortcuts."""
    items: list[QuickReply]
    nextCursor: str | None
    """For the next page; null on the last one."""


class Quoted(TypedDict):
    """What a message answers, as WhatsApp has sent it along: the original need not be known here."""
    id: str | None
    """WhatsApp's id of the original."""
    kind: Literal["unknown", "text", "image", "video", "audio", "voice", "document", "sticker", "location", "live_location", "contact", "contacts", "poll", "button_reply", "list_reply", "template_reply", "interactive_reply", "buttons", "list", "template", "interactive", "album", "order", "product", "event", "group_invite", "payment", "call_log", "sticker_pack", "poll_result", "pin", "keep", "placeholder", "reaction"] | str | None
    """Null where WhatsApp has not told what it says."""
    text: str | None
    """Its text or caption, at most 1,000 characters."""
    author: str | None
    """Who has written it: a phone, or `lid:` and digits."""
    fromMe: bool | None
    """Whether the unit has written it; null where nobody knows."""
    status: bool
    """It is a status (story), which the contact has answered."""


class RawLetter(TypedDict):
    """A dead letter with its body: `text` where it is UTF-8, else `base64`; both null where it was not kept."""
    id: int
    unitId: str
    reason: str
    """Why it could not be used, for programs."""
    detail: str | None
    event: str | None
    """The event as Evolution named it."""
    size: int
    """Bytes of its body."""
    replayable: bool
    """Whether its body was kept."""
    receivedAt: str | None
    createdAt: str | None
    replayedAt: str | None
    givenUpAt: str | None
    """When a person decided to leave it alone."""
    text: NotRequired[str | None]
    base64: NotRequired[str | None]


class Reaction(TypedDict):
    """What one person says to a message."""
    actor: str
    emoji: str | None


class ReactionEvent(TypedDict):
    """A reaction to a message."""
    type: str
    timestamp: str
    """When it happened."""
    data: ReactionPayload


class ReactionPayload(TypedDict):
    """What one person says to a message by an emoji. The latest of each person counts."""
    messageId: str
    externalId: str | None
    clientMessageId: str | None
    conversationId: str
    actor: str
    emoji: str | None
    at: str | None
    unitId: str


class Read(TypedDict):
    """What became of the read receipts."""
    marked: int
    """Messages whose senders were told."""
    skippedLid: int
    """Messages of senders who cannot be told."""
    readUpTo: int | None
    """`seq` of the newest message that counts as read."""


Reason: TypeAlias = "Literal[\"banned\", \"codes_not_taken\", \"connecting\", \"disconnected\", \"evolution_refused\", \"evolution_unavailable\", \"evolution_unlicensed\", \"instance_removed\", \"link_not_completed\", \"logged_out\", \"never_connected\", \"no_pairing_code\", \"passkey_asked\", \"qr_limit_reached\", \"replaced_elsewhere\", \"scan_completed\", \"session_stuck\", \"waiting_scan\"] | str"


class Recipient(TypedDict):
    """How a recipient stands."""
    number: int
    """Its place in the list, from 1."""
    to: str
    variables: dict[str, str]
    state: Literal["pending", "queued", "sending", "sent", "delivered", "read", "undelivered", "uncertain", "failed", "skipped", "cancelled"] | str
    reason: str | None
    """Why it was not written to, for programs."""
    detail: str | None
    """The same for people."""
    messageId: str | None
    sentAt: str | None


class RecipientPage(TypedDict):
    """Recipients in the order of the list."""
    items: list[Recipient]
    nextCursor: str | None
    """For the next page; null on the last one."""


class Reconciliation(TypedDict):
    """How the comparison with Evolution's own store is."""
    reconciledUntil: str | None
    """Up to here nothing is missing."""
    gapSince: str | None
    """Since when messages may be missing."""
    running: bool
    storeKept: bool | None
    """Whether Evolution keeps messages at all."""
    error: str | None


class Recorder(TypedDict):
    """Who writes to the database."""
    waiting: int
    lanes: list[str]


class Registration(TypedDict):
    """Whether Evolution delivers the unit's webhooks as it should, as the last check found."""
    mode: WebhookRegistrationMode
    """What is done about a webhook that somebody changed on Evolution: `enforce` sets it again, `observe` only
    tells.
    """
    checkedAt: str | None
    """Null: not yet since the start."""
    differences: list[str]
    """What somebody has changed and is still so: missing, enabled, url, headers, events, base64, byEvents."""
    restoredAt: str | None
    """When it was last set again."""


class Release(TypedDict):
    """What becomes of an uncertain message."""
    decision: Literal["giveUp", "resend"]


class ReplayDead(TypedDict):
    """Body of `POST .../replay`: all that died since then."""
    since: str | datetime


class ReplayRange(TypedDict):
    """Body of `POST .../replay-events`. Without `until`: up to now. `events` and `unitIds` narrow it down."""
    since: str | datetime
    until: NotRequired[str | datetime | None]
    afterSeq: NotRequired[int]
    """Go on behind this place: `nextSeq` of the answer before."""
    events: NotRequired[Sequence[HookEvent] | None]
    unitIds: NotRequired[Sequence[str | UUID] | None]


class Replayed(TypedDict):
    """A letter was given to its unit again."""
    id: int
    replayed: bool


class ReplayedEvents(TypedDict):
    """What of a range is delivered once more. Events that wait to be delivered anyway are not counted."""
    replayed: int
    nextSeq: int | None
    """There are more: ask for the same again, with this as `afterSeq`. Null: that was all."""


class ResultStep(TypedDict):
    """The figures as they were at a time."""
    sent: int
    """Evolution took it."""
    undelivered: int
    """WhatsApp did not."""
    delivered: int
    read: int
    replied: int
    """Wrote within seven days."""
    optedOut: int
    """Asked for no more campaigns within seven days."""
    undeliveredPercent: float | None
    """Of those sent, to a tenth; null where there are none."""
    deliveredPercent: float | None
    """Of those sent, to a tenth; null where there are none."""
    readPercent: float | None
    """Of those sent, to a tenth; null where there are none."""
    repliedPercent: float | None
    """Of those sent, to a tenth; null where there are none."""
    optedOutPercent: float | None
    """Of those sent, to a tenth; null where there are none."""
    at: str


class Revived(TypedDict):
    """How many are to be made once more; ask again where it is as many as can be at one time."""
    replayed: int


Role: TypeAlias = "Literal[\"admin\", \"attendant\", \"operator\"] | str"


class Rotated(TypedDict):
    """The webhook secret's generation since a rotation. The secret itself is never shown."""
    id: str
    secretGeneration: int
    previousValidUntil: str | None
    """Until then the one before is accepted too."""


class Rotation(TypedDict):
    """Body of `POST .../rotate-secret`. With `generation`, the same may be asked again without another rotation."""
    generation: NotRequired[int | None]


Scope: TypeAlias = "Literal[\"control\", \"read\", \"send\"] | str"


class SecretHook(TypedDict):
    """A hook with its secret, shown this once."""
    id: str
    url: str
    """Who may not control the unit sees its host alone: a path may hold a secret."""
    events: list[str]
    active: bool
    disabledAt: str | None
    disabledReason: Literal["gone", "failing", "unit_archived", "unit_left"] | str | None
    failingSince: str | None
    """The first failure since the last success."""
    keyGeneration: int
    previousKeyUntil: str | None
    """Until then the old secret signs too."""
    waiting: int
    """Deliveries that are still to be made."""
    oldestWaitingAt: str | None
    dead: int
    """Deliveries that were given up, kept for two weeks."""
    createdAt: str | None
    organizationId: str | None
    """Of an organization's hook."""
    unitIds: list[str] | None
    """Of an organization's hook: the units that it is told of; null: all, also later ones."""
    headerNames: list[str]
    """Headers of your own that go with each delivery."""
    secret: str
    """`whsec_` and the key in base64."""


class Sending(TypedDict):
    """How the unit's sender is."""
    state: str
    reason: str | None
    """Why it does not send, as a failure's code."""
    pausedUntil: str | None
    campaignsPausedUntil: str | None


class Server(TypedDict):
    """An Evolution server, as it is now. Its key is never shown."""
    name: str
    """`environment`: the one that the daemon's settings name."""
    url: str | None
    """Null for the environment's."""
    weight: int
    pausedAt: str | None
    """Since when it gets no new units."""
    createdAt: str | None
    version: str | None
    """Null while it has not told."""
    awaySince: str | None
    """Since when it does not answer."""
    keyReadable: bool
    """False: it was stored under another master key; store it again."""
    units: int
    """Units that live on it."""
    connected: int
    """Of these, the units whose line is open."""
    notes: list[VersionNote]


class ServerHealth(TypedDict):
    """An Evolution server."""
    name: str
    """`environment`: the one that the daemon's settings name."""
    awaySince: str | None
    """Since when it does not answer; null: it does."""
    units: int
    """Units that live on it."""
    connected: int
    """Of these, the units whose line is open."""


class ServerPatch(TypedDict):
    """Body of `PATCH /evolution-servers/{server}`: what is left out stays."""
    url: NotRequired[str]
    """Where Zapline reaches it."""
    key: NotRequired[str]
    """Its global key; stored encrypted, never shown."""
    weight: NotRequired[int]
    """How many units it gets in proportion to the others' weights."""
    paused: NotRequired[bool]
    """`true`: it gets no new units."""


class Servers(TypedDict):
    """All servers, the environment's first."""
    items: list[Server]


class Skipped(TypedDict):
    """A line of a list that is not written to, and why."""
    number: int
    to: str
    reason: str
    detail: str | None


Standing: TypeAlias = "Literal[\"another_daemon\", \"database_unreachable\", \"leading\", \"schema_missing\", \"schema_older_than_program\"] | str"


class Status(TypedDict):
    """A unit's line. What is about the code is null unless there is one to scan."""
    status: Literal["disconnected", "connecting", "connected"] | str
    """The line in one word."""
    reason: Reason
    """Why the line is so, for programs."""
    qrCode: str | None
    """The code to scan as `data:image/png;base64,...`."""
    connectedAt: str | None
    disconnectedAt: str | None
    qrUpdatedAt: str | None
    lastUpdate: str | None
    phase: Phase
    """Where the connection stands inside its machine."""
    sentence: str
    """The reason as a sentence for people."""
    advice: str
    """What to do next, as a sentence for people."""
    wanted: bool
    """Whether the line is to be connected; until somebody disconnects it."""
    qrText: str | None
    """What the code says, for who draws it himself."""
    pairingCode: str | None
    """To be typed in on the phone instead of a scan."""
    qrExpiresAt: str | None
    qrExpired: bool | None
    profileName: str | None
    ownerJid: str | None
    """WhatsApp's id of the linked phone."""
    lastMessageAt: str | None
    """When the latest message went in or out."""
    quarantined: bool
    """Stopped after too many crashes; webhooks are kept meanwhile."""
    pausedAt: str | None
    """Since when nothing is sent, because somebody asked for that."""
    campaignsHeldAt: str | None
    """Since when campaigns wait for `.../release-campaigns`, because WhatsApp refused too much or confirmed
    nothing.
    """
    campaignsHeldReason: str | None
    """Why they do, as a failure's code."""
    webhookRegistration: Registration
    evolution: Evolution
    sending: NotRequired[Sending]
    reconciliation: NotRequired[Reconciliation | None]


class StatusNews(TypedDict):
    """A line's status as it is now."""
    status: str
    reason: str
    phase: str
    sentence: str
    advice: str
    connectedAt: str | None
    disconnectedAt: str | None
    updatedAt: str | None
    quarantined: NotRequired[bool]
    paused: NotRequired[bool]
    campaignsHeld: NotRequired[str | None]
    unitId: str


class StatusTold(TypedDict):
    """A line's status."""
    type: str
    timestamp: str
    """When it happened."""
    data: StatusNews


class SteeredCampaign(TypedDict):
    """A campaign after it was steered."""
    id: str
    name: str
    state: CampaignState
    content: CampaignContent | None
    wordings: list[str]
    """Those that recipients get in turn; empty: there is one."""
    pace: float | None
    """Seconds between two messages; null: as the unit's pace says."""
    window: Window | None
    startAt: str | None
    startedAt: str | None
    endedAt: str | None
    createdAt: str | None
    clientCampaignId: str | None
    heldReason: str | None
    """Why nothing of it is sent until a person calls `.../release-campaigns` of the unit, as a failure's code:
    WhatsApp refused too much, or confirmed nothing.
    """
    heldDetail: str | None
    """The same for people."""
    recipients: int
    """All of them, also those skipped."""
    counts: dict[str, int]
    """How many stand where, for every state."""
    skipped: dict[str, int]
    """How many are not written to, by reason."""
    retried: NotRequired[int]
    """Of retry-failed: how many are tried again."""


class Step(TypedDict):
    """One step on the way of a message."""
    step: Literal["written", "accepted", "received", "read_back", "stored", "waited_for_line", "planned", "called", "answer_sent", "answer_not_sent", "answer_rejected", "answer_uncertain", "proven_echo", "proven_store", "proven_status", "second", "told_sent", "told_delivered", "told_read", "told_played", "refused", "unconfirmed", "given_up", "expired", "cancelled", "edited", "deleted", "hook_queued", "hook_delivered", "hook_dead"] | str
    at: str | None
    until: str | None
    """When it ended, of what lasted."""
    sentence: str
    """The step in words."""
    reason: str | None
    """Why, as a code."""
    reasonSentence: str | None
    """Why, in words."""
    call: int | None
    """Which call to Evolution it belongs to."""
    event: str | None
    """Of a webhook to the CRM."""
    tries: int | None
    """Of a webhook to the CRM."""
    status: int | None
    """HTTP status of the CRM's last answer."""


class Suppression(TypedDict):
    """A contact that gets no campaigns."""
    contact: str
    """Names it in the path: a phone with its plus, or `lid:` and digits."""
    phone: str | None
    lid: str | None
    name: str | None
    needsPerson: bool
    """Only a LID is known; somebody must find out whose it is."""
    reason: str
    """Why: the contact said so, or somebody added it."""
    word: str | None
    """What the contact wrote."""
    externalId: str | None
    """WhatsApp's id of the message in which it did."""
    createdAt: str | None


class SuppressionPage(TypedDict):
    """Contacts that get no campaigns, the latest first."""
    items: list[Suppression]
    nextCursor: str | None
    """For the next page; null on the last one."""


class Tally(TypedDict):
    """What a list comes to."""
    received: int
    accepted: int
    skipped: dict[str, int]
    """How many are not written to, by reason."""
    unchecked: int | None
    """With `checkNumbers`: of how many numbers WhatsApp has said nothing yet. Null: without it."""
    skippedExamples: list[Skipped]


class TestTold(TypedDict):
    """A test that somebody asked for."""
    type: str
    timestamp: str
    """When it happened."""
    data: Tested


class Tested(TypedDict):
    """Data of `hook.test`."""
    message: NotRequired[str]
    unitId: str


class ThreadPage(TypedDict):
    """Messages of a conversation, newest first."""
    items: list[Message]
    nextCursor: str | None
    """For the next page; null on the last one."""


class Token(TypedDict):
    """A token as it is known here: never the token itself."""
    id: str
    kind: TokenKind
    label: str
    unitId: str | None
    organizationId: str | None
    unitIds: list[str] | None
    """Of an organization's token: the units that it opens; null: all, also later ones."""
    scopes: list[Scope]
    """Of a token of units; an administrator's may everything."""
    createdBy: str
    createdAt: str | None
    lastUsedAt: str | None
    """To about a minute."""
    expiresAt: str | None
    idleSeconds: int | None
    """Seconds without use after which it ends."""
    revokedAt: str | None
    requestsPerMinute: int | None
    """Requests a minute that the token may make; null: as the installation's ceilings say."""


TokenKind: TypeAlias = "Literal[\"admin\", \"organization\", \"second_factor\", \"session\", \"unit\"] | str"


class TokenPage(TypedDict):
    """Tokens, the newest first, also those that have ended in the last 90 days."""
    items: list[Token]
    nextCursor: str | None
    """For the next page; null on the last one."""


class Unit(TypedDict):
    """A unit. `status`, `reason`, `phase` and `sentence` are null while its state has not been read."""
    id: str
    name: str
    instance: str
    """Evolution's name for the line."""
    status: Literal["disconnected", "connecting", "connected"] | str | None
    reason: Reason | None
    phase: Phase | None
    sentence: str | None
    quarantined: bool
    """Stopped after too many crashes; webhooks are kept meanwhile."""
    provider: str
    timeZone: str
    """Of the IANA data base; quiet hours and windows are hours of it."""
    createdAt: str | None
    lastMessageAt: str | None
    """When the latest message went in or out."""
    webhookPath: str
    """Where Evolution delivers; the secret in it is never shown."""
    secretGeneration: int | None
    """How often the webhook secret was replaced, plus one."""
    pausedAt: str | None
    """Since when nothing is sent, because somebody asked for that."""
    campaignsHeldAt: str | None
    """Since when campaigns wait for `.../release-campaigns`, because WhatsApp refused too much or confirmed
    nothing.
    """
    campaignsHeldReason: str | None
    """Why they do, as a failure's code."""
    retentionDays: int | None
    """Messages are deleted after so many days; null: never."""
    webhookRegistration: WebhookRegistrationMode
    """What is done about a webhook that somebody changed on Evolution: `enforce` sets it again, `observe` only
    tells.
    """
    evolutionServer: str | None
    archivedAt: NotRequired[str | None]


class UnitPage(TypedDict):
    """Units in the order of their making."""
    items: list[Unit]
    nextCursor: str | None
    """For the next page; null on the last one."""


class UnitPatch(TypedDict):
    """Body of `PATCH /units/{unit}`: what is left out stays. `retentionDays` null: messages are kept for ever."""
    name: NotRequired[str]
    timeZone: NotRequired[str]
    retentionDays: NotRequired[int | None]
    webhookRegistration: NotRequired[WebhookRegistrationMode]


class Unread(TypedDict):
    """Whether anything has changed."""
    marked: bool
    """False: the newest message that came in is unread already, or none came."""


class Upload(TypedDict):
    """A file that can be sent: name its `id` as `upload` in a message or campaign."""
    id: str
    size: int
    """Bytes."""
    sha256: str
    mimetype: str
    fileName: str | None


class Uptime(TypedDict):
    """The months, the latest first."""
    timeZone: str
    months: list[Month]


Verdict: TypeAlias = "Literal[\"fail\", \"pass\", \"warn\"] | str"


class VersionNote(TypedDict):
    """Something that is known of the server's version."""
    sentence: str
    advice: str
    severe: bool
    """Messages are lost because of it."""


class Vote(TypedDict):
    """What one person chose of a poll, or answered to an event: `going`, `not_going` or `maybe`."""
    actor: str
    options: list[str] | None
    """Null: encrypted, and nobody could read it."""


class VoteEvent(TypedDict):
    """A vote in a poll."""
    type: str
    timestamp: str
    """When it happened."""
    data: VotePayload


class VotePayload(TypedDict):
    """What one person has chosen of a poll. The latest of each person counts."""
    messageId: str
    externalId: str | None
    clientMessageId: str | None
    conversationId: str
    actor: str
    options: list[str] | None
    at: str | None
    unitId: str


class WatchedMessage(TypedDict):
    """A message with the work on it."""
    id: str
    seq: int
    """Place in the order of arrival; what `afterSeq` counts by."""
    conversationId: str
    externalId: str | None
    """WhatsApp's id; null until it has been sent."""
    clientMessageId: str | None
    """Yours, of a message that was sent through Zapline."""
    fromMe: bool
    """Whether the unit has written it."""
    kind: Literal["unknown", "text", "image", "video", "audio", "voice", "document", "sticker", "location", "live_location", "contact", "contacts", "poll", "button_reply", "list_reply", "template_reply", "interactive_reply", "buttons", "list", "template", "interactive", "album", "order", "product", "event", "group_invite", "payment", "call_log", "sticker_pack", "poll_result", "pin", "keep", "placeholder", "reaction"] | str
    """`reaction`: one of ours; those of others are in `reactions`."""
    text: str | None
    """Its text, or its caption."""
    editedAt: str | None
    editTextUnknown: bool
    """It was edited, and only the phone shows the new text: `text` is the one before."""
    deletedAt: str | None
    media: dict[str, Any] | None
    """What the file is; its bytes are at `.../media`."""
    fileState: Literal["wanted", "kept", "gone", "left_out"] | str | None
    """Null: the unit does not keep it."""
    detail: dict[str, Any]
    """What is particular to its kind, as a place or a poll."""
    sender: str | None
    """Who has written it, in a group."""
    senderName: str | None
    quotedId: str | None
    """WhatsApp's id of the message that it answers."""
    quoted: Quoted | None
    """What it answers; null where nothing is told of it."""
    forwarded: bool
    viewOnce: bool
    expiresAfter: int | None
    """Seconds after which it disappears from phones."""
    deliveryStatus: Literal["queued", "sent", "failed", "delivered", "read", "played"] | str | None
    """Null for what others wrote."""
    workState: Literal["queued", "leased", "uncertain", "settled", "dead", "cancelled", "expired"] | str | None
    """Null for what Zapline did not send."""
    failure: Failure | None
    """Why it was not sent, or not delivered, or not surely."""
    reactions: list[Reaction]
    votes: list[Vote]
    sentAt: str | None
    receivedAt: str | None
    origin: str
    """Where it was first seen."""
    backfilled: bool
    """Read back from Evolution's store, not told by a webhook."""
    work: Work | None
    """Null for what Zapline did not send."""


WebhookRegistrationMode: TypeAlias = "Literal[\"enforce\", \"observe\"] | str"


class Who(TypedDict):
    """Body of `POST .../privacy/erasures`: a phone (or `lid:` and digits), or a contact's or conversation's id."""
    phone: NotRequired[str | None]
    contactId: NotRequired[str | UUID | None]


Window = TypedDict("Window", {"from": "str", "until": "str"})


class WordingResult(TypedDict):
    """The figures of one of several wordings."""
    sent: int
    """Evolution took it."""
    undelivered: int
    """WhatsApp did not."""
    delivered: int
    read: int
    replied: int
    """Wrote within seven days."""
    optedOut: int
    """Asked for no more campaigns within seven days."""
    undeliveredPercent: float | None
    """Of those sent, to a tenth; null where there are none."""
    deliveredPercent: float | None
    """Of those sent, to a tenth; null where there are none."""
    readPercent: float | None
    """Of those sent, to a tenth; null where there are none."""
    repliedPercent: float | None
    """Of those sent, to a tenth; null where there are none."""
    optedOutPercent: float | None
    """Of those sent, to a tenth; null where there are none."""
    wording: int
    """Its place, from 1."""
    text: str


class Work(TypedDict):
    """The work on a message that is sent by Zapline."""
    state: Literal["queued", "leased", "uncertain", "settled", "dead", "cancelled", "expired"] | str
    """Where the work stands. `uncertain`: it may have been delivered, and is never sent again blindly."""
    lane: Literal["reply", "campaign"] | str
    """Replies go before campaigns."""
    campaignId: str | None
    tries: int
    """Failures by the message's own fault; after three it is dead."""
    resends: int
    dueAt: str | None
    expiresAt: str | None
    settledAt: str | None
    endedAt: str | None
    stalled: bool
    """Evolution took it, and nobody has confirmed it in time."""
    twice: bool
    """It was delivered a second time."""
    failure: Failure | None
    lookAt: str | None
    """When Evolution's store is searched for it again."""
    waitsForPerson: bool
    """Uncertain, and only a person can decide: `.../release`."""
    attempts: list[Attempt]
    """Left out of lists."""


class MessageReceivedEvent(TypedDict):
    """A message came in."""
    type: Literal['message.received']
    timestamp: str
    """When it happened."""
    data: MessageNews


class MessageSentEvent(TypedDict):
    """The line's own people wrote a message on a phone."""
    type: Literal['message.sent']
    timestamp: str
    """When it happened."""
    data: MessageNews


class MessageDeliveryEvent(TypedDict):
    """A message has come further, or failed."""
    type: Literal['message.delivery']
    timestamp: str
    """When it happened."""
    data: DeliveryNews


class MessageEditedEvent(TypedDict):
    """A message was edited."""
    type: Literal['message.edited']
    timestamp: str
    """When it happened."""
    data: MessageNews


class MessageDeletedEvent(TypedDict):
    """A message was deleted."""
    type: Literal['message.deleted']
    timestamp: str
    """When it happened."""
    data: DeliveryNews


class MessageReactionEvent(TypedDict):
    """Somebody reacted to a message, or took it back."""
    type: Literal['message.reaction']
    timestamp: str
    """When it happened."""
    data: ReactionPayload


class PollVoteEvent(TypedDict):
    """Somebody voted in a poll, or took it back."""
    type: Literal['poll.vote']
    timestamp: str
    """When it happened."""
    data: VotePayload


class CallChangedEvent(TypedDict):
    """A call came in, or what is known of it has changed."""
    type: Literal['call.changed']
    timestamp: str
    """When it happened."""
    data: CallPayload


class ContactChangedEvent(TypedDict):
    """A contact's name, username, phone or LID has changed."""
    type: Literal['contact.changed']
    timestamp: str
    """When it happened."""
    data: ContactPayload


class GroupChangedEvent(TypedDict):
    """A group's subject has changed."""
    type: Literal['group.changed']
    timestamp: str
    """When it happened."""
    data: ContactPayload


class UnitStatusEvent(TypedDict):
    """The line's status has changed."""
    type: Literal['unit.status']
    timestamp: str
    """When it happened."""
    data: StatusNews


class CampaignStateEvent(TypedDict):
    """A campaign has started, ended, or was paused."""
    type: Literal['campaign.state']
    timestamp: str
    """When it happened."""
    data: CampaignNews


class HookTestEvent(TypedDict):
    """A person asked for a test."""
    type: Literal['hook.test']
    timestamp: str
    """When it happened."""
    data: Tested


WebhookEvent: TypeAlias = MessageReceivedEvent | MessageSentEvent | MessageDeliveryEvent | MessageEditedEvent | MessageDeletedEvent | MessageReactionEvent | PollVoteEvent | CallChangedEvent | ContactChangedEvent | GroupChangedEvent | UnitStatusEvent | CampaignStateEvent | HookTestEvent
