-- The devices that each session was used with: `torhaus session revoke --device`.
-- Applied migrations are compared by checksum: never edit this file, add the next number.
CREATE TABLE session_devices (
    session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    device  TEXT NOT NULL, -- a name of it, or SHA-256 of its certificate, lower-case hex
    PRIMARY KEY (session, device)
);

CREATE INDEX session_devices_by_device ON session_devices (device);

-- The other replicas are told of devices that an operator vouches for, or not any more. Not of those that merely came.
CREATE TRIGGER devices_approved AFTER UPDATE ON devices FOR EACH ROW
    WHEN (OLD.approved_at IS DISTINCT FROM NEW.approved_at OR OLD.approved_owner IS DISTINCT FROM NEW.approved_owner)
    EXECUTE FUNCTION tell('devices');
CREATE TRIGGER devices_forgotten AFTER DELETE ON devices FOR EACH ROW
    WHEN (OLD.approved_at IS NOT NULL) EXECUTE FUNCTION tell('devices');
