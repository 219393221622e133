-- Tokens while they are made: by a tokenization, by CREATE_TOKEN, by a payment.

-- hold_card --
-- Hold a card until the commit: whoever else makes a token for it waits, and then sees this one.  Null where nothing but its
-- digits is left.
SELECT card_id FROM cards
WHERE merchant_id = $1::integer AND card_id = $2::bigint AND erased_at IS NULL
FOR NO KEY UPDATE;

-- standing_for --
-- The token that stands for each of these cards where there is only to be one: the oldest that is switched on, and one that is there
-- to stay before a temporary one.
SELECT DISTINCT ON (t.merchant_id, t.card_id) t.merchant_id, t.card_id, t.token_name, t.temporary_until IS NOT NULL AS temporary
FROM tokens t
JOIN unnest($1::integer[], $2::bigint[]) AS w (merchant_id, card_id) USING (merchant_id, card_id)
WHERE t.active
ORDER BY t.merchant_id, t.card_id, t.temporary_until IS NOT NULL, t.created_at, t.token_name;

-- cards_named --
-- The cards that names stand for.
SELECT t.merchant_id, t.token_name, t.card_id
FROM tokens t
JOIN unnest($1::integer[], $2::text[]) AS w (merchant_id, token_name) USING (merchant_id, token_name);

-- make --
-- Make a token, temporary until $7 (null: to stay); nothing comes back where the name is taken.
INSERT INTO tokens (merchant_id, token_name, card_id, expiry, holder, active, version, created_at, temporary_until)
VALUES ($1::integer, $2::text, $3::bigint, $4::text, $5::text, true, 1, $6::timestamptz, $7::timestamptz)
ON CONFLICT DO NOTHING
RETURNING token_name;

-- replace --
-- Give a token that is there another card or other facts of its card.  One that was switched off is as good as new: temporary until $6.
UPDATE tokens
SET card_id = $3::bigint, expiry = $4::text, holder = $5::text, active = true, version = version + 1,
    temporary_until = CASE WHEN temporary_until IS NOT NULL OR NOT active THEN $6::timestamptz END
WHERE merchant_id = $1::integer AND token_name = $2::text
RETURNING token_name;

-- meet --
-- A card was presented that this token stands for.  Its facts stay as they are, but for those of a temporary token that is there to
-- stay from now on ($6 null); nothing comes back where it stands for the card no more.
UPDATE tokens
SET version = version + 1,
    expiry = CASE WHEN temporary_until IS NOT NULL AND $6::timestamptz IS NULL THEN $4::text ELSE expiry END,
    holder = CASE WHEN temporary_until IS NOT NULL AND $6::timestamptz IS NULL THEN $5::text ELSE holder END,
    temporary_until = CASE WHEN $6::timestamptz IS NOT NULL AND temporary_until IS NOT NULL THEN greatest(temporary_until, $6) END
WHERE merchant_id = $1::integer AND token_name = $2::text AND card_id = $3::bigint AND active
RETURNING token_name;

-- keep_flow --
-- What a tokenization leaves for its payment; a second one of the same reference and token takes the place of the first.
INSERT INTO tokenizations (merchant_id, reference, token_name, tokenization_id, card_id, expiry, holder, code_waits, remembers,
                           return_url, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (merchant_id, reference, token_name) DO UPDATE
SET tokenization_id = excluded.tokenization_id, card_id = excluded.card_id, expiry = excluded.expiry, holder = excluded.holder,
    code_waits = excluded.code_waits, remembers = excluded.remembers, return_url = excluded.return_url, created_at = excluded.created_at;

-- flow --
-- What a tokenization left for this reference and this token ($3 null: for the reference, the latest).
SELECT token_name, tokenization_id, card_id, expiry, holder, code_waits, remembers, return_url
FROM tokenizations
WHERE merchant_id = $1::integer AND reference = $2::text AND ($3::text IS NULL OR token_name = $3)
ORDER BY tokenization_id DESC
LIMIT 1;

-- forget_payer --
-- The payment says that the card is not to be kept.
UPDATE tokenizations SET remembers = false WHERE merchant_id = $1::integer AND reference = $2::text AND token_name = $3::text;

-- note --
-- Append what happened to tokens.
INSERT INTO token_events (merchant_id, token_name, card_id, event, source, reference, created_at)
SELECT n.merchant_id, n.token_name, n.card_id, n.event, n.source, n.reference, $7::timestamptz
FROM unnest($1::integer[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[])
  AS n (merchant_id, token_name, card_id, event, source, reference);

-- settle --
-- Tokens with which a payment of their flow succeeded are there to stay, where the payer does not mind; the expiry date is the one
-- that was paid with.  Asked under the cards' locks.
UPDATE tokens t
SET temporary_until = NULL, active = true, expiry = f.expiry, version = t.version + 1,
    holder = CASE WHEN t.temporary_until IS NULL THEN t.holder ELSE f.holder END
FROM unnest($1::integer[], $2::text[], $3::bigint[], $4::text[]) AS w (merchant_id, token_name, card_id, reference)
JOIN tokenizations f USING (merchant_id, token_name, card_id, reference)
JOIN cards c USING (merchant_id, card_id)
WHERE t.merchant_id = w.merchant_id AND t.token_name = w.token_name AND t.card_id = w.card_id AND c.erased_at IS NULL
  AND f.remembers AND (t.temporary_until IS NOT NULL OR (t.active AND t.expiry <> f.expiry));

-- refresh --
-- An approved payment was made with a card that a token stands for: it is there to stay, with the expiry date that was paid with.
UPDATE tokens t
SET temporary_until = NULL, expiry = w.expiry, version = t.version + 1,
    holder = CASE WHEN t.temporary_until IS NULL THEN t.holder ELSE w.holder END
FROM unnest($1::integer[], $2::text[], $3::bigint[], $4::text[], $5::text[]) AS w (merchant_id, token_name, card_id, expiry, holder)
WHERE t.merchant_id = w.merchant_id AND t.token_name = w.token_name AND t.card_id = w.card_id
  AND (t.temporary_until IS NOT NULL OR t.expiry <> w.expiry);

-- correct --
-- The token that payments were to make is another one ($4), or none (null): what is told of them later must say so.
UPDATE operations o SET token_name = w.token_name
FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::text[]) AS w (merchant_id, payment_id, operation_id, token_name)
WHERE o.merchant_id = w.merchant_id AND o.payment_id = w.payment_id AND o.operation_id = w.operation_id;

-- retire --
-- Switch off the next temporary tokens whose time is over ($2, business time) and that nobody holds.
WITH batch AS MATERIALIZED (
    SELECT merchant_id, token_name FROM tokens
    WHERE merchant_id = ANY ($1::integer[]) AND temporary_until <= $2::timestamptz AND temporary_until IS NOT NULL AND active
    ORDER BY merchant_id, token_name
    LIMIT $3::integer
    FOR UPDATE SKIP LOCKED)
UPDATE tokens t SET active = false, version = t.version + 1
FROM batch b
WHERE t.merchant_id = b.merchant_id AND t.token_name = b.token_name
RETURNING t.token_name;

-- forget_flows --
-- Forget the next tokenizations that are older than $2 (business time); how many.
WITH batch AS MATERIALIZED (
    SELECT merchant_id, reference, token_name FROM tokenizations
    WHERE merchant_id = ANY ($1::integer[]) AND created_at <= $2::timestamptz
    ORDER BY merchant_id, reference, token_name
    LIMIT $3::integer
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM tokenizations f USING batch b
    WHERE f.merchant_id = b.merchant_id AND f.reference = b.reference AND f.token_name = b.token_name)
SELECT count(*) FROM batch;

-- events --
-- What happened to the tokens of these merchants, the latest first; a card as it may be shown.
SELECT e.merchant_id, e.token_name, c.bin, c.last4, e.event, e.source, e.reference, e.created_at
FROM unnest($1::integer[]) AS m (merchant_id)
CROSS JOIN LATERAL (SELECT * FROM token_events t WHERE t.merchant_id = m.merchant_id ORDER BY t.event_id DESC LIMIT $2::integer) e
JOIN cards c ON c.merchant_id = e.merchant_id AND c.card_id = e.card_id
ORDER BY e.event_id DESC
LIMIT $2::integer;
