-- Parts of refunds that end one by one.

-- note --
-- What became of parts, written in the commit that says so.
INSERT INTO refund_parts
SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::smallint[], $5::smallint[], $6::bigint[], $7::bigint[], $8::text[],
                     $9::bigint[]);

-- changes --
-- What became of a refund's parts, in the order in which it did.
SELECT part, capture_id, minor, state
FROM refund_parts
WHERE merchant_id = $1 AND payment_id = $2 AND operation_id = $3
ORDER BY attempt, part;
