"""Names the actions of the audit log for people: the operations of the API and the console, and the commands."""

from collections.abc import Mapping

from zapline.http.console.framework.translation import N_, _

ACTIONS: Mapping[str, str] = {
    "sign_in": N_("Signed in"),
    "sign_out": N_("Signed out"),
    "login": N_("Signed in through the API"),
    "logout": N_("Signed out of the API"),
    "create_unit": N_("Made a unit"),
    "change_unit": N_("Changed a unit"),
    "archive_unit": N_("Closed a unit"),
    "pause_unit": N_("Paused the sending"),
    "resume_unit": N_("Resumed the sending"),
    "release_unit": N_("Ended a quarantine"),
    "release_campaigns": N_("Released the campaigns"),
    "connect": N_("Connected a line"),
    "disconnect": N_("Unlinked a line"),
    "renew": N_("Made an instance anew"),
    "add_server": N_("Added an Evolution server"),
    "change_server": N_("Changed an Evolution server"),
    "remove_server": N_("Removed an Evolution server"),
    "move_unit": N_("Moved a unit to another server"),
    "servers add": N_("Added an Evolution server by command"),
    "servers change": N_("Changed an Evolution server by command"),
    "servers remove": N_("Removed an Evolution server by command"),
    "move-unit": N_("Moved a unit by command"),
    "rotate_secret": N_("Rotated a webhook secret"),
    "put_pace": N_("Changed the pace"),
    "put_line_settings": N_("Changed how a line behaves"),
    "put_proxy": N_("Changed the proxy of a line"),
    "delete_proxy": N_("Removed the proxy of a line"),
    "send_message": N_("Sent a message"),
    "cancel_message": N_("Cancelled a message"),
    "delete_message": N_("Deleted a message for everyone"),
    "edit_message": N_("Edited a message"),
    "release_message": N_("Decided an uncertain message"),
    "dismiss_message": N_("Left a failed message alone"),
    "mark_read": N_("Marked as read"),
    "put_quick_reply": N_("Wrote a quick reply"),
    "delete_quick_reply": N_("Removed a quick reply"),
    "upload": N_("Uploaded a file"),
    "create_campaign": N_("Made a campaign"),
    "try_campaign": N_("Tried a campaign"),
    "add_recipients": N_("Added recipients"),
    "start_campaign": N_("Started a campaign"),
    "pause_campaign": N_("Paused a campaign"),
    "resume_campaign": N_("Resumed a campaign"),
    "cancel_campaign": N_("Cancelled a campaign"),
    "retry_failed_recipients": N_("Tried failed recipients again"),
    "export_recipients": N_("Exported recipients"),
    "suppress": N_("Added an opt-out"),
    "release_suppression": N_("Removed an opt-out"),
    "mint_token": N_("Made a token"),
    "mint_own_token": N_("Made a token of one's own"),
    "revoke_token": N_("Revoked a token"),
    "revoke_own_token": N_("Revoked a token of one's own"),
    "create_organization": N_("Made an organization"),
    "rename_organization": N_("Renamed an organization"),
    "delete_organization": N_("Removed an organization"),
    "add_organization_unit": N_("Put a unit into an organization"),
    "remove_organization_unit": N_("Took a unit out of an organization"),
    "mint_organization_token": N_("Made a token of an organization"),
    "revoke_organization_token": N_("Revoked a token of an organization"),
    "create_hook": N_("Made a webhook to a CRM"),
    "enable_hook": N_("Enabled a webhook to a CRM"),
    "delete_hook": N_("Removed a webhook to a CRM"),
    "rotate_hook_key": N_("Rotated the key of a webhook"),
    "test_hook": N_("Tested a webhook to a CRM"),
    "replay_delivery": N_("Delivered a webhook again"),
    "replay_dead_deliveries": N_("Delivered given up webhooks again"),
    "replay_dead_letter": N_("Replayed a dead letter"),
    "replay_unit_dead_letter": N_("Replayed a dead letter of a unit"),
    "give_up_dead_letter": N_("Left a dead letter alone"),
    "erase_person": N_("Erased a person"),
    "export_person": N_("Exported a person's data"),
    "export-person": N_("Exported a person's data by command"),
    "rename_unit": N_("Renamed a unit"),
    "tokens mint": N_("Made a token by command"),
    "tokens revoke": N_("Revoked a token by command"),
    "organizations add": N_("Made an organization by command"),
    "organizations add-unit": N_("Put a unit into an organization by command"),
    "organizations remove-unit": N_("Took a unit out of an organization by command"),
    "organizations mint": N_("Made a token of an organization by command"),
    "organizations revoke": N_("Revoked a token of an organization by command"),
    "admin add": N_("Added an administrator"),
    "admin password": N_("Changed an administrator's password"),
    "admin enable": N_("Enabled an administrator"),
    "admin disable": N_("Disabled an administrator"),
}
"""Labels by the names that are stored."""


def action_label(action: str) -> str:
    """What was done, in the operator's language; one without a label is shown by its name."""
    return _(ACTIONS[action]) if action in ACTIONS else action.replace("_", " ")


def action_choices(wanted: str) -> list[tuple[str, str]]:
    """The actions to choose from, by their labels; the wanted one is among them even if it is unknown."""
    names = {*ACTIONS, wanted} - {""}
    return sorted(((name, action_label(name)) for name in names), key=lambda choice: choice[1].casefold())
