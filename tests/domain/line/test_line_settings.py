"""What Evolution is told of how a line behaves, and how what it has differs from that."""

from zapline.domain.line.line_settings import LineProxy, LineSettings, ProxyProtocol, proxy_differs, setting_differences


def test_what_evolution_has_is_compared_by_what_it_means() -> None:
    wanted = LineSettings(reject_calls=True, call_text="Oi")
    assert setting_differences(wanted, wanted.for_evolution()) == ()
    assert setting_differences(LineSettings(), None) == (), "none at all is as the defaults are"
    assert setting_differences(LineSettings(), {"msgCall": None, "rejectCall": None}) == ()
    assert setting_differences(wanted, {"rejectCall": False}) == ("rejectCall", "msgCall")
    silent = LineSettings(call_text="Oi")
    assert silent.for_evolution()["msgCall"] == "", "Evolution writes it to every caller, rejected or not"
    proxy = LineProxy(ProxyProtocol.HTTP, "proxy.example.com", 8080)
    has = proxy.for_evolution()
    assert "secret" not in repr(LineProxy(ProxyProtocol.HTTP, "h", 1, "secret", "secret"))
    for found, differs in (
        (has, False),
        ({**has, "username": None}, False),
        ({**has, "port": "81"}, True),
        (None, True),
    ):
        assert proxy_differs(proxy, found) is differs
    for found, differs in ((None, False), ({"enabled": False, "host": ""}, False), (has, True)):
        assert proxy_differs(None, found) is differs
