-- The devices that each session was used with: `torhaus session revoke --device`.
-- Applied migrations are compared by checksum: never edit this file, add the next number.
CREATE TABLE session_devices (
    session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    device  TEXT NOT NULL, -- a name of it, or SHA-256 of its certificate, lower-case hex
    PRIMARY KEY (session, device)
) STRICT, WITHOUT ROWID;

CREATE INDEX session_devices_by_device ON session_devices (device);
