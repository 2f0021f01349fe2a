-- A message, its letter and its deliveries are written by one statement, which gives all three the same position, and the
-- hub never deletes a message. Checking that for every row took a third of the database's work for accepting it. Whoever
-- deletes a message by hand takes what hangs on it along, as before.
ALTER TABLE hub.body DROP CONSTRAINT body_message_fkey;
ALTER TABLE hub.delivery DROP CONSTRAINT delivery_message_fkey;

CREATE FUNCTION hub.message_deleted() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    DELETE FROM hub.body b USING gone WHERE b.message = gone.position;
    DELETE FROM hub.delivery d USING gone WHERE d.message = gone.position;
    RETURN NULL;
END
$$;

CREATE TRIGGER deleted AFTER DELETE ON hub.message
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION hub.message_deleted();

-- Accepting looks for (source, ce_id) with a plan made once. That plan must never take the index on (source, position),
-- which reads all that a source has sent: it is partial, so that only queries that say `position > 0` can use it.
DROP INDEX hub.message_source;
CREATE INDEX message_source ON hub.message (source, position DESC) WHERE position > 0;

-- What waits is in delivery_mailbox; this one has what is finished, and accepting need not write to it.
DROP INDEX hub.delivery_recipient;
CREATE INDEX delivery_recipient ON hub.delivery (recipient, message DESC) WHERE finished_at IS NOT NULL;
