-- Grants of break glass that were used. Never forgotten: a grant is good once.
-- Applied migrations are compared by checksum: never edit this file, add the next number.
CREATE TABLE spent_grants (
    id      TEXT   NOT NULL PRIMARY KEY,
    spent   BIGINT NOT NULL, -- milliseconds since the epoch
    by_whom TEXT   NOT NULL
);
