-- claim --
-- Take jobs of a queue that are due by $2 and in nobody's hands: of merchants above $6 up to $7, in their order, at most $4 of one
-- merchant (less what this process has of it already, $9 and $10), at most $5 in all.  The merchants are found by a skip scan of
-- jobs_due, which has only what will be due, so that nothing else is looked up in it; what is chosen is materialized, since the planner might else run it twice and lock more.
WITH RECURSIVE waiting AS (
    (SELECT merchant_id FROM jobs WHERE queue = $1::text AND merchant_id > $6::int AND due_at < 'infinity' ORDER BY merchant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT j.merchant_id FROM jobs j WHERE j.queue = $1::text AND j.merchant_id > w.merchant_id AND j.due_at < 'infinity'
            ORDER BY j.merchant_id LIMIT 1)
    FROM waiting w WHERE w.merchant_id < $7::int
), chosen AS MATERIALIZED (
    SELECT c.* FROM waiting w CROSS JOIN LATERAL (
        SELECT j.merchant_id, j.queue, j.subject FROM jobs j
        WHERE j.queue = $1::text AND j.merchant_id = w.merchant_id AND w.merchant_id <= $7::int
          AND j.due_at <= $2::timestamptz AND j.due_at < 'infinity' AND j.leased_until <= now()
        ORDER BY j.due_at, j.subject
        LIMIT greatest(0, $4::int - coalesce((SELECT h.many FROM unnest($9::int[], $10::int[]) h (merchant_id, many)
                                              WHERE h.merchant_id = w.merchant_id), 0))
        FOR UPDATE SKIP LOCKED) c
    LIMIT $5::int
)
UPDATE jobs j SET tries = j.tries + 1, holder = $3::text, leased_until = now() + make_interval(secs => $8::float8)
FROM chosen c WHERE (j.merchant_id, j.queue, j.subject) = (c.merchant_id, c.queue, c.subject)
RETURNING j.merchant_id, j.queue, j.subject, j.payment_id, j.due_at, j.deadline_at, j.tries, j.nudges, j.note, j.holder, j.failures;

-- due --
-- Which of these queues have jobs that are due by $2 and in nobody's hands; merchant by merchant, as ``claim`` finds them.
SELECT q.queue FROM unnest($1::text[]) AS q (queue)
WHERE EXISTS (
    WITH RECURSIVE waiting AS (
        (SELECT merchant_id FROM jobs WHERE queue = q.queue AND due_at < 'infinity' ORDER BY merchant_id LIMIT 1)
        UNION ALL
        SELECT (SELECT j.merchant_id FROM jobs j WHERE j.queue = q.queue AND j.merchant_id > w.merchant_id AND j.due_at < 'infinity'
                ORDER BY j.merchant_id LIMIT 1)
        FROM waiting w WHERE w.merchant_id IS NOT NULL
    )
    SELECT FROM waiting w CROSS JOIN LATERAL (
        SELECT FROM jobs j
        WHERE j.queue = q.queue AND j.merchant_id = w.merchant_id AND j.due_at <= $2::timestamptz AND j.due_at < 'infinity'
          AND j.leased_until <= now()
        LIMIT 1) d);

-- claim_one --
-- Take one job, whenever it is due; nothing is returned while another has it in hand, or where it is gone.
UPDATE jobs SET tries = tries + 1, holder = $4::text, leased_until = now() + make_interval(secs => $5::float8)
WHERE merchant_id = $1::int AND queue = $2::text AND subject = $3::bigint AND leased_until <= now()
RETURNING merchant_id, queue, subject, payment_id, due_at, deadline_at, tries, nudges, note, holder, failures;

-- renew --
-- Hold jobs for longer, and tell by their places which of them nobody has taken since.  A row that is locked is being ended or given back by its own
-- holder's transaction; it is passed over, and is not lost by that.
WITH held AS (
    SELECT * FROM unnest($1::int[], $2::text[], $3::bigint[], $4::int[], $5::text[]) WITH ORDINALITY
                  AS h (merchant_id, queue, subject, tries, holder, place)
), mine AS MATERIALIZED (
    SELECT m.* FROM held h CROSS JOIN LATERAL (
        SELECT j.merchant_id, j.queue, j.subject FROM jobs j
        WHERE j.merchant_id = h.merchant_id AND j.queue = h.queue AND j.subject = h.subject AND j.tries = h.tries AND j.holder = h.holder
          AND j.leased_until > '-infinity'
        FOR UPDATE SKIP LOCKED) m
), renewed AS (
    UPDATE jobs j SET leased_until = now() + make_interval(secs => $6::float8)
    FROM mine m WHERE (j.merchant_id, j.queue, j.subject) = (m.merchant_id, m.queue, m.subject)
)
SELECT h.place FROM held h LEFT JOIN jobs j USING (merchant_id, queue, subject)
WHERE j.subject IS NULL OR (j.tries = h.tries AND j.holder = h.holder);

-- later --
-- Give a job back, to be done at $6; where more was asked for meanwhile it keeps its earlier time, by which it is due at once.
UPDATE jobs SET due_at = CASE WHEN nudges = $7::int THEN $6::timestamptz ELSE least($6::timestamptz, due_at) END,
                note = $8::text, failures = 0, leased_until = '-infinity'
WHERE merchant_id = $1::int AND queue = $2::text AND subject = $3::bigint AND tries = $4::int AND holder = $5::text
RETURNING true;

-- all_later --
-- The same for many jobs, which are named in the order of their keys.
WITH given AS MATERIALIZED (
    SELECT g.merchant_id, g.queue, g.subject, g.nudges, g.due_at, g.note
    FROM unnest($1::int[], $2::text[], $3::bigint[], $4::int[], $5::text[], $6::int[], $7::timestamptz[], $8::text[])
         AS g (merchant_id, queue, subject, tries, holder, nudges, due_at, note)
    CROSS JOIN LATERAL (
        SELECT FROM jobs j
        WHERE j.merchant_id = g.merchant_id AND j.queue = g.queue AND j.subject = g.subject AND j.tries = g.tries AND j.holder = g.holder
        FOR UPDATE) h
)
UPDATE jobs j SET due_at = CASE WHEN j.nudges = g.nudges THEN g.due_at ELSE least(g.due_at, j.due_at) END,
                  note = g.note, failures = 0, leased_until = '-infinity'
FROM given g WHERE (j.merchant_id, j.queue, j.subject) = (g.merchant_id, g.queue, g.subject);

-- all_lost --
-- Give jobs back whose holder lost the database; how often they failed stays.
UPDATE jobs j SET due_at = greatest(g.due_at, j.due_at), note = g.note, leased_until = '-infinity'
FROM unnest($1::int[], $2::text[], $3::bigint[], $4::int[], $5::text[], $6::timestamptz[], $7::text[])
     AS g (merchant_id, queue, subject, tries, holder, due_at, note)
WHERE (j.merchant_id, j.queue, j.subject) = (g.merchant_id, g.queue, g.subject) AND j.tries = g.tries AND j.holder = g.holder
  AND j.leased_until > '-infinity';

-- failed --
-- Give a job back that failed once more; without a time ($6) it is set aside.
UPDATE jobs SET due_at = coalesce($6::timestamptz, 'infinity'), note = $7::text, failures = failures + 1, leased_until = '-infinity'
WHERE merchant_id = $1::int AND queue = $2::text AND subject = $3::bigint AND tries = $4::int AND holder = $5::text
RETURNING true;

-- set_aside --
-- Jobs that failed too often, of one merchant ($1) or of all, at most $2.
SELECT merchant_id, queue, subject, payment_id, failures, note FROM jobs
WHERE due_at = 'infinity' AND ($1::int IS NULL OR merchant_id = $1)
ORDER BY merchant_id, queue, subject LIMIT $2;

-- retry --
-- Jobs that were set aside are due at $1 again, and may fail as often as any other: one ($2 merchant, $3 queue, $4 subject), or as many as
-- are not told apart.
UPDATE jobs SET due_at = $1::timestamptz, failures = 0
WHERE due_at = 'infinity' AND ($2::int IS NULL OR merchant_id = $2) AND ($3::text IS NULL OR queue = $3)
  AND ($4::bigint IS NULL OR subject = $4);

-- all_done --
-- Remove jobs, unless more was asked for meanwhile.
DELETE FROM jobs j USING unnest($1::int[], $2::text[], $3::bigint[], $4::int[], $5::text[], $6::int[])
                         AS g (merchant_id, queue, subject, tries, holder, nudges)
WHERE (j.merchant_id, j.queue, j.subject) = (g.merchant_id, g.queue, g.subject)
  AND j.tries = g.tries AND j.holder = g.holder AND j.nudges = g.nudges;

-- all_again --
-- Give jobs back as they are: more was asked for.
UPDATE jobs j SET leased_until = '-infinity', failures = 0
FROM unnest($1::int[], $2::text[], $3::bigint[], $4::int[], $5::text[]) AS g (merchant_id, queue, subject, tries, holder)
WHERE (j.merchant_id, j.queue, j.subject) = (g.merchant_id, g.queue, g.subject) AND j.tries = g.tries AND j.holder = g.holder;

-- done --
-- Remove a job, unless more was asked for meanwhile.
DELETE FROM jobs
WHERE merchant_id = $1::int AND queue = $2::text AND subject = $3::bigint AND tries = $4::int AND holder = $5::text AND nudges = $6::int
RETURNING true;

-- again --
-- Give a job back as it is: its time is past, and more was asked for.
UPDATE jobs SET leased_until = '-infinity', failures = 0
WHERE merchant_id = $1::int AND queue = $2::text AND subject = $3::bigint AND tries = $4::int AND holder = $5::text
RETURNING true;

-- wake --
-- Make jobs, or say of those that are there that more is to be done: not later than now wished for, and counted, so that whoever has
-- one in hand notices.
INSERT INTO jobs AS j (merchant_id, queue, subject, payment_id, due_at, deadline_at)
SELECT merchant_id, queue, subject, min(payment_id), min(due_at), min(deadline_at)
FROM unnest($1::int[], $2::text[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::timestamptz[])
     AS r (merchant_id, queue, subject, payment_id, due_at, deadline_at)
GROUP BY merchant_id, queue, subject ORDER BY merchant_id, queue, subject
ON CONFLICT (merchant_id, queue, subject) DO UPDATE
SET due_at = least(j.due_at, excluded.due_at), deadline_at = coalesce(j.deadline_at, excluded.deadline_at), nudges = j.nudges + 1;

-- turn --
-- Do a chore now, or go on doing it; nothing is returned while another process does it.
INSERT INTO sweeps AS s (job, holder, leased_until) VALUES ($1::text, $2::text, now() + make_interval(secs => $3::float8))
ON CONFLICT (job) DO UPDATE SET holder = excluded.holder, leased_until = excluded.leased_until
WHERE s.holder = excluded.holder OR s.leased_until <= now()
RETURNING true;

-- others --
-- The chores that others than this holder do now.
SELECT job FROM sweeps WHERE holder <> $1::text AND leased_until > now();

-- rest --
-- Leave a chore to whoever comes next.
UPDATE sweeps SET leased_until = '-infinity' WHERE job = $1::text AND holder = $2::text;

-- reached --
-- How far a chore has come, as a number of its own.
SELECT reached FROM sweeps WHERE job = $1::text;

-- note_reached --
-- Note how far a chore has come; never back.
INSERT INTO sweeps AS s (job, reached) VALUES ($1::text, $2::bigint)
ON CONFLICT (job) DO UPDATE SET reached = greatest(s.reached, excluded.reached);
