"""Whether the hub answers, found out within seconds: its own client retries for three quarters of a minute."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request

_SECONDS_TO_ANSWER = 5.0


def hub_address() -> str:
    """Where the hub's client looks (`HF_ENDPOINT` changes it)."""
    from huggingface_hub.constants import ENDPOINT

    return ENDPOINT


def unreachable(address: str) -> str | None:
    """Why the server does not answer; None if it answers anything, or only its certificate is not accepted."""
    request = urllib.request.Request(address, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_SECONDS_TO_ANSWER).close()
    except urllib.error.HTTPError:
        return None
    except urllib.error.URLError as error:
        return None if isinstance(error.reason, ssl.SSLError) else str(error.reason)
    except OSError as error:
        return str(error)
    return None


def hub_unreachable() -> str | None:
    """Why the hub cannot be asked: it does not answer, or `HF_HUB_OFFLINE` forbids to ask. None if it can."""
    from huggingface_hub import constants

    return "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else unreachable(hub_address())
