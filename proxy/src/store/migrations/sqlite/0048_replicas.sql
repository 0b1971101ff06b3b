-- When each session's provider was asked about it last: of several replicas one asks, and no restart asks again.
-- Applied migrations are compared by checksum: never edit this file, add the next number.
CREATE TABLE renewals (
    session TEXT    NOT NULL PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    asked   INTEGER NOT NULL -- milliseconds since the epoch
) STRICT, WITHOUT ROWID;

-- Keys that all replicas have in common. The first that needs one makes it.
CREATE TABLE secrets (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL -- sealed
) STRICT, WITHOUT ROWID;
