-- The simulated access control's own memory: one file, shared by all worker processes.  Times are seconds since 1970, business time.

-- schema --
CREATE TABLE IF NOT EXISTS challenges (
    acs_id        TEXT PRIMARY KEY,
    scenario      TEXT NOT NULL,
    merchant_name TEXT NOT NULL,
    card          TEXT NOT NULL,            -- masked
    minor         INTEGER NOT NULL,
    currency      TEXT NOT NULL,
    language      TEXT NOT NULL,
    reference     TEXT NOT NULL,
    eci           TEXT NOT NULL,            -- these four: what an authenticated payer gets
    cavv          TEXT NOT NULL,
    no_eci        TEXT NOT NULL,            -- ... and one who is not
    ds_id         TEXT NOT NULL,
    made_at       REAL NOT NULL,
    first_at      REAL,                     -- the browser's first sign of life
    tries         INTEGER NOT NULL DEFAULT 0,
    status        TEXT NOT NULL DEFAULT '', -- '' while undecided
    reason        TEXT NOT NULL DEFAULT '',
    cancelled     TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;

-- begin --
INSERT OR IGNORE INTO challenges (acs_id, scenario, merchant_name, card, minor, currency, language, reference, eci, cavv, no_eci, ds_id, made_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- load --
SELECT acs_id, scenario, merchant_name, card, minor, currency, language, reference, eci, cavv, no_eci, ds_id, made_at, first_at, tries, status,
       reason, cancelled
FROM challenges WHERE acs_id = ?;

-- came --
UPDATE challenges SET first_at = ? WHERE acs_id = ? AND first_at IS NULL;

-- missed --
UPDATE challenges SET tries = tries + 1 WHERE acs_id = ? AND status = '';

-- decide --
UPDATE challenges SET status = ?, reason = ?, cancelled = ? WHERE acs_id = ? AND status = '';
