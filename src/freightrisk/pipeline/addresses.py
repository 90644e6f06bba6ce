"""Addresses of databases as messages show them: without passwords, even if the address is mistyped."""

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    import sqlalchemy as sa

EXAMPLE = "postgresql+psycopg://user@host/database"
SHOWN = 200  # characters of a database's own message
SHORT = 4  # a shorter secret occurs inside ordinary words, so masking it there would reveal it
HIDDEN = "***"
NAMED = re.compile(r"(?i)\b(\w*pass\w*|pwd|\w*token|\w*secret|\w*key)(\s*=\s*)[^&;\n]*")
BEFORE_AT = re.compile(r":[^\n]*@")
NO_SCHEME = re.compile(
    r"(?i)\s*(jdbc:)?(postgres|postgresql|psql|sqlite|mysql|mariadb|oracle|mssql)(\+\w*)?\s*[:/]"  # "postgresql:/host"
    r"|[^/\\:@]*:[^/\\@]*@"  # "user:password@host"
    r"|.*\bpass(word|wd)?\s*="  # "host=... password=..."
)
ORDINARY = re.compile(r"[\w.:%-]+")
QUOTED_WHOLE = ("connection info string", "connection string", "invalid dsn", "invalid connection option")
PUBLIC = {
    "application_name", "cache", "check_same_thread", "client_encoding", "connect_timeout", "host", "hostaddr", "mode",
    "port", "sslmode", "target_session_attrs", "timeout", "uri",
}  # fmt: skip
KNOWN = PUBLIC | {"dbname", "options", "passfile", "password", "service", "sslcert", "sslkey", "sslrootcert", "user"}


def masked(text: str) -> str:
    """Return a text with possible passwords masked: between a colon and an @, or after words such as "password="."""
    return NAMED.sub(rf"\1\2{HIDDEN}", BEFORE_AT.sub(f":{HIDDEN}@", text))


def whole_path(where: "str | Path | sa.Engine") -> "str | Path | sa.Engine":
    """Return a path as an absolute path, so that a process with another working folder finds the same file."""
    if isinstance(where, Path) or (isinstance(where, str) and "://" not in where and where != ":memory:"):
        return Path(where).absolute()
    return where


def looks_like_an_address(text: str) -> bool:
    """Return whether a text without "://" is more likely the address of a database than a path."""
    return NO_SCHEME.match(text) is not None


def without_addresses(text: str) -> str:
    """Return a text that repeats arguments, with possible addresses of databases masked."""
    return masked(re.sub(r"://[^\n]*", f"://{HIDDEN}", text))


def _shown_part(url: "sa.URL", part: str | None) -> str:
    """Return a part of an address, masked if unusual characters suggest that it holds the end of a password."""
    if part and url.drivername.startswith("sqlite"):
        return masked(part)
    return part if part and ORDINARY.fullmatch(part) else HIDDEN if part else ""


def shown(url: "sa.URL") -> str:
    """Return the address of a database without its user's password and without its query."""
    user = _shown_part(url, url.username) + (f":{HIDDEN}" if url.password else "")
    host = _shown_part(url, url.host) + (f":{url.port}" if url.port else "")
    database = f"/{_shown_part(url, url.database)}" if url.database else ""
    return f"{url.drivername}://{user}{'@' if user else ''}{host}{database}"


def without_secrets(said: str, url: "sa.URL") -> str:
    """Return the first line of a database's message, with every part of its address masked that may be secret."""
    said = said.strip().partition("\n")[0]
    for part in (url.host, url.database):
        if part and _shown_part(url, part) != part:
            said = said.replace(part, _shown_part(url, part))
    # The longest first, because a short secret may be part of a longer one.
    for secret in sorted(_secrets(url), key=len, reverse=True):
        if len(secret) < SHORT and secret in said:
            return "its message is left out, because it repeats a part of the address that may be secret"
        said = said.replace(secret, HIDDEN)
    if any(sign in said for sign in QUOTED_WHOLE):
        return "the driver does not understand the address, which is left out because it may hold a password"
    return masked(said)[:SHOWN]


def _secrets(url: "sa.URL") -> set[str]:
    """Return the possibly secret parts of an address, plain and as a URL encodes them."""
    found = {url.password or ""}
    if url.username and _shown_part(url, url.username) == HIDDEN:
        found.add(url.username)
    for name, given in url.query.items():  # normalized_query fails in SQLAlchemy 2.0.0
        if name not in KNOWN:
            found.add(name)
        if name not in PUBLIC:
            found |= {given} if isinstance(given, str) else set(given)
    found = {str(one) for one in found}
    return {form for one in found for form in (one, quote(one, safe=""), quote_plus(one)) if form}
