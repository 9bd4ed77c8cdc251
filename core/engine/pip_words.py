"""Why pip got nothing from its index, in words; standard library only, since the installation asks too."""

import re

_REASONS = (
    (re.compile(r"CERTIFICATE_VERIFY_FAILED|SSLError|SSLCertVerificationError"), "its certificate is not trusted"),
    (re.compile(r"ProxyError|Tunnel connection failed|\b407\b"), "the proxy does not let it through"),
    (re.compile(r"name resolution|Failed to resolve|Name or service not known|nodename nor servname|getaddrinfo"),
     "its name cannot be resolved"),
    (re.compile(r"timed? ?out", re.IGNORECASE), "it does not answer"),
    (re.compile(r"refused"), "connection refused"),
    (re.compile(r"unreachable"), "the network is unreachable"),
    (re.compile(r"IncompleteRead|ConnectionReset|RemoteDisconnected|ProtocolError|connection broken|incomplete"),
     "the connection was lost"),
)


def why_no_connection(said: str) -> str:
    """The reason in what pip printed, or "" when the index answered."""
    return next((words for pattern, words in _REASONS if pattern.search(said)), "")
