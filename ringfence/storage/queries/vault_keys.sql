-- state --
-- The keys in force, or nothing in a new database.
SELECT current_key, next_key FROM vault_state;

-- keys --
-- Every key that was ever announced, oldest first.
SELECT key_id, check_value, carried, retired_at FROM vault_keys ORDER BY key_id;

-- announce --
-- Give a key its number; one that was announced under it before, and given up, is announced again.
INSERT INTO vault_keys (key_id, check_value, carried, created_at) VALUES ($1::integer, $2::bytea, $3::bytea, now())
ON CONFLICT (check_value) DO UPDATE SET retired_at = NULL;

-- begin --
-- Put the first key of a new database in force; whoever comes second changes nothing.
INSERT INTO vault_state (current_key) VALUES ($1::integer) ON CONFLICT DO NOTHING;

-- take_state --
-- The keys in force, held until the commit: everybody who is storing a card has finished, and who comes now waits.
SELECT current_key, next_key FROM vault_state FOR UPDATE;

-- set_state --
-- Put keys in force.
UPDATE vault_state SET current_key = $1::integer, next_key = $2::integer;

-- retire --
-- Note that nothing is sealed under a key any more, or never was.
UPDATE vault_keys SET retired_at = now() WHERE key_id = $1::integer;

-- hold --
-- Say how far a process's keys have come; its word is good for that many seconds.
INSERT INTO vault_holders (holder, held, in_use, good_until)
VALUES ($1::text, $2::integer, $3::integer, now() + make_interval(secs => $4::float8))
ON CONFLICT (holder) DO UPDATE SET held = excluded.held, in_use = excluded.in_use, good_until = excluded.good_until;

-- release --
-- Forget a process that ends, and those whose word ran out long ago.
DELETE FROM vault_holders WHERE holder = $1::text OR good_until < now() - interval '1 day';

-- behind --
-- The running processes that do not have a key yet, or do not seal with it yet.
SELECT holder FROM vault_holders
WHERE good_until > now() AND (held < $1::integer OR ($2::boolean AND in_use < $1::integer))
ORDER BY holder;

-- texts_to_reseal --
-- Sealed texts that stand under a key, each with what it is for and where it lies: the four bytes after the first name the key.
SELECT 'credential' AS purpose, merchant_id, door AS part, public_name AS name, sealed FROM credentials
WHERE substring(sealed FROM 2 FOR 4) = int4send($1::integer)
UNION ALL
SELECT 'instrument', merchant_id, '', instrument_id::text, sealed FROM instruments
WHERE substring(sealed FROM 2 FOR 4) = int4send($1::integer)
UNION ALL
SELECT 'evidence', merchant_id, dispute_id::text, file_id::text, wrapped_key FROM dispute_files
WHERE substring(wrapped_key FROM 2 FOR 4) = int4send($1::integer)
LIMIT $2::integer;

-- reseal_credential --
-- Store a credential's phrases under another key, unless they were changed meanwhile.
UPDATE credentials SET sealed = $5::bytea
WHERE merchant_id = $1::integer AND door = $2::text AND public_name = $3::text AND sealed = $4::bytea
RETURNING merchant_id;

-- reseal_instrument --
-- Store an instrument's details under another key, unless they were changed meanwhile.
UPDATE instruments SET sealed = $5::bytea
WHERE merchant_id = $1::integer AND $2::text = '' AND instrument_id = $3::text::bigint AND sealed = $4::bytea
RETURNING merchant_id;

-- reseal_evidence --
-- Store the data key of a file under another key.
UPDATE dispute_files SET wrapped_key = $5::bytea
WHERE merchant_id = $1::integer AND dispute_id = $2::text::bigint AND file_id = $3::text::bigint AND wrapped_key = $4::bytea
RETURNING merchant_id;
