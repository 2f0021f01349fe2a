-- A lease changes no indexed column: with room for the new row beside the old one, no index is written to.
ALTER TABLE hub.delivery SET (fillfactor = 45);

-- Few rows, each changed all the time.
ALTER TABLE hub.mailbox SET (fillfactor = 30);

-- The clock is read once a statement and not, several times over, for every movement and every piece of evidence.
CREATE OR REPLACE VIEW hub.active_movement AS
SELECT r.*
FROM hub.routing_movement r
WHERE (SELECT (engines.domain_now() AT TIME ZONE 'Europe/London')::date) >= r.active_from
    AND (r.active_to IS NULL OR (SELECT (engines.domain_now() AT TIME ZONE 'Europe/London')::date) <= r.active_to);

CREATE OR REPLACE VIEW hub.valid_evidence AS
SELECT e.*, hub.rank_of(e.level) AS rank
FROM hub.evidence e
WHERE (SELECT (engines.domain_now() AT TIME ZONE 'Europe/London')::date) BETWEEN e.valid_from AND e.valid_to
    AND (e.ended_on IS NULL OR (SELECT (engines.domain_now() AT TIME ZONE 'Europe/London')::date) < e.ended_on);
