-- One payment's whole life, for people.

-- named --
-- The payments that a name may mean: an id ($1, null where the name is none) or a door's reference ($2); of one merchant ($3) or any.
SELECT DISTINCT o.merchant_id, m.identifier, o.payment_id
FROM operations o JOIN merchants m USING (merchant_id)
WHERE (o.payment_id = $1 OR o.operation_id = $1 OR o.reference = $2) AND ($3::text IS NULL OR m.identifier = $3)
ORDER BY o.payment_id
LIMIT 20;

-- operations --
-- What was asked of a payment, and with which card.
SELECT o.operation_id, o.kind, o.minor, o.currency, o.door, o.reference, o.actor, o.source, o.processor, o.token_name,
       o.initiation, o.channel, o.reason, o.allotment, o.asked_at, o.ask_deadline, c.brand, c.bin, c.last4
FROM operations o LEFT JOIN cards c USING (merchant_id, card_id)
WHERE o.merchant_id = $1 AND o.payment_id = $2
ORDER BY o.operation_id;

-- outcomes --
-- What became of it, attempt by attempt.
SELECT x.operation_id, x.attempt, x.result, x.minor, x.response_code, x.advice, x.approval_code, x.scheme_reference,
       x.processor_reference, x.answered_at, b.lane, b.number, b.digest
FROM outcomes x LEFT JOIN batches b USING (batch_id)
WHERE x.merchant_id = $1 AND x.payment_id = $2
ORDER BY x.operation_id, x.attempt;

-- transfers --
-- What was posted.
SELECT operation_id, leg, kind, debit, credit, minor, currency, value_date
FROM journal WHERE merchant_id = $1 AND payment_id = $2
ORDER BY operation_id, leg;

-- events --
-- What happened, in order.
SELECT sequence, event, operation_id, attempt, occurred_at
FROM events WHERE merchant_id = $1 AND payment_id = $2
ORDER BY sequence;

-- notices --
-- Facts from outside.
SELECT identity, operation_id, noticed, minor, capture_id, noticed_at
FROM notices WHERE merchant_id = $1 AND payment_id = $2
ORDER BY noticed_at, operation_id;

-- reversals --
-- Reversals that were owed to the processor.
SELECT operation_id, attempt, why, due_at, acknowledged_at
FROM reversals WHERE merchant_id = $1 AND payment_id = $2
ORDER BY due_at;

-- standing --
-- Where it stands now.
SELECT * FROM payments WHERE merchant_id = $1 AND payment_id = $2;
