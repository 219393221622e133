-- keep --
-- Make an instrument, or leave the one that is there.
INSERT INTO instruments (merchant_id, instrument_id, type, sealed, created_at, changed_at) VALUES ($1, $2, $3, $4, $5, $5)
ON CONFLICT DO NOTHING
RETURNING instrument_id;

-- find --
-- An instrument that was not deleted.
SELECT type, sealed FROM instruments WHERE merchant_id = $1 AND instrument_id = $2 AND deleted_at IS NULL;

-- replace --
-- Give an instrument other details; nothing comes back where there is none of that type.
UPDATE instruments SET sealed = $4, changed_at = $5
WHERE merchant_id = $1 AND instrument_id = $2 AND type = $3 AND deleted_at IS NULL
RETURNING instrument_id;

-- delete --
-- End an instrument: its details go at once.
UPDATE instruments SET sealed = '', deleted_at = $3 WHERE merchant_id = $1 AND instrument_id = $2 AND deleted_at IS NULL
RETURNING instrument_id;

-- put_card --
-- Put another card behind an active token; its readers are told by its version.
UPDATE tokens t SET card_id = $3, expiry = $4, holder = $5, version = t.version + 1
FROM cards c
WHERE t.merchant_id = $1 AND t.token_name = $2 AND t.active AND c.merchant_id = $1 AND c.card_id = $3
RETURNING t.token_name;
