-- insert --
-- A new session; nothing comes back where the reference has one already.
INSERT INTO page_sessions (merchant_id, session_id, door, purpose, reference, content, token_hash, asked, payment_link_id, state,
                           opened_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'open', $10, $11)
ON CONFLICT (merchant_id, door, purpose, reference) DO NOTHING
RETURNING session_id;

-- by_reference --
-- The session of a reference.
SELECT * FROM page_sessions WHERE merchant_id = $1 AND door = $2 AND purpose = $3 AND reference = $4;

-- by_token --
-- The session behind the secret of an address.
SELECT * FROM page_sessions WHERE merchant_id = $1 AND token_hash = $2;

-- by_payment --
-- The session that a payment is the latest attempt of.
SELECT * FROM page_sessions WHERE merchant_id = $1 AND payment_id = $2;

-- replace --
-- Another session ($3) in the place of one ($2) that moved nothing and nobody is paying in.
UPDATE page_sessions
SET session_id = $3, content = $4, token_hash = $5, asked = $6, payment_link_id = $7, state = 'open', attempts = 0, payment_id = NULL,
    problem = '', answer = NULL, opened_at = $8, expires_at = $9, tried_at = NULL
WHERE merchant_id = $1 AND session_id = $2 AND (state IN ('open', 'cancelled') AND attempts = 0 OR state = 'done' AND purpose = 'tokenization')
RETURNING session_id;

-- reopen --
-- Let a payer go on who had given up or was too late; what was tried stays counted.
UPDATE page_sessions SET state = 'open', answer = NULL, expires_at = $3
WHERE merchant_id = $1 AND session_id = $2 AND state IN ('open', 'cancelled')
RETURNING session_id;

-- begin --
-- Take the one place there is for an attempt: the form was made when $3 attempts were behind, and is not too late at $5.
UPDATE page_sessions SET state = 'trying', attempts = attempts + 1, payment_id = $4, problem = '', tried_at = now()
WHERE merchant_id = $1 AND session_id = $2 AND attempts = $3 AND state = 'open' AND expires_at > $5
RETURNING session_id;

-- challenge --
-- The payer's bank has a question about the attempt.
UPDATE page_sessions SET state = 'challenged'
WHERE merchant_id = $1 AND session_id = $2 AND payment_id = $3 AND state = 'trying'
RETURNING session_id;

-- fail --
-- The attempt paid nothing and the payer may try again; $5 is 0 where nobody was asked for it, so that it does not count.
UPDATE page_sessions
SET state = 'open', problem = $4, attempts = attempts - 1 + $5::smallint, payment_id = CASE WHEN $5::smallint = 0 THEN NULL ELSE payment_id END
WHERE merchant_id = $1 AND session_id = $2 AND payment_id = $3 AND state IN ('trying', 'challenged')
RETURNING session_id;

-- finish --
-- The attempt ended the session.
UPDATE page_sessions SET state = 'done', answer = $4
WHERE merchant_id = $1 AND session_id = $2 AND payment_id = $3 AND state IN ('trying', 'challenged')
RETURNING session_id;

-- cancel --
-- The payer gave up, while nothing was being tried.
UPDATE page_sessions SET state = 'cancelled', answer = $3
WHERE merchant_id = $1 AND session_id = $2 AND state = 'open'
RETURNING session_id;

-- forget --
-- Sessions whose time was up long before an instant (business time) are not needed any more, however they stand.
DELETE FROM page_sessions p
USING (SELECT merchant_id, session_id FROM page_sessions
       WHERE merchant_id = ANY ($1::integer[]) AND expires_at < $2
       ORDER BY merchant_id, session_id LIMIT $3 FOR UPDATE SKIP LOCKED) AS old
WHERE p.merchant_id = old.merchant_id AND p.session_id = old.session_id;
