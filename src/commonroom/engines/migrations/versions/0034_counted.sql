-- Whose records an answer was made of, by their public numbers (URN, authority), where the reader says so: an authority
-- or trust that counts over the facts of its schools leaves their names.
ALTER TABLE access.audit ADD COLUMN counted text[];
