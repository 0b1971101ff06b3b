-- Logouts at identity providers that were heard of lately: a login that finishes after its logout is refused, and the
-- same logout token again means what it meant first.
CREATE TABLE logouts (
    token   BYTEA    NOT NULL PRIMARY KEY, -- SHA-256 of issuer and jti
    issuer  TEXT    NOT NULL,
    subject TEXT,
    sid     TEXT,
    heard   BIGINT NOT NULL, -- milliseconds since the epoch
    expires BIGINT NOT NULL
);

CREATE INDEX logouts_by_sid ON logouts (issuer, sid);
CREATE INDEX logouts_by_subject ON logouts (issuer, subject);
CREATE INDEX logouts_by_expiry ON logouts (expires);
