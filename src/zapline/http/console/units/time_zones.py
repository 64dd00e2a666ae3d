"""The time zones that forms offer: Brazil's first, then all that the system knows."""

from zoneinfo import available_timezones

_COMMON = (
    *("America/Sao_Paulo", "America/Bahia", "America/Fortaleza", "America/Recife", "America/Belem", "America/Maceio"),
    *("America/Manaus", "America/Cuiaba", "America/Campo_Grande", "America/Porto_Velho", "America/Boa_Vista"),
    *("America/Rio_Branco", "America/Noronha", "Europe/Lisbon", "UTC"),
)
ZONES = (*_COMMON, *sorted(zone for zone in available_timezones() if "/" in zone and zone not in _COMMON))
