-- Declines of merchants' own payments, and jobs that fail again and again.

-- When a merchant was declined with a card that it charged by itself, through whatever door, file or plan: what schemes count.
CREATE TABLE card_declines (
    merchant_id   integer     NOT NULL,
    card_id       bigint      NOT NULL,
    declined_at   timestamptz NOT NULL,                         -- business time
    operation_id  bigint      NOT NULL,
    PRIMARY KEY (merchant_id, card_id, declined_at, operation_id)
);
INSERT INTO card_declines
SELECT merchant_id, card_id, ended_at, payment_id FROM plan_attempts
WHERE result = 'declined' AND card_id IS NOT NULL AND payment_id IS NOT NULL;
DROP INDEX plan_attempts_declined;

-- How often a job has failed in a row; once that was too often it is set aside: due at infinity, until somebody wakes it.
ALTER TABLE jobs ADD COLUMN failures integer NOT NULL DEFAULT 0;
-- Claims read the first few from it, and nothing is looked up by its subject in it: with no statistics yet the planner took it for that.
DROP INDEX jobs_due;
CREATE INDEX jobs_due ON jobs (queue, merchant_id, due_at, subject) WHERE due_at < 'infinity';
CREATE INDEX jobs_set_aside ON jobs (merchant_id, queue, subject) WHERE due_at = 'infinity';
