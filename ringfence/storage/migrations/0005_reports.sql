-- Reports that merchants ask for: made by a job, kept for a while, downloaded as often as wanted.

-- One row for a report, and for ever: its reference names no other.  What was asked, and how far it has come.
CREATE TABLE reports (
    merchant_id    integer     NOT NULL,
    reference      text        NOT NULL,                        -- the merchant's own name for it
    report_id      bigint      NOT NULL,                        -- counted per merchant; the subject of its job
    columns        text[]      NOT NULL,
    filters        text[]      NOT NULL,                        -- key, value, key, value, …
    since          timestamptz NOT NULL,                        -- business time, included
    until          timestamptz NOT NULL,                        -- business time, not included
    offset_seconds integer     NOT NULL,                        -- of the instants in its rows, east of UTC
    language       text        NOT NULL,
    form           text        NOT NULL,                        -- JSON or XML: how it is downloaded where nobody says otherwise
    actor          text        NOT NULL,                        -- credential or person
    state          text        NOT NULL,                        -- waiting, ready, too_many, failed, erased
    maker          integer     NOT NULL DEFAULT 0,              -- the claim of the job that makes it: whoever has an older one writes nothing
    rows           integer     NOT NULL DEFAULT 0,
    chunks         integer     NOT NULL DEFAULT 0,
    requested_at   timestamptz NOT NULL,                        -- business time; the report is as of then
    ended_at       timestamptz,                                 -- business time
    PRIMARY KEY (merchant_id, reference),
    UNIQUE (merchant_id, report_id)
) WITH (fillfactor = 70);
CREATE INDEX reports_kept ON reports (merchant_id, requested_at) WHERE state <> 'erased';

-- Its rows, some hundred together: a JSON list of lists of texts, in the order of its columns.
CREATE TABLE report_chunks (
    merchant_id    integer     NOT NULL,
    report_id      bigint      NOT NULL,
    chunk          integer     NOT NULL,                        -- from 1
    body           bytea       NOT NULL,
    PRIMARY KEY (merchant_id, report_id, chunk)
);

-- How a report finds the operations of an interval.  They are appended in the order of business time, so that a summary of every
-- few pages is enough, and costs a payment next to nothing.
CREATE INDEX operations_asked ON operations USING brin (asked_at) WITH (autosummarize = on, pages_per_range = 32);
