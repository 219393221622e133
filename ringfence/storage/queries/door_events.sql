-- write --
-- Write the next event of a subject; nothing comes back where somebody else wrote one of it at the same time, who is in front.
INSERT INTO door_events (merchant_id, door, subject_id, sequence, kind, type, data, webhooks_url, occurred_at)
SELECT $1, $2, $3, coalesce(max(e.sequence), 0) + 1, $4, $5, $6, $7, $8
FROM door_events e WHERE e.merchant_id = $1 AND e.door = $2 AND e.subject_id = $3
ON CONFLICT DO NOTHING
RETURNING sequence;
