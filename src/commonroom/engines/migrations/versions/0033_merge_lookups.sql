-- The merges that a number had part in.
CREATE INDEX merge_by_master ON learners.merge (master);
CREATE INDEX merge_by_numbers ON learners.merge USING gin (numbers);

-- Everybody who stands for a person by now, and from whom they were parted.
CREATE INDEX learner_by_same_as ON learners.learner (same_as) WHERE same_as IS NOT NULL;
CREATE INDEX apart_by_other ON learners.apart (other);
