-- Whoever asks for extracts from outside has a role without any other right, and acts for an organisation.
ALTER TABLE identity.person DROP CONSTRAINT person_role_check;
ALTER TABLE identity.person ADD CONSTRAINT person_role_check
CHECK (role IN ('school', 'authority', 'operator', 'governance', 'analyst', 'learner', 'clerk', 'researcher'));
ALTER TABLE identity.person DROP CONSTRAINT person_check;
ALTER TABLE identity.person ADD CONSTRAINT person_check
CHECK ((role IN ('school', 'authority', 'researcher')) = (party IS NOT NULL));
