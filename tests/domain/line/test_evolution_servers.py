"""New units spread over the Evolution servers by weight and count; names, addresses and keys are checked."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.many_cases import in_one_test

from zapline.domain.line.evolution_servers import (
    ENVIRONMENT,
    InvalidServer,
    ServerLoad,
    check_key,
    check_name,
    check_url,
    check_weight,
    choose_server,
)

LOADS = st.lists(
    st.builds(
        ServerLoad,
        st.sampled_from([ENVIRONMENT, "a", "b", "c", "d"]),
        st.integers(0, 300),
        st.integers(1, 1000),
        st.booleans(),
        st.booleans(),
    ),
    unique_by=lambda server: server.name,
    max_size=5,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(LOADS)
def test_a_new_unit_goes_where_there_is_room_and_never_on_a_paused_server(servers: list[ServerLoad]) -> None:
    chosen = choose_server(servers)
    taking = [server for server in servers if not server.paused]
    if not taking:
        assert chosen is None
        return
    place = next(server for server in taking if server.name == chosen)
    others = [server for server in taking if server.answers] or taking
    assert place in others
    assert all((place.units + 1) / place.weight <= (server.units + 1) / server.weight for server in others)
    assert choose_server(reversed(servers)) == chosen


def test_alone_the_environments_server_takes_all() -> None:
    assert choose_server([ServerLoad(ENVIRONMENT, 5000)]) == ENVIRONMENT
    assert choose_server([ServerLoad(ENVIRONMENT, 5000, answers=False)]) == ENVIRONMENT


def test_units_are_spread_in_proportion_to_the_weights() -> None:
    lives: Counter[str] = Counter()
    weights = {ENVIRONMENT: 100, "half": 50, "small": 10}
    for _ in range(320):
        chosen = choose_server(ServerLoad(name, lives[name], weight) for name, weight in weights.items())
        assert chosen is not None
        lives[chosen] += 1
    assert lives == {ENVIRONMENT: 200, "half": 100, "small": 20}


@in_one_test(["evo-2", "a", "9", "a" * 32])
def test_a_name_is_a_short_label(name: str) -> None:
    assert check_name(name) == name


@in_one_test(["", "-a", "a-", "A", "a b", "a_b", "a" * 33, "é", "a\n", ENVIRONMENT])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidServer):
        check_name(name)


@in_one_test(
    [
        *("", "evolution.example", "ftp://a", "http://", "http://a:0", "http://a:x", "http://u:p@a", "http://a/?k=v"),
        *("http://a/#f", "http://a b", "http://a\n", "http://" + "a" * 300, "http://[::1"),
    ]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidServer):
        check_url(url)


def test_an_address_has_no_slash_at_its_end() -> None:
    assert check_url("https://evolution-2.example:8443/base/") == "https://evolution-2.example:8443/base"


@in_one_test(["", "a b", "a\n", "é", "k" * 501])
def test_what_no_header_can_hold_is_no_key(key: str) -> None:
    with pytest.raises(InvalidServer) as refused:
        check_key(key)
    assert not key or key not in str(refused.value)


@in_one_test([0, -1, 1001])
def test_a_weight_has_bounds(weight: int) -> None:
    with pytest.raises(InvalidServer):
        check_weight(weight)
