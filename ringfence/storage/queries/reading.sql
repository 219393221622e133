-- by_key --
-- The payment whose first operation holds this key.
SELECT payment_id FROM operations WHERE merchant_id = $1 AND key = $2;

-- latest_attempt --
-- The payment of the last attempt that was made on a page after the first: KEY#2 to KEY#9.
SELECT o.payment_id
FROM generate_series(9, 2, -1) AS n
JOIN operations o ON o.merchant_id = $1 AND o.key = $2 || '#' || n
ORDER BY n DESC
LIMIT 1;

-- payments_of --
-- Rows of payments.  Places as asked.
SELECT w.place, p.payment_id, p.currency, p.status, p.purchase, p.authorized, p.captured, p.voided, p.expired,
       p.unsecured, p.refunded, p.disputed, p.charged_back, p.pending_authorization, p.pending_increment,
       p.pending_decrement, p.pending_capture, p.pending_void, p.pending_refund, p.unknown, p.expires_at, p.captures
FROM unnest($1::integer[], $2::bigint[]) WITH ORDINALITY AS w (merchant_id, payment_id, place)
JOIN payments p ON p.merchant_id = w.merchant_id AND p.payment_id = w.payment_id;

-- steps_of --
-- The operations of payments in order, each with the outcome of its latest attempt; the one that began it first, whatever the
-- clocks of two hosts made of their ids.  Places as asked.
SELECT w.place, o.operation_id, o.kind, o.minor, o.currency, o.door, o.reference, o.key, o.details, o.actor, o.source,
       o.processor, o.card_id, o.token_name, o.initiation, o.channel, o.accepts_partial, o.reason, o.hold_seconds,
       o.allotment, o.asked_at, o.ask_deadline,
       l.attempt, l.result, l.minor AS answered_minor, l.response_code, l.advice, l.approval_code, l.scheme_reference,
       l.processor_reference, l.answered_at,
       o.operation_id = o.payment_id AND EXISTS (
           SELECT FROM authentications a WHERE a.merchant_id = o.merchant_id AND a.payment_id = o.payment_id AND a.payment_id > 0
           AND a.soft_decline <> '') AS resubmitted
FROM unnest($1::integer[], $2::bigint[]) WITH ORDINALITY AS w (merchant_id, payment_id, place)
JOIN operations o ON o.merchant_id = w.merchant_id AND o.payment_id = w.payment_id
LEFT JOIN LATERAL (
    SELECT x.* FROM outcomes x
    WHERE x.merchant_id = o.merchant_id AND x.payment_id = o.payment_id AND x.operation_id = o.operation_id
    ORDER BY x.attempt DESC LIMIT 1) l ON true
ORDER BY w.place, o.operation_id <> o.payment_id, o.operation_id;

-- claim_service --
-- Use up the reference of a request that is not a payment; nothing comes back where it was used before.
INSERT INTO service_references (merchant_id, door, service, reference, payment_id, created_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING
RETURNING reference;

-- service_payment --
-- The payment behind the reference of such a request.
SELECT payment_id FROM service_references WHERE merchant_id = $1 AND door = $2 AND service = $3 AND reference = $4;

-- keep_sdk_token --
-- A token for one device.
INSERT INTO sdk_tokens (merchant_id, sdk_token, device_id, expires_at) VALUES ($1, $2, $3, $4);
