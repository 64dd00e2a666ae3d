"""What is typed to find a person, as patterns for SQL."""

from dataclasses import dataclass

_PLAIN = str.maketrans("áàâãäéèêëíìîïóòôõöúùûüçñ", "aaaaaeeeeiiiiooooouuuucn")
"""As the database's column of plain names."""


@dataclass(frozen=True, slots=True)
class SearchPatterns:
    """What SQL compares names, phones and usernames with; None: with nothing."""

    words: str
    digits: str | None
    called: str

    @classmethod
    def of(cls, text: str) -> "SearchPatterns":
        """A name or a part of it without its accents; a phone may be typed with spaces and brackets."""
        digits = "".join(char for char in text if char.isascii() and char.isdigit())
        has_letters = any(char.isalpha() for char in text)
        return cls(
            words=f"%{_escape_like(text.lower().translate(_PLAIN))}%",
            digits=f"%{digits}%" if digits and not has_letters else None,
            called=f"%{_escape_like(text.lower().removeprefix('@'))}%",
        )

    @property
    def parameters(self) -> dict[str, str | None]:
        """By the names that statements give them."""
        return {"words": self.words, "digits": self.digits, "called": self.called}


def _escape_like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
