"""Who may change a message: the table, for every change and every way in which a claim compares with the message."""

import itertools

from zapline.domain.messages.authority import IN_A_CHAT, IN_A_GROUP, Allowed, Change, Fit, may_change

TRI = (True, False, None)
FITS = [
    Fit(chat, author, from_me, mine, group, proven)
    for chat, author, from_me, mine, group, proven in itertools.product(
        TRI, TRI, TRI, (True, False), (True, False), (True, False)
    )
]


def test_both_tables_name_every_change() -> None:
    assert set(IN_A_CHAT) == set(IN_A_GROUP) == set(Change)


def test_nothing_is_changed_from_another_conversation() -> None:
    assert not any(may_change(change, fit) for change in Change for fit in FITS if fit.same_chat is False)


def test_what_a_sender_wrote_himself_changes_neither_our_messages_nor_those_of_a_group() -> None:
    unproven = [fit for fit in FITS if not fit.proven and (fit.mine or fit.group)]
    assert not any(may_change(change, fit) for change in Change for fit in unproven)


def test_only_the_author_edits_and_only_he_or_an_administrator_deletes() -> None:
    for fit in FITS:
        other = fit.from_me is not None and fit.from_me is not fit.mine
        stranger = fit.group and not fit.mine and fit.same_author is False
        if other or stranger:
            assert not may_change(Change.EDIT, fit)
            assert not may_change(Change.AGAIN, fit)
            assert not may_change(Change.DELETE, fit) or fit.group
    admin = Fit(same_chat=True, same_author=False, from_me=False, mine=True, group=True, proven=True)
    assert may_change(Change.DELETE, admin)
    assert IN_A_GROUP[Change.DELETE] is Allowed.ANYBODY_THERE


def test_an_author_may_do_everything_with_his_own() -> None:
    for mine, group in itertools.product((True, False), (True, False)):
        fit = Fit(same_chat=True, same_author=True, from_me=mine, mine=mine, group=group, proven=True)
        assert all(may_change(change, fit) for change in Change)
