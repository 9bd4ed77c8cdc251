"""PostgreSQL's notifications: a session was written to, a reply should stop."""

from __future__ import annotations

# Each session has its own channel, named by a hash of its identity: only those who know the
# identity can listen, and payloads are empty. Each page server process has a channel too.
_DEFINER = "SECURITY DEFINER SET search_path = {schema}, pg_temp"
NEWS_POSTGRES = (
    """CREATE FUNCTION announce(session text) RETURNS void LANGUAGE sql AS $$
        SELECT pg_notify(
            'stream_chat_' || left(encode(sha256(convert_to(session, 'UTF8')), 'hex'), 40), '')
    $$""",
    f"""CREATE FUNCTION announce_session() RETURNS trigger LANGUAGE plpgsql {_DEFINER} AS $$ BEGIN
        PERFORM announce(NEW.id);
        RETURN NULL; END
    $$""",
    f"""CREATE FUNCTION announce_chunk() RETURNS trigger LANGUAGE plpgsql {_DEFINER} AS $$ BEGIN
        PERFORM announce(session_id) FROM messages WHERE id = NEW.message_id;
        RETURN NULL; END
    $$""",
    "CREATE TRIGGER announce AFTER INSERT OR UPDATE ON sessions FOR EACH ROW"
    " EXECUTE FUNCTION announce_session()",
    "CREATE TRIGGER announce AFTER INSERT ON chunks FOR EACH ROW"
    " EXECUTE FUNCTION announce_chunk()",
    # Asks a reply that runs in another page server process to stop.
    "ALTER TABLE desks ADD COLUMN stop integer NOT NULL DEFAULT 0",
    f"""CREATE FUNCTION announce_stop() RETURNS trigger LANGUAGE plpgsql {_DEFINER} AS $$ BEGIN
        PERFORM announce('program ' || NEW.program);
        RETURN NULL; END
    $$""",
    "CREATE TRIGGER announce AFTER UPDATE OF stop ON desks FOR EACH ROW WHEN (NEW.stop = 1)"
    " EXECUTE FUNCTION announce_stop()",
)
# A sign-in cookie is invalid once the account has another seal. `subject` is the account's identity
# at an OpenID provider.
SEALS_OF_BOTH = (
    "ALTER TABLE accounts ADD COLUMN seal text NOT NULL DEFAULT ''",
    "ALTER TABLE accounts ADD COLUMN subject text NOT NULL DEFAULT ''",
)
