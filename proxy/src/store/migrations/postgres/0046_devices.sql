-- Devices that came to the gate, by client certificate or from a mesh.
CREATE TABLE devices (
    id             TEXT    NOT NULL PRIMARY KEY,
    serial         TEXT,
    owner          TEXT,
    certificate    TEXT,             -- SHA-256, lower-case hex
    used_by        TEXT,
    sources        TEXT    NOT NULL,
    first_seen     BIGINT NOT NULL, -- milliseconds since the epoch
    last_seen      BIGINT NOT NULL,
    approved_by    TEXT,
    approved_at    BIGINT,
    approved_owner TEXT,
    report         TEXT              -- JSON
);
