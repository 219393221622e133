-- claim --
-- Take a request in hand: a new key, one whose answer is a day old, or one whose holder gave no answer in time.  Nothing comes back where it
-- is another's; what was fixed for the first try comes back again, but for a key that is free again.
INSERT INTO keyed_requests AS k (merchant_id, door, key, content, subject_id, holder, held_until)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (merchant_id, door, key) DO UPDATE SET
    content = excluded.content, holder = excluded.holder, held_until = excluded.held_until, status = NULL, answer = NULL, ended_at = NULL,
    subject_id = CASE WHEN k.ended_at IS NULL THEN k.subject_id ELSE excluded.subject_id END
WHERE (k.ended_at IS NOT NULL AND k.ended_at <= $8) OR (k.ended_at IS NULL AND k.content = excluded.content AND k.held_until <= $9)
RETURNING subject_id;

-- find --
-- The request under a key.
SELECT content, status, answer FROM keyed_requests WHERE merchant_id = $1 AND door = $2 AND key = $3;

-- answer --
-- Keep the answer, if it is still ours to give.
UPDATE keyed_requests SET status = $5, answer = $6, ended_at = $7
WHERE merchant_id = $1 AND door = $2 AND key = $3 AND holder = $4 AND ended_at IS NULL
RETURNING key;

-- forget --
-- Free a key whose request was refused: it may be used again with another body.
DELETE FROM keyed_requests WHERE merchant_id = $1 AND door = $2 AND key = $3 AND holder = $4 AND ended_at IS NULL;

-- sweep --
-- Drop answers whose keys are free again.
DELETE FROM keyed_requests WHERE (merchant_id, door, key) IN (
    SELECT merchant_id, door, key FROM keyed_requests WHERE merchant_id = $1 AND ended_at <= $2 LIMIT $3)
RETURNING key;
