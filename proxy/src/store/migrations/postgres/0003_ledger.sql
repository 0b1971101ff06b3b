-- Our own authorities, and the ledger of certificates. Issued and revoked certificates are only ever added: the triggers
-- keep hasty hands away, not somebody who owns the file.
-- Applied migrations are compared by checksum: never edit this file, add the next number.
CREATE TABLE authorities (
    id          TEXT    NOT NULL PRIMARY KEY, -- first 8 octets of the key identifier, hex
    role        TEXT    NOT NULL CHECK (role IN ('root', 'issuing')),
    certificate TEXT    NOT NULL, -- PEM
    root        TEXT    NOT NULL, -- PEM of the root above it
    sealed_key  BYTEA,             -- PKCS #8, sealed; absent: kept elsewhere
    added       BIGINT NOT NULL, -- all times here: seconds since the epoch
    rowid       BIGINT GENERATED ALWAYS AS IDENTITY -- in the order of their making, as SQLite has it
);

CREATE TABLE active_authority (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    id  TEXT    NOT NULL REFERENCES authorities (id)
);

CREATE TABLE certificates (
    serial       BYTEA    NOT NULL PRIMARY KEY,
    issuer       TEXT    NOT NULL,
    profile      TEXT    NOT NULL,
    common_name  TEXT    NOT NULL,
    names        TEXT    NOT NULL, -- JSON: ["dns:...", "uri:..."]
    owner        TEXT    NOT NULL,
    requested_by TEXT    NOT NULL,
    why          TEXT    NOT NULL,
    sha256       TEXT    NOT NULL,
    issued_at    BIGINT NOT NULL,
    not_before   BIGINT NOT NULL,
    not_after    BIGINT NOT NULL,
    der          BYTEA    NOT NULL,
    rowid        BIGINT GENERATED ALWAYS AS IDENTITY
);

CREATE INDEX certificates_by_owner ON certificates (owner, issued_at);
CREATE INDEX certificates_by_issue ON certificates (issued_at);
CREATE INDEX certificates_by_end ON certificates (not_after);

-- No reference to `certificates`: one that was restored may have forgotten what is revoked here.
CREATE TABLE revocations (
    serial     BYTEA    NOT NULL PRIMARY KEY,
    issuer     TEXT,
    at         BIGINT NOT NULL,
    reason     BIGINT NOT NULL, -- RFC 5280 section 5.3.1
    revoked_by TEXT    NOT NULL,
    why        TEXT    NOT NULL,
    not_after  BIGINT
);

CREATE INDEX revocations_by_end ON revocations (not_after);

CREATE TABLE crl_numbers (
    issuer TEXT    NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL
);

CREATE FUNCTION ledger_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger only grows';
END $$;
CREATE TRIGGER certificates_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON certificates
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_only_grows();
CREATE TRIGGER revocations_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON revocations
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_only_grows();
