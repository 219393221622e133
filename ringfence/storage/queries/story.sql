-- One payment's whole life, for people.

-- named --
-- The payments that a name may mean, of one merchant ($3) or any: one whose first operation has one of the keys $2; those that the PPRO door
-- began under the reference $1; one with a later operation of that reference; the payment of the id $4 (null where the name is none); and the
-- operation of that id, which was asked between $5 and $6; and all payments of a trip of that name.  Each of the six finds its rows by an index.
SELECT DISTINCT n.merchant_id, m.identifier, n.payment_id
FROM merchants m CROSS JOIN LATERAL (
    SELECT o.merchant_id, o.payment_id FROM operations o WHERE o.merchant_id = m.merchant_id AND o.key = ANY ($2::text[])
    UNION ALL
    (SELECT o.merchant_id, o.payment_id FROM operations o
     WHERE o.merchant_id = m.merchant_id AND o.door = 'ppro' AND o.operation_id = o.payment_id AND o.reference = $1::text LIMIT 1000)
    UNION ALL
    (SELECT o.merchant_id, o.payment_id FROM operations o
     WHERE o.merchant_id = m.merchant_id AND o.reference = $1::text AND o.operation_id <> o.payment_id LIMIT 1000)
    UNION ALL
    SELECT o.merchant_id, o.payment_id FROM operations o
    WHERE o.merchant_id = m.merchant_id AND o.payment_id = $4::bigint AND o.operation_id = $4::bigint
    UNION ALL
    SELECT t.merchant_id, p.payment_id FROM trips t JOIN trip_payments p USING (merchant_id, number)
    WHERE t.merchant_id = m.merchant_id AND t.name = $1::text
      AND EXISTS (SELECT FROM operations o WHERE o.merchant_id = t.merchant_id AND o.payment_id = p.payment_id)
) n
WHERE $3::text IS NULL OR m.identifier = $3::text
UNION
SELECT o.merchant_id, m.identifier, o.payment_id
FROM operations o JOIN merchants m USING (merchant_id)
WHERE o.ask_deadline BETWEEN $5::timestamptz AND $6::timestamptz AND o.operation_id = $4::bigint
  AND ($3::text IS NULL OR m.identifier = $3::text)
ORDER BY 3, 1
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

-- jobs --
-- What is still to be done about its operations: doubts that are being ended, and reversals that are sent until they are acknowledged.
SELECT j.queue, j.subject AS operation_id, j.due_at, j.deadline_at, j.tries, j.note
FROM operations o JOIN jobs j ON j.merchant_id = o.merchant_id AND j.queue IN ('recovery', 'reversal') AND j.subject = o.operation_id
WHERE o.merchant_id = $1 AND o.payment_id = $2
ORDER BY j.subject, j.queue;

-- reviews --
-- What a person decided about its operations.
SELECT v.operation_id, v.decided, v.minor, v.reason, v.evidence, v.decided_by, v.decided_at
FROM operations o JOIN reviews v USING (merchant_id, operation_id)
WHERE o.merchant_id = $1 AND o.payment_id = $2
ORDER BY v.operation_id;

-- authentications --
-- How its payer was authenticated.
SELECT * FROM authentications WHERE merchant_id = $1 AND payment_id = $2 AND payment_id > 0 ORDER BY authentication_id;

-- disputes --
-- The cases about it.
SELECT dispute_id, status, due_at, minor, currency FROM disputes WHERE merchant_id = $1 AND payment_id = $2 ORDER BY dispute_id;

-- dispute_events --
-- What happened to them.
SELECT e.event_id, e.event, e.payload, e.occurred_at
FROM disputes d JOIN dispute_events e ON e.merchant_id = d.merchant_id AND e.subject = d.dispute_id
WHERE d.merchant_id = $1 AND d.payment_id = $2
ORDER BY e.event_id;

-- standing --
-- Where it stands now.
SELECT * FROM payments WHERE merchant_id = $1 AND payment_id = $2;
