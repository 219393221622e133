-- Notifications that were taken in go when nobody sends them again: by the instant they were taken in, which is business time from now on.

CREATE INDEX amazon_notifications_received ON amazon_notifications (merchant_id, received_at);
