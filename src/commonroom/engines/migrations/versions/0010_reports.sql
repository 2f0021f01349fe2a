-- The number of each letter in its recipient's mailbox, given when it is first handed out: senders never wait for one
-- another over it, and a rollback takes the numbers back. The counter's row is locked by the recipient's own pulls alone.
CREATE TABLE hub.mailbox (
    party text PRIMARY KEY,
    last_sequence bigint NOT NULL
);

ALTER TABLE hub.delivery
    ADD COLUMN sequence bigint,
    -- Domain time of the newest lease.
    ADD COLUMN leased_at timestamptz,
    -- How often the recipient asked for it again after its end, and what that first, reported end was.
    ADD COLUMN replays integer NOT NULL DEFAULT 0,
    ADD COLUMN ended_state text,
    ADD COLUMN ended_reason text,
    ADD COLUMN ended_at timestamptz;

-- Reports that wait for the end point whose message has ended somewhere. The facts are the delivery's; a report that is
-- taken is deleted, so the table is as small as what waits. No foreign key: its check would lock each delivery once more.
CREATE TABLE hub.report (
    party text NOT NULL,
    delivery uuid NOT NULL,
    end_point text NOT NULL,
    -- Domain time of the end.
    made_at timestamptz NOT NULL,
    attempt integer NOT NULL DEFAULT 0,
    lease_holder text,
    -- Real time.
    lease_until timestamptz,
    PRIMARY KEY (party, delivery)
) WITH (fillfactor = 80);

-- Whatever statement ends deliveries makes their reports, as one set: there is no end without one and none has two.
-- A delivery ends for the first time once, for a replay sets `replays`. (Joining the two transition tables would leave
-- the plan to a guess; the array of those ended before is nearly always empty.)
CREATE FUNCTION hub.report_ends() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO hub.report (party, delivery, end_point, made_at)
    SELECT m.source, n.id, m.end_point, n.finished_at
    FROM new_rows n
    JOIN hub.message m ON m.position = n.message
    WHERE n.finished_at IS NOT NULL AND n.replays = 0
        AND n.id <> ALL (ARRAY(SELECT o.id FROM old_rows o WHERE o.finished_at IS NOT NULL))
    ORDER BY m.source, n.id
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE TRIGGER ended AFTER UPDATE ON hub.delivery
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION hub.report_ends();

-- Who asked for what again. Only ever appended to.
CREATE TABLE hub.replay (
    id uuid PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    party text NOT NULL,
    end_point text NOT NULL,
    asked jsonb NOT NULL,
    letters integer NOT NULL,
    first_position bigint,
    last_position bigint
);

CREATE INDEX replay_party ON hub.replay (party, at);
