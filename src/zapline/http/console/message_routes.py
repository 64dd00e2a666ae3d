"""Attaches the pages about messages, and lists the forms whose bodies may hold files."""

from zapline.http.api.campaigns.recipients import MAX_LIST
from zapline.http.console.attention.attention_pages import AttentionPages
from zapline.http.console.attention.dead_letter_pages import DeadLetterPages
from zapline.http.console.attention.message_journey import MessageJourneyPages
from zapline.http.console.campaigns.campaign_form import NEW_PATH, CampaignFormPages
from zapline.http.console.campaigns.campaign_pages import CampaignPages
from zapline.http.console.campaigns.result_page import ResultPage
from zapline.http.console.framework.counts import TotalsCache
from zapline.http.console.framework.layout import Layout
from zapline.http.console.inbox.conversation_list import ConversationListPages
from zapline.http.console.inbox.message_change_forms import MessageChangeForms
from zapline.http.console.inbox.message_files import MessageFiles
from zapline.http.console.inbox.message_search import MessageSearchPages
from zapline.http.console.inbox.palette import Palette
from zapline.http.console.inbox.reactions import ReactionForm
from zapline.http.console.inbox.reply import REPLY_PATH
from zapline.http.console.inbox.thread import ThreadPages
from zapline.http.console.settings.privacy import PrivacyPage
from zapline.http.console.settings.quick_replies import QuickRepliesPage
from zapline.http.dependencies import Dependencies
from zapline.http.server.body_limits import BodyLimit

_MAX_FIELDS = 1024 * 1024
"""Bytes of a form's fields, beside its files."""
_TIMEOUT = 28.0
"""Seconds for a form with a file to arrive; below the server's own limit."""


def large_forms(max_upload: int) -> list[BodyLimit]:
    """The forms that may hold a file, with their limits."""
    return [
        BodyLimit(REPLY_PATH, max_upload + _MAX_FIELDS, _TIMEOUT),
        BodyLimit(NEW_PATH, MAX_LIST + max_upload + _MAX_FIELDS, _TIMEOUT),
    ]


def attach_message_pages(layout: Layout, dependencies: Dependencies, totals: TotalsCache) -> None:
    """Attach these pages, without those whose dependencies are missing."""
    commands, pool, roster = dependencies.commands, dependencies.pool, dependencies.roster
    submissions, campaigns = dependencies.outgoing, dependencies.campaigns
    ConversationListPages(layout, commands, pool).attach()
    ThreadPages(layout, commands, pool, submissions, dependencies.receipts).attach()
    MessageSearchPages(layout, commands, roster, pool, dependencies.searches).attach()
    Palette(layout, roster, pool).attach()
    if submissions is not None:
        ReactionForm(layout, submissions).attach()
    if dependencies.edits is not None:
        MessageChangeForms(layout, commands, dependencies.edits).attach()
    if dependencies.replies is not None:
        QuickRepliesPage(layout, commands, dependencies.replies, pool).attach()
    if dependencies.media is not None:
        MessageFiles(layout, commands, dependencies.media, pool).attach()
    AttentionPages(layout, commands, roster, pool, totals, submissions).attach()
    DeadLetterPages(layout, commands, roster, pool).attach()
    MessageJourneyPages(layout, commands, roster, pool, dependencies.sending, dependencies.region).attach()
    if campaigns is not None and submissions is not None:
        CampaignFormPages(layout, commands, campaigns, submissions, pool).attach()
        CampaignPages(layout, commands, campaigns, pool).attach()
        ResultPage(layout, commands, pool).attach()
    if dependencies.erasures is not None:
        PrivacyPage(layout, commands, dependencies.erasures, pool).attach()
