"""What Evolution answers about numbers and groups, in all spellings that its versions have, and what is none of it."""

from typing import Any

import pytest

from zapline.evolution.client.directory_calls import GroupRole, NumberAnswer, parse_group, parse_number_answers
from zapline.evolution.client.failures import BadAnswer


def test_numbers_are_matched_by_themselves_whatever_the_order() -> None:
    rows = [
        {"jid": "120363025246125486@g.us", "exists": True, "number": "120363025246125486@g.us", "name": "Equipe"},
        {"jid": "551177776666@s.whatsapp.net", "exists": True, "number": "5511977776666"},
        {"jid": "5511988887777@s.whatsapp.net", "exists": False, "number": "5511988887777"},
        {"jid": "222333444555666:2@lid", "exists": True, "number": "5511966665555", "lid": "lid"},
    ]
    answers = parse_number_answers(rows)
    assert answers["5511977776666"] == NumberAnswer(True, "551177776666@s.whatsapp.net")
    assert answers["5511988887777"] == NumberAnswer(False, None)
    assert answers["5511966665555"] == NumberAnswer(True, "222333444555666@lid")
    assert parse_number_answers(rows[::-1]) == answers
    for bad in ({}, None, [None], [{"number": "1"}], [{"number": 1, "exists": True}]):
        with pytest.raises(BadAnswer):
            parse_number_answers(bad)


def test_members_are_known_by_phone_and_lid_in_every_spelling() -> None:
    phone, lid = "5511999990001@s.whatsapp.net", "111222333444555@lid"
    rows: list[Any] = [
        {"id": lid, "phoneNumber": phone, "admin": "superadmin"},
        {"id": "5531988880002:7@s.whatsapp.net", "admin": "admin"},
        {"id": "999888777666555@lid", "lid": "999888777666555@lid", "admin": None},
        {"id": phone, "lid": lid, "admin": None},  # the same person again
        {"id": None},
        "no object",
        {"id": "120363000000000001@g.us"},
    ]
    told = parse_group({"id": "1@g.us", "subject": " ", "announce": True, "participants": rows})
    assert (told.subject, told.admins_only) == (None, True)
    assert [(one.address.canonical, one.address.lid, one.role) for one in told.members] == [
        ("+5511999990001", "111222333444555", GroupRole.OWNER),
        ("+5531988880002", None, GroupRole.ADMIN),
        ("lid:999888777666555", "999888777666555", GroupRole.MEMBER),
    ]
    for bad in (None, [], {"participants": None}):
        with pytest.raises(BadAnswer):
            parse_group(bad)
