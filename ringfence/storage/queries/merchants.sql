-- directory_version --
-- The number that grows with every change of a merchant or a credential.
SELECT version FROM directory_version;

-- merchants --
-- Every merchant, in the order they were made.
SELECT merchant_id, identifier, name, settings::text AS settings, active FROM merchants ORDER BY merchant_id;

-- credentials --
-- Every credential in force; the phrases are sealed.
SELECT merchant_id, door, public_name, sealed, algorithm FROM credentials WHERE active ORDER BY merchant_id, door, public_name;

-- change_directory --
-- Take the directory for one change and raise its version; a second writer waits here until the first has committed.
UPDATE directory_version SET version = version + 1 RETURNING version;

-- insert_merchant --
-- Make a merchant under the next free number; nothing is returned when the identifier is taken.
INSERT INTO merchants (merchant_id, identifier, name, settings, created_at)
SELECT coalesce(max(merchant_id), 0) + 1, $1::text, $2::text, $3::text::jsonb, $4::timestamptz FROM merchants
ON CONFLICT (identifier) DO NOTHING
RETURNING merchant_id;

-- insert_credential --
-- Give a merchant a credential; nothing is returned when the merchant has one of that name already.
INSERT INTO credentials (merchant_id, door, public_name, sealed, algorithm, created_at)
VALUES ($1::int, $2::text, $3::text, $4::bytea, $5::text, $6::timestamptz)
ON CONFLICT DO NOTHING
RETURNING public_name;

-- merchant_for_change --
-- One merchant's settings, locked until the change commits.
SELECT merchant_id, settings::text AS settings, name, active FROM merchants WHERE identifier = $1::text FOR UPDATE;

-- update_merchant --
-- Store a merchant's name, settings and whether it may trade.
UPDATE merchants SET name = $2::text, settings = $3::text::jsonb, active = $4::bool WHERE merchant_id = $1::int;

-- credential --
-- One credential in force.
SELECT merchant_id, door, public_name, sealed, algorithm FROM credentials
WHERE merchant_id = $1 AND door = $2 AND public_name = $3 AND active;

-- update_credential --
-- Store other phrases of a credential.
UPDATE credentials SET sealed = $4 WHERE merchant_id = $1 AND door = $2 AND public_name = $3;

-- is_named --
-- Whether a name was ever given out at a door, to whomever: there it must name one merchant.
SELECT EXISTS (SELECT FROM credentials WHERE door = $1::text AND public_name = $2::text);

-- count_credentials --
-- How many credentials a merchant has in force at a door.
SELECT count(*) FROM credentials WHERE merchant_id = $1::int AND door = $2::text AND active;

-- switch_credential_off --
-- Take a credential out of force; its name stays taken.
UPDATE credentials SET active = false WHERE merchant_id = $1::int AND door = $2::text AND public_name = $3::text AND active
RETURNING public_name;
