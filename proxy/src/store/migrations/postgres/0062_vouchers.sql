-- Which providers vouch for live sessions is asked twice a minute: without reading the sessions themselves.
-- Applied migrations are compared by checksum: never edit this file, add the next number.
DROP INDEX sessions_by_provider;
CREATE INDEX sessions_by_voucher ON sessions (provider, issuer);
