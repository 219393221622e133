-- find_cards --
-- The cards behind fingerprints, each under the key in force; the other column's fingerprint is null.
SELECT w.place, c.merchant_id, c.card_id, c.brand, c.bin, c.last4, c.key_id, c.wrapped_key, c.ciphertext,
       c.first_reference, c.blocked
FROM unnest($1::integer[], $2::bytea[]) WITH ORDINALITY AS w (merchant_id, fingerprint, place)
JOIN cards c ON c.merchant_id = w.merchant_id AND c.fingerprint_odd = w.fingerprint
WHERE $3::boolean
UNION ALL
SELECT w.place, c.merchant_id, c.card_id, c.brand, c.bin, c.last4, c.key_id, c.wrapped_key, c.ciphertext,
       c.first_reference, c.blocked
FROM unnest($1::integer[], $2::bytea[]) WITH ORDINALITY AS w (merchant_id, fingerprint, place)
JOIN cards c ON c.merchant_id = w.merchant_id AND c.fingerprint_even = w.fingerprint
WHERE NOT $3::boolean;

-- insert_cards --
-- Store cards that were not there.  One that somebody else stored meanwhile is not returned; nothing at all is stored when
-- the keys in force ($1, $2) are not those the caller knows.
WITH in_force AS MATERIALIZED (
    SELECT current_key FROM vault_state
    WHERE current_key = $1::integer AND next_key IS NOT DISTINCT FROM $2::integer
    FOR SHARE)
INSERT INTO cards (merchant_id, card_id, fingerprint_odd, fingerprint_even, key_id, wrapped_key, ciphertext, brand, bin,
                   last4, created_at)
SELECT n.merchant_id, n.card_id, n.fingerprint_odd, n.fingerprint_even, n.key_id, n.wrapped_key, n.ciphertext, n.brand,
       n.bin, n.last4, $13::timestamptz
FROM unnest($3::integer[], $4::bigint[], $5::bytea[], $6::bytea[], $7::integer[], $8::bytea[], $9::bytea[], $10::text[],
            $11::text[], $12::text[])
  AS n (merchant_id, card_id, fingerprint_odd, fingerprint_even, key_id, wrapped_key, ciphertext, brand, bin, last4)
WHERE EXISTS (SELECT FROM in_force)
ON CONFLICT DO NOTHING
RETURNING merchant_id, card_id;

-- load_cards --
-- Cards by their ids.  Places as asked.
SELECT w.place, c.merchant_id, c.card_id, c.brand, c.bin, c.last4, c.key_id, c.wrapped_key, c.ciphertext, c.first_reference, c.blocked
FROM unnest($1::integer[], $2::bigint[]) WITH ORDINALITY AS w (merchant_id, card_id, place)
JOIN cards c ON c.merchant_id = w.merchant_id AND c.card_id = w.card_id;

-- load_tokens --
-- Tokens with their cards, by name; places as asked.  Last whether one is temporary, and whether a tokenization left something for
-- a payment with it.
SELECT w.place, t.merchant_id, t.token_name, t.expiry, t.holder, t.active, t.version, t.created_at,
       c.card_id, c.brand, c.bin, c.last4, c.key_id, c.wrapped_key, c.ciphertext, c.first_reference, c.blocked,
       t.temporary_until IS NOT NULL,
       t.temporary_until IS NOT NULL
       OR EXISTS (SELECT FROM tokenizations f WHERE f.merchant_id = t.merchant_id AND f.token_name = t.token_name)
FROM unnest($1::integer[], $2::text[]) WITH ORDINALITY AS w (merchant_id, token_name, place)
JOIN tokens t ON t.merchant_id = w.merchant_id AND t.token_name = w.token_name
JOIN cards c ON c.merchant_id = t.merchant_id AND c.card_id = t.card_id;

-- list_tokens --
-- A merchant's tokens made in a span of business time, oldest first, those behind a token; the temporary ones are not the
-- merchant's yet.
SELECT 0 AS place, t.merchant_id, t.token_name, t.expiry, t.holder, t.active, t.version, t.created_at,
       c.card_id, c.brand, c.bin, c.last4, c.key_id, c.wrapped_key, c.ciphertext, c.first_reference, c.blocked, false, false
FROM tokens t
JOIN cards c ON c.merchant_id = t.merchant_id AND c.card_id = t.card_id
WHERE t.merchant_id = $1::integer AND t.temporary_until IS NULL AND t.created_at >= $2::timestamptz AND t.created_at < $3::timestamptz
  AND ($4::text IS NULL OR (t.created_at, t.token_name) > (
       SELECT a.created_at, a.token_name FROM tokens a WHERE a.merchant_id = $1::integer AND a.token_name = $4))
ORDER BY t.created_at, t.token_name
LIMIT $5::integer;

-- lock_cards --
-- Hold cards until the commit, in key order, so that two commits that change the same cards cannot embrace.
SELECT c.card_id
FROM cards c
JOIN unnest($1::integer[], $2::bigint[]) AS w (merchant_id, card_id) USING (merchant_id, card_id)
ORDER BY c.merchant_id, c.card_id
FOR NO KEY UPDATE OF c;

-- note_first_references --
-- Remember the scheme reference that later payments cite, where there is none yet; the cards that changed.
UPDATE cards c SET first_reference = n.reference
FROM (SELECT DISTINCT ON (merchant_id, card_id) merchant_id, card_id, reference
      FROM unnest($1::integer[], $2::bigint[], $3::text[]) AS u (merchant_id, card_id, reference)
      ORDER BY merchant_id, card_id) n
WHERE c.merchant_id = n.merchant_id AND c.card_id = n.card_id AND c.first_reference = ''
RETURNING c.merchant_id, c.card_id;

-- block_cards --
-- End merchant-initiated payments with cards, where they have not ended yet; the cards that changed.
UPDATE cards c SET blocked = n.reason
FROM (SELECT DISTINCT ON (merchant_id, card_id) merchant_id, card_id, reason
      FROM unnest($1::integer[], $2::bigint[], $3::text[]) AS u (merchant_id, card_id, reason)
      ORDER BY merchant_id, card_id) n
WHERE c.merchant_id = n.merchant_id AND c.card_id = n.card_id AND c.blocked = ''
RETURNING c.merchant_id, c.card_id;

-- note_declines --
-- Declines of payments that merchants began by themselves ($1 merchants, $2 cards, $3 operations): what schemes count.
INSERT INTO card_declines (merchant_id, card_id, declined_at, operation_id)
SELECT n.merchant_id, n.card_id, $4::timestamptz, n.operation_id
FROM unnest($1::integer[], $2::bigint[], $3::bigint[]) AS n (merchant_id, card_id, operation_id)
ON CONFLICT DO NOTHING;

-- forget_declines --
-- Declines before $1, which nobody counts any more.
DELETE FROM card_declines WHERE declined_at < $1::timestamptz;

-- bump_tokens --
-- Tell the readers of tokens that what their cards may do has changed.  A statement of its own: it must see the tokens made
-- while the cards' locks were waited for.
UPDATE tokens t SET version = t.version + 1
FROM unnest($1::integer[], $2::bigint[]) AS w (merchant_id, card_id)
WHERE t.merchant_id = w.merchant_id AND t.card_id = w.card_id;

-- insert_tokens --
-- Make tokens; one whose name is taken, or whose card is not there or erased, is not returned.  The cards are held against a
-- change meanwhile, in key order: a token made beside a block or an erasure must not miss it.
WITH held AS MATERIALIZED (
    SELECT c.merchant_id, c.card_id
    FROM cards c
    WHERE (c.merchant_id, c.card_id) IN (SELECT * FROM unnest($1::integer[], $3::bigint[])) AND c.erased_at IS NULL
    ORDER BY c.merchant_id, c.card_id
    FOR SHARE)
INSERT INTO tokens (merchant_id, token_name, card_id, expiry, holder, active, version, created_at)
SELECT n.merchant_id, n.token_name, n.card_id, n.expiry, n.holder, true, 1, $6::timestamptz
FROM unnest($1::integer[], $2::text[], $3::bigint[], $4::text[], $5::text[])
  AS n (merchant_id, token_name, card_id, expiry, holder)
JOIN held USING (merchant_id, card_id)
ORDER BY n.merchant_id, n.token_name
ON CONFLICT DO NOTHING
RETURNING merchant_id, token_name;

-- update_token --
-- Change a token, null leaves as it is; nothing is returned when there is none of that name, or when one is to be switched on
-- whose card is erased or that is temporary.  The card is held meanwhile: what is switched on beside an erasure must not miss it.
-- A temporary one that is switched off is off for good; what tokenizations left goes with a new name.
WITH held AS MATERIALIZED (
    SELECT c.erased_at
    FROM tokens t JOIN cards c USING (merchant_id, card_id)
    WHERE t.merchant_id = $1::integer AND t.token_name = $2::text AND $3::boolean
    FOR SHARE OF c),
changed AS (
    UPDATE tokens
    SET active = coalesce($3::boolean, active), expiry = coalesce($4::text, expiry), holder = coalesce($5::text, holder),
        token_name = coalesce($6::text, token_name), version = version + 1,
        temporary_until = CASE WHEN $3::boolean IS DISTINCT FROM false THEN temporary_until END
    WHERE merchant_id = $1::integer AND token_name = $2::text
      AND ($3::boolean IS NOT TRUE OR (temporary_until IS NULL AND EXISTS (SELECT FROM held WHERE erased_at IS NULL)))
    RETURNING token_name),
moved AS (
    UPDATE tokenizations f SET token_name = c.token_name
    FROM changed c
    WHERE f.merchant_id = $1::integer AND f.token_name = $2::text AND c.token_name <> f.token_name)
SELECT token_name FROM changed;

-- count_cards --
-- How many cards are sealed under a key.
SELECT count(*) FROM cards WHERE key_id = $1::integer AND ciphertext IS NOT NULL;

-- cards_to_rewrap --
-- The next cards sealed under a key, held until the commit.  One that somebody else holds is left for another pass: a
-- rotation never waits for a payment.
SELECT merchant_id, card_id, wrapped_key, ciphertext
FROM cards
WHERE key_id = $1::integer AND ciphertext IS NOT NULL AND (merchant_id, card_id) > ($2::integer, $3::bigint)
ORDER BY merchant_id, card_id
LIMIT $4::integer
FOR NO KEY UPDATE SKIP LOCKED;

-- rewrap_cards --
-- Store record keys under another master key, and the fingerprints in that key's column.
UPDATE cards c
SET key_id = $1::integer, wrapped_key = n.wrapped_key,
    fingerprint_odd = CASE WHEN $1 % 2 = 1 THEN n.fingerprint ELSE c.fingerprint_odd END,
    fingerprint_even = CASE WHEN $1 % 2 = 0 THEN n.fingerprint ELSE c.fingerprint_even END
FROM unnest($2::integer[], $3::bigint[], $4::bytea[], $5::bytea[]) AS n (merchant_id, card_id, wrapped_key, fingerprint)
WHERE c.merchant_id = n.merchant_id AND c.card_id = n.card_id;

-- clear_fingerprints --
-- Drop the fingerprints under a key that has ended (of odd number or not) from the next cards that nobody holds.
WITH batch AS MATERIALIZED (
    SELECT merchant_id, card_id FROM cards
    WHERE (merchant_id, card_id) > ($2::integer, $3::bigint)
    ORDER BY merchant_id, card_id
    LIMIT $4::integer
    FOR NO KEY UPDATE SKIP LOCKED),
cleared AS (
    UPDATE cards c
    SET fingerprint_odd = CASE WHEN $1::boolean THEN NULL ELSE c.fingerprint_odd END,
        fingerprint_even = CASE WHEN $1::boolean THEN c.fingerprint_even ELSE NULL END
    FROM batch b
    WHERE c.merchant_id = b.merchant_id AND c.card_id = b.card_id
      AND CASE WHEN $1::boolean THEN c.fingerprint_odd ELSE c.fingerprint_even END IS NOT NULL)
SELECT merchant_id, card_id FROM batch ORDER BY merchant_id DESC, card_id DESC LIMIT 1;

-- has_fingerprints --
-- Whether any card has a fingerprint under a key of odd number, or of even number.
SELECT CASE WHEN $1::boolean THEN EXISTS (SELECT FROM cards WHERE fingerprint_odd IS NOT NULL)
            ELSE EXISTS (SELECT FROM cards WHERE fingerprint_even IS NOT NULL) END;
