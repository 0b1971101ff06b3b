-- Certificates that torhaus obtained for its listeners, the accounts they were obtained with, and what proves names
-- while an order is open. All sealed. Times: seconds since the epoch.
-- Applied migrations are compared by checksum: never edit this file, add the next number.
CREATE TABLE shelf (
    kind  TEXT    NOT NULL,
    id    TEXT    NOT NULL,
    until INTEGER,           -- null: for good
    value BLOB    NOT NULL,  -- sealed
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

-- Who of several replicas does a piece of work.
CREATE TABLE claims (
    work  TEXT    NOT NULL PRIMARY KEY,
    who   TEXT    NOT NULL,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
