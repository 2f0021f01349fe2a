CREATE SCHEMA providers;
CREATE SCHEMA learners;
