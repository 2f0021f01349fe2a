-- End points whose quota is not the one of the settings. 0 is none at all; NULL is the setting's.
CREATE TABLE hub.quota (
    end_point text PRIMARY KEY,
    messages_a_minute bigint CHECK (messages_a_minute >= 0),
    bytes_a_minute bigint CHECK (bytes_a_minute >= 0),
    set_by text NOT NULL,
    set_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
