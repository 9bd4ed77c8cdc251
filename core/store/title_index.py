"""An index of titles in PostgreSQL, and what is shared with a member found without a new plan."""

from __future__ import annotations

# The words of a title: lexemes are not empty, and all of them have less than a megabyte.
TITLE_WORDS = "array_to_tsvector(array_remove(string_to_array(left(words, 200000), ' '), ''))"
_DEFINER = "SECURITY DEFINER SET search_path = {schema}, pg_temp"
TITLES_POSTGRES = (
    f"CREATE INDEX sessions_words ON sessions USING gin ({TITLE_WORDS})",
    # In SQL it was planned anew for each list: three quarters of what a list paid for policies.
    f"""CREATE OR REPLACE FUNCTION shared_sessions(writing boolean) RETURNS text[]
        LANGUAGE plpgsql STABLE {_DEFINER} AS $$
        DECLARE asking text := current_member();
        BEGIN RETURN coalesce((SELECT array_agg(session_id) FROM shares
                               WHERE reader = asking AND (may_write = 1 OR NOT writing)),
                              '{{{{}}}}');
        END
    $$""",
    # As matching() does for messages: an index cannot be used through policies.
    f"""CREATE FUNCTION titled(wanted tsquery, in_trash boolean, most bigint)
        RETURNS SETOF text ROWS 100 LANGUAGE plpgsql STABLE {_DEFINER} AS $$
        BEGIN RETURN QUERY EXECUTE
            'SELECT id FROM sessions WHERE {TITLE_WORDS.replace("'", "''")} @@ $1 '
            || 'AND (shelf = ''trash'') = $2 AND (member = $4 OR id = ANY ($5)) '
            || 'ORDER BY used DESC LIMIT $3'
            USING wanted, in_trash, most, current_member(), shared_sessions(false);
        END
    $$""",
)
