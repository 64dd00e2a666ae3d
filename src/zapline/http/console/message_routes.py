"""The pages about messages: which there are, and which of their forms may bring a file."""

from zapline.http.api.campaigns.campaigns import MAX_LIST
from zapline.http.console.attention.attention_list import AttentionPages
from zapline.http.console.attention.dead_letters import LetterPages
from zapline.http.console.campaigns.campaign_form import NEW_PATH, CampaignForms
from zapline.http.console.campaigns.campaign_pages import CampaignViews
from zapline.http.console.framework.counts import Totals
from zapline.http.console.framework.layout import Frame
from zapline.http.console.inbox.conversation_list import Chats
from zapline.http.console.inbox.files import Files
from zapline.http.console.inbox.reply import REPLY_PATH
from zapline.http.console.inbox.thread import Threads
from zapline.http.console.settings.privacy import PrivacyPage
from zapline.http.dependencies import Dependencies
from zapline.http.server.body_limits import BodyLimit

_FIELDS = 1024 * 1024
"""Bytes of a form beside its files."""
_WITHIN = 28.0
"""Seconds for a form with a file to arrive; below the server's own limit."""


def larger(max_upload: int) -> list[BodyLimit]:
    """The forms that may bring a file."""
    return [
        BodyLimit(REPLY_PATH, max_upload + _FIELDS, _WITHIN),
        BodyLimit(NEW_PATH, MAX_LIST + max_upload + _FIELDS, _WITHIN),
    ]


def attach_messages(frame: Frame, parts: Dependencies, totals: Totals) -> None:
    """Give the console these pages, as far as there are parts for them."""
    Chats(frame, parts.commands, parts.pool).attach()
    Threads(frame, parts.commands, parts.pool, parts.outgoing, parts.receipts).attach()
    if parts.media is not None:
        Files(frame, parts.commands, parts.media, parts.pool).attach()
    AttentionPages(frame, parts.commands, parts.roster, parts.pool, totals, parts.outgoing).attach()
    LetterPages(frame, parts.commands, parts.roster, parts.pool).attach()
    if parts.campaigns is not None and parts.outgoing is not None:
        CampaignForms(frame, parts.commands, parts.campaigns, parts.outgoing, parts.pool).attach()
        CampaignViews(frame, parts.commands, parts.campaigns, parts.pool).attach()
    if parts.erasures is not None:
        PrivacyPage(frame, parts.commands, parts.erasures, parts.pool).attach()
