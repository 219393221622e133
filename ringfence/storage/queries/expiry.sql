-- Holds that are past their instant, in sets.  Whoever finds them keeps them locked and reserves them in the same transaction:
-- afterwards the void is pending, and nobody else finds them.

-- owing --
-- Which of these merchants have any hold that is past its instant at $2 (business time).
SELECT m.merchant_id
FROM unnest($1::integer[]) AS m (merchant_id)
WHERE EXISTS (
    SELECT FROM payments p
    WHERE p.merchant_id = m.merchant_id AND p.expires_at <= $2
      AND p.status IN ('authorized', 'captured') AND p.authorized - p.captured - p.voided - p.expired > 0
      AND p.pending_capture = 0 AND p.pending_void = 0 AND p.pending_increment = 0 AND p.pending_decrement = 0)
ORDER BY m.merchant_id;

-- take_due --
-- Up to $4 holds of each merchant that are past their instant at $3 (business time) and not before the instant given with the
-- merchant, oldest first, with what their voids cite; passed over: those that somebody else has locked.  Where the issuer said no
-- it is asked again after a day, lest one hold be asked about for ever, and those behind it never; where it could not be asked, after a
-- minute.
WITH found AS MATERIALIZED (
    SELECT f.*
    FROM unnest($1::integer[], $2::timestamptz[]) AS m (merchant_id, since)
    CROSS JOIN LATERAL (
        SELECT p.*
        FROM payments p
        WHERE p.merchant_id = m.merchant_id AND p.expires_at >= m.since AND p.expires_at <= $3
          AND p.status IN ('authorized', 'captured') AND p.authorized - p.captured - p.voided - p.expired > 0
          AND p.pending_capture = 0 AND p.pending_void = 0 AND p.pending_increment = 0 AND p.pending_decrement = 0
          AND NOT EXISTS (SELECT FROM operations o JOIN outcomes x USING (merchant_id, payment_id, operation_id)
                          WHERE o.merchant_id = p.merchant_id AND o.payment_id = p.payment_id AND o.reason = 'expired'
                            AND x.result IN ('declined', 'not_asked')
                            AND x.answered_at > $3 - CASE x.result WHEN 'declined' THEN interval '1 day' ELSE interval '1 minute' END)
        ORDER BY p.expires_at
        LIMIT $4
        FOR UPDATE OF p SKIP LOCKED) f
)
SELECT p.*, o.door, o.reference, o.processor, o.channel, o.minor,
       x.approval_code, x.processor_reference, x.scheme_reference,
       EXISTS (SELECT FROM authentications a WHERE a.merchant_id = p.merchant_id AND a.payment_id = p.payment_id AND a.payment_id > 0
               AND a.soft_decline <> '') AS resubmitted,
       c.card_id, c.brand, c.bin, c.last4, c.key_id, c.wrapped_key, c.ciphertext, c.first_reference, c.blocked
FROM found p
JOIN operations o ON o.merchant_id = p.merchant_id AND o.payment_id = p.payment_id AND o.operation_id = p.payment_id
LEFT JOIN outcomes x ON x.merchant_id = p.merchant_id AND x.payment_id = p.payment_id AND x.operation_id = p.payment_id
                    AND x.result = 'approved'
LEFT JOIN cards c ON c.merchant_id = o.merchant_id AND c.card_id = o.card_id;
