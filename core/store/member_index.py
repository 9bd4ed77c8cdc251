"""Indexes of PostgreSQL that answer a member's lists and searches before the policies are checked.
"""

from __future__ import annotations

from core.store.words import BREAK, POSTGRES_WORDS

_DEFINER = "SECURITY DEFINER SET search_path = {schema}, pg_temp"
# The words of a message between spaces, where LIKE finds phrases.
SAID = f"(' ' || words || ' {BREAK} ' || tools || ' ')"
_WORDS, _SAID = (text.replace("'", "''") for text in (POSTGRES_WORDS, SAID))
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
    # The newest messages that a member may see with all wanted words and phrases and no unwanted
    # ones. EXECUTE plans it for these words.
    "DROP FUNCTION matching(tsquery, boolean, bigint)",
    f"""CREATE FUNCTION matching(wanted tsquery, phrases text[], unwanted text[],
                                 everything boolean, in_trash boolean, most bigint)
        RETURNS TABLE (session_id text, id uuid) ROWS 100 LANGUAGE plpgsql STABLE {_DEFINER} AS $$
        BEGIN RETURN QUERY EXECUTE
            'SELECT messages.session_id, messages.id FROM messages WHERE {_WORDS} @@ $1 '
            || CASE WHEN phrases || unwanted = '{{{{}}}}' THEN ''
                    ELSE 'AND {_SAID} LIKE ALL ($6) AND {_SAID} NOT LIKE ALL ($7) ' END
            || CASE WHEN everything THEN '' ELSE 'AND active = 1 ' END
            || 'AND (messages.member = $2 OR messages.session_id = ANY ($3)) '
            || 'AND EXISTS (SELECT FROM sessions WHERE sessions.id = messages.session_id '
            || 'AND (shelf = ''trash'') = $4) ORDER BY messages.id DESC LIMIT $5'
            USING wanted, current_member(), shared_sessions(false), in_trash, most,
                  phrases, unwanted;
        END
    $$""",
)
