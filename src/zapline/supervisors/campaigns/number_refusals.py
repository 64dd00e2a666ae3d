"""Leaves numbers out of a list that are not on WhatsApp, as far as it has said so or can be asked now."""

from collections.abc import Mapping

from zapline.domain.campaigns.recipient_checks import CheckedRecipient, RecipientCounts
from zapline.supervisors.directory.number_checks import MAX_NUMBERS, NumberChecks
from zapline.supervisors.inbound.unit_state import Unit

NOT_ON_WHATSAPP = "not_on_whatsapp"
"""As the reason of a skipped recipient."""


class NumberRefusals:
    """For one list, whose ``counts`` are told how many numbers nobody knows anything of. At most fifty are asked for:
    a list may be long, and WhatsApp bans lines that look up many."""

    def __init__(self, checks: NumberChecks, unit: Unit, counts: RecipientCounts) -> None:
        self._checks = checks
        self._unit = unit
        self._counts = counts
        self._left = MAX_NUMBERS
        counts.unchecked = 0

    async def find(self, recipients: Mapping[int, CheckedRecipient]) -> dict[int, str]:
        """The reason, by number, for those of these that are not on WhatsApp. Raises DatabaseUnavailable."""
        phones = {one.recipient for one in recipients.values()}
        known, asked = await self._checks.look_up(self._unit, phones, self._left)
        self._left -= asked
        self._counts.unchecked = (self._counts.unchecked or 0) + len(phones - known.keys())
        return {
            number: NOT_ON_WHATSAPP
            for number, one in recipients.items()
            if one.recipient in known and not known[one.recipient].on_whatsapp
        }
