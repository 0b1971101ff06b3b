-- Countries (`DE`) and networks (`203.0.113.0/24`) that people came from, for the condition `new_place`.
CREATE TABLE seen_places (
    issuer     TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    place      TEXT    NOT NULL,
    first_seen BIGINT NOT NULL, -- milliseconds since the epoch
    last_seen  BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject, place)
);

CREATE INDEX seen_places_by_last_seen ON seen_places (last_seen);
