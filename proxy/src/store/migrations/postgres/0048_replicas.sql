-- When each session's provider was asked about it last: of several replicas one asks, and no restart asks again.
-- Applied migrations are compared by checksum: never edit this file, add the next number.
CREATE TABLE renewals (
    session TEXT   NOT NULL PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    asked   BIGINT NOT NULL -- milliseconds since the epoch
);

-- Keys that all replicas have in common. The first that needs one makes it.
CREATE TABLE secrets (
    name  TEXT  NOT NULL PRIMARY KEY,
    value BYTEA NOT NULL -- sealed
);

-- The oldest migration that a program has to know to use this database. A later migration that an older program cannot
-- live with adds a row.
CREATE TABLE needs (
    migration BIGINT NOT NULL PRIMARY KEY
);
INSERT INTO needs (migration) VALUES (48);

-- Replicas tell each other, whoever changes the tables: a notification leaves with its commit or not at all.
CREATE FUNCTION tell_sessions_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('torhaus', 'ended ' || id) FROM gone;
    RETURN NULL;
END $$;
CREATE TRIGGER sessions_ended AFTER DELETE ON sessions REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION tell_sessions_ended();

CREATE FUNCTION tell_session_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('torhaus', 'changed ' || NEW.id);
    RETURN NULL;
END $$;
-- Not when one was merely used.
CREATE TRIGGER session_changed AFTER UPDATE ON sessions FOR EACH ROW
    WHEN (OLD.proofs <> NEW.proofs OR OLD.groups <> NEW.groups OR OLD.user_name <> NEW.user_name
        OR OLD.expires <> NEW.expires OR OLD.tokens <> NEW.tokens)
    EXECUTE FUNCTION tell_session_changed();

CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('torhaus', TG_ARGV[0]);
    RETURN NULL;
END $$;
CREATE TRIGGER revocations_told AFTER INSERT ON revocations FOR EACH STATEMENT EXECUTE FUNCTION tell('revoked');
CREATE TRIGGER authorities_told AFTER INSERT ON authorities FOR EACH STATEMENT EXECUTE FUNCTION tell('authorities');
CREATE TRIGGER active_authority_told AFTER INSERT OR UPDATE ON active_authority
    FOR EACH STATEMENT EXECUTE FUNCTION tell('authorities');

CREATE FUNCTION tell_seen() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('torhaus',
        'seen ' || json_build_array(NEW.issuer, NEW.subject, NEW.place, NEW.last_seen)::text);
    RETURN NULL;
END $$;
CREATE TRIGGER seen_places_told AFTER INSERT ON seen_places FOR EACH ROW EXECUTE FUNCTION tell_seen();
