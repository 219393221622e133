-- What became of trips.

-- trips --
-- The trips of a merchant ($1) that began from $2 until before $3, in store $4 only unless it is empty, each with every payment it has had: what
-- was held, captured and returned, under which names that is reconciled, and what is owed.
SELECT t.store, t.name, t.started_at, t.expires_at, t.never_expires, t.refused, t.cancelled_at, t.currency, coalesce(o.payment_id, 0),
       o.payment_id IS NOT DISTINCT FROM nullif(t.payment_id, 0), c.brand, c.last4,
       p.status, coalesce(p.authorized, 0), coalesce(p.captured, 0), coalesce(p.expired, 0), coalesce(p.pending_capture, 0),
       coalesce(p.refunded, 0), f.processor_reference, f.scheme_reference, x.captured_at,
       coalesce(d.total, 0), coalesce(d.incurred, 0), coalesce(d.recovered, 0), coalesce(d.forgiven, 0), coalesce(d.owed, 0), d.strategy, d.reason
FROM trips t
LEFT JOIN trip_payments o ON o.merchant_id = t.merchant_id AND o.number = t.number
LEFT JOIN cards c ON c.merchant_id = t.merchant_id AND c.card_id = t.card_id
LEFT JOIN payments p ON p.merchant_id = o.merchant_id AND p.payment_id = o.payment_id
LEFT JOIN debts d ON d.merchant_id = o.merchant_id AND d.payment_id = o.payment_id
LEFT JOIN LATERAL (
    SELECT a.processor_reference, a.scheme_reference FROM outcomes a
    WHERE a.merchant_id = o.merchant_id AND a.payment_id = o.payment_id AND a.operation_id = o.payment_id
    ORDER BY a.attempt DESC LIMIT 1) f ON true
LEFT JOIN LATERAL (
    SELECT min(a.answered_at) AS captured_at FROM operations n
    JOIN outcomes a ON a.merchant_id = n.merchant_id AND a.payment_id = n.payment_id AND a.operation_id = n.operation_id
    WHERE n.merchant_id = o.merchant_id AND n.payment_id = o.payment_id AND n.kind = 'capture' AND a.result = 'approved') x ON true
WHERE t.merchant_id = $1 AND t.started_at >= $2 AND t.started_at < $3 AND ($4 = '' OR t.store = $4)
ORDER BY t.started_at, t.number, o.payment_id;
