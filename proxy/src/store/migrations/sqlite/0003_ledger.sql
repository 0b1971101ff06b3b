-- Our own authorities, and the ledger of certificates. Issued and revoked certificates are only ever added: the triggers
-- keep hasty hands away, not somebody who owns the file.
-- Applied migrations are compared by checksum: never edit this file, add the next number.
CREATE TABLE authorities (
    id          TEXT    NOT NULL PRIMARY KEY, -- first 8 octets of the key identifier, hex
    role        TEXT    NOT NULL CHECK (role IN ('root', 'issuing')),
    certificate TEXT    NOT NULL, -- PEM
    root        TEXT    NOT NULL, -- PEM of the root above it
    sealed_key  BLOB,             -- PKCS #8, sealed; absent: kept elsewhere
    added       INTEGER NOT NULL  -- all times here: seconds since the epoch
) STRICT;

CREATE TABLE active_authority (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    id  TEXT    NOT NULL REFERENCES authorities (id)
) STRICT;

CREATE TABLE certificates (
    serial       BLOB    NOT NULL PRIMARY KEY,
    issuer       TEXT    NOT NULL,
    profile      TEXT    NOT NULL,
    common_name  TEXT    NOT NULL,
    names        TEXT    NOT NULL, -- JSON: ["dns:...", "uri:..."]
    owner        TEXT    NOT NULL,
    requested_by TEXT    NOT NULL,
    why          TEXT    NOT NULL,
    sha256       TEXT    NOT NULL,
    issued_at    INTEGER NOT NULL,
    not_before   INTEGER NOT NULL,
    not_after    INTEGER NOT NULL,
    der          BLOB    NOT NULL
) STRICT;

CREATE INDEX certificates_by_owner ON certificates (owner, issued_at);
CREATE INDEX certificates_by_issue ON certificates (issued_at);
CREATE INDEX certificates_by_end ON certificates (not_after);

-- No reference to `certificates`: one that was restored may have forgotten what is revoked here.
CREATE TABLE revocations (
    serial     BLOB    NOT NULL PRIMARY KEY,
    issuer     TEXT,
    at         INTEGER NOT NULL,
    reason     INTEGER NOT NULL, -- RFC 5280 section 5.3.1
    revoked_by TEXT    NOT NULL,
    why        TEXT    NOT NULL,
    not_after  INTEGER
) STRICT;

CREATE INDEX revocations_by_end ON revocations (not_after);

CREATE TABLE crl_numbers (
    issuer TEXT    NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL
) STRICT;

CREATE TRIGGER certificates_stay BEFORE UPDATE ON certificates BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER certificates_are_kept BEFORE DELETE ON certificates BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER revocations_stay BEFORE UPDATE ON revocations BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER revocations_are_kept BEFORE DELETE ON revocations BEGIN SELECT RAISE(ABORT, 'the ledger only grows'); END;
