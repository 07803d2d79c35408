-- Fit to run again, and to run on Postgres and MySQL as well.
CREATE TABLE IF NOT EXISTS users (
    user_id VARCHAR(64) PRIMARY KEY,
    tier VARCHAR(64)
);

-- Two users, to try it. Take both statements out.
DELETE FROM users WHERE user_id IN ('alice', 'bob');
INSERT INTO users (user_id, tier) VALUES ('alice', 'pro'), ('bob', 'free');
