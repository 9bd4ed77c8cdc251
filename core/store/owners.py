"""Ownership of sessions: the columns in both databases, and the rules that PostgreSQL enforces."""

from __future__ import annotations

# Each session belongs to a team member, named by role or account. In SQLite, which has one user,
# the name is empty. PostgreSQL decides what members may see and do, not this program: a member
# could connect with any other program.
OWNERS_OF_BOTH = (
    "ALTER TABLE sessions ADD COLUMN member text NOT NULL DEFAULT {me}",
    "ALTER TABLE model_calls ADD COLUMN member text NOT NULL DEFAULT {me}",
    """CREATE TABLE shares (
        session_id text NOT NULL REFERENCES sessions (id) ON DELETE CASCADE, reader text NOT NULL,
        may_write integer NOT NULL DEFAULT 0, PRIMARY KEY (session_id, reader))""",
    (
        "CREATE TABLE accounts (name text PRIMARY KEY, password text NOT NULL, created double"
        " precision NOT NULL)"
    ),
)

_EVERYTHING_HAS_A_MEMBER = (
    *(
        f"ALTER TABLE {table} ADD COLUMN member text NOT NULL DEFAULT session_user"
        for table in ("messages", "embeddings", "deleted_sessions")
    ),
    *(
        f"ALTER TABLE {table} ALTER COLUMN member SET DEFAULT ''"
        for table in ("sessions", "messages", "model_calls", "embeddings", "deleted_sessions")
    ),
    "ALTER TABLE embeddings DROP CONSTRAINT embeddings_model_hash_key",
    "ALTER TABLE embeddings ADD UNIQUE (member, model, hash)",
    "CREATE INDEX sessions_of_member ON sessions (member, used)",
    "CREATE INDEX shares_reader ON shares (reader)",
    # The order of use. A sequence, because finding the highest number would read the sessions of
    # all members.
    "CREATE SEQUENCE sessions_use",
    "SELECT setval('sessions_use', (SELECT coalesce(max(used), 0) + 1 FROM sessions))",
    # roles of page servers, which may act for any member
    "CREATE TABLE servers (role text PRIMARY KEY)",
)

# Functions of the schema's owner see everything, so they return only what the member may see.
_DEFINER = "SECURITY DEFINER SET search_path = {schema}, pg_temp"
_FUNCTIONS = (
    f"""CREATE FUNCTION may_act() RETURNS boolean LANGUAGE sql STABLE {_DEFINER} AS $$
        SELECT EXISTS (SELECT FROM servers WHERE role = session_user)
            OR (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = session_user)
            OR pg_has_role(session_user, (SELECT relowner FROM pg_catalog.pg_class
                                          WHERE oid = '{{schema}}.sessions'::regclass), 'MEMBER')
    $$""",
    """CREATE FUNCTION current_member() RETURNS text LANGUAGE sql STABLE AS $$
        SELECT CASE
            WHEN coalesce(current_setting('stream_chat.member', true), '') = ''
                THEN session_user::text
            WHEN {schema}.may_act() THEN current_setting('stream_chat.member')
            ELSE session_user::text END
    $$""",
    f"""CREATE FUNCTION is_member(wanted text) RETURNS boolean LANGUAGE sql STABLE {_DEFINER} AS $$
        SELECT EXISTS (SELECT FROM accounts WHERE name = wanted)
            OR EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted AND rolcanlogin)
    $$""",
    f"""CREATE FUNCTION shared_sessions(writing boolean) RETURNS text[]
        LANGUAGE sql STABLE {_DEFINER} AS $$
        SELECT coalesce(array_agg(session_id), '{{{{}}}}') FROM shares
        WHERE reader = current_member() AND (may_write = 1 OR NOT writing)
    $$""",
    # A word search through the policies would read every message, because they are checked before
    # the index. EXECUTE plans the query for the given words.
    f"""CREATE FUNCTION matching(wanted tsquery, everything boolean, most bigint) RETURNS SETOF uuid
        LANGUAGE plpgsql STABLE {_DEFINER} AS $$ BEGIN RETURN QUERY EXECUTE
            'SELECT id FROM messages WHERE {{words}} @@ $1 AND (active = 1 OR $2) '
            || 'AND (member = $4 OR session_id = ANY ($5)) ORDER BY messages.id DESC LIMIT $3'
            USING wanted, everything, most, current_member(), shared_sessions(false);
        END
    $$""",
    """CREATE FUNCTION set_member() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.member = '' OR row_security_active(TG_RELID) THEN
            NEW.member := {schema}.current_member();
        END IF;
        RETURN NEW; END
    $$""",
    """CREATE FUNCTION set_member_of_message() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        SELECT member INTO NEW.member FROM {schema}.sessions WHERE id = NEW.session_id;
        IF NOT FOUND THEN
            RAISE foreign_key_violation USING MESSAGE = 'this session does not exist';
        END IF;
        RETURN NEW; END
    $$""",
    """CREATE FUNCTION keep_shelf() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF row_security_active(TG_RELID) AND OLD.member <> {schema}.current_member() THEN
            RAISE insufficient_privilege
                USING MESSAGE = 'only the owner of a session puts it on another shelf';
        END IF;
        RETURN NEW; END
    $$""",
)
_TRIGGERS = (
    *(
        f"CREATE TRIGGER set_member BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION"
        " set_member()"
        for table in ("sessions", "model_calls", "embeddings", "deleted_sessions")
    ),
    (
        "CREATE TRIGGER set_member BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION"
        " set_member_of_message()"
    ),
    (
        "CREATE TRIGGER keep_shelf BEFORE UPDATE ON sessions FOR EACH ROW WHEN (OLD.shelf <>"
        " NEW.shelf) EXECUTE FUNCTION keep_shelf()"
    ),
)

_MINE = "member = (SELECT current_member())"
_SHARED = "{} = ANY ((SELECT shared_sessions({}))::text[])"
_OF_MESSAGE = "EXISTS (SELECT FROM messages WHERE id = message_id{})"
_OWN_SESSION = f"EXISTS (SELECT FROM sessions WHERE id = session_id AND sessions.{_MINE})"
_WRITABLE = f" AND (messages.{_MINE} OR {_SHARED.format('messages.session_id', 'true')})"
# table, command, and the rows that may be read (USING) or written (WITH CHECK)
_POLICIES = (
    ("sessions", "SELECT", f"{_MINE} OR {_SHARED.format('id', 'false')}", ""),
    ("sessions", "INSERT", "", _MINE),
    ("sessions", "UPDATE", f"{_MINE} OR {_SHARED.format('id', 'true')}", ""),
    ("sessions", "DELETE", _MINE, ""),
    ("messages", "SELECT", f"{_MINE} OR {_SHARED.format('session_id', 'false')}", ""),
    ("messages", "INSERT", "", f"{_MINE} OR {_SHARED.format('session_id', 'true')}"),
    ("messages", "UPDATE", f"{_MINE} OR {_SHARED.format('session_id', 'true')}", ""),
    ("messages", "DELETE", _MINE, ""),
    ("chunks", "SELECT", _OF_MESSAGE.format(""), ""),
    ("chunks", "INSERT", "", _OF_MESSAGE.format(_WRITABLE)),
    ("chunks", "DELETE", _OF_MESSAGE.format(_WRITABLE), ""),
    ("model_calls", "ALL", _MINE, ""),
    ("embeddings", "ALL", _MINE, ""),
    ("deleted_sessions", "SELECT", _MINE, ""),
    (
        "deleted_sessions",
        "INSERT",
        "",
        (
            "EXISTS (SELECT FROM sessions WHERE sessions.id = deleted_sessions.id AND"
            f" sessions.{_MINE})"
        ),
    ),
    ("deleted_sessions", "DELETE", _MINE, ""),
    ("shares", "SELECT", f"reader = (SELECT current_member()) OR {_OWN_SESSION}", ""),
    ("shares", "INSERT", "", _OWN_SESSION),
    ("shares", "UPDATE", _OWN_SESSION, ""),
    ("shares", "DELETE", f"reader = (SELECT current_member()) OR {_OWN_SESSION}", ""),
    ("accounts", "ALL", "(SELECT may_act())", ""),
)


def _policy(table: str, act: str, using: str, check: str) -> str:
    seen = f" USING ({using})" if using else ""
    written = f" WITH CHECK ({check})" if check else ""
    return f"CREATE POLICY {table}_{act.lower()} ON {table} FOR {act}{seen}{written}"


OWNERS_POSTGRES = (
    *_EVERYTHING_HAS_A_MEMBER,
    *_FUNCTIONS,
    *_TRIGGERS,
    *(_policy(*row) for row in _POLICIES),
    *(
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
        for table in dict.fromkeys(row[0] for row in _POLICIES)
    ),
)

# A page server's work on a session: its running turn and queued messages, one row per process and
# member, so that other servers can take over from a process that ended. A member who may write to
# another's session cannot change its shelf or what is kept with it (attached files, tools).
DESKS_POSTGRES = (
    """CREATE TABLE desks (session_id text NOT NULL, program text NOT NULL, data text NOT NULL,
        member text NOT NULL DEFAULT '', PRIMARY KEY (session_id, program, member))""",
    "CREATE TRIGGER set_member BEFORE INSERT ON desks FOR EACH ROW EXECUTE FUNCTION set_member()",
    _policy("desks", "ALL", _MINE, ""),
    "ALTER TABLE desks ENABLE ROW LEVEL SECURITY",
    f"""CREATE FUNCTION open_desks() RETURNS TABLE (owner text, session_id text, program text)
        LANGUAGE sql STABLE {_DEFINER} AS $$
        SELECT member, desks.session_id, desks.program FROM desks WHERE may_act()
    $$""",
    """CREATE OR REPLACE FUNCTION keep_shelf() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF row_security_active(TG_RELID) AND OLD.member <> {schema}.current_member() THEN
            NEW.settings := OLD.settings;
            IF OLD.shelf <> NEW.shelf THEN
                RAISE insufficient_privilege
                    USING MESSAGE = 'only the owner of a session puts it on another shelf';
            END IF;
        END IF;
        RETURN NEW; END
    $$""",
    "DROP TRIGGER keep_shelf ON sessions",
    "CREATE TRIGGER keep_shelf BEFORE UPDATE ON sessions FOR EACH ROW "
    "WHEN (OLD.shelf <> NEW.shelf OR OLD.settings <> NEW.settings) EXECUTE FUNCTION keep_shelf()",
)
