-- The chain of batches, and the rows that its digests cover (see core.chain.COVERED), in the order of their batches.
-- Dates come as ordinal day numbers and allotments as text, as the digest wants them.

-- links --
-- Every batch from one batch id to another ($1, $2), with what stands before it in its lane.
SELECT lane, number, batch_id, committed_at, rows, digest, previous, previous_number
FROM (SELECT b.*, lag(digest) OVER lanes AS previous, lag(number) OVER lanes AS previous_number
      FROM batches b WINDOW lanes AS (PARTITION BY lane ORDER BY number)) chained
WHERE batch_id BETWEEN $1 AND $2
ORDER BY batch_id;

-- outcomes --
-- Outcomes of batches from one batch id to another ($1, $2), each with the operation it answers (nulls where that is gone).
SELECT x.batch_id,
       x.merchant_id, x.payment_id, x.operation_id, x.attempt, x.result, x.minor, x.response_code, x.advice,
       x.approval_code, x.scheme_reference, x.processor_reference, x.security_code_result, x.eci,
       o.merchant_id, o.payment_id, o.operation_id, o.kind, o.minor, o.currency, o.key, o.content, o.actor, o.source,
       o.processor, o.card_id, o.reason, nullif(array_to_string(o.allotment, ','), '')
FROM outcomes x LEFT JOIN operations o USING (merchant_id, payment_id, operation_id)
WHERE x.batch_id BETWEEN $1 AND $2
ORDER BY x.batch_id;

-- transfers --
-- Transfers of batches from one batch id to another ($1, $2).
SELECT batch_id, merchant_id, payment_id, operation_id, leg, kind, minor, currency, value_date - DATE '0001-01-01' + 1
FROM transfers
WHERE batch_id BETWEEN $1 AND $2
ORDER BY batch_id;

-- notices --
-- Facts of batches from one batch id to another ($1, $2).
SELECT batch_id, merchant_id, payment_id, identity, operation_id, noticed, minor, capture_id
FROM notices
WHERE batch_id BETWEEN $1 AND $2
ORDER BY batch_id;

-- marks --
-- How far the proof has come, per lane.
SELECT lane, number, digest FROM proved ORDER BY lane;

-- first_unproved --
-- The smallest id of a batch behind its lane's mark ($1 lanes, $2 numbers).
SELECT min(b.batch_id)
FROM batches b LEFT JOIN unnest($1::integer[], $2::bigint[]) AS m (lane, number) USING (lane)
WHERE b.number > coalesce(m.number, 0);

-- gaps --
-- Where numbers are missing in a lane, and where the order of instants is broken.
SELECT lane, number, previous_number, committed_at < previous_at AS goes_back
FROM (SELECT lane, number, committed_at, lag(number, 1, 0::bigint) OVER lanes AS previous_number,
             lag(committed_at) OVER lanes AS previous_at
      FROM batches WINDOW lanes AS (PARTITION BY lane ORDER BY number)) chained
WHERE number <> previous_number + 1 OR committed_at < previous_at
ORDER BY lane, number;

-- heads --
-- The last batch of every lane, at or before an instant ($1; null: now).
SELECT DISTINCT ON (lane) lane, number, batch_id, committed_at, rows, digest
FROM batches WHERE $1::timestamptz IS NULL OR committed_at <= $1
ORDER BY lane, number DESC;

-- link --
-- One batch by lane and number.
SELECT lane, number, batch_id, committed_at, rows, digest FROM batches WHERE lane = $1 AND number = $2;

-- mark --
-- Remember how far the proof has come.
INSERT INTO proved AS p (lane, number, digest, proved_at)
SELECT m.lane, m.number, m.digest, $4 FROM unnest($1::integer[], $2::bigint[], $3::bytea[]) AS m (lane, number, digest)
ON CONFLICT (lane) DO UPDATE SET number = excluded.number, digest = excluded.digest, proved_at = excluded.proved_at;
