-- Sessions, their handles (SHA-256 of a cookie, one host each), and one-time values.
-- Applied migrations are compared by checksum: never edit this file, add the next number.
CREATE TABLE sessions (
    id               TEXT    NOT NULL PRIMARY KEY,
    user_name        TEXT    NOT NULL,
    provider         TEXT    NOT NULL,
    issuer           TEXT    NOT NULL,
    subject          TEXT    NOT NULL,
    federated        BIGINT NOT NULL,
    display_name     TEXT,
    email            TEXT,
    groups           TEXT    NOT NULL, -- JSON: {"known":[...]} or {"unknown":"source_down"}
    proofs           TEXT    NOT NULL, -- JSON: [{"tier","proven_at","provider"}]
    provider_session TEXT,
    tokens           BYTEA    NOT NULL, -- sealed
    created          BIGINT NOT NULL, -- all times: milliseconds since the epoch
    expires          BIGINT NOT NULL,
    last_seen        BIGINT NOT NULL,
    opened_from      TEXT    NOT NULL,
    user_agent       TEXT    NOT NULL
);

CREATE INDEX sessions_by_user ON sessions (user_name);
CREATE INDEX sessions_by_subject ON sessions (issuer, subject);
CREATE INDEX sessions_by_provider_session ON sessions (issuer, provider_session);
CREATE INDEX sessions_by_provider ON sessions (provider);
CREATE INDEX sessions_by_expiry ON sessions (expires);
CREATE INDEX sessions_by_last_seen ON sessions (last_seen);

CREATE TABLE handles (
    hash    BYTEA NOT NULL PRIMARY KEY,
    host    TEXT NOT NULL,
    session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE
);

CREATE INDEX handles_by_session ON handles (session);

CREATE TABLE once (
    purpose TEXT    NOT NULL,
    key     BYTEA    NOT NULL,
    value   BYTEA    NOT NULL, -- sealed
    expires BIGINT NOT NULL,
    PRIMARY KEY (purpose, key)
);

CREATE INDEX once_by_expiry ON once (expires);
