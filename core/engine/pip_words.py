"""Explains pip's network errors; uses only the standard library, because the installer uses it."""

import re

from core.regex import regex

_REASONS = (
    (regex(r"CERTIFICATE_VERIFY_FAILED|SSLError|SSLCertVerificationError"),
     "its certificate is not trusted"),
    (regex(r"ProxyError|Tunnel connection failed|\b407\b"), "the proxy does not let it through"),
    (regex(r"name resolution|Failed to resolve|Name or service not known|nodename nor servname"
           r"|getaddrinfo"),
     "its name cannot be resolved"),
    (regex(r"timed? ?out", re.IGNORECASE), "it does not answer"),
    (regex(r"refused"), "connection refused"),
    (regex(r"unreachable"), "the network is unreachable"),
    (regex(r"IncompleteRead|ConnectionReset|RemoteDisconnected|ProtocolError|connection broken"
           r"|incomplete"),
     "the connection was lost"),
)


def why_no_connection(said: str) -> str:
    """The reason found in pip's output; "" if the index answered."""
    return next((words for pattern, words in _REASONS if pattern.search(said)), "")
