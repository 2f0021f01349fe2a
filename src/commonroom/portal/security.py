"""What every answer carries, and how a form proves that it is ours.

No page loads anything from elsewhere: the content security policy forbids it. A form carries a token made from a key
that only the portal knows and a cookie that only this browser has; a post without it, or sent from another site, is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from commonroom.problems import Problem, add_codes
from commonroom.settings import Settings

add_codes({"CR-100": "The form has expired", "CR-101": "The form came from another site"})

# The one inline line of the page template (it tells the style sheet that JavaScript runs), allowed by its hash so that
# pages can be cached; a nonce would change with every answer.
INLINE_LINE = "sha256-GUQ5ad8JK5KmEWmROf3LZd9ge94daqNvd8xy9YS1iDw="
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    f"base-uri 'none'; script-src 'self' '{INLINE_LINE}'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), browsing-topics=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# Only where people come by https, or a laptop's http address would be unreachable for a year.
STRICT_TRANSPORT = {"Strict-Transport-Security": "max-age=31536000; includeSubDomains"}

KEY_BYTES = 32
SAME_SITE = {"same-origin", "none", ""}
FORM_FIELD = "form_token"


def headers(settings: Settings) -> dict[str, str]:
    """The headers of every answer."""
    return HEADERS | (STRICT_TRANSPORT if is_https(settings) else {})


def is_https(settings: Settings) -> bool:
    """Whether people reach the portal by https, so cookies are marked Secure."""
    return settings.portal_url.startswith("https:")


def form_key(folder: Path) -> bytes:
    """The portal's own key, made once and readable by its owner alone; several portal processes share it."""
    path = folder / "portal-forms.key"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(handle, "wb") as file:
        key = secrets.token_bytes(KEY_BYTES)
        file.write(key)
    return key


def form_token(key: bytes, browser: str) -> str:
    """The token of this browser's forms; `browser` is the value of its session or visit cookie."""
    return hmac.new(key, b"form\0" + browser.encode(), hashlib.sha256).hexdigest()


def check_site(fetch_site: str) -> None:
    """Pass, or raise a 403 problem (CR-101) for a post from another site: the browser says so before the body comes."""
    if fetch_site not in SAME_SITE:
        raise Problem(
            "CR-101",
            "Your browser says that another site sent this form, so it was not used.",
            status=403,
            remedy="Open the page here and fill in the form again.",
        )


def check_form(key: bytes, browser: str, token: str, fetch_site: str) -> None:
    """Pass, or raise a 403 problem: a stale or missing token (CR-100), or a post from another site (CR-101)."""
    check_site(fetch_site)
    if not browser or not hmac.compare_digest(form_token(key, browser).encode(), token.encode()):
        raise Problem(
            "CR-100",
            "The form was open for too long, or its cookie is gone, so it was not used.",
            status=403,
            remedy="Go back to the page and try again. Nothing was changed.",
        )
