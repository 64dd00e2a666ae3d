"""Nothing may be fetched from inside, however its address is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.many_cases import in_one_test

from zapline.domain.network_addresses import MAX_URL_LENGTH, InvalidMediaUrl, MediaUrl, parse_media_url, refusal_reason

PUBLIC = (
    "1.1.1.1",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.1",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2001:200::1",
    "2a00:1450:4001:80b::200e",
    "64:ff9b::101:101",
)

REFUSED = {
    "0.0.0.0": "unspecified",
    "10.1.2.3": "private",
    "100.64.0.1": "carrier-grade NAT",
    "100.100.100.200": "carrier-grade NAT",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "168.63.129.16": "cloud metadata",
    "169.254.169.254": "link-local",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.8": "reserved",
    "192.0.2.1": "documentation",
    "192.88.99.1": "6to4",
    "192.168.1.1": "private",
    "198.19.255.255": "benchmarking",
    "198.51.100.1": "documentation",
    "203.0.113.1": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "::": "unspecified",
    "::1": "loopback",
    "::127.0.0.1": "IPv4 in IPv6",
    "::1.1.1.1": "IPv4 in IPv6",
    "::ffff:10.0.0.1": "IPv4 in IPv6",
    "::ffff:1.1.1.1": "IPv4 in IPv6",
    "::ffff:0:10.0.0.1": "IPv4 in IPv6",
    "64:ff9b::10.0.0.1": "private",
    "64:ff9b::169.254.169.254": "link-local",
    "64:ff9b:1::1.1.1.1": "local NAT64",
    "100::1": "discarded",
    "2001::1": "Teredo",
    "2001:2::1": "reserved",
    "2001:20::1": "reserved",
    "2001:db8::1": "documentation",
    "2002:0a00:0001::1": "6to4",
    "2002:101:101::1": "6to4",
    "3fff::1": "documentation",
    "4000::1": "reserved",
    "5f00::1": "reserved",
    "2606:4700::5efe:10.0.0.1": "IPv4 in IPv6",
    "2606:4700::200:5efe:10.0.0.1": "IPv4 in IPv6",
    "fc00::1": "private",
    "fd00:ec2::254": "private",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "2606:4700::1%eth0": "link-local",
    "fec0::1": "private",
    "ff02::1": "multicast",
    "localhost": "not an address",
    "127.1": "not an address",
    "010.0.0.1": "not an address",
    "": "not an address",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_fetched_from(address: str) -> None:
    assert refusal_reason(address) is None


@in_one_test(REFUSED.items())
def test_an_address_inside_or_of_no_one_is_refused_with_its_kind(address: str, why: str) -> None:
    assert refusal_reason(address) == why


@given(st.ip_addresses(v=4))
def test_an_embedded_address_is_never_judged_more_mildly_than_the_plain_one(address: object) -> None:
    plain = refusal_reason(str(address))
    assert refusal_reason(f"64:ff9b::{address}") == plain
    for form in ("::{}", "::ffff:{}", "64:ff9b:1::{}", "2606:4700::5efe:{}"):
        assert refusal_reason(form.format(address)) is not None


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("https://files.example.com/a.png", MediaUrl("files.example.com", 443, "https://files.example.com/a.png")),
        ("HTTP://Files.Example.COM.:80", MediaUrl("files.example.com", 80, "http://files.example.com/")),
        (" https://a.example:8443?x=1#part ", MediaUrl("a.example", 8443, "https://a.example:8443/?x=1")),
        ("https://a.example/x#y@z#w", MediaUrl("a.example", 443, "https://a.example/x")),
        ("https://a.example/x?u=b@c.d", MediaUrl("a.example", 443, "https://a.example/x?u=b@c.d")),
        (
            "https://ação.com.br/fotos/São João.png",
            MediaUrl("xn--ao-siap.com.br", 443, "https://xn--ao-siap.com.br/fotos/S%C3%A3o%20Jo%C3%A3o.png"),
        ),
        ("https://a.example/%20?q=%C3", MediaUrl("a.example", 443, "https://a.example/%20?q=%C3")),
        ("http://93.184.216.34/a", MediaUrl("93.184.216.34", 80, "http://93.184.216.34/a")),
        ("http://１.1.1.1/", MediaUrl("1.1.1.1", 80, "http://1.1.1.1/")),
        (
            "http://[2606:4700:0::1]:81/a",
            MediaUrl("2606:4700::1", 81, "http://[2606:4700::1]:81/a"),
        ),
        ("https://cdn1.host2/a", MediaUrl("cdn1.host2", 443, "https://cdn1.host2/a")),
    ],
)
def test_a_url_is_read_into_its_plain_form(url: str, read: MediaUrl) -> None:
    assert parse_media_url(url) == read
    assert parse_media_url(read.url) == read
    assert read.is_address == (read.host in ("93.184.216.34", "1.1.1.1", "2606:4700::1"))


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("straße.example", "xn--strae-oqa.example"),
        ("βόλος.example", "xn--nxasmm1c.example"),
        ("نامه\u200cای.example", "xn--mgba3gch31f060k.example"),
        ("☃.example", "xn--n3h.example"),
        ("i❤.example", "xn--i-7iq.example"),
        ("e\u0301.example", "xn--9ca.example"),
        ("ａ＿ｂ。ExAmPlE", "a_b.example"),
        ("a\u00adb.example", "ab.example"),
    ],
)
def test_a_name_is_the_one_that_browsers_and_node_mean(host: str, name: str) -> None:
    """What ``new URL(...).hostname`` of Node 20 says of each."""
    assert parse_media_url(f"https://{host}/a").host == name


REFUSED_URLS = (
    "https://\u0301a.example/",
    "https://a\u200db.example/",
    "https://\U0001f468\u200d\U0001f469.example/",
    "https://\u05d0a☃.example/",
    "",
    "a.png",
    "//files.example.com/a.png",
    "ftp://files.example.com/a.png",
    "file:///etc/passwd",
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
    "https:files.example.com/a.png",
    "https:/files.example.com/a.png",
    "https:///a.png",
    "https://:80/",
    "https://user@files.example.com/",
    "https://user:pass@files.example.com/",
    "https://files.example.com@127.0.0.1/",
    "https://1.1.1.1#@127.0.0.1/".replace("#", "\\"),
    "https://files.example.com\\@127.0.0.1/",
    "https://files.exam\tple.com/",
    "https://files.example.com/a\r\nHost: b",
    "https://files.example.com/\x00",
    "https://files.example.com/\x7f",
    "https://files example.com/",
    "https://files.example.com:/",
    "https://files.example.com:0/",
    "https://files.example.com:65536/",
    "https://files.example.com:80:80/",
    "https://files.example.com:+80/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://127.0.0.1.1/",
    "http://1.1.1.256/",
    "http://a.example.0x1/",
    "http://%31%32%37.0.0.1/",
    "http://[::1/",
    "http://[::1]x/",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[v1.a]/",
    "http://::1/",
    "http://localhost/",
    "http://LOCALHOST./",
    "http://loc\u200balhost/",
    "http://ⓛocalhost/",
    "http://evolution:8080/",
    "http://printer.local/",
    "http://metadata.google.internal/",
    "http://a.localhost/",
    "http://a..example/",
    "http://.example.com/",
    "http://-a.example.com/",
    "http://a.example.com../",
    "http://a;b.example.com/",
    "http://a,b.example.com/",
    "http://" + "a" * 64 + ".example.com/",
    "http://" + "abc." * 80 + "com/",
    "https://files.example.com/" + "a" * MAX_URL_LENGTH,
    "https://files.example.com/" + "á" * (MAX_URL_LENGTH // 3),
    "https://files.example.com/\ud800",
)


@in_one_test(REFUSED_URLS)
def test_a_url_that_two_readers_may_read_in_two_ways_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidMediaUrl) as caught:
        parse_media_url(url)
    message = str(caught.value)
    assert message.endswith(".")
    assert not url.strip() or url not in message


@given(
    st.text(max_size=40)
    | st.builds(
        "{}://{}{}".format,
        st.sampled_from(["http", "https", "HTTP"]),
        st.text(st.sampled_from("a1.:[]@%\\-0x7f１。é"), max_size=20),
        st.text(st.sampled_from("/?#@\\ aé%"), max_size=6),
    )
)
def test_any_text_is_either_refused_or_read_into_a_form_that_reads_the_same(url: str) -> None:
    try:
        read = parse_media_url(url)
    except InvalidMediaUrl:
        return
    assert read.url.isascii()
    assert parse_media_url(read.url) == read
    assert not read.is_address or refusal_reason(read.host) != "not an address"
