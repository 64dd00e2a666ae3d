"""Offers time zones to choose from: Brazil's first, then all that are known here."""

from zoneinfo import available_timezones

_NEAR = (
    *("America/Sao_Paulo", "America/Bahia", "America/Fortaleza", "America/Recife", "America/Belem", "America/Maceio"),
    *("America/Manaus", "America/Cuiaba", "America/Campo_Grande", "America/Porto_Velho", "America/Boa_Vista"),
    *("America/Rio_Branco", "America/Noronha", "Europe/Lisbon", "UTC"),
)
ZONES = (*_NEAR, *sorted(zone for zone in available_timezones() if "/" in zone and zone not in _NEAR))
