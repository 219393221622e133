-- Payers who are sent somewhere, and who may carry on behind their return.

-- keep --
-- Store one; what is there already stays.
INSERT INTO redirections (merchant_id, subject, payment_id, agreement_id, method, ways, kind, minor, currency, recurrence, language, leave_url, session, made_at,
                          due_at, ended_at, why, claim)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
ON CONFLICT (merchant_id, subject) DO NOTHING;

-- load --
-- One of them.
SELECT merchant_id, subject, payment_id, agreement_id, method, ways, kind, minor, currency, recurrence, language, leave_url, session, made_at, due_at, ended_at,
       why, claim
FROM redirections WHERE merchant_id = $1 AND subject = $2;

-- bring --
-- Note the session that a browser brought, as long as nobody carries on; with $4 also instead of an earlier one.
UPDATE redirections SET session = $3
WHERE merchant_id = $1 AND subject = $2 AND ended_at IS NULL AND claim IS NULL AND ($4::boolean OR session = '')
RETURNING true;

-- claim --
-- End a redirection and carry on behind it, once: as $3, with the time of an owner until $4 (wall time, never before this transaction began).
-- Nothing is returned where another one does so, where the payer was never asked, or where the payment has ended.  Its job goes, unless an
-- agreement is to be told: from now on it is an owner's business, and the sweep's should that one die.
WITH taken AS (
    UPDATE redirections r
    SET claim = $3, session = CASE WHEN $5 = '' THEN r.session ELSE $5 END, why = $6, ended_at = $7
    WHERE r.merchant_id = $1 AND r.subject = $2 AND r.claim IS NULL AND r.ended_at IS NULL AND r.payment_id > 0
      AND EXISTS (SELECT FROM outcomes c WHERE c.merchant_id = r.merchant_id AND c.payment_id = r.payment_id
                  AND c.operation_id = r.payment_id AND c.attempt = 0)
      AND NOT EXISTS (SELECT FROM outcomes x WHERE x.merchant_id = r.merchant_id AND x.payment_id = r.payment_id
                      AND x.operation_id = r.payment_id AND x.attempt > 0)
    RETURNING r.merchant_id, r.subject, r.payment_id, r.agreement_id
), looked_after AS (
    DELETE FROM jobs j USING taken t
    WHERE j.merchant_id = t.merchant_id AND j.queue = 'redirection' AND j.subject = t.subject AND t.agreement_id = 0)
UPDATE operations o SET ask_deadline = greatest($4, now())
FROM taken t
WHERE o.merchant_id = t.merchant_id AND o.payment_id = t.payment_id AND o.operation_id = t.payment_id
RETURNING o.ask_deadline;

-- claimed --
-- Who carries on behind a redirection, and until when (wall time): what a claim with a lost answer did.
SELECT r.claim, o.ask_deadline
FROM redirections r
JOIN operations o ON o.merchant_id = r.merchant_id AND o.payment_id = r.payment_id AND o.operation_id = r.payment_id
WHERE r.merchant_id = $1 AND r.subject = $2;

-- take --
-- Carry on behind one that no payment follows, as $3 and until $4 (wall time); whoever took it before and is over that time has lost it.
UPDATE redirections SET claim = $3, claim_until = $4
WHERE merchant_id = $1 AND subject = $2 AND payment_id = 0 AND ended_at IS NULL AND (claim IS NULL OR claim_until < now())
RETURNING true;

-- give_back --
-- Leave it to the next who comes.
UPDATE redirections SET claim = NULL, claim_until = NULL WHERE merchant_id = $1 AND subject = $2 AND claim = $3 AND payment_id = 0 AND ended_at IS NULL;

-- end --
-- One that no payment follows has ended; its job goes.
WITH done AS (
    DELETE FROM jobs WHERE merchant_id = $1 AND queue = 'redirection' AND subject = $2)
UPDATE redirections SET ended_at = $4, why = $5 WHERE merchant_id = $1 AND subject = $2 AND claim = $3 AND payment_id = 0 AND ended_at IS NULL;

-- standing --
-- The result of the latest attempt of a payment behind its payer's challenge.
SELECT x.result FROM outcomes x
WHERE x.merchant_id = $1 AND x.payment_id = $2 AND x.operation_id = $2 AND x.attempt > 0
ORDER BY x.attempt DESC LIMIT 1;

-- told --
-- The agreement of an ended redirection was told: there is nothing left to do.
DELETE FROM jobs WHERE merchant_id = $1 AND queue = 'redirection' AND subject = $2 AND leased_until < now();
