-- A lease changes no indexed column: with room for the new row beside the old one, no index is written to.
ALTER TABLE hub.delivery SET (fillfactor = 45);

-- Few rows, each changed all the time.
ALTER TABLE hub.mailbox SET (fillfactor = 30);
