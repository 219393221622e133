-- by_reference --
-- Payments that this door began under a reference, newest first, behind one of them.
SELECT payment_id FROM operations
WHERE merchant_id = $1 AND door = 'ppro' AND operation_id = payment_id AND reference = $2 AND payment_id < $3
ORDER BY payment_id DESC LIMIT $4;

-- first_outcome --
-- What was said of an operation first, with the content that it was asked with.
SELECT o.content, x.result, x.minor, x.response_code, x.advice, x.approval_code, x.scheme_reference, x.processor_reference, x.answered_at
FROM operations o
LEFT JOIN LATERAL (
    SELECT * FROM outcomes u
    WHERE u.merchant_id = o.merchant_id AND u.payment_id = o.payment_id AND u.operation_id = o.operation_id
    ORDER BY u.attempt LIMIT 1) x ON true
WHERE o.merchant_id = $1 AND o.payment_id = $2 AND o.operation_id = $3;

-- keep_refused --
-- Keep an operation that was turned down; nothing comes back where its key was used.
INSERT INTO refused_operations
    (merchant_id, payment_id, operation_id, kind, minor, refusal, details, key, content, actor, refused_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (merchant_id, key) WHERE key IS NOT NULL DO NOTHING
RETURNING operation_id;

-- refused --
-- What was turned down on a payment, oldest first.
SELECT operation_id, kind, minor, refusal, details, content, refused_at FROM refused_operations
WHERE merchant_id = $1 AND payment_id = $2 ORDER BY operation_id;

-- refused_by_key --
-- What was turned down under a key.
SELECT operation_id, kind, minor, refusal, details, content, refused_at FROM refused_operations WHERE merchant_id = $1 AND key = $2;

-- undone --
-- Captures of a payment that clearing rejected and refunds that came back, with when (business time); 0 for all captures.
SELECT CASE WHEN noticed = 'capture_rejected' THEN capture_id ELSE substring(identity FROM ':([0-9]{1,18})$')::bigint END AS operation_id, noticed_at
FROM notices
WHERE merchant_id = $1 AND payment_id = $2 AND noticed IN ('capture_rejected', 'refund_returned');
