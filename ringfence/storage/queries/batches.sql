-- Batch files: handed in, looked through, carried out row by row, told of.

-- taken_reference --
-- The batch of that name, if there is one.
SELECT batch_id FROM batch_files WHERE merchant_id = $1 AND reference = $2;

-- add_file --
-- Store what is known of a file; nothing comes back where its name is taken.
INSERT INTO batch_files (merchant_id, batch_id, reference, door, access, language, file_name, bytes, content, columns, rows, last_line,
                         totals, state, message, reason, faults, uploaded_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::jsonb, $14, $15, $16, $17, $18)
ON CONFLICT (merchant_id, reference) DO NOTHING
RETURNING batch_id;

-- add_faults --
-- What is wrong with its rows.
INSERT INTO batch_faults SELECT * FROM unnest($1::batch_faults[]);

-- file --
-- One batch, by its number.
SELECT f.*, m.identifier FROM batch_files f JOIN merchants m USING (merchant_id) WHERE f.merchant_id = $1 AND f.batch_id = $2;

-- file_of --
-- One batch of any merchant, by its number.
SELECT f.*, m.identifier FROM batch_files f JOIN merchants m USING (merchant_id) WHERE f.batch_id = $1;

-- file_named --
-- One batch, by the merchant's name for it.
SELECT f.*, m.identifier FROM batch_files f JOIN merchants m USING (merchant_id) WHERE f.merchant_id = $1 AND f.reference = $2;

-- files --
-- The newest batches, of one merchant ($1) or of all, behind batch $2, at most $3.
SELECT f.*, m.identifier FROM batch_files f JOIN merchants m USING (merchant_id)
WHERE ($1::integer IS NULL OR f.merchant_id = $1) AND ($2::bigint IS NULL OR f.batch_id < $2)
ORDER BY f.batch_id DESC LIMIT $3;

-- faults --
-- What is wrong with a batch's rows, the first $3 of it.
SELECT line, column_name, message FROM batch_faults WHERE merchant_id = $1 AND batch_id = $2 ORDER BY place LIMIT $3;

-- progress --
-- How far a batch has come: rows by how they ended, as those who carried them out noted it.
SELECT coalesce(sum(approved), 0)::integer
       + (SELECT coalesce(sum(w.rows), 0)::integer FROM batch_whole w WHERE w.merchant_id = $1 AND w.batch_id = $2),
       coalesce(sum(failed), 0)::integer, coalesce(sum(unknown), 0)::integer
FROM batch_progress WHERE merchant_id = $1 AND batch_id = $2;

-- open_files --
-- Batches that are to be looked through, carried out or ended.
SELECT f.*, m.identifier FROM batch_files f JOIN merchants m USING (merchant_id)
WHERE f.state IN ('validating', 'processing', 'cancelling') ORDER BY f.merchant_id, f.batch_id;

-- twice --
-- References that more than one line of a file begins an order, or a link, with.
SELECT reference FROM batch_rows WHERE merchant_id = $1 AND batch_id = $2 AND kind IN ('purchase', 'payment_link')
GROUP BY reference HAVING count(*) > 1 LIMIT $3;

-- lines_of --
-- The lines that begin an order with one of these references, but for the first of each.
SELECT line FROM (
    SELECT line, row_number() OVER (PARTITION BY reference ORDER BY line) AS nth FROM batch_rows
    WHERE merchant_id = $1 AND batch_id = $2 AND kind IN ('purchase', 'payment_link') AND reference = ANY ($4::text[])) r
WHERE nth > 1 ORDER BY line LIMIT $3;

-- name_orders --
-- Rows that name an order by our number get the merchant's name for it as well, so that it is known which rows are of one order.
UPDATE batch_rows r SET reference = o.reference
FROM operations o
WHERE r.merchant_id = $1 AND r.batch_id = $2 AND r.reference IS NULL AND r.kind <> 'purchase'
  AND o.merchant_id = r.merchant_id AND o.payment_id = r.fort_id AND o.operation_id = r.fort_id AND o.reference IS NOT NULL;

-- make_waves --
-- Behind the first row of an order come its others, each in a wave of its own.
UPDATE batch_rows r SET wave = w.wave
FROM (SELECT line, row_number() OVER (PARTITION BY coalesce(reference, fort_id::text) ORDER BY line) - 1 AS wave
      FROM batch_rows WHERE merchant_id = $1 AND batch_id = $2) w
WHERE r.merchant_id = $1 AND r.batch_id = $2 AND r.line = w.line AND w.wave > 0;

-- waves --
-- How many waves a file has.
SELECT coalesce(max(wave), 0) + 1 FROM batch_rows WHERE merchant_id = $1 AND batch_id = $2 AND wave > 0;

-- repeated --
-- The latest other batch of the same content that was carried out since $4 (business time).
SELECT batch_id FROM batch_files
WHERE merchant_id = $1 AND content = $2 AND batch_id <> $3 AND processed_at >= $4 ORDER BY batch_id DESC LIMIT 1;

-- new_money --
-- What a file would move that was not moved yet: rows that begin an order nobody has begun ($3: what stands before a reference in its
-- key), and all rows on orders.
SELECT r.kind, r.currency, count(*)::integer AS rows, sum(r.minor)::bigint AS minor
FROM batch_rows r
WHERE r.merchant_id = $1 AND r.batch_id = $2 AND r.kind <> 'payment_link' AND (r.kind <> 'purchase' OR NOT EXISTS (
    SELECT FROM operations o WHERE o.merchant_id = r.merchant_id AND o.key = $3 || r.reference))
GROUP BY r.kind, r.currency ORDER BY r.kind, r.currency;

-- validated --
-- The end of looking through a file.
UPDATE batch_files SET state = $3, message = $4, reason = $5, faults = $6, waves = $7, repeats = $8, new_totals = $9::jsonb
WHERE merchant_id = $1 AND batch_id = $2 AND state = 'validating' RETURNING true;

-- drop_rows --
-- The rows of a batch that will never be carried out.
DELETE FROM batch_rows WHERE merchant_id = $1 AND batch_id = $2;

-- process --
-- Have a valid batch carried out, from $3 (business time) on; $4: although it repeats another.
UPDATE batch_files SET state = 'processing', processed_at = $3, began = now(), forced = $4
WHERE merchant_id = $1 AND batch_id = $2 AND state = 'valid' AND (repeats IS NULL OR $4) RETURNING true;

-- content_lock --
-- Two files of one content are not let through beside each other.
SELECT pg_advisory_xact_lock($1::integer, $2::integer);

-- note_repeat --
-- It turned out to repeat another batch after it was looked through.
UPDATE batch_files SET repeats = $3, new_totals = $4::jsonb WHERE merchant_id = $1 AND batch_id = $2;

-- cancel --
-- No further row is taken; what is under way ends.
UPDATE batch_files SET state = CASE state WHEN 'processing' THEN 'cancelling' ELSE 'cancelled' END, cancelled_at = $3,
                       ended_at = CASE state WHEN 'processing' THEN NULL ELSE $3::timestamptz END
WHERE merchant_id = $1 AND batch_id = $2 AND state IN ('valid', 'processing') RETURNING state;

-- lay_parts --
-- The stretches of a wave: $3 of them, over the lines up to $4.
INSERT INTO batch_parts (merchant_id, batch_id, part, next_line, last_line)
SELECT $1, $2, n, 2 + ((n - 1)::bigint * ($4 - 1) / $3)::integer, 1 + (n::bigint * ($4 - 1) / $3)::integer FROM generate_series(1, $3::integer) n
ON CONFLICT (merchant_id, batch_id, part) DO UPDATE SET next_line = excluded.next_line;

-- take_part --
-- A stretch that has lines left and is in nobody's hands, the emptiest first, locked until the transaction ends; and the batch, which is
-- not cancelled meanwhile.
SELECT p.part, p.next_line, p.last_line, f.wave
FROM batch_files f JOIN batch_parts p USING (merchant_id, batch_id)
WHERE f.merchant_id = $1 AND f.batch_id = $2 AND f.state = 'processing' AND p.next_line <= p.last_line
ORDER BY p.part LIMIT 1
FOR UPDATE OF p SKIP LOCKED;

-- still_processing --
-- Whether it is still to be carried out, and in which wave; it is not changed until the transaction ends.
SELECT wave FROM batch_files WHERE merchant_id = $1 AND batch_id = $2 AND state = 'processing' FOR SHARE;

-- first_rows --
-- Rows of the first wave from line $3 to $4, at most $5.
SELECT line, kind, reference, fort_id, minor, currency, cells FROM batch_rows
WHERE merchant_id = $1 AND batch_id = $2 AND line BETWEEN $3 AND $4 AND wave = 0 ORDER BY line LIMIT $5;

-- later_rows --
-- The same of wave $6.
SELECT line, kind, reference, fort_id, minor, currency, cells FROM batch_rows
WHERE merchant_id = $1 AND batch_id = $2 AND wave > 0 AND wave = $6 AND line BETWEEN $3 AND $4 ORDER BY line LIMIT $5;

-- move_on --
-- The lines before $4 of a stretch are taken.
UPDATE batch_parts SET next_line = $4 WHERE merchant_id = $1 AND batch_id = $2 AND part = $3;

-- note_taken --
-- Which operations lines are, or why they are none: all that one commit took.
INSERT INTO batch_taken VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- first_taken --
-- Operation and code of the line with which a commit began that took lines, if it was one.
SELECT (coalesce(operation_ids, payment_ids))[1], codes[1] FROM batch_taken WHERE merchant_id = $1 AND batch_id = $2 AND first_line = $3;

-- note_whole --
-- Lines from $3 to $4 have all ended as purchases approved whole: $6 of them, of $7 minor units together.
INSERT INTO batch_whole VALUES ($1, $2, $3, $4, $5, $6, $7);

-- whole --
-- Stretches of which nothing needs to be asked any more.
SELECT first_line, last_line, currency, rows, minor FROM batch_whole WHERE merchant_id = $1 AND batch_id = $2 ORDER BY first_line;

-- taken_of_whole --
-- Lines, payments, masked cards and expiries of such a stretch.
SELECT lines, payment_ids, card_numbers, expiry_dates FROM batch_taken WHERE merchant_id = $1 AND batch_id = $2 AND first_line = $3;

-- rows_of_whole --
-- Its rows as they were handed in, as far as they are still kept.
SELECT line, minor, reference FROM batch_rows WHERE merchant_id = $1 AND batch_id = $2 AND line BETWEEN $3 AND $4 ORDER BY line;

-- note_progress --
-- How rows of a stretch ended.
INSERT INTO batch_progress AS p VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (merchant_id, batch_id, part) DO UPDATE
SET approved = p.approved + excluded.approved, failed = p.failed + excluded.failed, unknown = p.unknown + excluded.unknown;

-- orders --
-- Payments by their numbers ($2) or by the keys that began them ($3), with what messages behind the first one cite.
SELECT o.payment_id, o.key, o.door, o.reference, o.processor, o.channel, o.minor AS asked, o.currency AS asked_currency,
       x.result, x.approval_code, x.processor_reference, x.scheme_reference,
       c.card_id, c.brand, c.bin, c.last4, c.key_id, c.wrapped_key, c.ciphertext, c.first_reference, c.blocked,
       p.*
FROM (SELECT payment_id FROM unnest($2::bigint[]) AS n (payment_id)
      UNION SELECT k.payment_id FROM operations k WHERE k.merchant_id = $1 AND k.key = ANY ($3::text[])) w
JOIN operations o ON o.merchant_id = $1 AND o.payment_id = w.payment_id AND o.operation_id = w.payment_id
LEFT JOIN LATERAL (SELECT * FROM outcomes y WHERE y.merchant_id = $1 AND y.payment_id = o.payment_id AND y.operation_id = o.operation_id
                   ORDER BY y.attempt DESC LIMIT 1) x ON true
LEFT JOIN cards c ON c.merchant_id = $1 AND c.card_id = o.card_id
LEFT JOIN payments p ON p.merchant_id = $1 AND p.payment_id = o.payment_id;

-- reached --
-- The first line of the wave that is not taken yet, null where all are.
SELECT min(next_line) FROM batch_parts WHERE merchant_id = $1 AND batch_id = $2 AND next_line <= last_line;

-- in_pages --
-- For the rest of the transaction two sets of a page's rows are joined as sets.  The planner, which knows nothing yet of a file that has
-- just come, would else go through all of one for every row of the other.  What stands behind LIMIT is looked up by its key all the same.
SELECT set_config('enable_hashjoin', 'on', true), set_config('enable_nestloop', 'off', true);

-- sums --
-- How the rows from line $3 to $4 ended, by kind and currency: asked of the operations' own outcomes, whatever was noted before.
WITH taken AS MATERIALIZED (
    SELECT t.line, t.payment_id, coalesce(t.operation_id, t.payment_id) AS operation_id, t.code
    FROM batch_taken k
    CROSS JOIN LATERAL ROWS FROM (unnest(k.lines), unnest(k.payment_ids), unnest(k.operation_ids), unnest(k.codes))
        AS t (line, payment_id, operation_id, code)
    WHERE k.merchant_id = $1 AND k.batch_id = $2 AND k.first_line <= $4 AND k.last_line >= $3
)
SELECT r.kind, r.currency,
       CASE WHEN b.line IS NULL THEN 'waiting' WHEN b.operation_id IS NULL THEN CASE WHEN b.code LIKE '%000' THEN 'approved' ELSE 'refused' END
            WHEN x.result IS NULL OR x.result IN ('unknown', 'challenge') THEN 'unknown'
            WHEN x.result = 'approved' AND (r.minor = 0 OR x.minor = r.minor) THEN 'approved' ELSE 'declined' END AS ended,
       count(*)::integer AS rows, sum(r.minor)::bigint AS minor
FROM batch_rows r
LEFT JOIN taken b ON b.line = r.line
LEFT JOIN LATERAL (SELECT y.result, y.minor FROM outcomes y
                   WHERE y.merchant_id = $1 AND y.payment_id = b.payment_id AND y.operation_id = b.operation_id
                   ORDER BY y.attempt DESC LIMIT 1) x ON b.operation_id IS NOT NULL
WHERE r.merchant_id = $1 AND r.batch_id = $2 AND r.line BETWEEN $3 AND $4
GROUP BY 1, 2, 3;

-- results --
-- Rows from line $3 to $4, with what became of them.
WITH taken AS MATERIALIZED (
    SELECT t.line, t.payment_id, coalesce(t.operation_id, t.payment_id) AS operation_id, t.code, t.card_number, t.expiry_date
    FROM batch_taken k
    CROSS JOIN LATERAL ROWS FROM (unnest(k.lines), unnest(k.payment_ids), unnest(k.operation_ids), unnest(k.codes),
                                  unnest(k.card_numbers), unnest(k.expiry_dates))
        AS t (line, payment_id, operation_id, code, card_number, expiry_date)
    WHERE k.merchant_id = $1 AND k.batch_id = $2 AND k.first_line <= $4 AND k.last_line >= $3
)
SELECT r.line, r.kind, r.minor, r.currency, r.reference, r.fort_id, b.payment_id, b.operation_id, b.code, b.card_number, b.expiry_date,
       x.result, x.minor AS answered, x.response_code
FROM batch_rows r
LEFT JOIN taken b ON b.line = r.line
LEFT JOIN LATERAL (SELECT y.result, y.minor, y.response_code FROM outcomes y
                   WHERE y.merchant_id = $1 AND y.payment_id = b.payment_id AND y.operation_id = b.operation_id
                   ORDER BY y.attempt DESC LIMIT 1) x ON b.operation_id IS NOT NULL
WHERE r.merchant_id = $1 AND r.batch_id = $2 AND r.line BETWEEN $3 AND $4
ORDER BY r.line;

-- pages_of_wave --
-- The pages of $5 lines, by their first lines, in which rows of a wave behind the first stand, from line $4 on.
SELECT DISTINCT 2 + (line - 2) / $5::integer * $5::integer AS first_line FROM batch_rows
WHERE merchant_id = $1 AND batch_id = $2 AND wave > 0 AND wave = $3 AND line >= $4 ORDER BY first_line;

-- next_wave --
-- The rows behind those that have ended may be taken.
UPDATE batch_files SET wave = $3 WHERE merchant_id = $1 AND batch_id = $2 AND state = 'processing' RETURNING true;

-- end --
-- The batch has ended: $3 done or cancelled, $4 at (business time), what its rows came to, and whether that agrees with what was handed in.
UPDATE batch_files SET state = $3, ended_at = $4, ended = now(), sums = $5::jsonb, agrees = $6
WHERE merchant_id = $1 AND batch_id = $2 AND state IN ('processing', 'cancelling') RETURNING true;

-- forget --
-- Rows of batches that ended before $1 (business time), at most $2 of them, are erased, and once none is left, which operations they
-- were; what they came to stays.
WITH whole AS (
    DELETE FROM batch_whole w USING batch_files f
    WHERE f.merchant_id = w.merchant_id AND f.batch_id = w.batch_id AND f.state IN ('done', 'cancelled') AND f.ended_at < $1
      AND NOT EXISTS (SELECT FROM batch_rows q WHERE q.merchant_id = f.merchant_id AND q.batch_id = f.batch_id)
), told AS (
    DELETE FROM batch_taken k USING batch_files f
    WHERE f.merchant_id = k.merchant_id AND f.batch_id = k.batch_id AND f.state IN ('done', 'cancelled') AND f.ended_at < $1
      AND NOT EXISTS (SELECT FROM batch_rows q WHERE q.merchant_id = f.merchant_id AND q.batch_id = f.batch_id)
)
DELETE FROM batch_rows r USING (
    SELECT q.merchant_id, q.batch_id, q.line FROM batch_files f
    JOIN batch_rows q USING (merchant_id, batch_id)
    WHERE f.state IN ('done', 'cancelled', 'invalid') AND coalesce(f.ended_at, f.uploaded_at) < $1 LIMIT $2) old
WHERE r.merchant_id = old.merchant_id AND r.batch_id = old.batch_id AND r.line = old.line;
