-- Authentications of payers, and who may carry on behind their end.

-- keep --
-- Store one; what is there already stays.
INSERT INTO authentications (merchant_id, authentication_id, payment_id, card_id, minor, currency, mode, indicator, soft_decline, status, reason, cancelled, eci,
                             cavv, ds_id, version, acs_id, token_hash, has_code, leave_url, made_at, due_at, ended_at, expires_at, claim, used_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26);

-- load --
-- One of them.
SELECT * FROM authentications WHERE merchant_id = $1 AND authentication_id = $2;

-- of_payment --
-- Those of a payment, in order.
SELECT * FROM authentications WHERE merchant_id = $1 AND payment_id = $2 AND payment_id > 0 ORDER BY authentication_id;

-- standing --
-- What stands of a payment's first operation: whether it was challenged, and the result of its latest attempt behind that.
SELECT EXISTS (SELECT FROM outcomes c WHERE c.merchant_id = $1 AND c.payment_id = $2 AND c.operation_id = $2 AND c.attempt = 0) AS is_challenged,
       (SELECT x.result FROM outcomes x WHERE x.merchant_id = $1 AND x.payment_id = $2 AND x.operation_id = $2 AND x.attempt > 0
        ORDER BY x.attempt DESC LIMIT 1) AS result;

-- claim --
-- End an authentication and carry on behind it, once: as $3, with the time of an owner until $4 (wall time, never before this transaction
-- began).  Nothing is returned where another one does so, where the payer was never asked, or where the payment has ended.  Its job goes:
-- from now on it is an owner's business, and the sweep's should that one die.
WITH taken AS (
    UPDATE authentications a
    SET claim = $3, status = $5, reason = $6, cancelled = $7, eci = $8, cavv = $9, ds_id = CASE WHEN $10 = '' THEN a.ds_id ELSE $10 END,
        ended_at = $11, expires_at = $12, used_by = CASE WHEN $13::boolean THEN a.payment_id END
    WHERE a.merchant_id = $1 AND a.authentication_id = $2 AND a.claim IS NULL AND a.ended_at IS NULL AND a.payment_id > 0
      AND EXISTS (SELECT FROM outcomes c WHERE c.merchant_id = a.merchant_id AND c.payment_id = a.payment_id
                  AND c.operation_id = a.payment_id AND c.attempt = 0)
      AND NOT EXISTS (SELECT FROM outcomes x WHERE x.merchant_id = a.merchant_id AND x.payment_id = a.payment_id
                      AND x.operation_id = a.payment_id AND x.attempt > 0)
    RETURNING a.merchant_id, a.authentication_id, a.payment_id
), looked_after AS (
    DELETE FROM jobs j USING taken t
    WHERE j.merchant_id = t.merchant_id AND j.queue = 'challenge' AND j.subject = t.authentication_id)
UPDATE operations o SET ask_deadline = greatest($4, now())
FROM taken t
WHERE o.merchant_id = t.merchant_id AND o.payment_id = t.payment_id AND o.operation_id = t.payment_id
RETURNING o.ask_deadline;

-- claimed --
-- Who carries on behind an authentication, and until when (wall time): what a claim with a lost answer did.
SELECT a.claim, o.ask_deadline
FROM authentications a
JOIN operations o ON o.merchant_id = a.merchant_id AND o.payment_id = a.payment_id AND o.operation_id = a.payment_id
WHERE a.merchant_id = $1 AND a.authentication_id = $2;

-- end_ahead --
-- End one that was made ahead of its payment, once.
UPDATE authentications
SET status = $3, reason = $4, cancelled = $5, eci = $6, cavv = $7, ds_id = CASE WHEN $8 = '' THEN ds_id ELSE $8 END, ended_at = $9, expires_at = $10
WHERE merchant_id = $1 AND authentication_id = $2 AND payment_id = 0 AND ended_at IS NULL;

-- use --
-- Use one that was made ahead, once: for operation $3, as long as it is as it was judged.
UPDATE authentications SET used_by = $3
WHERE merchant_id = $1 AND authentication_id = $2 AND used_by IS NULL AND status IN ('Y', 'A') AND expires_at > $4
RETURNING true;

-- used --
-- Which operation used it.
SELECT used_by FROM authentications WHERE merchant_id = $1 AND authentication_id = $2;

-- ahead --
-- The one with this cryptogram that was made ahead of its payment; also behind its erasure, by the digest.
SELECT * FROM authentications
WHERE merchant_id = $1 AND cavv IN ($2, 'sha256:' || encode(sha256(convert_to($2, 'UTF8')), 'hex')) AND cavv <> '' AND payment_id = 0
ORDER BY authentication_id LIMIT 1;
