-- Fit to run again, and to run on Postgres and MySQL as well.
CREATE TABLE IF NOT EXISTS api_keys (
    -- SHA-256 of the key, in lower-case hex: printf %s KEY | sha256sum
    key_hash CHAR(64) PRIMARY KEY,
    user_id BIGINT NOT NULL,
    tier VARCHAR(32)
);

-- The keys demo-free and demo-pro, to try it. Take both statements out.
DELETE FROM api_keys WHERE key_hash IN (
    'e1f4fdb94683a17c8a5d9e6dc6cca27c4a2f827dbe26ede139c17a61127b1f4f',
    'de4562274bd40421c1e8c1a589f4ec9f96c4c6e529fa843be4ef0d99d9256b7e'
);
INSERT INTO api_keys (key_hash, user_id, tier) VALUES
    ('e1f4fdb94683a17c8a5d9e6dc6cca27c4a2f827dbe26ede139c17a61127b1f4f', 1, 'free'),
    ('de4562274bd40421c1e8c1a589f4ec9f96c4c6e529fa843be4ef0d99d9256b7e', 2, 'pro');
