"""Indexes and functions of PostgreSQL by which lists and searches stay quick as it grows."""

from __future__ import annotations

from core.store.words import BREAK, POSTGRES_WORDS

_DEFINER = "SECURITY DEFINER SET search_path = {schema}, pg_temp"
# The words of a message between spaces, where LIKE finds phrases.
_SAID = f"('' '' || words || '' {BREAK} '' || tools || '' '')"
_WORDS = POSTGRES_WORDS.replace("'", "''")
_MINE = "AND (member = $7 OR session_id = ANY ($8)) "
_NEWEST, _MOST = 5_000, 50_000    # messages that a search looks through first: 20 for each wanted

# The newest messages with all wanted words and phrases and no unwanted ones. Common words are found
# among the newest messages, where LIKE rejects most of them sooner than `@@`; coalesce() keeps it
# out of PostgreSQL's estimates. All others are found by the index: OFFSET 0 keeps PostgreSQL from
# looking through all messages, newest first, as it did for three words that never meet. EXECUTE
# plans each query for its words.
_MATCHING = """CREATE FUNCTION {name}(wanted tsquery, texts text[], unwanted text[],
                                      everything boolean, in_trash boolean, most bigint)
    RETURNS TABLE (session_id text, id uuid) ROWS 100 LANGUAGE plpgsql STABLE {rights} AS $$
    DECLARE
        match text := CASE WHEN texts = '{{{{}}}}' THEN ''
                ELSE 'coalesce({said} LIKE ALL ($4), false) AND ' END || '{words} @@ $1 '
            || CASE WHEN unwanted = '{{{{}}}}' THEN ''
                ELSE 'AND coalesce({said} NOT LIKE ALL ($5), false) ' END
            || CASE WHEN everything THEN '' ELSE 'AND active = 1 ' END || '{mine}';
        rest text := 'EXISTS (SELECT FROM sessions WHERE sessions.id = messages.session_id '
            || 'AND (shelf = ''trash'') = $2) ORDER BY id DESC LIMIT $3';
        place uuid := NULL;
        matches bigint := 0;
    BEGIN
        IF most IS NOT NULL THEN
            SELECT messages.id INTO place FROM messages ORDER BY messages.id DESC
                OFFSET least(greatest(most * 20, {newest}), {most}) LIMIT 1;
        END IF;
        IF place IS NOT NULL THEN
            RETURN QUERY EXECUTE 'SELECT session_id, id FROM messages WHERE id > $6 AND ' || match
                || 'AND ' || rest
                USING wanted, in_trash, most, texts, unwanted, place, {member};
            GET DIAGNOSTICS matches = ROW_COUNT;
            IF matches = most THEN RETURN; END IF;
            match := match || 'AND id <= $6 ';
        END IF;
        RETURN QUERY EXECUTE 'SELECT session_id, id FROM (SELECT * FROM (SELECT session_id, id '
            || 'FROM messages WHERE ' || match || 'OFFSET 0) AS found ORDER BY id DESC OFFSET 0) '
            || 'AS messages WHERE ' || rest
            USING wanted, in_trash, most - matches, texts, unwanted, place, {member};
    END
$$"""


def _matching(name: str, rights: str, mine: str, member: str) -> str:
    """Return the statement that creates a search; {schema} is still to be filled in."""
    return _MATCHING.format(name=name, rights=rights, mine=mine, member=member, words=_WORDS,
                            said=_SAID, newest=_NEWEST, most=_MOST)


MEMBERS_POSTGRES = (
    # A list is two ranges of indexes: the member's own sessions, and those that were ever shared.
    # Through the policies it read the sessions of all members until enough were found.
    "ALTER TABLE sessions ADD COLUMN was_shared integer NOT NULL DEFAULT 0",
    "UPDATE sessions SET was_shared = 1 WHERE id IN (SELECT session_id FROM shares)",
    "DROP INDEX sessions_of_member",
    "CREATE INDEX sessions_of_member ON sessions (member, shelf, pinned, used)",
    "CREATE INDEX sessions_shared ON sessions (shelf, pinned, used) WHERE was_shared = 1",
    f"""CREATE FUNCTION mark_shared() RETURNS trigger LANGUAGE plpgsql {_DEFINER} AS $$ BEGIN
        UPDATE sessions SET was_shared = 1 WHERE id = NEW.session_id AND was_shared = 0;
        RETURN NULL; END
    $$""",
    "CREATE TRIGGER mark_shared AFTER INSERT ON shares FOR EACH ROW EXECUTE FUNCTION mark_shared()",
    # What the member may see, and for those whom no policy restricts, everything. The earlier
    # matching() with three arguments stays for page servers that run until they are restarted.
    _matching("matching", _DEFINER, _MINE, "current_member(), shared_sessions(false)"),
    _matching("matching_everything", "SECURITY INVOKER", "", "NULL::text, NULL::text"),
)
