-- Large bodies lie sealed in the body store, each content under a key of its own, which a master key wraps.
-- The upload's key becomes the content's; of two uploads of one content the first to be whole gives its own.
ALTER TABLE hub.upload
    ADD COLUMN master text NOT NULL,
    ADD COLUMN wrapped bytea NOT NULL;

ALTER TABLE hub.stored_body
    ADD COLUMN master text NOT NULL,
    ADD COLUMN wrapped bytea NOT NULL;
