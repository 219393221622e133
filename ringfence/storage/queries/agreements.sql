-- make --
-- Make an agreement; nothing comes back where it is there.
INSERT INTO agreements VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)
ON CONFLICT DO NOTHING
RETURNING agreement_id;

-- find --
-- One agreement.
SELECT * FROM agreements WHERE merchant_id = $1 AND agreement_id = $2;

-- lock --
-- One agreement, held until the commit: what happens to it is decided here.
SELECT * FROM agreements WHERE merchant_id = $1 AND agreement_id = $2 FOR UPDATE;

-- share --
-- One agreement, which nobody changes until the commit.
SELECT * FROM agreements WHERE merchant_id = $1 AND agreement_id = $2 FOR SHARE;

-- save --
-- Store what has changed of an agreement that is held.
UPDATE agreements SET status = $3, instrument = $4, account = $5, is_updated = $6, is_close_owed = $7, why = $8, changed_at = $9
WHERE merchant_id = $1 AND agreement_id = $2;

-- closed --
-- The wallet knows that it ended.
UPDATE agreements SET is_close_owed = false WHERE merchant_id = $1 AND agreement_id = $2;

-- note --
-- One more change of status.
INSERT INTO agreement_history VALUES ($1, $2, $3, $4, $5, $6);

-- history --
-- Its changes of status, oldest first.
SELECT entry_id, status, why, at FROM agreement_history WHERE merchant_id = $1 AND agreement_id = $2 ORDER BY entry_id;

-- revoke --
-- What was asked or told to end it; nothing happens where that is there.
INSERT INTO agreement_revocations VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING;

-- revocations --
-- What was asked or told to end it, oldest first.
SELECT revocation_id, status, why, at FROM agreement_revocations WHERE merchant_id = $1 AND agreement_id = $2 ORDER BY revocation_id;

-- admit --
-- Let a charge in; nothing happens where it is in.
INSERT INTO agreement_payments VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- payments --
-- Payments under an agreement, newest first, behind one of them.
SELECT a.payment_id FROM agreement_payments a
JOIN operations o ON o.merchant_id = a.merchant_id AND o.payment_id = a.payment_id AND o.operation_id = a.payment_id
WHERE a.merchant_id = $1 AND a.agreement_id = $2 AND a.payment_id < $3
ORDER BY a.payment_id DESC LIMIT $4;

-- of_account --
-- Agreements that a wallet's account stands behind, oldest first.
SELECT agreement_id FROM agreements WHERE merchant_id = $1 AND account = $2 AND account <> '' ORDER BY agreement_id;

-- of_instrument --
-- Agreements that are paid with an instrument, oldest first.
SELECT agreement_id FROM agreements WHERE merchant_id = $1 AND instrument = $2 AND instrument <> '' ORDER BY agreement_id;

-- count_personal --
-- How many agreements that ended by $2 still say whose they were.
SELECT count(*) FROM agreements
WHERE merchant_id = $1 AND status NOT IN ('INITIALIZING', 'AUTHENTICATION_PENDING', 'AUTHORIZATION_PROCESSING', 'ACTIVE') AND changed_at < $2
  AND details <> '{}';

-- erase_personal --
-- Forget whose at most $3 of them were.
UPDATE agreements a SET details = '{}'
FROM (SELECT d.agreement_id FROM agreements d
      WHERE d.merchant_id = $1
        AND d.status NOT IN ('INITIALIZING', 'AUTHENTICATION_PENDING', 'AUTHORIZATION_PROCESSING', 'ACTIVE') AND d.changed_at < $2
        AND d.details <> '{}'
      ORDER BY d.agreement_id LIMIT $3) due
WHERE a.merchant_id = $1 AND a.agreement_id = due.agreement_id
RETURNING a.agreement_id;
