"""Recognises files with keys and passwords, for every way in which a file could reach a model."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from core.regex import regex

HEAD = 8_192             # bytes of a file that are examined
LONGEST = 4_096          # characters of an argument that can be a path
_DATA = (r"\.(json5?|jsonc|ya?ml|toml|ini|cfg|conf|config|env|xml|txt|csv|properties|plist|enc|sops"
         r"|pickle|php|tf|sh)")
_FOLDERS = (
    r"\.(ssh|gnupg|aws|azure|kube|docker|oci|chef|bluemix|ibmcloud|terraform\.d|password-store"
    r"|vault-tokens?|certs|secrets?)|gcloud|keyrings|keychains|private[-_]?keys?")
_FILES = "|".join((
    # environments
    r"\.env([._-].*)?", r"\.?envrc([._-].*)?", r".*\.envs?", r"\.(flask|dev|prod|test|local)env",
    r"\.dev\.vars.*", r"env\.(prod|live|stag).*",
    # private keys and stores of keys
    r"id_(rsa|dsa|ecdsa|ed25519|ed448|xmss)([._-].*)?", r".*[._-](rsa|dsa|ecdsa|ed25519)(_sk)?",
    r"identity", r"ssh_host_.*_key",
    r".*\.(pem|key|p12|pfx|p8|pk8|ppk|jks|jceks|bks|keystore|truststore|kdbx?|keytab|agekey|ovpn"
    r"|keychain(-db)?|opvault)",
    r"(private|signing|deploy|ssh|host)[-_]?key", r"keys?\.txt", r"krb5cc_.*", r"wallet\.dat",
    r"wg\d+\.conf", r"secring.*",
    # services
    r".*service[-_ ]?accounts?([-_. ].*)?\.json", r".*adminsdk.*\.json",
    r".*(key[-_]?file|[-_]keys?)\.json",
    r".*client[-_]?secrets?.*", rf".*credentials?({_DATA})*",
    r"credentials\.(db|rb|lock)|.*credentials[._-](prod|live|stag|dev|default|backup).*",
    r"\.?(.*[._-])?kube[-_]?config([._-].*)?",
    r".*\.tfstate([._].*)?", r".*\.tfvars(\.json)?", r"\.?terraform\.?rc", r".*\.tfrc(\.json)?",
    r"\.dockercfg", r"\.dockerconfigjson",
    # passwords and tokens
    rf"\.?(.*[._-])?(secrets|passwords?|passwd|tokens?|api[-_]?keys?)({_DATA})+",
    r"\.?(.*[._-])?secret\.(json5?|ya?ml|toml|ini|env|xml|properties|enc)",
    r"\.(secrets?|passwords?|passwd|passphrase|tokens?)",
    r"\.?(.*[._-])?(passwords?|passphrase|vault[-_]?pass(word)?)",
    r"\.?(.*[._-])?(auth|access|refresh|api|vault|bearer)[-_]token",
    r"\.?vault[-_]?(pass|token).*", r"\.netrc|_netrc|\.authinfo(\.gpg)?",
    r"\.pgpass|pgpass\.conf|\.pg_service\.conf",
    r"\.my\.cnf|\.mylogin\.cnf", r"\.npmrc|\.yarnrc(\.yml)?|\.pypirc", r"\.git-?credentials",
    r"\.ht(passwd|digest)", r"\.?auth\.json",
    r"\.s3cfg|\.boto|\.?rclone\.conf|\.databrickscfg|\.snowsql|\.snowflake",
    r"\.(msmtp|fetchmail|offlineimap)rc", r"\.smbcredentials",
    r"wp-config\.php", r"\.erlang\.cookie", r"\.renviron", r"(g?shadow|master\.passwd)-?",
    # histories of commands, and browsers' logins and cookies
    r"\.\w*_?history", r"login data.*|logins\.json|key[34]\.db|cookies(\.sqlite|\.txt)?",
))
_SECRET = regex(f"(?:{_FOLDERS}|{_FILES})")
# Part of every secret name in lower case, unless it begins with # or a dot. That all begin with a
# letter or a dot halves the time of a search.
MAYBE_SECRET = (
    r"env|key|pass|secret|token|cred|auth|id_|rsa|dsa|ed25519|ed448|identity|account|adminsdk"
    r"|config|\.tf|rc\b|\.(?:pem|p12|pfx|p8|pk8|ppk|jks|jceks|bks|truststore|kdbx?|ovpn|opvault"
    r"|conf|cnf|cfg|db)\b|hist|log|cookie|wallet|shadow|gcloud|krb|secring")
_MAYBE = regex(MAYBE_SECRET)
# Suffixes of copies that editors, tools and users make, which have the original's content.
_COPY = regex(r"^(#(?P<auto>.+)#|\.?(?P<swap>.+)\.sw[a-p]"
              r"|(?P<copy>.+?)(~\d*~?|\.(bak|backup|old|orig|original|save|saved|tmp|temp|copy|prev"
              r"|rej|new|disabled|gz|bz2|xz|zst|zip|\d+)| ?\(\d+\)| - copy"
              r"|[-_.](19|20)\d\d[-_.\d]*)(?P<ending>\.\w+)?)$")
_PLACEHOLDER = regex(r"(^|[._-])(example|sample|template|dist|tmpl|tpl|schema)s?([._-]|$)")
_STRICT = regex(r"id_|ssh_host_")       # SSH keys, whatever follows
_PUBLIC = regex(r".*\.pub")
_PRIVATE_KEY = regex(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: "
                     rb"BLOCK)?-----|PuTTY-User-Key-File-\d|AGE-SECRET-KEY-1")
_BEFORE = b"\xef\xbb\xbf\xff\xfe \t\r\n"       # byte order marks and empty lines before a key
# Credential files: a word that each contains, which is fast to find, and marks that must all occur.
_SERVICE_ACCOUNT = (b'"type"',
                    regex(rb'"type"\s*:\s*"(?:service_account|authorized_user|external_account)"'),
                    regex(rb'"(?:private_key|refresh_token|credential_source)"\s*:'))
_KUBECONFIG = (b"kind", regex(rb"""kind["']?\s*:\s*["']?Config\b"""),
               regex(rb"client-key-data|client-certificate-data|\btoken\b|\bexec\b|\bpassword\b"
                     rb"|auth-provider|\busers\b"))
_GITHUB = (b"oauth_token", regex(rb"^\s*oauth_token\s*:", re.M),
           regex(rb"^\s*(?:git_protocol|users?)\s*:", re.M))
_TERRAFORM = (b'"terraform_version"', regex(rb'"terraform_version"\s*:'),
              regex(rb'"(?:serial|lineage)"\s*:'))
_CREDENTIALS = (_SERVICE_ACCOUNT, _KUBECONFIG, _TERRAFORM, _GITHUB)


def plain_name(name: str) -> str:
    """The name in lower case, with plain letters in place of wide, ornate and joined ones."""
    return (name if name.isascii() else unicodedata.normalize("NFKC", name)).casefold()


def is_secret_name(name: str) -> bool:
    """Whether a file or folder of this name contains keys or passwords wherever it is; case is
    ignored.
    """
    small = plain_name(name)
    if small[:1] not in "#." and not _MAYBE.search(small):
        return False
    plain = small.partition(":$")[0].rstrip(". ")     # Windows opens the same file under these
    return any(_is_listed(form) for form in _forms(plain))


def _is_listed(name: str) -> bool:
    if _SECRET.fullmatch(name) is None:
        return False
    if _PUBLIC.fullmatch(name):
        return False
    return bool(_STRICT.match(name)) or not _PLACEHOLDER.search(name)


def _forms(name: str) -> Iterator[str]:
    """The name, and the original names of which it may be a copy."""
    for _ in range(4):
        yield name
        copy = _COPY.match(name)
        if copy is None:
            return
        name = copy["auto"] or copy["swap"] or copy["copy"] + (copy["ending"] or "")


def is_secret_path(path: str) -> bool:
    """Whether any part of the path is a secret name."""
    folder, _, name = path.replace("\\", "/").rpartition("/")
    return is_secret_name(name) or bool(folder) and _is_secret_folder(folder)


@lru_cache(maxsize=1_024)
def _is_secret_folder(path: str) -> bool:
    """is_secret_path() of a folder, whose files are examined one after the other."""
    return any(is_secret_name(part) for part in path.split("/"))


def holds_secret(head: bytes) -> bool:
    """Whether a file with this beginning is a private key or a known credential file."""
    text = head.replace(b"\0", b"") if b"\0" in head[:64] else head        # UTF-16 too
    if _PRIVATE_KEY.match(text.lstrip(_BEFORE)):
        return True
    return any(all(mark.search(text) for mark in marks)
               for word, *marks in _CREDENTIALS if word in text)


def secret_arguments(arguments: Mapping[str, Any]) -> list[str]:
    """The paths of secret files in a call's arguments, alone or as words of a command."""
    return list(dict.fromkeys(word for text in _texts(arguments)
                              for word in _words(text) if is_secret_path(word)))


def _texts(value: Any) -> Iterator[str]:
    stack = [value]
    while stack:
        match stack.pop():
            case str(text):
                yield text[:LONGEST]
            case Mapping() as inner:
                stack += [*inner.values()]
            case list() as inner:
                stack += inner


def _words(text: str) -> list[str]:
    """The text as a path, and each of its words as one."""
    address = re.match(r"[a-z][\w+.-]*://", text, re.I)
    plain = unquote(text) if address else text
    words = [] if len(plain.splitlines()) > 1 else [plain]
    return words + [word.strip("@,;.!?") for word in re.split(r"[\s\"'`=<>|&;(){}\[\],]+", plain)
                    if re.search(r"[./_]", word)]


def is_secret_file(path: str, descriptor: int) -> bool:
    """Whether an open file is secret, by its path or its beginning."""
    return is_secret_path(path) or holds_secret(read_head(descriptor))


def read_head(descriptor: int) -> bytes:
    """The first bytes of an open file; its position is not changed."""
    try:
        if hasattr(os, "pread"):
            return os.pread(descriptor, HEAD, 0)
        head = os.read(descriptor, HEAD)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return head
    except OSError:
        return b""
