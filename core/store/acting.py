"""PostgreSQL's functions that say for which member a statement runs, planned once a connection."""

from __future__ import annotations

# Each statement of a member asks several times who it runs for: once per policy. A function in SQL
# that PostgreSQL cannot inline is planned anew at each call, which took most of the time of the
# statements of page servers; one in PL/pgSQL is planned once per connection.
# Functions that run with the member's own rights name the schema of all they use: members choose
# their search path, and could put functions and operators of their own before PostgreSQL's.
_EQUALS, _DIFFERS = "OPERATOR(pg_catalog.=)", "OPERATOR(pg_catalog.<>)"
_DEFINER = "SECURITY DEFINER SET search_path = {schema}, pg_temp"
ACTING_POSTGRES = (
    f"""CREATE OR REPLACE FUNCTION may_act() RETURNS boolean
        LANGUAGE plpgsql STABLE {_DEFINER} AS $$
        BEGIN RETURN EXISTS (SELECT FROM servers WHERE role = session_user)
            OR (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = session_user)
            OR pg_has_role(session_user, (SELECT relowner FROM pg_catalog.pg_class
                                          WHERE oid = '{{schema}}.sessions'::regclass), 'MEMBER');
        END
    $$""",
    # The member that the setting names, which anyone can set, if our role may act for others: most
    # often as a page server, so that is looked up first.
    f"""CREATE FUNCTION acting_for() RETURNS text LANGUAGE plpgsql STABLE {_DEFINER} AS $$
        BEGIN
            IF EXISTS (SELECT FROM servers WHERE role = session_user) OR may_act() THEN
                RETURN current_setting('stream_chat.member');
            END IF;
            RETURN session_user;
        END
    $$""",
    # Inlined into policies: as short as possible, since each copy is prepared for each statement.
    f"""CREATE OR REPLACE FUNCTION current_member() RETURNS text LANGUAGE sql STABLE AS $$
        SELECT CASE WHEN pg_catalog.current_setting('stream_chat.member', true) {_DIFFERS} ''
            THEN {{schema}}.acting_for() ELSE session_user::pg_catalog.text END
    $$""",
    f"""CREATE OR REPLACE FUNCTION set_member() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.member {_EQUALS} '' OR pg_catalog.row_security_active(TG_RELID) THEN
            NEW.member := {{schema}}.current_member();
        END IF;
        RETURN NEW; END
    $$""",
    f"""CREATE OR REPLACE FUNCTION set_member_of_message() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
        SELECT member INTO NEW.member FROM {{schema}}.sessions WHERE id {_EQUALS} NEW.session_id;
        IF NOT FOUND THEN
            RAISE foreign_key_violation USING MESSAGE = 'this session does not exist';
        END IF;
        RETURN NEW; END
    $$""",
    f"""CREATE OR REPLACE FUNCTION keep_shelf() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF pg_catalog.row_security_active(TG_RELID)
                AND OLD.member {_DIFFERS} {{schema}}.current_member() THEN
            NEW.settings := OLD.settings;
            IF OLD.shelf {_DIFFERS} NEW.shelf THEN
                RAISE insufficient_privilege
                    USING MESSAGE = 'only the owner of a session puts it on another shelf';
            END IF;
        END IF;
        RETURN NEW; END
    $$""",
)
