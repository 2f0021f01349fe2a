-- Packing these arrays took half the time of writing a row of the ledger and saved some forty bytes a message: ids hardly
-- pack. What was written before stays as it is.
ALTER TABLE hub.ledger_group ALTER COLUMN entries SET STORAGE EXTERNAL;
ALTER TABLE hub.ledger_group ALTER COLUMN messages SET STORAGE EXTERNAL;
ALTER TABLE hub.ledger_group ALTER COLUMN party_of SET STORAGE EXTERNAL;
