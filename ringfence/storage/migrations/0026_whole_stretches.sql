-- Stretches of lines that one commit took and one commit ended, every one of them as a purchase approved whole: written in the commit of
-- their outcomes, so that what they came to need not be asked row by row again.  An approved purchase stays approved.  No other line of the
-- file stands between the first and the last.
CREATE TABLE batch_whole (
    merchant_id   integer     NOT NULL,
    batch_id      bigint      NOT NULL,
    first_line    integer     NOT NULL,                         -- that of batch_taken
    last_line     integer     NOT NULL,
    currency      text        NOT NULL,
    rows          integer     NOT NULL,
    minor         bigint      NOT NULL,                         -- what they come to, minor units
    PRIMARY KEY (merchant_id, batch_id, first_line)
);
