"""Each route of the API as a method, to be awaited. Generated from docs/openapi.json by clients/generate.py: do not edit."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from zapline_client.generated.models import (
    AlarmDestinations,
    AlarmTest,
    Archived,
    Arrived,
    AuditPage,
    Campaign,
    CampaignPage,
    CampaignResults,
    CampaignRules,
    Ceilings,
    Connect,
    ContactPage,
    ConversationPage,
    DeliveryPage,
    EditMessage,
    Erasure,
    ErasurePage,
    FileLink,
    FilePolicy,
    Forecast,
    FoundPage,
    GivenUp,
    GroupPage,
    GroupWithMembers,
    Health,
    Hook,
    Hooks,
    IncidentPage,
    Journey,
    Journeys,
    LetterPage,
    LineHistoryPage,
    LineSettings,
    Loaded,
    LoggedIn,
    Login,
    MadeAlarmDestination,
    Me,
    MessageChangePage,
    Minted,
    MoreRecipients,
    Move,
    NewAdminToken,
    NewAlarmDestination,
    NewCampaign,
    NewCeilings,
    NewFilePolicy,
    NewHook,
    NewLineSettings,
    NewMessage,
    NewOrganization,
    NewOrganizationHook,
    NewOrganizationToken,
    NewPace,
    NewProxy,
    NewQuickReply,
    NewServer,
    NewSuppression,
    NewUnit,
    NewUnitToken,
    Nothing,
    Numbers,
    NumbersToCheck,
    Organization,
    OrganizationPage,
    OutboxPage,
    Pace,
    Pass,
    Picture,
    Queue,
    Queued,
    QuickReply,
    QuickReplyPage,
    RawLetter,
    Read,
    RecipientPage,
    Release,
    ReplayDead,
    ReplayRange,
    Replayed,
    ReplayedEvents,
    Revived,
    Rotated,
    Rotation,
    SecretHook,
    Server,
    ServerPatch,
    Servers,
    Status,
    SteeredCampaign,
    Suppression,
    SuppressionPage,
    ThreadPage,
    TokenPage,
    Unit,
    UnitPage,
    UnitPatch,
    Unread,
    Upload,
    Uptime,
    WatchedMessage,
    Who,
)

Id = str | UUID


class AsyncOperations:
    """A subclass says how a request is made. Each method raises what that raises."""

    async def _call(
        self,
        method: str,
        route: str,
        *,
        path: Mapping[str, object] | None = None,
        query: Mapping[str, object] | None = None,
        body: object = None,
        content_type: str | None = None,
        answer: Literal["json", "bytes", "nothing"] = "json",
        names_itself: bool = False,
    ) -> Any:
        raise NotImplementedError

    async def login(self, body: Login) -> LoggedIn:
        """Sign in with e-mail and password. `POST /admin/login`. Who may: Anybody."""
        result: LoggedIn = await self._call("POST", "/admin/login", body=body)
        return result

    async def logout(self) -> None:
        """End the token that the request comes with. `POST /admin/logout`. Who may: Whoever has a valid token."""
        await self._call("POST", "/admin/logout", answer="nothing")

    async def me(self) -> Me:
        """Tell whose token this is. `GET /admin/me`. Who may: Whoever has a valid token."""
        result: Me = await self._call("GET", "/admin/me")
        return result

    async def mint_token(self, unit: Id, body: NewUnitToken) -> Minted:
        """Make a token for a unit's CRM. `POST /units/{unit}/tokens`. Who may: An administrator."""
        result: Minted = await self._call("POST", "/units/{unit}/tokens", body=body, path={"unit": unit})
        return result

    async def list_tokens(self, unit: Id, *, limit: int | None = None, cursor: str | None = None) -> TokenPage:
        """A unit's tokens. `GET /units/{unit}/tokens`. Who may: An administrator."""
        result: TokenPage = await self._call(
            "GET",
            "/units/{unit}/tokens",
            path={"unit": unit},
            query={"limit": limit, "cursor": cursor},
        )
        return result

    async def revoke_token(self, unit: Id, token: Id) -> None:
        """End a unit's token. `DELETE /units/{unit}/tokens/{token}`. Who may: An administrator."""
        await self._call(
            "DELETE",
            "/units/{unit}/tokens/{token}",
            path={"unit": unit, "token": token},
            answer="nothing",
        )

    async def mint_own_token(self, body: NewAdminToken) -> Minted:
        """Make a token for a machine that works in your name. `POST /admin/tokens`. Who may: An administrator."""
        result: Minted = await self._call("POST", "/admin/tokens", body=body)
        return result

    async def list_own_tokens(self, *, limit: int | None = None, cursor: str | None = None) -> TokenPage:
        """Your own tokens and sessions. `GET /admin/tokens`. Who may: A person: an administrator, an operator or
        an attendant.
        """
        result: TokenPage = await self._call("GET", "/admin/tokens", query={"limit": limit, "cursor": cursor})
        return result

    async def revoke_own_token(self, token: Id) -> None:
        """End one of your own tokens or sessions. `DELETE /admin/tokens/{token}`. Who may: A person: an
        administrator, an operator or an attendant.
        """
        await self._call("DELETE", "/admin/tokens/{token}", path={"token": token}, answer="nothing")

    async def get_ceilings(self) -> Ceilings:
        """What tenants' tokens may set at most. `GET /admin/ceilings`. Who may: An administrator."""
        result: Ceilings = await self._call("GET", "/admin/ceilings")
        return result

    async def put_ceilings(self, body: NewCeilings | None = None) -> Ceilings:
        """Replace what tenants' tokens may set at most. `PUT /admin/ceilings`. It holds for what tokens of units
        and organizations set from now on (`above_ceiling`), and not for administrators; what is set already
        stays. `tokens` holds for everybody. `requestsPerMinute` holds at once, for each daemon by itself. Who
        may: An administrator.
        """
        result: Ceilings = await self._call("PUT", "/admin/ceilings", body=body)
        return result

    async def create_organization(self, body: NewOrganization) -> Organization:
        """Make an organization. `POST /organizations`. Who may: An administrator."""
        result: Organization = await self._call("POST", "/organizations", body=body)
        return result

    async def list_organizations(self, *, limit: int | None = None, cursor: str | None = None) -> OrganizationPage:
        """All organizations. `GET /organizations`. Who may: An administrator."""
        result: OrganizationPage = await self._call(
            "GET",
            "/organizations",
            query={"limit": limit, "cursor": cursor},
        )
        return result

    async def get_organization(self, organization: Id) -> Organization:
        """One organization. `GET /organizations/{organization}`. Who may: A person of the unit, or a token of it
        or its organization with the scope `read`.
        """
        result: Organization = await self._call(
            "GET",
            "/organizations/{organization}",
            path={"organization": organization},
        )
        return result

    async def rename_organization(self, organization: Id, body: NewOrganization) -> Organization:
        """Give an organization another name. `PATCH /organizations/{organization}`. Who may: An administrator."""
        result: Organization = await self._call(
            "PATCH",
            "/organizations/{organization}",
            body=body,
            path={"organization": organization},
        )
        return result

    async def delete_organization(self, organization: Id) -> None:
        """Delete an organization that has no units, and its tokens. `DELETE /organizations/{organization}`. Who
        may: An administrator.
        """
        await self._call(
            "DELETE",
            "/organizations/{organization}",
            path={"organization": organization},
            answer="nothing",
        )

    async def set_organization_campaign_rules(self, organization: Id, body: CampaignRules) -> Organization:
        """Say how often the units of an organization write to one person, and whether they share opt-outs. `PUT
        /organizations/{organization}/campaign-rules`. Messages of campaigns of all its units are counted, when
        a recipient's turn comes; who has had as many as the limit is skipped (`frequency_cap`). Who may: An
        administrator.
        """
        result: Organization = await self._call(
            "PUT",
            "/organizations/{organization}/campaign-rules",
            body=body,
            path={"organization": organization},
        )
        return result

    async def add_organization_unit(self, organization: Id, unit: Id) -> None:
        """Put a unit into an organization. `PUT /organizations/{organization}/units/{unit}`. A unit is in one
        organization at most. May be repeated. Who may: An administrator.
        """
        await self._call(
            "PUT",
            "/organizations/{organization}/units/{unit}",
            path={"organization": organization, "unit": unit},
            answer="nothing",
        )

    async def remove_organization_unit(self, organization: Id, unit: Id) -> None:
        """Take a unit out of its organization. `DELETE /organizations/{organization}/units/{unit}`. The
        organization's tokens do not open it any more, from then on. May be repeated. Who may: An
        administrator.
        """
        await self._call(
            "DELETE",
            "/organizations/{organization}/units/{unit}",
            path={"organization": organization, "unit": unit},
            answer="nothing",
        )

    async def mint_organization_token(self, organization: Id, body: NewOrganizationToken) -> Minted:
        """Make a token for an organization's programs. `POST /organizations/{organization}/tokens`. Every route
        of a unit takes it where it opens the unit and has the scope. Who may: An administrator.
        """
        result: Minted = await self._call(
            "POST",
            "/organizations/{organization}/tokens",
            body=body,
            path={"organization": organization},
        )
        return result

    async def list_organization_tokens(
        self,
        organization: Id,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> TokenPage:
        """An organization's tokens. `GET /organizations/{organization}/tokens`. Who may: An administrator."""
        result: TokenPage = await self._call(
            "GET",
            "/organizations/{organization}/tokens",
            path={"organization": organization},
            query={"limit": limit, "cursor": cursor},
        )
        return result

    async def revoke_organization_token(self, organization: Id, token: Id) -> None:
        """End an organization's token. `DELETE /organizations/{organization}/tokens/{token}`. Who may: An
        administrator.
        """
        await self._call(
            "DELETE",
            "/organizations/{organization}/tokens/{token}",
            path={"organization": organization, "token": token},
            answer="nothing",
        )

    async def list_organization_units(
        self,
        organization: Id,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> UnitPage:
        """The units of an organization that your token opens. `GET /organizations/{organization}/units`. Who may:
        A person of the unit, or a token of it or its organization with the scope `read`.
        """
        result: UnitPage = await self._call(
            "GET",
            "/organizations/{organization}/units",
            path={"organization": organization},
            query={"limit": limit, "cursor": cursor},
        )
        return result

    async def list_audit(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        unit_id: str | UUID | None = None,
        actor: str | None = None,
        action: str | None = None,
    ) -> AuditPage:
        """Who changed what. `GET /audit`. Who may: An administrator."""
        result: AuditPage = await self._call(
            "GET",
            "/audit",
            query={"limit": limit, "cursor": cursor, "unitId": unit_id, "actor": actor, "action": action},
        )
        return result

    async def create_unit(self, body: NewUnit) -> Unit:
        """Make a unit. `POST /units`. Give `instance` to be sure that a repeated request makes no second unit: it
        answers 409 then. Who may: An administrator.
        """
        result: Unit = await self._call("POST", "/units", body=body)
        return result

    async def list_units(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        archived: bool | None = None,
    ) -> UnitPage:
        """All units. `GET /units`. Who may: A person: an administrator, an operator or an attendant."""
        result: UnitPage = await self._call(
            "GET",
            "/units",
            query={"limit": limit, "cursor": cursor, "archived": archived},
        )
        return result

    async def get_unit(self, unit: Id) -> Unit:
        """One unit. `GET /units/{unit}`. Who may: A person of the unit, or a token of it or its organization with
        the scope `read`.
        """
        result: Unit = await self._call("GET", "/units/{unit}", path={"unit": unit})
        return result

    async def change_unit(self, unit: Id, body: UnitPatch | None = None) -> Unit:
        """Change a unit's name, time zone, retention, or what is done about a changed webhook. `PATCH
        /units/{unit}`. Who may: An administrator.
        """
        result: Unit = await self._call("PATCH", "/units/{unit}", body=body, path={"unit": unit})
        return result

    async def connect(self, unit: Id, body: Connect | None = None) -> Status:
        """Connect the line: start pairing, or reconnect. `POST /units/{unit}/whatsapp/connect`. With `number`, in
        any usual form, there is also a pairing code to type in on the phone; a pairing that shows a QR code is
        closed and begun anew for it. May be repeated. Who may: A person of the unit but attendants, or a token
        of it or its organization with `control`.
        """
        result: Status = await self._call("POST", "/units/{unit}/whatsapp/connect", body=body, path={"unit": unit})
        return result

    async def renew(self, unit: Id, body: Nothing | None = None) -> Status:
        """Delete the instance on Evolution, create it again and connect it. `POST /units/{unit}/whatsapp/renew`.
        For a line that never opens again (reason `session_stuck`). The phone scans a new code; conversations
        and what waits to be sent stay. Who may: A person of the unit but attendants, or a token of it or its
        organization with `control`.
        """
        result: Status = await self._call("POST", "/units/{unit}/whatsapp/renew", body=body, path={"unit": unit})
        return result

    async def disconnect(self, unit: Id, body: Nothing | None = None) -> Status:
        """Disconnect the line: the phone is unlinked. `POST /units/{unit}/whatsapp/disconnect`. It stays so until
        somebody asks to connect. May be repeated. Who may: A person of the unit but attendants, or a token of
        it or its organization with `control`.
        """
        result: Status = await self._call(
            "POST",
            "/units/{unit}/whatsapp/disconnect",
            body=body,
            path={"unit": unit},
        )
        return result

    async def status(self, unit: Id) -> Status:
        """The line's status, why it is so, and what to do next. `GET /units/{unit}/whatsapp/status`. While a code
        waits to be scanned, `qrCode` holds it as a picture; who looks keeps it fresh. Who may: A person of the
        unit, or a token of it or its organization with the scope `read`.
        """
        result: Status = await self._call("GET", "/units/{unit}/whatsapp/status", path={"unit": unit})
        return result

    async def qr_svg(self, unit: Id) -> bytes:
        """The code to scan, as a picture. `GET /units/{unit}/whatsapp/qr.svg`. Who may: A person of the unit but
        attendants, or a token of it or its organization with `control`.
        """
        result: bytes = await self._call(
            "GET",
            "/units/{unit}/whatsapp/qr.svg",
            path={"unit": unit},
            answer="bytes",
        )
        return result

    async def list_line_history(
        self,
        unit: Id,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> LineHistoryPage:
        """What the line has shown since when, why, for how long, and how it ended. `GET
        /units/{unit}/line-history`. Written in the transaction of what caused the change, and kept for 400
        days. While Zapline itself does not run, the last thing that was known stands. Who may: A person of the
        unit, or a token of it or its organization with the scope `read`.
        """
        result: LineHistoryPage = await self._call(
            "GET",
            "/units/{unit}/line-history",
            path={"unit": unit},
            query={"limit": limit, "cursor": cursor},
        )
        return result

    async def get_uptime(self, unit: Id, *, months: int | None = None) -> Uptime:
        """How long the line was open, month by month. `GET /units/{unit}/uptime`. Who may: A person of the unit,
        or a token of it or its organization with the scope `read`.
        """
        result: Uptime = await self._call(
            "GET",
            "/units/{unit}/uptime",
            path={"unit": unit},
            query={"months": months},
        )
        return result

    async def export_uptime(self, unit: Id, *, months: int | None = None) -> bytes:
        """The same as CSV. `GET /units/{unit}/uptime.csv`. Who may: A person of the unit, or a token of it or its
        organization with the scope `read`.
        """
        result: bytes = await self._call(
            "GET",
            "/units/{unit}/uptime.csv",
            path={"unit": unit},
            query={"months": months},
            answer="bytes",
        )
        return result

    async def get_journey(self, unit: Id, message: Id) -> Journey:
        """Where is my message? Each step with its time, and what to do. `GET
        /units/{unit}/messages/{message}/journey`. Each step comes from a row, with its time: accepted, waiting
        for the line, each call and its answer, what proved it, what WhatsApp reported, what the CRM was told;
        of what comes in the webhook, or that it was read back, and when it was stored. Who may: A person of
        the unit, or a token of it or its organization with the scope `read`.
        """
        result: Journey = await self._call(
            "GET",
            "/units/{unit}/messages/{message}/journey",
            path={"unit": unit, "message": message},
        )
        return result

    async def find_journeys(
        self,
        unit: Id,
        *,
        id: str | UUID | None = None,
        client_message_id: str | None = None,
        external_id: str | None = None,
        phone: str | None = None,
        at: str | datetime | None = None,
    ) -> Journeys:
        """Find a message by any of its ids, or by phone and time, and tell where it is. `GET
        /units/{unit}/journeys`. Name exactly one of `id`, `clientMessageId`, `externalId` and `phone`. What is
        not found is an empty list. Who may: A person of the unit, or a token of it or its organization with
        the scope `read`.
        """
        result: Journeys = await self._call(
            "GET",
            "/units/{unit}/journeys",
            path={"unit": unit},
            query={"id": id, "clientMessageId": client_message_id, "externalId": external_id, "phone": phone, "at": at},
        )
        return result

    async def pause_unit(self, unit: Id, body: Nothing | None = None) -> Unit:
        """Send nothing until it is resumed; what comes in is stored. `POST /units/{unit}/pause`. Who may: A
        person of the unit but attendants, or a token of it or its organization with `control`.
        """
        result: Unit = await self._call("POST", "/units/{unit}/pause", body=body, path={"unit": unit})
        return result

    async def resume_unit(self, unit: Id, body: Nothing | None = None) -> Unit:
        """Let what waits leave again. `POST /units/{unit}/resume`. Who may: A person of the unit but attendants,
        or a token of it or its organization with `control`.
        """
        result: Unit = await self._call("POST", "/units/{unit}/resume", body=body, path={"unit": unit})
        return result

    async def archive_unit(self, unit: Id, body: Nothing | None = None) -> Archived:
        """Close a unit: its phone is unlinked, its rows stay. `POST /units/{unit}/archive`. Who may: An
        administrator.
        """
        result: Archived = await self._call("POST", "/units/{unit}/archive", body=body, path={"unit": unit})
        return result

    async def rotate_secret(self, unit: Id, body: Rotation | None = None) -> Rotated:
        """Give a unit a new webhook secret; the old one is accepted for a while. `POST
        /units/{unit}/rotate-secret`. Who may: An administrator.
        """
        result: Rotated = await self._call("POST", "/units/{unit}/rotate-secret", body=body, path={"unit": unit})
        return result

    async def release_unit(self, unit: Id, body: Nothing | None = None) -> Unit:
        """End a unit's quarantine. `POST /units/{unit}/release`. Who may: An administrator."""
        result: Unit = await self._call("POST", "/units/{unit}/release", body=body, path={"unit": unit})
        return result

    async def release_campaigns(self, unit: Id, body: Nothing | None = None) -> Unit:
        """Let the campaigns of a unit go on that are held because WhatsApp refused too much or confirmed nothing.
        `POST /units/{unit}/release-campaigns`. Look first why they are held, as `campaignsHeldReason` of the
        unit says; they stop again if it goes on. Who may: A person of the unit but attendants, or a token of
        it or its organization with `control`.
        """
        result: Unit = await self._call("POST", "/units/{unit}/release-campaigns", body=body, path={"unit": unit})
        return result

    async def get_queue(self, unit: Id) -> Queue:
        """What a unit has to do, and when it was last heard of. `GET /units/{unit}/queue`. Who may: A person of
        the unit, or a token of it or its organization with the scope `read`.
        """
        result: Queue = await self._call("GET", "/units/{unit}/queue", path={"unit": unit})
        return result

    async def list_servers(self) -> Servers:
        """The Evolution servers, with their lines. `GET /evolution-servers`. Who may: An administrator."""
        result: Servers = await self._call("GET", "/evolution-servers")
        return result

    async def add_server(self, body: NewServer) -> Server:
        """Add an Evolution server. `POST /evolution-servers`. New units go where, for its weight, the fewest
        live. Whether the key is right `zapline doctor` finds out. Who may: An administrator.
        """
        result: Server = await self._call("POST", "/evolution-servers", body=body)
        return result

    async def get_server(self, server: Id) -> Server:
        """One Evolution server. `GET /evolution-servers/{server}`. Who may: An administrator."""
        result: Server = await self._call("GET", "/evolution-servers/{server}", path={"server": server})
        return result

    async def change_server(self, server: Id, body: ServerPatch | None = None) -> Server:
        """Change an Evolution server's address, key or weight, or whether it gets new units. `PATCH
        /evolution-servers/{server}`. Of the server `environment` only weight and pause can be changed: the
        rest is the daemon's settings. Who may: An administrator.
        """
        result: Server = await self._call(
            "PATCH",
            "/evolution-servers/{server}",
            body=body,
            path={"server": server},
        )
        return result

    async def remove_server(self, server: Id) -> None:
        """Remove an Evolution server on which no unit lives. `DELETE /evolution-servers/{server}`. Who may: An
        administrator.
        """
        await self._call("DELETE", "/evolution-servers/{server}", path={"server": server}, answer="nothing")

    async def move_unit(self, unit: Id, body: Move) -> Unit:
        """Move a unit to another Evolution server. `POST /units/{unit}/whatsapp/move`. The phone is logged out on
        the old server and the instance deleted there; it is created on the other, and waits for a scan: see
        the line's status. Conversations and what waits to be sent stay. What is uncertain is left to a person,
        because the other server knows nothing of it. Who may: An administrator.
        """
        result: Unit = await self._call("POST", "/units/{unit}/whatsapp/move", body=body, path={"unit": unit})
        return result

    async def erase_person(self, unit: Id, body: Who | None = None) -> Erasure:
        """Erase a person. `POST /units/{unit}/privacy/erasures`. Everything that came in until now goes, under
        all the person's names. Asked again, it is the same job. Who may: An administrator.
        """
        result: Erasure = await self._call(
            "POST",
            "/units/{unit}/privacy/erasures",
            body=body,
            path={"unit": unit},
        )
        return result

    async def list_erasures(self, unit: Id, *, limit: int | None = None, cursor: str | None = None) -> ErasurePage:
        """Erasures of a unit. `GET /units/{unit}/privacy/erasures`. Who may: An administrator."""
        result: ErasurePage = await self._call(
            "GET",
            "/units/{unit}/privacy/erasures",
            path={"unit": unit},
            query={"limit": limit, "cursor": cursor},
        )
        return result

    async def get_erasure(self, unit: Id, erasure: Id) -> Erasure:
        """How an erasure is. `GET /units/{unit}/privacy/erasures/{erasure}`. Who may: An administrator."""
        result: Erasure = await self._call(
            "GET",
            "/units/{unit}/privacy/erasures/{erasure}",
            path={"unit": unit, "erasure": erasure},
        )
        return result

    async def export_person(
        self,
        unit: Id,
        *,
        phone: str | None = None,
        contact_id: str | UUID | None = None,
    ) -> dict[str, Any]:
        """Everything that is held of one person. `GET /units/{unit}/privacy/export`. One JSON object, sent while
        it is read: an answer that is cut off is no JSON. Who may: An administrator.
        """
        result: dict[str, Any] = await self._call(
            "GET",
            "/units/{unit}/privacy/export",
            path={"unit": unit},
            query={"phone": phone, "contactId": contact_id},
        )
        return result

    async def list_conversations(
        self,
        unit: Id,
        *,
        updated_since: str | datetime | None = None,
        phone: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> ConversationPage:
        """Conversations, the latest first. `GET /units/{unit}/conversations`. Who may: A person of the unit, or a
        token of it or its organization with the scope `read`.
        """
        result: ConversationPage = await self._call(
            "GET",
            "/units/{unit}/conversations",
            path={"unit": unit},
            query={"updatedSince": updated_since, "phone": phone, "limit": limit, "cursor": cursor},
        )
        return result

    async def list_thread(
        self,
        unit: Id,
        conversation: Id,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> ThreadPage:
        """A conversation's messages, newest first. `GET /units/{unit}/conversations/{conversation}/messages`. Who
        may: A person of the unit, or a token of it or its organization with the scope `read`.
        """
        result: ThreadPage = await self._call(
            "GET",
            "/units/{unit}/conversations/{conversation}/messages",
            path={"unit": unit, "conversation": conversation},
            query={"limit": limit, "cursor": cursor},
        )
        return result

    async def list_messages(self, unit: Id, *, after_seq: int | None = None, limit: int | None = None) -> Arrived:
        """What has arrived since. `GET /units/{unit}/messages`. For a CRM that polls. Ask with the last answer's
        `nextAfterSeq`: nothing is left out, and no message comes twice in `items`. A message from before that
        was reacted to, voted on, edited or deleted since is in `changed`. Who may: A person of the unit, or a
        token of it or its organization with the scope `read`.
        """
        result: Arrived = await self._call(
            "GET",
            "/units/{unit}/messages",
            path={"unit": unit},
            query={"afterSeq": after_seq, "limit": limit},
        )
        return result

    async def send_message(self, unit: Id, body: NewMessage) -> WatchedMessage:
        """Send a message. `POST /units/{unit}/messages`. Name `to` or `conversationId`, and exactly one of
        `text`, `image`, `video`, `audio`, `document`, `location`, `contact`, `reaction` and `poll`. It is
        stored before the answer, and sent as soon as line and pace allow. The same `clientMessageId` is the
        same message: a repeated request sends nothing and answers how the message stands; with another content
        it is refused (409). So repeat a request without an answer as often as you like. Who may: A person of
        the unit, or a token of it or its organization with the scope `send`.
        """
        result: WatchedMessage = await self._call(
            "POST",
            "/units/{unit}/messages",
            body=body,
            path={"unit": unit},
            names_itself=True,
        )
        return result

    async def mark_read(self, unit: Id, conversation: Id, body: Nothing | None = None) -> Read:
        """Tell the senders that what came in was read. `POST /units/{unit}/conversations/{conversation}/read`.
        Who may: A person of the unit, or a token of it or its organization with the scope `send`.
        """
        result: Read = await self._call(
            "POST",
            "/units/{unit}/conversations/{conversation}/read",
            body=body,
            path={"unit": unit, "conversation": conversation},
        )
        return result

    async def mark_unread(self, unit: Id, conversation: Id, body: Nothing | None = None) -> Unread:
        """Count the newest message that came in as unread again. `POST
        /units/{unit}/conversations/{conversation}/unread`. In Zapline alone: its sender was told that it was
        read, which nobody can take back. Who may: A person of the unit, or a token of it or its organization
        with the scope `send`.
        """
        result: Unread = await self._call(
            "POST",
            "/units/{unit}/conversations/{conversation}/unread",
            body=body,
            path={"unit": unit, "conversation": conversation},
        )
        return result

    async def search_messages(
        self,
        unit: Id,
        *,
        q: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> FoundPage:
        """Find messages by their words. `GET /units/{unit}/messages/search`. Accents, capitals and signs do not
        count: `acao` finds *Ação!*. Searched is what a message says now (an edited one by its new text, a
        deleted one not at all), its caption and the name of its file. The latest arrival comes first. A search
        that takes longer than three seconds ends there: its page may hold few messages or none, and
        `nextCursor` goes on. A few searches are made at a time, of each unit one: where others search, the
        answer is 429. After an upgrade of a large database the index of words is built while everything else
        goes on; until it is there, the answer is 503. Who may: A person of the unit, or a token of it or its
        organization with the scope `read`.
        """
        result: FoundPage = await self._call(
            "GET",
            "/units/{unit}/messages/search",
            path={"unit": unit},
            query={"q": q, "limit": limit, "cursor": cursor},
        )
        return result

    async def get_message(self, unit: Id, message: Id) -> WatchedMessage:
        """One message, and how the work on it stands. `GET /units/{unit}/messages/{message}`. Who may: A person
        of the unit, or a token of it or its organization with the scope `read`.
        """
        result: WatchedMessage = await self._call(
            "GET",
            "/units/{unit}/messages/{message}",
            path={"unit": unit, "message": message},
        )
        return result

    async def edit_message(self, unit: Id, message: Id, body: EditMessage) -> WatchedMessage:
        """Edit a message that was sent. `PATCH /units/{unit}/messages/{message}`. A text of the unit's own, or
        the caption of its picture or video, for 15 minutes. 200: the message is so. 202: Evolution has not
        answered in time; it is not asked again, its echo or its store tells, and `.../changes` shows it. 502:
        certainly nothing was changed. 429: a unit changes a few messages at once, then one each five seconds;
        nothing was asked. The same request again sends nothing. Hooks hear of it by `message.edited`. Who may:
        A person of the unit, or a token of it or its organization with the scope `send`.
        """
        result: WatchedMessage = await self._call(
            "PATCH",
            "/units/{unit}/messages/{message}",
            body=body,
            path={"unit": unit, "message": message},
        )
        return result

    async def delete_message(self, unit: Id, message: Id) -> WatchedMessage:
        """Delete a message for everyone. `DELETE /units/{unit}/messages/{message}`. A message of the unit's own,
        for two and a half days. 200: the message is so. 202: Evolution has not answered in time; it is not
        asked again, its echo or its store tells, and `.../changes` shows it. 502: certainly nothing was
        changed. 429: a unit changes a few messages at once, then one each five seconds; nothing was asked. The
        same request again sends nothing. Hooks hear of it by `message.deleted`. Who may: A person of the unit,
        or a token of it or its organization with the scope `send`.
        """
        result: WatchedMessage = await self._call(
            "DELETE",
            "/units/{unit}/messages/{message}",
            path={"unit": unit, "message": message},
        )
        return result

    async def cancel_message(self, unit: Id, message: Id, body: Nothing | None = None) -> WatchedMessage:
        """Take a message back that has not been sent. `POST /units/{unit}/messages/{message}/cancel`. Who may: A
        person of the unit, or a token of it or its organization with the scope `send`.
        """
        result: WatchedMessage = await self._call(
            "POST",
            "/units/{unit}/messages/{message}/cancel",
            body=body,
            path={"unit": unit, "message": message},
        )
        return result

    async def release_message(self, unit: Id, message: Id, body: Release) -> WatchedMessage:
        """Decide an uncertain message. `POST /units/{unit}/messages/{message}/release`. Look at the phone first:
        `resend` sends it again, and if it had arrived it will be there twice. Who may: A person of the unit,
        or a token of it or its organization with the scope `send`.
        """
        result: WatchedMessage = await self._call(
            "POST",
            "/units/{unit}/messages/{message}/release",
            body=body,
            path={"unit": unit, "message": message},
        )
        return result

    async def list_outbox(
        self,
        unit: Id,
        *,
        state: Literal["cancelled", "dead", "expired", "leased", "queued", "settled", "stalled", "uncertain"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> OutboxPage:
        """What is to be sent, and what waits for a person. `GET /units/{unit}/outbox`. Who may: A person of the
        unit, or a token of it or its organization with the scope `read`.
        """
        result: OutboxPage = await self._call(
            "GET",
            "/units/{unit}/outbox",
            path={"unit": unit},
            query={"state": state, "limit": limit, "cursor": cursor},
        )
        return result

    async def upload(self, unit: Id, body: bytes, *, file_name: str | None = None, content_type: str) -> Upload:
        """Upload a file that is to be sent. `POST /units/{unit}/uploads`. The body is the file itself, at most 16
        MiB; its type is the request's `Content-Type`. A unit keeps 2 GiB and 10,000 files; those that nothing
        needs go first, after a day. Who may: A person of the unit, or a token of it or its organization with
        the scope `send`.
        """
        result: Upload = await self._call(
            "POST",
            "/units/{unit}/uploads",
            body=body,
            content_type=content_type,
            path={"unit": unit},
            query={"fileName": file_name},
        )
        return result

    async def get_pace(self, unit: Id) -> Pace:
        """The unit's limits for sending. `GET /units/{unit}/pace`. Who may: A person of the unit, or a token of
        it or its organization with the scope `read`.
        """
        result: Pace = await self._call("GET", "/units/{unit}/pace", path={"unit": unit})
        return result

    async def put_pace(self, unit: Id, body: NewPace | None = None) -> Pace:
        """Replace the unit's limits for sending. `PUT /units/{unit}/pace`. What is left out gets its default. It
        holds for what is sent from now on. A token sets no faster pace than the operator lets it, or than
        there is already. Who may: A person of the unit but attendants, or a token of it or its organization
        with `control`.
        """
        result: Pace = await self._call("PUT", "/units/{unit}/pace", body=body, path={"unit": unit})
        return result

    async def list_message_changes(
        self,
        unit: Id,
        message: Id,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> MessageChangePage:
        """What was asked to be changed of a message. `GET /units/{unit}/messages/{message}/changes`. Who may: A
        person of the unit, or a token of it or its organization with the scope `read`.
        """
        result: MessageChangePage = await self._call(
            "GET",
            "/units/{unit}/messages/{message}/changes",
            path={"unit": unit, "message": message},
            query={"limit": limit, "cursor": cursor},
        )
        return result

    async def list_quick_replies(
        self,
        unit: Id,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> QuickReplyPage:
        """The unit's quick replies, by their shortcuts. `GET /units/{unit}/quick-replies`. Who may: A person of
        the unit, or a token of it or its organization with the scope `read`.
        """
        result: QuickReplyPage = await self._call(
            "GET",
            "/units/{unit}/quick-replies",
            path={"unit": unit},
            query={"limit": limit, "cursor": cursor},
        )
        return result

    async def put_quick_reply(self, unit: Id, shortcut: Id, body: NewQuickReply) -> QuickReply:
        """Add a quick reply, or change its text. `PUT /units/{unit}/quick-replies/{shortcut}`. 200 where there
        was one with this shortcut. In the console people choose it by a `/` in the message. Who may: A person
        of the unit, or a token of it or its organization with the scope `send`.
        """
        result: QuickReply = await self._call(
            "PUT",
            "/units/{unit}/quick-replies/{shortcut}",
            body=body,
            path={"unit": unit, "shortcut": shortcut},
        )
        return result

    async def delete_quick_reply(self, unit: Id, shortcut: Id) -> None:
        """Remove a quick reply. `DELETE /units/{unit}/quick-replies/{shortcut}`. Who may: A person of the unit,
        or a token of it or its organization with the scope `send`.
        """
        await self._call(
            "DELETE",
            "/units/{unit}/quick-replies/{shortcut}",
            path={"unit": unit, "shortcut": shortcut},
            answer="nothing",
        )

    async def create_campaign(self, unit: Id, body: NewCampaign) -> Campaign:
        """Make a campaign. `POST /units/{unit}/campaigns`. It has exactly one of `text`, `image`, `video`,
        `audio` and `document`; text and caption may hold variables as `{{nome}}`, which are columns of the
        list. `recipients` may be given at once or be added later; `start` starts it at once, or at `startAt`.
        Give `clientCampaignId` to be sure that a repeated request makes no second campaign: the same again
        answers 200 with the campaign that is there, and another one under the same id 409. Who may: A person
        of the unit but attendants, or a token of it or its organization with the scope `send`.
        """
        result: Campaign = await self._call(
            "POST",
            "/units/{unit}/campaigns",
            body=body,
            path={"unit": unit},
            names_itself=True,
        )
        return result

    async def list_campaigns(
        self,
        unit: Id,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> CampaignPage:
        """Campaigns, newest first. `GET /units/{unit}/campaigns`. Of a campaign with more than 5,000 recipients
        the counts may be up to five seconds old, but never older than its latest change of state. The answers
        to commands, and those to new lists, are counted at that moment. Who may: A person of the unit, or a
        token of it or its organization with the scope `read`.
        """
        result: CampaignPage = await self._call(
            "GET",
            "/units/{unit}/campaigns",
            path={"unit": unit},
            query={"limit": limit, "cursor": cursor},
        )
        return result

    async def try_campaign(
        self,
        unit: Id,
        body: NewCampaign,
        *,
        check_numbers: Literal["false", "true"] | None = None,
    ) -> Forecast:
        """Try a campaign out: what would become of it. `POST /units/{unit}/campaigns/dry-run`. Counts who would
        be written to and who would be skipped, shows some messages, and when it would end. Who may: A person
        of the unit but attendants, or a token of it or its organization with the scope `send`.
        """
        result: Forecast = await self._call(
            "POST",
            "/units/{unit}/campaigns/dry-run",
            body=body,
            path={"unit": unit},
            query={"checkNumbers": check_numbers},
            names_itself=True,
        )
        return result

    async def get_campaign(self, unit: Id, campaign: Id) -> Campaign:
        """One campaign, with how many of its recipients stand where. `GET /units/{unit}/campaigns/{campaign}`. Of
        a campaign with more than 5,000 recipients the counts may be up to five seconds old, but never older
        than its latest change of state. The answers to commands, and those to new lists, are counted at that
        moment. Who may: A person of the unit, or a token of it or its organization with the scope `read`.
        """
        result: Campaign = await self._call(
            "GET",
            "/units/{unit}/campaigns/{campaign}",
            path={"unit": unit, "campaign": campaign},
        )
        return result

    async def add_recipients(
        self,
        unit: Id,
        campaign: Id,
        body: MoreRecipients | bytes,
        *,
        dry_run: Literal["false", "true"] | None = None,
        check_numbers: Literal["false", "true"] | None = None,
        content_type: str = "text/csv",
    ) -> Loaded | Forecast:
        """Add a list of recipients. `POST /units/{unit}/campaigns/{campaign}/recipients`. As JSON (1 MiB) or as
        CSV with a header line (32 MiB, 100,000 lines; comma or semicolon; UTF-8, or as the charset of the
        `Content-Type` says). The column `to` has the phones, all others are variables. All of the list is
        taken, or nothing. Who may: A person of the unit but attendants, or a token of it or its organization
        with the scope `send`.
        """
        result: Loaded | Forecast = await self._call(
            "POST",
            "/units/{unit}/campaigns/{campaign}/recipients",
            body=body,
            content_type=content_type,
            path={"unit": unit, "campaign": campaign},
            query={"dryRun": dry_run, "checkNumbers": check_numbers},
        )
        return result

    async def list_recipients(
        self,
        unit: Id,
        campaign: Id,
        *,
        state: Literal["pending", "queued", "sending", "sent", "delivered", "read", "undelivered", "uncertain", "failed", "skipped", "cancelled"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> RecipientPage:
        """Recipients, in the order of the list. `GET /units/{unit}/campaigns/{campaign}/recipients`. Who may: A
        person of the unit, or a token of it or its organization with the scope `read`.
        """
        result: RecipientPage = await self._call(
            "GET",
            "/units/{unit}/campaigns/{campaign}/recipients",
            path={"unit": unit, "campaign": campaign},
            query={"state": state, "limit": limit, "cursor": cursor},
        )
        return result

    async def export_failures(self, unit: Id, campaign: Id) -> bytes:
        """Whoever was not written to, or not surely, as CSV. `GET
        /units/{unit}/campaigns/{campaign}/failures.csv`. It can be mended and sent in again as a list. Who
        may: A person of the unit, or a token of it or its organization with the scope `read`.
        """
        result: bytes = await self._call(
            "GET",
            "/units/{unit}/campaigns/{campaign}/failures.csv",
            path={"unit": unit, "campaign": campaign},
            answer="bytes",
        )
        return result

    async def get_campaign_results(self, unit: Id, campaign: Id) -> CampaignResults:
        """What has become of a campaign, in percent and over time. `GET
        /units/{unit}/campaigns/{campaign}/results`. A reply is the first message of a recipient within seven
        days after the campaign's; the wish for no more campaigns is counted as that, and as no reply. The
        figures may be five seconds old, and those of tens of thousands of recipients a minute. Who may: A
        person of the unit, or a token of it or its organization with the scope `read`.
        """
        result: CampaignResults = await self._call(
            "GET",
            "/units/{unit}/campaigns/{campaign}/results",
            path={"unit": unit, "campaign": campaign},
        )
        return result

    async def export_campaign_results(self, unit: Id, campaign: Id) -> bytes:
        """Every recipient of a campaign with what became of him, as CSV. `GET
        /units/{unit}/campaigns/{campaign}/results.csv`. In the order of the list, with times in UTC, and the
        list's own columns behind. Who may: A person of the unit, or a token of it or its organization with the
        scope `read`.
        """
        result: bytes = await self._call(
            "GET",
            "/units/{unit}/campaigns/{campaign}/results.csv",
            path={"unit": unit, "campaign": campaign},
            answer="bytes",
        )
        return result

    async def start_campaign(self, unit: Id, campaign: Id, body: Nothing | None = None) -> SteeredCampaign:
        """Start a campaign. `POST /units/{unit}/campaigns/{campaign}/start`. At once, or at its `startAt`. May be
        repeated: what is so already is no error. Who may: A person of the unit but attendants, or a token of
        it or its organization with the scope `send`.
        """
        result: SteeredCampaign = await self._call(
            "POST",
            "/units/{unit}/campaigns/{campaign}/start",
            body=body,
            path={"unit": unit, "campaign": campaign},
        )
        return result

    async def pause_campaign(self, unit: Id, campaign: Id, body: Nothing | None = None) -> SteeredCampaign:
        """Pause a campaign. `POST /units/{unit}/campaigns/{campaign}/pause`. What is on its way still goes. May
        be repeated: what is so already is no error. Who may: A person of the unit but attendants, or a token
        of it or its organization with the scope `send`.
        """
        result: SteeredCampaign = await self._call(
            "POST",
            "/units/{unit}/campaigns/{campaign}/pause",
            body=body,
            path={"unit": unit, "campaign": campaign},
        )
        return result

    async def resume_campaign(self, unit: Id, campaign: Id, body: Nothing | None = None) -> SteeredCampaign:
        """Go on with a campaign. `POST /units/{unit}/campaigns/{campaign}/resume`. May be repeated: what is so
        already is no error. Who may: A person of the unit but attendants, or a token of it or its organization
        with the scope `send`.
        """
        result: SteeredCampaign = await self._call(
            "POST",
            "/units/{unit}/campaigns/{campaign}/resume",
            body=body,
            path={"unit": unit, "campaign": campaign},
        )
        return result

    async def cancel_campaign(self, unit: Id, campaign: Id, body: Nothing | None = None) -> SteeredCampaign:
        """Cancel a campaign. `POST /units/{unit}/campaigns/{campaign}/cancel`. What has not been sent never will
        be. May be repeated: what is so already is no error. Who may: A person of the unit but attendants, or a
        token of it or its organization with the scope `send`.
        """
        result: SteeredCampaign = await self._call(
            "POST",
            "/units/{unit}/campaigns/{campaign}/cancel",
            body=body,
            path={"unit": unit, "campaign": campaign},
        )
        return result

    async def retry_failed_campaign(self, unit: Id, campaign: Id, body: Nothing | None = None) -> SteeredCampaign:
        """Try again whoever failed. `POST /units/{unit}/campaigns/{campaign}/retry-failed`. Nobody is written to
        who may have got the message. Who may: A person of the unit but attendants, or a token of it or its
        organization with the scope `send`.
        """
        result: SteeredCampaign = await self._call(
            "POST",
            "/units/{unit}/campaigns/{campaign}/retry-failed",
            body=body,
            path={"unit": unit, "campaign": campaign},
        )
        return result

    async def list_suppressions(
        self,
        unit: Id,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> SuppressionPage:
        """Who wants no campaigns. `GET /units/{unit}/suppressions`. Who may: A person of the unit, or a token of
        it or its organization with the scope `read`.
        """
        result: SuppressionPage = await self._call(
            "GET",
            "/units/{unit}/suppressions",
            path={"unit": unit},
            query={"limit": limit, "cursor": cursor},
        )
        return result

    async def suppress(self, unit: Id, body: NewSuppression) -> Suppression:
        """Write no campaigns to a contact. `POST /units/{unit}/suppressions`. 200 where it was so already.
        Replies are not touched by it. Who may: A person of the unit, or a token of it or its organization with
        the scope `send`.
        """
        result: Suppression = await self._call(
            "POST",
            "/units/{unit}/suppressions",
            body=body,
            path={"unit": unit},
        )
        return result

    async def release_suppression(self, unit: Id, contact: Id) -> None:
        """Let campaigns be written to a contact again. `DELETE /units/{unit}/suppressions/{contact}`. By its
        phone and by its LIDs. Who may: A person of the unit, or a token of it or its organization with the
        scope `send`.
        """
        await self._call(
            "DELETE",
            "/units/{unit}/suppressions/{contact}",
            path={"unit": unit, "contact": contact},
            answer="nothing",
        )

    async def get_line_settings(self, unit: Id) -> LineSettings:
        """How a line behaves at WhatsApp. `GET /units/{unit}/whatsapp/settings`. Who may: A person of the unit
        but attendants, or a token of it or its organization with the scope `read`.
        """
        result: LineSettings = await self._call("GET", "/units/{unit}/whatsapp/settings", path={"unit": unit})
        return result

    async def put_line_settings(self, unit: Id, body: NewLineSettings | None = None) -> LineSettings:
        """Replace how a line behaves at WhatsApp. `PUT /units/{unit}/whatsapp/settings`. Evolution is told at
        once; where it is away, with the line's next check, and `applied` says what is still to come. Each
        check reads back what Evolution has. What somebody has changed there is set again, unless the unit's
        `webhookRegistration` is `observe`, and told in the log. Who may: A person of the unit but attendants,
        or a token of it or its organization with `control`.
        """
        result: LineSettings = await self._call(
            "PUT",
            "/units/{unit}/whatsapp/settings",
            body=body,
            path={"unit": unit},
        )
        return result

    async def put_proxy(self, unit: Id, body: NewProxy) -> LineSettings:
        """Have a line reach WhatsApp by a proxy. `PUT /units/{unit}/whatsapp/proxy`. It holds from the line's
        next connection on. Evolution tries a proxy before it takes it. The credentials are stored encrypted
        and are never shown. Who may: An administrator.
        """
        result: LineSettings = await self._call(
            "PUT",
            "/units/{unit}/whatsapp/proxy",
            body=body,
            path={"unit": unit},
        )
        return result

    async def delete_proxy(self, unit: Id) -> LineSettings:
        """Have a line reach WhatsApp without a proxy. `DELETE /units/{unit}/whatsapp/proxy`. It holds from its
        next connection on. Who may: An administrator.
        """
        result: LineSettings = await self._call("DELETE", "/units/{unit}/whatsapp/proxy", path={"unit": unit})
        return result

    async def check_numbers(self, unit: Id, body: NumbersToCheck) -> Numbers:
        """Which numbers are on WhatsApp, and under which id. `POST /units/{unit}/numbers/check`. WhatsApp bans
        lines that look up many numbers. So an answer is kept, for a week where the number is there and for six
        hours where it is not; what is not known is asked for at a slow pace and at most so many times a day
        (`ZAPLINE_NUMBER_CHECKS_PER_DAY`). A request that would go beyond that asks for nothing and is refused
        with 429, which says in `Retry-After` when it may be repeated. What has been answered is not asked for
        again. That a number is not there is WhatsApp's word of that moment, not proof. Who may: A person of
        the unit, or a token of it or its organization with the scope `send`.
        """
        result: Numbers = await self._call("POST", "/units/{unit}/numbers/check", body=body, path={"unit": unit})
        return result

    async def list_contacts(
        self,
        unit: Id,
        *,
        search: str | None = None,
        phone: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> ContactPage:
        """The people whom a unit knows. `GET /units/{unit}/contacts`. Who may: A person of the unit, or a token
        of it or its organization with the scope `read`.
        """
        result: ContactPage = await self._call(
            "GET",
            "/units/{unit}/contacts",
            path={"unit": unit},
            query={"search": search, "phone": phone, "limit": limit, "cursor": cursor},
        )
        return result

    async def get_contact_picture(self, unit: Id, person: Id) -> Picture:
        """Where WhatsApp has a contact's picture. `GET /units/{unit}/contacts/{person}/picture`. WhatsApp is
        asked within ten seconds, and its answer is kept for an hour. The picture itself stays there. Who may:
        A person of the unit, or a token of it or its organization with the scope `read`.
        """
        result: Picture = await self._call(
            "GET",
            "/units/{unit}/contacts/{person}/picture",
            path={"unit": unit, "person": person},
        )
        return result

    async def list_groups(
        self,
        unit: Id,
        *,
        search: str | None = None,
        refresh: Literal["false", "true"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> GroupPage:
        """A unit's groups. `GET /units/{unit}/groups`. Those of which something was heard. With `refresh` also
        those in which nothing was written yet. Who may: A person of the unit, or a token of it or its
        organization with the scope `read`.
        """
        result: GroupPage = await self._call(
            "GET",
            "/units/{unit}/groups",
            path={"unit": unit},
            query={"search": search, "refresh": refresh, "limit": limit, "cursor": cursor},
        )
        return result

    async def get_group(
        self,
        unit: Id,
        group: Id,
        *,
        refresh: Literal["false", "true"] | None = None,
    ) -> GroupWithMembers:
        """A group, and who is in it with which role. `GET /units/{unit}/groups/{group}`. WhatsApp is asked where
        nobody has within the hour. Where it cannot be, what it told last is told, and `membersAt` says how old
        that is. Who may: A person of the unit, or a token of it or its organization with the scope `read`.
        """
        result: GroupWithMembers = await self._call(
            "GET",
            "/units/{unit}/groups/{group}",
            path={"unit": unit, "group": group},
            query={"refresh": refresh},
        )
        return result

    async def get_media(self, unit: Id, message: Id) -> bytes:
        """A message's file. `GET /units/{unit}/messages/{message}/media`. Brought from WhatsApp when asked for,
        so it may take seconds, unless the unit keeps it (`.../files`). Always a download, never shown by a
        browser. A range of bytes can be asked for. Who may: A person of the unit, or a token of it or its
        organization with the scope `read`.
        """
        result: bytes = await self._call(
            "GET",
            "/units/{unit}/messages/{message}/media",
            path={"unit": unit, "message": message},
            answer="bytes",
        )
        return result

    async def link_media(self, unit: Id, message: Id, *, seconds: int | None = None) -> FileLink:
        """A link to a message's file. `GET /units/{unit}/messages/{message}/media/link`. For whoever has no
        token, as a browser or a service that reads the file once. It cannot be revoked, but it leads nowhere
        once the message is deleted or erased, or the unit archived. Who may: A person of the unit, or a token
        of it or its organization with the scope `read`.
        """
        result: FileLink = await self._call(
            "GET",
            "/units/{unit}/messages/{message}/media/link",
            path={"unit": unit, "message": message},
            query={"seconds": seconds},
        )
        return result

    async def get_file(self, link: Id) -> bytes:
        """A message's file, by a link. `GET /files/{link}`. As `.../media`, without a token. Who may: Anybody."""
        result: bytes = await self._call("GET", "/files/{link}", path={"link": link}, answer="bytes")
        return result

    async def get_file_policy(self, unit: Id) -> FilePolicy:
        """Which files a unit keeps. `GET /units/{unit}/files`. Files are fetched as their messages arrive, and
        read at `.../media` from then on, also when WhatsApp has them no more. What may be looked at once is
        never kept. A file goes with its message: by the unit's retention, by a person's erasure, and when its
        sender deletes the message for everyone. Who may: A person of the unit but attendants, or a token of it
        or its organization with the scope `read`.
        """
        result: FilePolicy = await self._call("GET", "/units/{unit}/files", path={"unit": unit})
        return result

    async def put_file_policy(self, unit: Id, body: NewFilePolicy) -> FilePolicy:
        """Replace which files a unit keeps. `PUT /units/{unit}/files`. Files are fetched as their messages
        arrive, and read at `.../media` from then on, also when WhatsApp has them no more. What may be looked
        at once is never kept. A file goes with its message: by the unit's retention, by a person's erasure,
        and when its sender deletes the message for everyone. Who may: A person of the unit but attendants, or
        a token of it or its organization with `control`.
        """
        result: FilePolicy = await self._call("PUT", "/units/{unit}/files", body=body, path={"unit": unit})
        return result

    async def create_hook(self, unit: Id, body: NewHook) -> SecretHook:
        """Tell the CRM of what happens to a unit; the secret is shown this once. `POST /units/{unit}/hooks`. Who
        may: A person of the unit but attendants, or a token of it or its organization with `control`.
        """
        result: SecretHook = await self._call("POST", "/units/{unit}/hooks", body=body, path={"unit": unit})
        return result

    async def list_hooks(self, unit: Id) -> Hooks:
        """All hooks. `GET /units/{unit}/hooks`. Who may: A person of the unit but attendants, or a token of it or
        its organization with the scope `read`.
        """
        result: Hooks = await self._call("GET", "/units/{unit}/hooks", path={"unit": unit})
        return result

    async def get_hook(self, unit: Id, hook: Id) -> Hook:
        """One hook. `GET /units/{unit}/hooks/{hook}`. Who may: A person of the unit but attendants, or a token of
        it or its organization with the scope `read`.
        """
        result: Hook = await self._call("GET", "/units/{unit}/hooks/{hook}", path={"unit": unit, "hook": hook})
        return result

    async def delete_hook(self, unit: Id, hook: Id) -> None:
        """Delete a hook, and all that waits for it. `DELETE /units/{unit}/hooks/{hook}`. Who may: A person of the
        unit but attendants, or a token of it or its organization with `control`.
        """
        await self._call(
            "DELETE",
            "/units/{unit}/hooks/{hook}",
            path={"unit": unit, "hook": hook},
            answer="nothing",
        )

    async def rotate_hook_key(self, unit: Id, hook: Id, body: Nothing | None = None) -> SecretHook:
        """Give a hook a new secret; for a day deliveries are signed with the old one too. `POST
        /units/{unit}/hooks/{hook}/rotate-key`. Who may: A person of the unit but attendants, or a token of it
        or its organization with `control`.
        """
        result: SecretHook = await self._call(
            "POST",
            "/units/{unit}/hooks/{hook}/rotate-key",
            body=body,
            path={"unit": unit, "hook": hook},
        )
        return result

    async def enable_hook(self, unit: Id, hook: Id, body: Nothing | None = None) -> Hook:
        """Serve a hook again that was disabled. `POST /units/{unit}/hooks/{hook}/enable`. Who may: A person of
        the unit but attendants, or a token of it or its organization with `control`.
        """
        result: Hook = await self._call(
            "POST",
            "/units/{unit}/hooks/{hook}/enable",
            body=body,
            path={"unit": unit, "hook": hook},
        )
        return result

    async def test_hook(self, unit: Id, hook: Id, body: Nothing | None = None) -> Queued:
        """Deliver a `hook.test`. `POST /units/{unit}/hooks/{hook}/test`. Who may: A person of the unit but
        attendants, or a token of it or its organization with `control`.
        """
        result: Queued = await self._call(
            "POST",
            "/units/{unit}/hooks/{hook}/test",
            body=body,
            path={"unit": unit, "hook": hook},
        )
        return result

    async def list_deliveries(
        self,
        unit: Id,
        hook: Id,
        *,
        state: Literal["queued", "delivered", "dead"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> DeliveryPage:
        """Deliveries of a hook. `GET /units/{unit}/hooks/{hook}/deliveries`. Who may: A person of the unit but
        attendants, or a token of it or its organization with the scope `read`.
        """
        result: DeliveryPage = await self._call(
            "GET",
            "/units/{unit}/hooks/{hook}/deliveries",
            path={"unit": unit, "hook": hook},
            query={"state": state, "limit": limit, "cursor": cursor},
        )
        return result

    async def replay_delivery(self, unit: Id, hook: Id, delivery: Id, body: Nothing | None = None) -> Queued:
        """Make a delivery that has ended once more, under the same id. `POST
        /units/{unit}/hooks/{hook}/deliveries/{delivery}/replay`. Who may: A person of the unit but attendants,
        or a token of it or its organization with `control`.
        """
        result: Queued = await self._call(
            "POST",
            "/units/{unit}/hooks/{hook}/deliveries/{delivery}/replay",
            body=body,
            path={"unit": unit, "hook": hook, "delivery": delivery},
        )
        return result

    async def replay_dead_deliveries(self, unit: Id, hook: Id, body: ReplayDead) -> Revived:
        """Make all deliveries once more that died since a time. `POST /units/{unit}/hooks/{hook}/replay`. Who
        may: A person of the unit but attendants, or a token of it or its organization with `control`.
        """
        result: Revived = await self._call(
            "POST",
            "/units/{unit}/hooks/{hook}/replay",
            body=body,
            path={"unit": unit, "hook": hook},
        )
        return result

    async def replay_events(self, unit: Id, hook: Id, body: ReplayRange) -> ReplayedEvents:
        """Deliver the events of a time once more, whether they were delivered or not. `POST
        /units/{unit}/hooks/{hook}/replay-events`. At most 5,000 in one call, ten a second; `nextSeq` says
        where the next call goes on (`afterSeq`, with the same range). What happens meanwhile is delivered
        between them. An event has the `webhook-id` of its first delivery. Events can be delivered again for
        three days. Who may: A person of the unit but attendants, or a token of it or its organization with
        `control`.
        """
        result: ReplayedEvents = await self._call(
            "POST",
            "/units/{unit}/hooks/{hook}/replay-events",
            body=body,
            path={"unit": unit, "hook": hook},
        )
        return result

    async def create_organization_hook(self, organization: Id, body: NewOrganizationHook) -> SecretHook:
        """Tell a CRM of what happens to the units of an organization; the secret is shown this once. `POST
        /organizations/{organization}/hooks`. Also of units that are added later. What is told names its unit
        (`data.unitId`). Who may: A person of the unit but attendants, or a token of it or its organization
        with `control`.
        """
        result: SecretHook = await self._call(
            "POST",
            "/organizations/{organization}/hooks",
            body=body,
            path={"organization": organization},
        )
        return result

    async def list_organization_hooks(self, organization: Id) -> Hooks:
        """All hooks. `GET /organizations/{organization}/hooks`. Who may: A person of the unit but attendants, or
        a token of it or its organization with the scope `read`.
        """
        result: Hooks = await self._call(
            "GET",
            "/organizations/{organization}/hooks",
            path={"organization": organization},
        )
        return result

    async def get_organization_hook(self, organization: Id, hook: Id) -> Hook:
        """One hook. `GET /organizations/{organization}/hooks/{hook}`. Who may: A person of the unit but
        attendants, or a token of it or its organization with the scope `read`.
        """
        result: Hook = await self._call(
            "GET",
            "/organizations/{organization}/hooks/{hook}",
            path={"organization": organization, "hook": hook},
        )
        return result

    async def delete_organization_hook(self, organization: Id, hook: Id) -> None:
        """Delete a hook, and all that waits for it. `DELETE /organizations/{organization}/hooks/{hook}`. Who may:
        A person of the unit but attendants, or a token of it or its organization with `control`.
        """
        await self._call(
            "DELETE",
            "/organizations/{organization}/hooks/{hook}",
            path={"organization": organization, "hook": hook},
            answer="nothing",
        )

    async def rotate_organization_hook_key(
        self,
        organization: Id,
        hook: Id,
        body: Nothing | None = None,
    ) -> SecretHook:
        """Give a hook a new secret; for a day deliveries are signed with the old one too. `POST
        /organizations/{organization}/hooks/{hook}/rotate-key`. Who may: A person of the unit but attendants,
        or a token of it or its organization with `control`.
        """
        result: SecretHook = await self._call(
            "POST",
            "/organizations/{organization}/hooks/{hook}/rotate-key",
            body=body,
            path={"organization": organization, "hook": hook},
        )
        return result

    async def enable_organization_hook(self, organization: Id, hook: Id, body: Nothing | None = None) -> Hook:
        """Serve a hook again that was disabled. `POST /organizations/{organization}/hooks/{hook}/enable`. Who
        may: A person of the unit but attendants, or a token of it or its organization with `control`.
        """
        result: Hook = await self._call(
            "POST",
            "/organizations/{organization}/hooks/{hook}/enable",
            body=body,
            path={"organization": organization, "hook": hook},
        )
        return result

    async def test_organization_hook(self, organization: Id, hook: Id, body: Nothing | None = None) -> Queued:
        """Deliver a `hook.test`. `POST /organizations/{organization}/hooks/{hook}/test`. Who may: A person of the
        unit but attendants, or a token of it or its organization with `control`.
        """
        result: Queued = await self._call(
            "POST",
            "/organizations/{organization}/hooks/{hook}/test",
            body=body,
            path={"organization": organization, "hook": hook},
        )
        return result

    async def list_organization_deliveries(
        self,
        organization: Id,
        hook: Id,
        *,
        state: Literal["queued", "delivered", "dead"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> DeliveryPage:
        """Deliveries of a hook. `GET /organizations/{organization}/hooks/{hook}/deliveries`. Who may: A person of
        the unit but attendants, or a token of it or its organization with the scope `read`.
        """
        result: DeliveryPage = await self._call(
            "GET",
            "/organizations/{organization}/hooks/{hook}/deliveries",
            path={"organization": organization, "hook": hook},
            query={"state": state, "limit": limit, "cursor": cursor},
        )
        return result

    async def replay_organization_delivery(
        self,
        organization: Id,
        hook: Id,
        delivery: Id,
        body: Nothing | None = None,
    ) -> Queued:
        """Make a delivery that has ended once more, under the same id. `POST
        /organizations/{organization}/hooks/{hook}/deliveries/{delivery}/replay`. Who may: A person of the unit
        but attendants, or a token of it or its organization with `control`.
        """
        result: Queued = await self._call(
            "POST",
            "/organizations/{organization}/hooks/{hook}/deliveries/{delivery}/replay",
            body=body,
            path={"organization": organization, "hook": hook, "delivery": delivery},
        )
        return result

    async def replay_dead_organization_deliveries(self, organization: Id, hook: Id, body: ReplayDead) -> Revived:
        """Make all deliveries once more that died since a time. `POST
        /organizations/{organization}/hooks/{hook}/replay`. Who may: A person of the unit but attendants, or a
        token of it or its organization with `control`.
        """
        result: Revived = await self._call(
            "POST",
            "/organizations/{organization}/hooks/{hook}/replay",
            body=body,
            path={"organization": organization, "hook": hook},
        )
        return result

    async def replay_organization_events(self, organization: Id, hook: Id, body: ReplayRange) -> ReplayedEvents:
        """Deliver the events of a time once more, whether they were delivered or not. `POST
        /organizations/{organization}/hooks/{hook}/replay-events`. At most 5,000 in one call, ten a second;
        `nextSeq` says where the next call goes on (`afterSeq`, with the same range). What happens meanwhile is
        delivered between them. An event has the `webhook-id` of its first delivery. Events can be delivered
        again for three days. Who may: A person of the unit but attendants, or a token of it or its
        organization with `control`.
        """
        result: ReplayedEvents = await self._call(
            "POST",
            "/organizations/{organization}/hooks/{hook}/replay-events",
            body=body,
            path={"organization": organization, "hook": hook},
        )
        return result

    async def list_alarm_destinations(self) -> AlarmDestinations:
        """To whom alarms go. `GET /alarms/destinations`. Who may: An administrator."""
        result: AlarmDestinations = await self._call("GET", "/alarms/destinations")
        return result

    async def add_alarm_destination(self, body: NewAlarmDestination) -> MadeAlarmDestination:
        """Have alarms go to somebody. `POST /alarms/destinations`. What goes wrong together is one incident: one
        alarm, updates if more falls, reminders, one all-clear. An e-mail needs an SMTP server in the daemon's
        settings. A webhook is a POST of JSON with `type`, `title` and `body`, which Apprise's API takes as it
        is, and with the incident for programs; `webhook-id` is the same at every try. A `line` is a WhatsApp
        message by a unit's own line, at its pace. Who may: An administrator.
        """
        result: MadeAlarmDestination = await self._call("POST", "/alarms/destinations", body=body)
        return result

    async def remove_alarm_destination(self, destination: Id) -> None:
        """Have no more alarms go to somebody. `DELETE /alarms/destinations/{destination}`. Who may: An
        administrator.
        """
        await self._call(
            "DELETE",
            "/alarms/destinations/{destination}",
            path={"destination": destination},
            answer="nothing",
        )

    async def test_alarm_destination(self, destination: Id) -> AlarmTest:
        """Send a test to a destination, now. `POST /alarms/destinations/{destination}/test`. Takes up to a minute
        where the destination does not answer. Who may: An administrator.
        """
        result: AlarmTest = await self._call(
            "POST",
            "/alarms/destinations/{destination}/test",
            path={"destination": destination},
        )
        return result

    async def list_alarm_incidents(self, *, limit: int | None = None, cursor: str | None = None) -> IncidentPage:
        """The incidents that were told. `GET /alarms/incidents`. Kept for 90 days. What was too short to be told
        is in each line's history. Who may: An administrator.
        """
        result: IncidentPage = await self._call(
            "GET",
            "/alarms/incidents",
            query={"limit": limit, "cursor": cursor},
        )
        return result

    async def list_dead_letters(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        unit_id: str | UUID | None = None,
    ) -> LetterPage:
        """Dead letters of all units. `GET /dead-letters`. Who may: An administrator."""
        result: LetterPage = await self._call(
            "GET",
            "/dead-letters",
            query={"limit": limit, "cursor": cursor, "unitId": unit_id},
        )
        return result

    async def replay_dead_letter(self, letter: int, body: Nothing | None = None) -> Replayed:
        """Give a dead letter to its unit again. `POST /dead-letters/{letter}/replay`. Who may: An administrator."""
        result: Replayed = await self._call(
            "POST",
            "/dead-letters/{letter}/replay",
            body=body,
            path={"letter": letter},
        )
        return result

    async def list_unit_dead_letters(
        self,
        unit: Id,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> LetterPage:
        """A unit's dead letters. `GET /units/{unit}/dead-letters`. Who may: A person of the unit but attendants,
        or a token of it or its organization with the scope `read`.
        """
        result: LetterPage = await self._call(
            "GET",
            "/units/{unit}/dead-letters",
            path={"unit": unit},
            query={"limit": limit, "cursor": cursor},
        )
        return result

    async def get_dead_letter(self, unit: Id, letter: int) -> RawLetter:
        """A dead letter with its body. `GET /units/{unit}/dead-letters/{letter}`. Who may: A person of the unit
        but attendants, or a token of it or its organization with `control`.
        """
        result: RawLetter = await self._call(
            "GET",
            "/units/{unit}/dead-letters/{letter}",
            path={"unit": unit, "letter": letter},
        )
        return result

    async def replay_unit_dead_letter(self, unit: Id, letter: int, body: Nothing | None = None) -> Replayed:
        """Give a dead letter to its unit again. `POST /units/{unit}/dead-letters/{letter}/replay`. Who may: A
        person of the unit but attendants, or a token of it or its organization with `control`.
        """
        result: Replayed = await self._call(
            "POST",
            "/units/{unit}/dead-letters/{letter}/replay",
            body=body,
            path={"unit": unit, "letter": letter},
        )
        return result

    async def give_up_dead_letter(self, unit: Id, letter: int, body: Nothing | None = None) -> GivenUp:
        """Leave a dead letter alone; it is kept like the others. `POST
        /units/{unit}/dead-letters/{letter}/give-up`. Who may: A person of the unit but attendants, or a token
        of it or its organization with `control`.
        """
        result: GivenUp = await self._call(
            "POST",
            "/units/{unit}/dead-letters/{letter}/give-up",
            body=body,
            path={"unit": unit, "letter": letter},
        )
        return result

    async def livez(self) -> Pass:
        """Whether the process lives. `GET /livez`. Who may: Anybody."""
        result: Pass = await self._call("GET", "/livez")
        return result

    async def readyz(self) -> Pass:
        """Whether a webhook can be made durable. `GET /readyz`. Who may: Anybody."""
        result: Pass = await self._call("GET", "/readyz")
        return result

    async def health(self) -> Health:
        """How all is, judged. `GET /health`. Always 200: the verdict is inside. Who may: Anybody."""
        result: Health = await self._call("GET", "/health")
        return result

    async def metrics(self) -> bytes:
        """Metrics for Prometheus. `GET /metrics`. Who may: Anybody."""
        result: bytes = await self._call("GET", "/metrics", answer="bytes")
        return result

    async def openapi(self) -> dict[str, Any]:
        """The API as an OpenAPI 3.1 document. `GET /openapi.json`. Who may: Anybody."""
        result: dict[str, Any] = await self._call("GET", "/openapi.json")
        return result

    async def docs(self) -> bytes:
        """The API as a page to read. `GET /docs`. Who may: Anybody."""
        result: bytes = await self._call("GET", "/docs", answer="bytes")
        return result

    async def docs_style(self) -> bytes:
        """The stylesheet of the page. `GET /docs/style.css`. Who may: Anybody."""
        result: bytes = await self._call("GET", "/docs/style.css", answer="bytes")
        return result
