"""The pages about messages: which there are, and which of their forms may bring a file."""

from zapline.http.api.campaigns.campaigns import MAX_LIST
from zapline.http.console.attention.attention_pages import AttentionPages
from zapline.http.console.attention.dead_letter_pages import DeadLetterPages
from zapline.http.console.campaigns.campaign_form import NEW_PATH, CampaignFormPages
from zapline.http.console.campaigns.campaign_pages import CampaignPages
from zapline.http.console.framework.counts import TotalsCache
from zapline.http.console.framework.layout import Layout
from zapline.http.console.inbox.conversation_list import ConversationListPages
from zapline.http.console.inbox.message_files import MessageFiles
from zapline.http.console.inbox.reply import REPLY_PATH
from zapline.http.console.inbox.thread import ThreadPages
from zapline.http.console.settings.privacy import PrivacyPage
from zapline.http.dependencies import Dependencies
from zapline.http.server.body_limits import BodyLimit

_FIELDS = 1024 * 1024
"""Bytes of a form beside its files."""
_WITHIN = 28.0
"""Seconds for a form with a file to arrive; below the server's own limit."""


def large_forms(max_upload: int) -> list[BodyLimit]:
    """The forms that may bring a file."""
    return [
        BodyLimit(REPLY_PATH, max_upload + _FIELDS, _WITHIN),
        BodyLimit(NEW_PATH, MAX_LIST + max_upload + _FIELDS, _WITHIN),
    ]


def attach_message_pages(layout: Layout, parts: Dependencies, totals: TotalsCache) -> None:
    """Give the console these pages, as far as there are parts for them."""
    ConversationListPages(layout, parts.commands, parts.pool).attach()
    ThreadPages(layout, parts.commands, parts.pool, parts.outgoing, parts.receipts).attach()
    if parts.media is not None:
        MessageFiles(layout, parts.commands, parts.media, parts.pool).attach()
    AttentionPages(layout, parts.commands, parts.roster, parts.pool, totals, parts.outgoing).attach()
    DeadLetterPages(layout, parts.commands, parts.roster, parts.pool).attach()
    if parts.campaigns is not None and parts.outgoing is not None:
        CampaignFormPages(layout, parts.commands, parts.campaigns, parts.outgoing, parts.pool).attach()
        CampaignPages(layout, parts.commands, parts.campaigns, parts.pool).attach()
    if parts.erasures is not None:
        PrivacyPage(layout, parts.commands, parts.erasures, parts.pool).attach()
