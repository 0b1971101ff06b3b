-- What the ACME server remembers. `record` is the whole of it, as JSON; the other columns are those it is looked up by.
-- An EAB key is a secret: its record is sealed. Times: seconds since the epoch.
-- Applied migrations are compared by checksum: never edit this file, add the next number.
CREATE TABLE acme_nonces (
    id    BYTEA    NOT NULL PRIMARY KEY,
    until BIGINT NOT NULL
);

CREATE TABLE acme_eabs (
    number    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- in the order of their making
    kid       TEXT    NOT NULL UNIQUE,
    not_after BIGINT NOT NULL,
    record    BYTEA    NOT NULL -- sealed
);

CREATE TABLE acme_accounts (
    number     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    thumbprint TEXT    NOT NULL UNIQUE, -- RFC 7638
    until      BIGINT NOT NULL,        -- end of the enrolment
    record     TEXT    NOT NULL
);

CREATE TABLE acme_orders (
    number      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          TEXT    NOT NULL UNIQUE,
    account     TEXT    NOT NULL,
    expires     BIGINT NOT NULL,
    replaces    TEXT,                      -- RFC 9773 section 5; NULL once the order is invalid
    certificate TEXT,                      -- of a valid order
    record      TEXT    NOT NULL
);

-- A certificate is replaced once.
CREATE UNIQUE INDEX acme_orders_by_replaced ON acme_orders (replaces) WHERE replaces IS NOT NULL;
CREATE INDEX acme_orders_by_account ON acme_orders (account);

CREATE TABLE acme_authorizations (
    id         TEXT    NOT NULL PRIMARY KEY,
    order_id   TEXT    NOT NULL,
    account    TEXT    NOT NULL,
    identifier TEXT    NOT NULL, -- JSON
    valid      BIGINT NOT NULL,
    expires    BIGINT NOT NULL,
    record     TEXT    NOT NULL
);

CREATE INDEX acme_authorizations_by_name ON acme_authorizations (account, identifier);

CREATE TABLE acme_certificates (
    id         TEXT    NOT NULL PRIMARY KEY,
    account    TEXT    NOT NULL,
    renewal_id TEXT    NOT NULL, -- RFC 9773 section 4.1
    not_after  BIGINT NOT NULL,
    record     TEXT    NOT NULL,
    rowid      BIGINT GENERATED ALWAYS AS IDENTITY
);

CREATE INDEX acme_certificates_by_account ON acme_certificates (account);
CREATE INDEX acme_certificates_by_renewal ON acme_certificates (renewal_id);
