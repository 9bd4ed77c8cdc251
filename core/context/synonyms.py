"""Synonyms between the words of questions and the words of programs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from core.context.terms import Term, stem_of

# One group per line. Words with little meaning of their own (make, use, type) are omitted, since
# every text is searched for each word.
GROUPS = """
picture image photo
folder directory dir
delete remove erase discard
begin start
end finish stop
address url
choose select pick
find search locate lookup
wrong bad invalid
error exception failure
argument parameter option
setting option config
function method
show print display
join merge combine
split truncate
save store write
largest longest maximum max limit
smallest shortest minimum min
create build
change modify update
again retry repeat
wait timeout delay
colour color
insert substitute interpolate
checksum hash digest crc
answer reply response
question prompt request
refuse deny reject forbid
allow permit accept
dictionary dict mapping
string str
abbreviate shorten
link symlink
password passphrase
user account
log trace
fast quick speed
encrypt cipher
login signin authenticate
"""


@cache
def _table() -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for group in filter(None, GROUPS.split("\n")):
        words = group.split()
        for word in words:
            found.setdefault(stem_of(word), {}).update(dict.fromkeys(words))
    return {stem: tuple(word for word in words if stem_of(word) != stem)
            for stem, words in found.items()}


def with_synonyms(terms: Iterable[Term]) -> list[Term]:
    """The terms with synonyms for each, except words that are in the question."""
    known = list(terms)
    stems = {term.stem for term in known}
    return [Term(term.word, term.stem, term.weight,
                 tuple(Term(word, stem_of(word)) for word in _table().get(term.stem, ())
                       if stem_of(word) not in stems)) for term in known]
