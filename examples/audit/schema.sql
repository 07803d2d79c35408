-- Fit to run again, and to run on Postgres and MySQL as well.
CREATE TABLE IF NOT EXISTS audit_log (
    -- Unique over all gateways: what is sent twice is written once.
    id VARCHAR(40) PRIMARY KEY,
    -- When the request began, in milliseconds since 1970-01-01 UTC.
    at_ms BIGINT NOT NULL,
    client VARCHAR(255) NOT NULL,
    method VARCHAR(255) NOT NULL,
    host VARCHAR(255) NOT NULL,
    path VARCHAR(2048) NOT NULL,
    -- 0 if there was no answer.
    status INTEGER NOT NULL,
    duration_ms BIGINT NOT NULL,
    user_id VARCHAR(255)
);
