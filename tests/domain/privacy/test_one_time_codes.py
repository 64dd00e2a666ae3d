"""One-time codes: those of RFC 6238, each taken once, about its time."""

from zapline.domain.privacy.one_time_codes import app_address, code_of, secret_text, step_of

SECRET = b"12345678901234567890"


def test_the_codes_are_those_of_the_rfc() -> None:
    """Appendix B has eight digits; apps show the last six."""
    times = {59: "287082", 1111111109: "081804", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130"}
    assert {time: code_of(SECRET, time // 30) for time in times} == times


def test_a_code_is_taken_about_its_time_and_never_again() -> None:
    now, step = 1234567890.0, 1234567890 // 30
    for offset in (-1, 0, 1):
        assert step_of(SECRET, code_of(SECRET, step + offset), now, 0) == step + offset
    for offset in (-2, 2):
        assert step_of(SECRET, code_of(SECRET, step + offset), now, 0) is None
    assert step_of(SECRET, "005 924", now, step - 1) == step
    assert step_of(SECRET, "005924", now, step) is None, "it was used"
    assert step_of(SECRET, code_of(SECRET, step - 1), now, step) is None, "one before it, too"
    for wrong in ("", "5924", "005925", "\N{FULLWIDTH DIGIT ZERO}05924", "\udcff"):
        assert step_of(SECRET, wrong, now, 0) is None


def test_the_app_is_told_the_secret_and_whose_it_is() -> None:
    assert secret_text(SECRET) == "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    address = app_address(SECRET, "ana&co@example.com")
    assert address == f"otpauth://totp/Zapline:ana%26co%40example.com?secret={secret_text(SECRET)}&issuer=Zapline"
