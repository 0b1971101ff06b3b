-- What the ACME server remembers. `record` is the whole of it, as JSON; the other columns are those it is looked up by.
-- An EAB key is a secret: its record is sealed. Times: seconds since the epoch.
-- Applied migrations are compared by checksum: never edit this file, add the next number.
CREATE TABLE acme_nonces (
    id    BLOB    NOT NULL PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE acme_eabs (
    number    INTEGER NOT NULL PRIMARY KEY, -- in the order of their making
    kid       TEXT    NOT NULL UNIQUE,
    not_after INTEGER NOT NULL,
    record    BLOB    NOT NULL -- sealed
) STRICT;

CREATE TABLE acme_accounts (
    number     INTEGER NOT NULL PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    thumbprint TEXT    NOT NULL UNIQUE, -- RFC 7638
    until      INTEGER NOT NULL,        -- end of the enrolment
    record     TEXT    NOT NULL
) STRICT;

CREATE TABLE acme_orders (
    number      INTEGER NOT NULL PRIMARY KEY,
    id          TEXT    NOT NULL UNIQUE,
    account     TEXT    NOT NULL,
    expires     INTEGER NOT NULL,
    replaces    TEXT,                      -- RFC 9773 section 5; NULL once the order is invalid
    certificate TEXT,                      -- of a valid order
    record      TEXT    NOT NULL
) STRICT;

-- A certificate is replaced once.
CREATE UNIQUE INDEX acme_orders_by_replaced ON acme_orders (replaces) WHERE replaces IS NOT NULL;
CREATE INDEX acme_orders_by_account ON acme_orders (account);

CREATE TABLE acme_authorizations (
    id         TEXT    NOT NULL PRIMARY KEY,
    order_id   TEXT    NOT NULL,
    account    TEXT    NOT NULL,
    identifier TEXT    NOT NULL, -- JSON
    valid      INTEGER NOT NULL,
    expires    INTEGER NOT NULL,
    record     TEXT    NOT NULL
) STRICT;

CREATE INDEX acme_authorizations_by_name ON acme_authorizations (account, identifier);

CREATE TABLE acme_certificates (
    id         TEXT    NOT NULL PRIMARY KEY,
    account    TEXT    NOT NULL,
    renewal_id TEXT    NOT NULL, -- RFC 9773 section 4.1
    not_after  INTEGER NOT NULL,
    record     TEXT    NOT NULL
) STRICT;

CREATE INDEX acme_certificates_by_account ON acme_certificates (account);
CREATE INDEX acme_certificates_by_renewal ON acme_certificates (renewal_id);
