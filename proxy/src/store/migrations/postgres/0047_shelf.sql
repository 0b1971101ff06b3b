-- Certificates that torhaus obtained for its listeners, the accounts they were obtained with, and what proves names
-- while an order is open. All sealed. Times: seconds since the epoch.
-- Applied migrations are compared by checksum: never edit this file, add the next number.
CREATE TABLE shelf (
    kind  TEXT   NOT NULL,
    id    TEXT   NOT NULL,
    until BIGINT,           -- null: for good
    value BYTEA  NOT NULL,  -- sealed
    PRIMARY KEY (kind, id)
);

-- Who of several replicas does a piece of work.
CREATE TABLE claims (
    work  TEXT   NOT NULL PRIMARY KEY,
    who   TEXT   NOT NULL,
    until BIGINT NOT NULL
);
